// SPDX-License-Identifier: Apache-2.0
// How fast events may come.
#include "event_flood.h"

#include <criterion/criterion.h>

#define BEGUN 1700000000000000ull

/* So many events, that far apart: is one of them too many? */
static bool floods(unsigned int count, uint64_t apart_us)
{
	struct event_flood f = {0};
	bool flood = false;

	for (unsigned int i = 0; i < count; i++)
		flood |= event_flood_note(&f, BEGUN + i * apart_us);
	return flood;
}

Test(event_flood, is_what_no_migration_emits)
{
	cr_expect_not(floods(11, 0), "a migration's, all at once");
	cr_expect_not(floods(EVENT_FLOOD_MAX, 0));
	cr_expect(floods(EVENT_FLOOD_MAX + 1, 0));
	cr_expect(floods(20000, 80), "QEMU 10 waiting for an acknowledgement");
}

/* What counts is when QEMU emitted them, not when they were delivered. */
Test(event_flood, is_none_over_a_longer_time)
{
	cr_expect_not(floods(100000, 2000));
	cr_expect_not(floods(100000, 1001));
	cr_expect(floods(100000, 900));
}

Test(event_flood, survives_a_clock_that_is_set_back)
{
	struct event_flood f = {0};

	for (unsigned int i = 0; i < EVENT_FLOOD_MAX; i++)
		cr_expect_not(event_flood_note(&f, BEGUN));
	cr_expect_not(event_flood_note(&f, BEGUN - 1));
	cr_expect_not(event_flood_note(&f, BEGUN));
}
