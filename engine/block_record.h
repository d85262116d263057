// SPDX-License-Identifier: Apache-2.0
// What one sender knows the destination to hold of one RAM block.
//
// Private to the sender's thread. Bits of pages that are another sender's stay clear.
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include "bitmap.h"
#include "ram_map.h"

struct block_record {
	struct bitmap sent;    /* the page's data went over, or was announced as stale, since it was
				* last announced as zero */
	uint64_t *hash;	       /* content that went over, one per page, 0 unknown; NULL: it is never
				* known */
	bool hashes_all;       /* of whatever goes over; else only of copies */
	struct bitmap suspect; /* copied while a disk read into the page may have been in flight
				* (source.c); empty where there are no such reads */
	struct bitmap used;    /* one bit a granule: it has had data, and is scanned */
	struct bitmap told;    /* one bit a granule: the destination has heard of all its pages */
	uint64_t next_data;    /* no data before this page, as of this round */
};

/* -ENOMEM; block_record_destroy in any case. `granule` is in pages; `unseen`: disk reads may write
 * it unseen. */
int block_record_init(struct block_record *r, const struct ram_block *b, uint64_t granule,
		      bool unseen);
void block_record_destroy(struct block_record *r);

/* True if the destination is known to hold exactly this content. Else it is about to hold it: that
 * is remembered of huge pages, and of a copy, which cannot change any more before it is sent. */
bool block_record_same(struct block_record *r, uint64_t page, const uint8_t *content, bool copy);
/* Content of these pages at the destination is not known any more. */
void block_record_forget(struct block_record *r, uint64_t first, uint64_t count);
