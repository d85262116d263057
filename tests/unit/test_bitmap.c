// SPDX-License-Identifier: Apache-2.0
// Bitmaps: every operation against a plain array of bools, at sizes around the word boundaries.
#include "bitmap.h"

#include <criterion/criterion.h>
#include <criterion/parameterized.h>
#include <errno.h>
#include <signal.h>
#include <stdlib.h>

#define MODEL_MAX 1000

struct model {
	struct bitmap b;
	bool bit[MODEL_MAX];
};

static uint64_t model_count(const struct model *m, uint64_t first, uint64_t count)
{
	uint64_t total = 0;

	for (uint64_t page = first; page < first + count; page++)
		total += m->bit[page];
	return total;
}

static uint64_t model_next(const struct model *m, uint64_t from, uint64_t end, bool wanted)
{
	for (uint64_t page = from; page < end; page++)
		if (m->bit[page] == wanted)
			return page;
	return end;
}

static void check_all_bits(const struct model *m)
{
	for (uint64_t page = 0; page < m->b.pages; page++)
		cr_assert_eq(bitmap_test(&m->b, page), m->bit[page], "page %lu", page);
}

static void check_range(const struct model *m, uint64_t first, uint64_t end)
{
	uint64_t count = end - first;

	cr_assert_eq(bitmap_count(&m->b, first, count), model_count(m, first, count));
	cr_assert_eq(bitmap_next_set(&m->b, first, end), model_next(m, first, end, true));
	cr_assert_eq(bitmap_next_clear(&m->b, first, end), model_next(m, first, end, false));
}

static void change(struct model *m, uint64_t first, uint64_t count, bool set)
{
	(set ? bitmap_set : bitmap_clear)(&m->b, first, count);
	for (uint64_t page = first; page < first + count; page++)
		m->bit[page] = set;
}

ParameterizedTestParameters(bitmap, agrees_with_the_model)
{
	static uint64_t sizes[] = {0, 1, 2, 63, 64, 65, 127, 128, 129, 200, MODEL_MAX};

	return cr_make_param_array(uint64_t, sizes, sizeof(sizes) / sizeof(sizes[0]));
}

ParameterizedTest(uint64_t *size, bitmap, agrees_with_the_model)
{
	struct model m = {0};
	unsigned int seed = 1;

	cr_assert_eq(bitmap_init(&m.b, *size), 0);
	check_all_bits(&m);
	for (int step = 0; step < 500; step++) {
		uint64_t first = (uint64_t)rand_r(&seed) % (*size + 1);
		uint64_t count = (uint64_t)rand_r(&seed) % (*size - first + 1);

		/* Short ranges too, or the map would soon be all alike. */
		if (step % 3)
			count %= 5;
		change(&m, first, count, rand_r(&seed) & 1);
		check_all_bits(&m);
		check_range(&m, 0, *size);
		check_range(&m, first, first + count);
		check_range(&m, first, *size);
	}
	bitmap_destroy(&m.b);
}

Test(bitmap, every_range_around_word_boundaries)
{
	struct model m = {0};

	cr_assert_eq(bitmap_init(&m.b, 130), 0);
	for (uint64_t first = 60; first <= 130; first++)
		for (uint64_t end = first; end <= 130; end++) {
			change(&m, first, end - first, true);
			check_range(&m, 0, 130);
			check_range(&m, first, end);
			change(&m, first, end - first, false);
			cr_assert_eq(bitmap_count(&m.b, 0, 130), 0);
		}
	bitmap_destroy(&m.b);
}

Test(bitmap, searching_an_empty_range_returns_its_end)
{
	struct bitmap b;

	cr_assert_eq(bitmap_init(&b, 100), 0);
	bitmap_set(&b, 0, 100);
	cr_assert_eq(bitmap_next_set(&b, 50, 50), 50);
	cr_assert_eq(bitmap_next_set(&b, 100, 100), 100);
	cr_assert_eq(bitmap_next_set(&b, 70, 50), 50, "from beyond end");
	cr_assert_eq(bitmap_next_clear(&b, 0, 100), 100);
	bitmap_destroy(&b);
}

/* There only where a sanitizer is; theirs is an allocator that never fails but ends the process. */
void __asan_init(void) __attribute__((weak));
void __tsan_init(void) __attribute__((weak));

Test(bitmap, absurd_size_is_no_memory)
{
	struct bitmap b;

	if (__asan_init || __tsan_init)
		cr_skip_test("a sanitizer ends the process where calloc would fail");
	cr_assert_eq(bitmap_init(&b, UINT64_MAX), -ENOMEM);
	cr_assert_eq(b.pages, 0);
	bitmap_destroy(&b);
}

Test(bitmap, destroy_may_be_repeated)
{
	struct bitmap b;

	cr_assert_eq(bitmap_init(&b, 64), 0);
	bitmap_destroy(&b);
	bitmap_destroy(&b);
	cr_assert_null(b.words);
}

#ifndef NDEBUG
Test(bitmap, range_outside_is_caught, .signal = SIGABRT)
{
	struct bitmap b;

	cr_assert_eq(bitmap_init(&b, 64), 0);
	bitmap_set(&b, 60, 5);
}
#endif
