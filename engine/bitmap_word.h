// SPDX-License-Identifier: Apache-2.0
// How a range of bits falls into 64-bit words; private to bitmap.c and atomic_bitmap.c.
#pragma once

#include <stdint.h>

#define BITMAP_WORD_BITS 64u

/* One word more than needed: no bits at all get an address too, so that NULL means no memory. */
static inline uint64_t bitmap_words(uint64_t bits)
{
	return bits / BITMAP_WORD_BITS + 1;
}

/* The part of [from, end) that lies in from's word, as a mask; from < end. */
static inline uint64_t bitmap_word_mask(uint64_t from, uint64_t end)
{
	uint64_t mask = ~0ull << (from % BITMAP_WORD_BITS);

	if (from / BITMAP_WORD_BITS == end / BITMAP_WORD_BITS)
		mask &= ~(~0ull << (end % BITMAP_WORD_BITS));
	return mask;
}

/* First bit of the next word. */
static inline uint64_t bitmap_next_word(uint64_t bit)
{
	return (bit / BITMAP_WORD_BITS + 1) * BITMAP_WORD_BITS;
}
