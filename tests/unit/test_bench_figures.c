// SPDX-License-Identifier: Apache-2.0
// Ratios and medians of the bench's figures.
#include "bench_figures.h"

#include <criterion/criterion.h>

Test(bench_figures, ratios_against_the_ceilings)
{
	struct bench_figures f = {0};

	f.of[BENCH_FIRST_BYTES_PER_S] = 3e9;
	f.of[BENCH_BARE_BYTES_PER_S] = 4e9;
	f.of[BENCH_BARE_SOURCE_CPU] = 0.1;
	f.of[BENCH_BARE_DESTINATION_CPU] = 0.2;
	f.of[BENCH_SOURCE_CPU] = 0.25;
	f.of[BENCH_DESTINATION_CPU] = 0.35;
	bench_figures_relate(&f);
	cr_assert_float_eq(f.of[BENCH_SPEED_RATIO], 0.75, 1e-9);
	cr_assert_float_eq(f.of[BENCH_CPU_RATIO], 0.5, 1e-9);
}

Test(bench_figures, nothing_measured_is_no_ratio)
{
	struct bench_figures f = {0};

	bench_figures_relate(&f);
	cr_assert_eq(f.of[BENCH_SPEED_RATIO], 0);
	cr_assert_eq(f.of[BENCH_CPU_RATIO], 0);
}

/* Of each figure for itself, and more runs than there may be do no harm. */
Test(bench_figures, medians)
{
	struct bench_figures runs[3] = {0}, median;

	for (unsigned int i = 0; i < 3; i++) {
		runs[i].of[BENCH_TOTAL_S] = i;
		runs[i].of[BENCH_ROUNDS] = 10.0 - i;
	}
	median = bench_figures_median(runs, 3);
	cr_assert_eq(median.of[BENCH_TOTAL_S], 1);
	cr_assert_eq(median.of[BENCH_ROUNDS], 9);
}
