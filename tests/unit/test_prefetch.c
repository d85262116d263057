// SPDX-License-Identifier: Apache-2.0
// What is guessed from which faults.
#include "prefetch.h"

#include <criterion/criterion.h>
#include <criterion/parameterized.h>

#define UNITS 10000u

/* Nothing has been sent but what the stories say. */
static void all_unsent(struct atomic_bitmap *unsent, uint64_t units)
{
	cr_assert_eq(atomic_bitmap_init(unsent, units), 0);
	atomic_bitmap_set(unsent, 0, units);
}

struct fault {
	uint32_t thread;
	uint64_t unit;
	/* the guess; count 0: none */
	uint64_t first;
	int64_t stride;
	uint32_t count;
};

struct story {
	struct fault faults[8]; /* until thread 0 */
	uint32_t window_max;
	uint64_t sent_first, sent_count; /* by other ways */
};

static struct story stories[] = {
	/* forward: the window doubles */
	{{{1, 10}, {1, 11, 12, 1, 4}, {1, 16, 17, 1, 8}, {1, 25, 26, 1, 16}}, 64},
	/* up to the limit */
	{{{1, 10}, {1, 11, 12, 1, 4}, {1, 16, 17, 1, 6}, {1, 23, 24, 1, 6}}, 6},
	{{{1, 10}, {1, 11, 12, 1, 1}, {1, 13, 14, 1, 1}}, 1},
	{{{1, 10}, {1, 11}, {1, 12}, {1, 13}}, 0},
	/* inside the run: it was too late, and is not fetched again */
	{{{1, 10}, {1, 11, 12, 1, 4}, {1, 12}, {1, 15}, {1, 16, 17, 1, 8}}, 64},
	/* a stride needs to be seen twice; backwards as well */
	{{{1, 100}, {1, 107}, {1, 114, 121, 7, 4}, {1, 149, 156, 7, 8}}, 64},
	{{{1, 500}, {1, 499}, {1, 498, 497, -1, 4}, {1, 493, 492, -1, 8}}, 64},
	/* at random: nothing */
	{{{1, 10}, {1, 5000}, {1, 200}, {1, 8000}, {1, 3}, {1, 9999}, {1, 70}}, 64},
	{{{1, 0}, {1, 1000}, {1, 2000}, {1, 3000}, {1, 4000}}, 64}, /* too far apart */
	{{{1, 10}, {1, 10}, {1, 10}, {1, 10}}, 64},		    /* again and again */
	/* a jump far away does not end a run; one nearby halves it */
	{{{1, 10}, {1, 11, 12, 1, 4}, {1, 5000}, {1, 16, 17, 1, 8}}, 64},
	{{{1, 10}, {1, 11, 12, 1, 4}, {1, 100}, {1, 16, 17, 1, 4}}, 64},
	/* past the end of a run: used up only if what lies between was sent by other ways */
	{{{1, 10}, {1, 11, 12, 1, 4}, {1, 19, 20, 1, 4}}, 64, 16, 3},
	{{{1, 10}, {1, 11, 12, 1, 4}, {1, 19}}, 64, 16, 2},
	/* in two places by turns */
	{{{1, 10},
	  {1, 900},
	  {1, 11, 12, 1, 4},
	  {1, 901, 902, 1, 4},
	  {1, 16, 17, 1, 8},
	  {1, 906, 907, 1, 8}},
	 64},
	/* two threads, each in its own order */
	{{{1, 10}, {2, 700}, {1, 11, 12, 1, 4}, {2, 701, 702, 1, 4}, {1, 16, 17, 1, 8}}, 64},
	/* the block's edges */
	{{{1, 9995}, {1, 9996, 9997, 1, 3}}, 64},
	{{{1, 9998}, {1, 9999}, {1, 9999}}, 64},
	{{{1, 4}, {1, 2}, {1, 0}}, 64},
	{{{1, 7}, {1, 5}, {1, 3, 1, -2, 1}}, 64},
};

ParameterizedTestParameters(prefetch, stories)
{
	return cr_make_param_array(struct story, stories, sizeof(stories) / sizeof(stories[0]));
}

ParameterizedTest(struct story *s, prefetch, stories)
{
	struct atomic_bitmap unsent;
	struct prefetch p;

	prefetch_init(&p);
	all_unsent(&unsent, UNITS);
	atomic_bitmap_clear(&unsent, s->sent_first, s->sent_count);
	for (unsigned int i = 0; i < 8 && s->faults[i].thread; i++) {
		const struct fault *f = &s->faults[i];
		struct prefetch_run run =
			prefetch_fault(&p, f->thread, 0, f->unit, &unsent, s->window_max);

		cr_assert_eq(run.count, f->count, "fault %u: a run of %u", i, run.count);
		if (run.count) {
			cr_assert_eq(run.first, f->first, "fault %u", i);
			cr_assert_eq(run.stride, f->stride, "fault %u", i);
		}
	}
	atomic_bitmap_destroy(&unsent);
}

Test(prefetch, counts_what_proved_right)
{
	struct atomic_bitmap unsent;
	struct prefetch p;

	prefetch_init(&p);
	all_unsent(&unsent, UNITS);
	prefetch_fault(&p, 0, 0, 10, &unsent, 64);
	prefetch_fault(&p, 0, 0, 11, &unsent, 64);
	cr_assert_eq(p.guessed, 4);
	cr_assert_eq(p.used, 0);
	prefetch_fault(&p, 0, 0, 16, &unsent, 64);
	cr_assert_eq(p.guessed, 12);
	cr_assert_eq(p.used, 4);
	atomic_bitmap_destroy(&unsent);
}

/* Two steps and a jump, for ever: the credit is spent, and then a run in a while is all. What
 * proves right makes up for it. */
Test(prefetch, what_does_not_pay_ceases)
{
	struct atomic_bitmap unsent;
	uint64_t begun, unit = 0;
	struct prefetch p;

	prefetch_init(&p);
	all_unsent(&unsent, 1000000);
	for (unsigned int i = 0; i < 20 * PREFETCH_RETRY; i += 2) {
		unit = (unit + 7919 * PREFETCH_STEP_MAX) % 999000;
		prefetch_fault(&p, 1, 0, unit, &unsent, 32);
		prefetch_fault(&p, 1, 0, unit + 1, &unsent, 32);
	}
	cr_assert_leq(p.guessed, PREFETCH_CREDIT + 21 * PREFETCH_START);
	cr_assert_geq(p.guessed, PREFETCH_CREDIT + 18 * PREFETCH_START);
	cr_assert_eq(p.used, 0);
	begun = p.guessed;
	unit = 500;
	for (unsigned int i = 0; i < 3 * PREFETCH_RETRY; i++) {
		struct prefetch_run run = prefetch_fault(&p, 2, 0, unit, &unsent, 32);

		unit += run.count + 1;
	}
	cr_assert_gt(p.guessed - begun, 30 * PREFETCH_RETRY);
	atomic_bitmap_destroy(&unsent);
}

/* More threads than tracks: the oldest are forgotten, and no guess leaves its block. */
Test(prefetch, many_threads)
{
	struct atomic_bitmap unsent[3];
	uint64_t state = 88172645463325252u;
	struct prefetch p;

	prefetch_init(&p);
	for (unsigned int i = 0; i < 3; i++)
		all_unsent(&unsent[i], 50 + i);
	for (unsigned int i = 0; i < 200000; i++) {
		struct prefetch_run run;
		unsigned int size;

		state ^= state << 13;
		state ^= state >> 7;
		state ^= state << 17;
		size = state % 3;
		run = prefetch_fault(&p, (uint32_t)(state >> 20) % 100, (uint32_t)(state >> 30) % 2,
				     (state >> 40) % 50, &unsent[size],
				     (uint32_t)(state >> 50) % 70);
		for (uint32_t n = 0; n < run.count; n++) {
			int64_t unit = (int64_t)run.first + run.stride * n;

			cr_assert(unit >= 0 && unit < (int64_t)unsent[size].bits);
		}
	}
	cr_assert_gt(p.guessed, 0);
	for (unsigned int i = 0; i < 3; i++)
		atomic_bitmap_destroy(&unsent[i]);
}
