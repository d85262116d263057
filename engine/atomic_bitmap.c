// SPDX-License-Identifier: Apache-2.0
// A fixed-size set of numbers, changed by any number of threads.
#include "atomic_bitmap.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include "bitmap_word.h"

_Static_assert(sizeof(atomic_uint_least64_t) == sizeof(uint64_t), "words lie in files as they are");

int atomic_bitmap_init(struct atomic_bitmap *b, uint64_t bits)
{
	b->bits = 0;
	b->words = calloc(bitmap_words(bits), sizeof(*b->words));
	if (!b->words)
		return -ENOMEM;
	b->bits = bits;
	return 0;
}

void atomic_bitmap_destroy(struct atomic_bitmap *b)
{
	free(b->words);
	b->words = NULL;
	b->bits = 0;
}

static uint64_t load(const struct atomic_bitmap *b, uint64_t bit)
{
	return atomic_load_explicit(&b->words[bit / BITMAP_WORD_BITS], memory_order_acquire);
}

bool atomic_bitmap_test(const struct atomic_bitmap *b, uint64_t bit)
{
	assert(bit < b->bits);
	return load(b, bit) >> (bit % BITMAP_WORD_BITS) & 1;
}

static uint64_t change(struct atomic_bitmap *b, uint64_t first, uint64_t count, bool set)
{
	uint64_t end = first + count, changed = 0;

	assert(first <= b->bits && count <= b->bits - first);
	for (uint64_t bit = first; bit < end; bit = bitmap_next_word(bit)) {
		atomic_uint_least64_t *word = &b->words[bit / BITMAP_WORD_BITS];
		uint64_t mask = bitmap_word_mask(bit, end);
		uint64_t before =
			set ? atomic_fetch_or_explicit(word, mask, memory_order_acq_rel)
			    : atomic_fetch_and_explicit(word, ~mask, memory_order_acq_rel);

		changed += (uint64_t)__builtin_popcountll((set ? ~before : before) & mask);
	}
	return changed;
}

uint64_t atomic_bitmap_set(struct atomic_bitmap *b, uint64_t first, uint64_t count)
{
	return change(b, first, count, true);
}

uint64_t atomic_bitmap_clear(struct atomic_bitmap *b, uint64_t first, uint64_t count)
{
	return change(b, first, count, false);
}

uint64_t atomic_bitmap_count(const struct atomic_bitmap *b)
{
	uint64_t total = 0;

	for (uint64_t bit = 0; bit < b->bits; bit = bitmap_next_word(bit))
		total += (uint64_t)__builtin_popcountll(load(b, bit) &
							bitmap_word_mask(bit, b->bits));
	return total;
}

/* First bit in [from, end) that is set after flipping every word by `flip`. */
static uint64_t next_bit(const struct atomic_bitmap *b, uint64_t from, uint64_t end, uint64_t flip)
{
	assert(end <= b->bits);
	for (uint64_t bit = from; bit < end; bit = bitmap_next_word(bit)) {
		uint64_t word = (load(b, bit) ^ flip) & bitmap_word_mask(bit, end);

		if (word)
			return bit / BITMAP_WORD_BITS * BITMAP_WORD_BITS +
			       (uint64_t)__builtin_ctzll(word);
	}
	return end;
}

uint64_t atomic_bitmap_next_set(const struct atomic_bitmap *b, uint64_t from, uint64_t end)
{
	return next_bit(b, from, end, 0);
}

uint64_t atomic_bitmap_next_clear(const struct atomic_bitmap *b, uint64_t from, uint64_t end)
{
	return next_bit(b, from, end, ~0ull);
}
