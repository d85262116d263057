// SPDX-License-Identifier: Apache-2.0
// A fixed-size set of page numbers, one bit a page (4 KiB units throughout dray).
//
// Several threads may use one bitmap at the same time as long as no two touch the same group of
// 64 pages: nothing is atomic here. RAM is dealt out to threads in pieces far larger than that.
#pragma once

#include <stdbool.h>
#include <stdint.h>

struct bitmap {
	uint64_t pages; /* constant after init */
	uint64_t *words;
};

/* All bits clear. -ENOMEM; pages may be 0. */
int bitmap_init(struct bitmap *b, uint64_t pages);
void bitmap_destroy(struct bitmap *b);

bool bitmap_test(const struct bitmap *b, uint64_t page);
/* Ranges are [first, first + count), inside the bitmap (asserted). */
void bitmap_set(struct bitmap *b, uint64_t first, uint64_t count);
void bitmap_clear(struct bitmap *b, uint64_t first, uint64_t count);
uint64_t bitmap_count(const struct bitmap *b, uint64_t first, uint64_t count);

/* First set (clear) page in [from, end), or end if there is none. */
uint64_t bitmap_next_set(const struct bitmap *b, uint64_t from, uint64_t end);
uint64_t bitmap_next_clear(const struct bitmap *b, uint64_t from, uint64_t end);
