// SPDX-License-Identifier: Apache-2.0
// QEMU's words for what a migration waits for.
#include "qemu_event.h"

#include <criterion/criterion.h>
#include <criterion/parameterized.h>
#include <stdbool.h>

struct event_case {
	char name[24], status[24];
	bool has_status;
	enum qemu_event want;
};

ParameterizedTestParameters(qemu_event, words)
{
	static struct event_case cases[] = {
		{"STOP", "", false, QEMU_EVENT_STOP},
		{"RESUME", "", false, QEMU_EVENT_RESUME},
		{"MIGRATION", "pre-switchover", true, QEMU_EVENT_AT_REST},
		{"MIGRATION", "device", true, QEMU_EVENT_AT_REST},
		{"MIGRATION", "completed", true, QEMU_EVENT_COMPLETED},
		{"MIGRATION", "cancelling", true, QEMU_EVENT_CANCELLED},
		{"MIGRATION", "cancelled", true, QEMU_EVENT_CANCELLED},
		{"BALLOON_CHANGE", "", false, QEMU_EVENT_BALLOON},
		{"MIGRATION", "active", true, QEMU_EVENT_OTHER},
		{"MIGRATION", "", false, QEMU_EVENT_OTHER},
		{"MIGRATION_PASS", "device", true, QEMU_EVENT_OTHER},
		{"SHUTDOWN", "", false, QEMU_EVENT_OTHER},
		{"", "", false, QEMU_EVENT_OTHER},
		/* Ours; QEMU cannot say it. */
		{"monitor lost", "", false, QEMU_EVENT_OTHER},
	};

	return cr_make_param_array(struct event_case, cases, sizeof(cases) / sizeof(*cases));
}

ParameterizedTest(struct event_case *c, qemu_event, words)
{
	cr_assert_eq(qemu_event_of(c->name, c->has_status ? c->status : NULL), c->want, "%s %s",
		     c->name, c->status);
}

Test(qemu_event, every_event_has_a_name)
{
	for (int e = 0; e < QEMU_EVENT_END_; e++)
		cr_assert_str_neq(qemu_event_name(e), "?");
	cr_assert_str_eq(qemu_event_name(QEMU_EVENT_END_), "?");
}

Test(qemu_event, the_words_are_those_that_are_known)
{
	cr_assert_eq(qemu_event_of(qemu_event_word(0), NULL), QEMU_EVENT_STOP);
	cr_assert_eq(qemu_event_of(qemu_event_word(1), NULL), QEMU_EVENT_RESUME);
	cr_assert_eq(qemu_event_of(qemu_event_word(2), "device"), QEMU_EVENT_AT_REST);
	cr_assert_eq(qemu_event_of(qemu_event_word(3), NULL), QEMU_EVENT_BALLOON);
}
