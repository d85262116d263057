// SPDX-License-Identifier: Apache-2.0
// What several attempts come to.
#include "attempts.h"

#include <criterion/criterion.h>
#include <string.h>
#include "exit_status.h"

TestSuite(attempts, .timeout = 20);

static struct report_result ended(const char *reason, bool stopped)
{
	struct report_result r = {.result = "failed", .stopped = stopped};

	snprintf(r.reason, sizeof(r.reason), "%s", reason);
	return r;
}

Test(attempts, the_first_cause_is_told)
{
	static const struct {
		unsigned int count;
		const char *last;
		int status, expected;
		const char *told;
	} rows[] = {
		{1, "no room there", EXIT_FAILED, EXIT_FAILED, "no room there"},
		{2, "no room there", EXIT_FAILED, EXIT_FAILED, "no room there"},
		{2, "nobody answers", EXIT_REFUSED, EXIT_FAILED,
		 "no room there; attempt 2: nobody answers"},
		{3, "time is up", EXIT_ABORTED, EXIT_ABORTED,
		 "no room there; attempt 3: time is up"},
		{2, "", EXIT_COMPLETED, EXIT_COMPLETED, ""},
		{2, "who has it?", EXIT_OPERATOR, EXIT_OPERATOR, "who has it?"},
	};

	for (unsigned int i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
		const struct report_result first = ended("no room there", false);
		struct report_result last = ended(rows[i].last, false);

		cr_expect_eq(attempts_conclude(rows[i].count, &first, EXIT_FAILED, &last,
					       rows[i].status),
			     rows[i].expected, "row %u", i);
		cr_expect_str_eq(last.reason, rows[i].told);
	}
}

Test(attempts, long_reasons_are_cut)
{
	struct report_result first = ended("", false), last = ended("nobody answers", false);

	memset(first.reason, 'x', sizeof(first.reason) - 1);
	cr_expect_eq(attempts_conclude(2, &first, EXIT_FAILED, &last, EXIT_FAILED), EXIT_FAILED);
	cr_expect_str_eq(last.reason, first.reason);
}

/* Only if the guest had to stand still for it. */
Test(attempts, what_fails_twice_in_the_same_way)
{
	const struct report_result late = ended("too late", true), lost = ended("lost", true),
				   early = ended("too late", false), none = {0};

	cr_expect(attempts_are_alike(&late, &late));
	cr_expect_not(attempts_are_alike(&late, &lost));
	cr_expect_not(attempts_are_alike(&early, &early));
	cr_expect_not(attempts_are_alike(&none, &late));
}
