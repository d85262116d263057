// SPDX-License-Identifier: Apache-2.0
// Lines about those that were turned away: enough of them, and no flood.
#include "receiver_report.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <string.h>

#define SECOND_US 1000000

static struct receiver_report r;
static char *told;
static size_t told_size;

static void begin(void)
{
	struct report report;

	stdout = open_memstream(&told, &told_size);
	cr_assert_not_null(stdout);
	report_init(&report, true);
	receiver_report_init(&r, &report);
}

static unsigned int lines(void)
{
	unsigned int n = 0;

	for (const char *at = told; (at = strstr(at, "\"refused\"")); at++)
		n++;
	return n;
}

static void refuse(unsigned int count, uint64_t now_us)
{
	for (unsigned int i = 0; i < count; i++)
		receiver_report_refused(&r, "192.0.2.7:1", "no", now_us);
}

Test(receiver_report, a_flood_is_counted_and_not_written)
{
	begin();
	refuse(10000, 500 * SECOND_US);
	cr_expect_eq(lines(), RECEIVER_REPORT_REFUSED);
	refuse(1, 501 * SECOND_US);
	cr_expect_eq(lines(), RECEIVER_REPORT_REFUSED + 1);
	cr_expect(strstr(told, "(and 9900 more since the last one)"));
	refuse(1000, 700 * SECOND_US);
	cr_expect_eq(lines(), 2 * RECEIVER_REPORT_REFUSED + 1, "after a while all is as before");
	receiver_report_destroy(&r);
}
