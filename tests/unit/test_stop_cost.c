// SPDX-License-Identifier: Apache-2.0
// What a stop costs that no round can lower.
#include "stop_cost.h"

#include <criterion/criterion.h>

Test(stop_cost, nothing_measured_yet)
{
	const struct stop_cost none = {0};

	cr_assert_eq(stop_cost_fixed_us(&none), STOP_COST_GUEST_US);
}

/* The last pass scans and the check does; a record is written here and one there. */
Test(stop_cost, scan_and_record_count_twice)
{
	const struct stop_cost c = {.scan_us = 1000, .record_us = 200, .trip_us = 30};

	cr_assert_eq(stop_cost_fixed_us(&c), STOP_COST_GUEST_US + 2 * 1000 + 2 * 200 + 30);
}

Test(stop_cost, saturates)
{
	const struct stop_cost c = {.scan_us = UINT64_MAX / 2 + 1, .trip_us = 1};

	cr_assert_eq(stop_cost_fixed_us(&c), UINT64_MAX);
}

/* Written once before the first round, it would forbid the stop for good. */
Test(stop_cost, a_slow_record_is_an_accident)
{
	const struct stop_cost c = {.record_us = 5000000};

	cr_assert_eq(stop_cost_fixed_us(&c), STOP_COST_GUEST_US + 2 * STOP_COST_RECORD_MAX_US);
}
