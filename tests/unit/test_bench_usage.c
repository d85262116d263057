// SPDX-License-Identifier: Apache-2.0
// What a process has used, and medians.
#include "bench_usage.h"

#include <criterion/criterion.h>

Test(bench_usage, medians)
{
	double none[1], one[] = {3}, odd[] = {9, 1, 5}, even[] = {4, 1, 3, 100};

	cr_assert_eq(bench_usage_median(none, 0), 0);
	cr_assert_eq(bench_usage_median(one, 1), 3);
	cr_assert_eq(bench_usage_median(odd, 3), 5);
	cr_assert_eq(bench_usage_median(even, 4), 3.5);
}

Test(bench_usage, a_process_uses_memory_and_time)
{
	uint64_t before = bench_usage_cpu_us();

	cr_assert_gt(bench_usage_memory(), 0);
	while (bench_usage_cpu_us() == before)
		;
}
