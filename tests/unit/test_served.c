// SPDX-License-Identifier: Apache-2.0
#include "served.h"

#include <criterion/criterion.h>
#include "exit_status.h"

static struct served s;

static void begin(void)
{
	cr_assert_eq(served_init(&s), 0);
	served_enter(&s);
}

Test(served, it_ends_with_the_last_session)
{
	begin();
	served_enter(&s);
	served_note(&s, EXIT_COMPLETED, false);
	served_leave(&s);
	cr_expect_eq(served_left_ms(&s), -1, "another is under way");
	served_note(&s, EXIT_FAILED, false);
	served_leave(&s);
	cr_expect_eq(served_left_ms(&s), 0);
	cr_expect_eq(served_status(&s), EXIT_FAILED, "the worst of them");
	served_destroy(&s);
}

Test(served, one_that_begins_puts_the_end_off)
{
	begin();
	served_note(&s, EXIT_COMPLETED, false);
	served_leave(&s);
	served_enter(&s);
	cr_expect_eq(served_left_ms(&s), -1);
	served_leave(&s);
	cr_expect_eq(served_left_ms(&s), 0);
	served_destroy(&s);
}

Test(served, who_has_not_heard_is_waited_for)
{
	begin();
	served_note(&s, EXIT_COMPLETED, true);
	served_leave(&s);
	cr_expect_gt(served_left_ms(&s), 500000);
	served_enter(&s);
	served_tell(&s);
	served_leave(&s);
	cr_expect_eq(served_left_ms(&s), 0);
	served_destroy(&s);
}

Test(served, others_do_not_end_it)
{
	begin();
	served_leave(&s);
	cr_expect_eq(served_left_ms(&s), -1);
	served_destroy(&s);
}
