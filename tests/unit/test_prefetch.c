// SPDX-License-Identifier: Apache-2.0
// What is guessed from which faults.
#include "prefetch.h"

#include <criterion/criterion.h>
#include <criterion/parameterized.h>

#define UNITS 10000u

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
	/* a jump halves the run that is expected to go on */
	{{{1, 10}, {1, 11, 12, 1, 4}, {1, 5000}, {1, 16, 17, 1, 4}}, 64},
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
	struct prefetch p = {0};

	for (unsigned int i = 0; i < 8 && s->faults[i].thread; i++) {
		const struct fault *f = &s->faults[i];
		struct prefetch_run run =
			prefetch_fault(&p, f->thread, 0, f->unit, UNITS, s->window_max);

		cr_assert_eq(run.count, f->count, "fault %u: a run of %u", i, run.count);
		if (run.count) {
			cr_assert_eq(run.first, f->first, "fault %u", i);
			cr_assert_eq(run.stride, f->stride, "fault %u", i);
		}
	}
}

Test(prefetch, counts_what_proved_right)
{
	struct prefetch p = {0};

	prefetch_fault(&p, 0, 0, 10, UNITS, 64);
	prefetch_fault(&p, 0, 0, 11, UNITS, 64);
	cr_assert_eq(p.guessed, 4);
	cr_assert_eq(p.used, 0);
	prefetch_fault(&p, 0, 0, 16, UNITS, 64);
	cr_assert_eq(p.guessed, 12);
	cr_assert_eq(p.used, 4);
}

/* More threads than tracks: the oldest are forgotten, and no guess leaves its block. */
Test(prefetch, many_threads)
{
	struct prefetch p = {0};
	uint64_t state = 88172645463325252u;

	for (unsigned int i = 0; i < 200000; i++) {
		struct prefetch_run run;
		uint64_t units;

		state ^= state << 13;
		state ^= state >> 7;
		state ^= state << 17;
		units = 50 + state % 3;
		run = prefetch_fault(&p, (uint32_t)(state >> 20) % 100, (uint32_t)(state >> 30) % 2,
				     (state >> 40) % 50, units, (uint32_t)(state >> 50) % 70);
		for (uint32_t n = 0; n < run.count; n++) {
			int64_t unit = (int64_t)run.first + run.stride * n;

			cr_assert(unit >= 0 && unit < (int64_t)units);
		}
	}
	cr_assert_gt(p.guessed, 0);
}
