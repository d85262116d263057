// SPDX-License-Identifier: Apache-2.0
// Ranges within and across words; claims by several threads.
#include "atomic_bitmap.h"

#include <criterion/criterion.h>
#include <criterion/parameterized.h>
#include <pthread.h>

#define BITS 1000u

struct range {
	uint64_t first, count;
};

static struct range ranges[] = {
	{0, 0},	 {0, 1},    {63, 1},  {63, 2},	{64, 64},
	{1, 62}, {0, BITS}, {5, 700}, {999, 1}, {128, 1},
};

ParameterizedTestParameters(atomic_bitmap, ranges)
{
	return cr_make_param_array(struct range, ranges, sizeof(ranges) / sizeof(ranges[0]));
}

ParameterizedTest(struct range *r, atomic_bitmap, ranges)
{
	uint64_t end = r->first + r->count;
	struct atomic_bitmap b;

	cr_assert_eq(atomic_bitmap_init(&b, BITS), 0);
	cr_assert_eq(atomic_bitmap_set(&b, r->first, r->count), r->count);
	cr_assert_eq(atomic_bitmap_set(&b, r->first, r->count), 0);
	cr_assert_eq(atomic_bitmap_count(&b), r->count);
	for (uint64_t i = 0; i < BITS; i++)
		cr_assert_eq(atomic_bitmap_test(&b, i), i >= r->first && i < end);
	cr_assert_eq(atomic_bitmap_next_set(&b, 0, BITS), r->count ? r->first : BITS);
	cr_assert_eq(atomic_bitmap_next_clear(&b, r->first, BITS), end);
	cr_assert_eq(atomic_bitmap_next_set(&b, end, BITS), BITS);
	cr_assert_eq(atomic_bitmap_clear(&b, 0, BITS), r->count);
	cr_assert_eq(atomic_bitmap_count(&b), 0);
	atomic_bitmap_destroy(&b);
}

Test(atomic_bitmap, changes_count_only_what_changed)
{
	struct atomic_bitmap b;

	cr_assert_eq(atomic_bitmap_init(&b, BITS), 0);
	atomic_bitmap_set(&b, 100, 10);
	cr_assert_eq(atomic_bitmap_set(&b, 95, 10), 5);
	cr_assert_eq(atomic_bitmap_clear(&b, 105, 100), 5);
	cr_assert_eq(atomic_bitmap_count(&b), 10);
	atomic_bitmap_destroy(&b);
}

Test(atomic_bitmap, no_bits_at_all)
{
	struct atomic_bitmap b;

	cr_assert_eq(atomic_bitmap_init(&b, 0), 0);
	cr_assert_eq(atomic_bitmap_next_set(&b, 0, 0), 0);
	cr_assert_eq(atomic_bitmap_count(&b), 0);
	atomic_bitmap_destroy(&b);
}

struct claimer {
	struct atomic_bitmap *b;
	uint64_t claimed;
};

static void *claim_all(void *arg)
{
	struct claimer *c = arg;

	for (uint64_t i = 0; i < c->b->bits; i++)
		c->claimed += atomic_bitmap_clear(c->b, i, 1);
	return NULL;
}

Test(atomic_bitmap, each_bit_is_claimed_by_one)
{
	struct claimer claimers[4];
	struct atomic_bitmap b;
	pthread_t threads[4];
	uint64_t claimed = 0;

	cr_assert_eq(atomic_bitmap_init(&b, 100000), 0);
	atomic_bitmap_set(&b, 0, 100000);
	for (int i = 0; i < 4; i++) {
		claimers[i] = (struct claimer){&b, 0};
		cr_assert_eq(pthread_create(&threads[i], NULL, claim_all, &claimers[i]), 0);
	}
	for (int i = 0; i < 4; i++) {
		pthread_join(threads[i], NULL);
		claimed += claimers[i].claimed;
	}
	cr_assert_eq(claimed, 100000);
	atomic_bitmap_destroy(&b);
}
