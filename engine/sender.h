// SPDX-License-Identifier: Apache-2.0
// One stream's sender: turns written pages of guest RAM into frames.
//
// Private to one worker thread of source.c, except sender_stats.
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include "bitmap.h"
#include "byte_stream.h"
#include "compressor.h"
#include "errtext.h"
#include "ram_map.h"
#include "tracker.h"

struct sender;

struct sender_stats {
	/* as in source_stats */
	uint64_t pages_sent, pages_zero, pages_skipped, pages_resent;
	struct compressor_stats compressed;
};

struct sender_costs {
	uint64_t scan_us; /* finding out what was written, or given back */
	uint64_t read_us; /* looking at it, and handing it to the stream, which may hold that up */
};

/* All borrowed; `stale` has one bitmap a block, which the senders of a source share by granule.
 * `unseen`: disk reads may write RAM unseen, so rounds are of sender_collect and what follows it.
 */
int sender_new(const struct ram_map *ram, struct tracker *tracker, struct byte_stream *stream,
	       struct bitmap *stale, bool unseen, struct sender **out);
void sender_destroy(struct sender *s);
/* Before the first round. -ENOMEM. */
int sender_compress(struct sender *s, const struct compression *how);

/* Pages that are scanned, and sent, as one piece. */
uint64_t sender_granule_pages(const struct ram_block *block);

/* A round begins; `live` says that the guest may write while we read. */
void sender_begin(struct sender *s, uint32_t round, bool live);
/* All is collected, and disk reads that began before may not have ended: what is sent in this round
 * is suspect. */
void sender_suspect(struct sender *s);

/* Four ways over one granule [first, first + count) of a block; source.c says when which.
 * sender_granule: scan (and protect), then send. todo is not used.
 * sender_collect: only scan (and protect), adding to todo.
 * sender_collected: send what todo holds, and clear it; and what is suspect, unless the round is.
 * sender_stale: scan (and protect), then announce that, what todo holds (may be NULL), and what is
 * suspect, as stale instead of sending it, and add it to the stale set. */
int sender_granule(struct sender *s, unsigned int block, uint64_t first, uint64_t count,
		   struct bitmap *todo, bool protect, struct errtext *err);
int sender_collect(struct sender *s, unsigned int block, uint64_t first, uint64_t count,
		   struct bitmap *todo, bool protect, struct errtext *err);
int sender_collected(struct sender *s, unsigned int block, uint64_t first, uint64_t count,
		     struct bitmap *todo, bool protect, struct errtext *err);
int sender_stale(struct sender *s, unsigned int block, uint64_t first, uint64_t count,
		 struct bitmap *todo, bool protect, struct errtext *err);

/* Only count pages written since they were last protected, as sender_round_pages. */
int sender_look(struct sender *s, unsigned int block, uint64_t first, uint64_t count,
		struct bitmap *todo, bool protect, struct errtext *err);

/* Send what is pending, then SYNC(round); returns when all of it has left our memory. */
int sender_sync(struct sender *s, struct errtext *err);

/* Data pages, or pages found stale, of this round so far. */
uint64_t sender_round_pages(const struct sender *s);
/* What this round has cost so far. */
struct sender_costs sender_costs(const struct sender *s);
/* Pages that are suspect. */
uint64_t sender_suspects(const struct sender *s);
/* Totals of all rounds so far. Any thread. */
struct sender_stats sender_stats(const struct sender *s);
