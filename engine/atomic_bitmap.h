// SPDX-License-Identifier: Apache-2.0
// A fixed-size set of numbers that any number of threads change at the same time, bit by bit.
//
// Setting and clearing say how many bits they changed, so that of several threads that clear one
// bit exactly one learns that it was the one: a claim. Changes are acquire and release, tests
// acquire: whoever sees a bit cleared sees all that its clearer had done before. A call over
// several words is no single step.
#pragma once

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

struct atomic_bitmap {
	uint64_t bits; /* constant after init */
	atomic_uint_least64_t *words;
};

/* All bits clear. -ENOMEM. */
int atomic_bitmap_init(struct atomic_bitmap *b, uint64_t bits);
/* Not for a bitmap over borrowed words, such as those of a file. */
void atomic_bitmap_destroy(struct atomic_bitmap *b);

bool atomic_bitmap_test(const struct atomic_bitmap *b, uint64_t bit);
/* Ranges are [first, first + count), inside the bitmap (asserted). Both return how many bits they
 * changed. */
uint64_t atomic_bitmap_set(struct atomic_bitmap *b, uint64_t first, uint64_t count);
uint64_t atomic_bitmap_clear(struct atomic_bitmap *b, uint64_t first, uint64_t count);
uint64_t atomic_bitmap_count(const struct atomic_bitmap *b);

/* First set (clear) bit in [from, end), or end if there is none. */
uint64_t atomic_bitmap_next_set(const struct atomic_bitmap *b, uint64_t from, uint64_t end);
uint64_t atomic_bitmap_next_clear(const struct atomic_bitmap *b, uint64_t from, uint64_t end);
