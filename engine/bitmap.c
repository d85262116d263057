// SPDX-License-Identifier: Apache-2.0
// A fixed-size set of page numbers, one bit a page.
#include "bitmap.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include "bitmap_word.h"

int bitmap_init(struct bitmap *b, uint64_t pages)
{
	b->pages = 0;
	b->words = calloc(bitmap_words(pages), sizeof(*b->words));
	if (!b->words)
		return -ENOMEM;
	b->pages = pages;
	return 0;
}

void bitmap_destroy(struct bitmap *b)
{
	free(b->words);
	b->words = NULL;
	b->pages = 0;
}

bool bitmap_test(const struct bitmap *b, uint64_t page)
{
	assert(page < b->pages);
	return b->words[page / BITMAP_WORD_BITS] >> (page % BITMAP_WORD_BITS) & 1;
}

static inline void check_range(const struct bitmap *b, uint64_t first, uint64_t count)
{
	assert(first <= b->pages && count <= b->pages - first);
	(void)b;
	(void)first;
	(void)count;
}

void bitmap_set(struct bitmap *b, uint64_t first, uint64_t count)
{
	uint64_t end = first + count;

	check_range(b, first, count);
	for (uint64_t page = first; page < end; page = bitmap_next_word(page))
		b->words[page / BITMAP_WORD_BITS] |= bitmap_word_mask(page, end);
}

void bitmap_clear(struct bitmap *b, uint64_t first, uint64_t count)
{
	uint64_t end = first + count;

	check_range(b, first, count);
	for (uint64_t page = first; page < end; page = bitmap_next_word(page))
		b->words[page / BITMAP_WORD_BITS] &= ~bitmap_word_mask(page, end);
}

uint64_t bitmap_count(const struct bitmap *b, uint64_t first, uint64_t count)
{
	uint64_t end = first + count;
	uint64_t total = 0;

	check_range(b, first, count);
	for (uint64_t page = first; page < end; page = bitmap_next_word(page)) {
		uint64_t word = b->words[page / BITMAP_WORD_BITS] & bitmap_word_mask(page, end);

		total += (uint64_t)__builtin_popcountll(word);
	}
	return total;
}

/* First bit in [from, end) that is set after flipping every word by `flip`. */
static uint64_t next_bit(const struct bitmap *b, uint64_t from, uint64_t end, uint64_t flip)
{
	assert(end <= b->pages);
	for (uint64_t page = from; page < end; page = bitmap_next_word(page)) {
		uint64_t word =
			(b->words[page / BITMAP_WORD_BITS] ^ flip) & bitmap_word_mask(page, end);

		if (word)
			return page / BITMAP_WORD_BITS * BITMAP_WORD_BITS +
			       (uint64_t)__builtin_ctzll(word);
	}
	return end;
}

uint64_t bitmap_next_set(const struct bitmap *b, uint64_t from, uint64_t end)
{
	return next_bit(b, from, end, 0);
}

uint64_t bitmap_next_clear(const struct bitmap *b, uint64_t from, uint64_t end)
{
	return next_bit(b, from, end, ~0ull);
}
