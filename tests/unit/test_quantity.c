// SPDX-License-Identifier: Apache-2.0
// Quantities: every suffix, rounding, limits, and what is none.
#include "quantity.h"

#include <criterion/criterion.h>
#include <criterion/parameterized.h>
#include <errno.h>
#include <inttypes.h>
#include <string.h>

struct good_row {
	char text[48];
	uint64_t value;
};

static struct good_row accepted[] = {
	{"0", 0},
	{"00", 0},
	{"007", 7},
	{"64Mi", 64ULL << 20},
	{"2048Mi", 2048ULL << 20},
	{"1G", 1000000000},
	{"+1k", 1000},
	{"1.5Gi", 1610612736},
	{"1e9", 1000000000},
	{"1E3", 1000},
	{"1e+3", 1000},
	{"1.5e3", 1500},
	{"1500e-3", 2},
	{"1e-5000", 1},
	{"0e99999999999999999999", 0},
	{"1n", 1},
	{"1000000001n", 2},
	{"1000000000n", 1},
	{"2000001u", 3},
	{"1m", 1},
	{"3000m", 3},
	{"1M", 1000000},
	{"1T", 1000000000000},
	{"1P", 1000000000000000},
	{"1E", 1000000000000000000},
	{"18E", 18000000000000000000ULL},
	{"1Ki", 1024},
	{"1Ti", 1ULL << 40},
	{"1Pi", 1ULL << 50},
	{"15Ei", 15ULL << 60},
	{"15.9999999999999999Ei", 18446744073709551501ULL},
	{".5Ki", 512},
	{"5.", 5},
	{"5.Ki", 5120},
	{"0.1", 1},
	{"0.0001Ki", 1},
	{"1.0000000000000000000000000000", 1},
	{"2.5", 3},
	{"18446744073709551615", UINT64_MAX},
};

ParameterizedTestParameters(quantity, accepted)
{
	return cr_make_param_array(struct good_row, accepted,
				   sizeof(accepted) / sizeof(accepted[0]));
}

ParameterizedTest(struct good_row *row, quantity, accepted)
{
	struct errtext err = {0};
	uint64_t value = 1234;

	cr_assert_eq(quantity_parse(row->text, &value, &err), 0, "%s: %s", row->text, err.text);
	cr_assert_eq(value, row->value, "%s is %" PRIu64 ", not %" PRIu64, row->text, value,
		     row->value);
	cr_assert_str_empty(err.text);
}

struct bad_row {
	char text[80];
	int expected;
	char says[24];
};

ParameterizedTestParameters(quantity, refused)
{
	static struct bad_row rows[] = {
		{"", -EINVAL, "no quantity"},
		{" 1", -EINVAL, "no quantity"},
		{"1 ", -EINVAL, "no quantity"},
		{"1 Mi", -EINVAL, "no quantity"},
		{"64MB/s", -EINVAL, "no quantity"},
		{"64MiB", -EINVAL, "no quantity"},
		{"1K", -EINVAL, "no quantity"},
		{"1ki", -EINVAL, "no quantity"},
		{"1g", -EINVAL, "no quantity"},
		{"Mi", -EINVAL, "no quantity"},
		{".", -EINVAL, "no quantity"},
		{"+", -EINVAL, "no quantity"},
		{"-", -EINVAL, "no quantity"},
		{"--1", -EINVAL, "no quantity"},
		{"1.2.3", -EINVAL, "no quantity"},
		{"1,5Gi", -EINVAL, "no quantity"},
		{"1e", -EINVAL, "no quantity"},
		{"1e+", -EINVAL, "no quantity"},
		{"1e3Mi", -EINVAL, "no quantity"},
		{"1e1.5", -EINVAL, "no quantity"},
		{"0x10", -EINVAL, "no quantity"},
		{"1MiMi", -EINVAL, "no quantity"},
		{"inf", -EINVAL, "no quantity"},
		{"-1", -ERANGE, "negative"},
		{"-64Mi", -ERANGE, "negative"},
		{"1e30", -ERANGE, "too large"},
		{"1e99999999999999999999", -ERANGE, "too large"},
		{"16Ei", -ERANGE, "too large"},
		{"19E", -ERANGE, "too large"},
		{"18446744073709551616", -ERANGE, "too large"},
		{"18446744073709551615.1", -ERANGE, "too large"},
		{"1234567890123456789012", -ERANGE, "digits"},
		{"0.123456789012345678901", -ERANGE, "digits"},
	};

	return cr_make_param_array(struct bad_row, rows, sizeof(rows) / sizeof(rows[0]));
}

ParameterizedTest(struct bad_row *row, quantity, refused)
{
	struct errtext err = {0};
	uint64_t value = 1234;

	cr_assert_eq(quantity_parse(row->text, &value, &err), row->expected, "'%s'", row->text);
	cr_assert(strstr(err.text, row->says), "'%s': %s", row->text, err.text);
	cr_assert(strstr(err.text, row->text), "'%s': %s", row->text, err.text);
	cr_assert(strstr(err.text, "64Mi"), "the accepted form is shown: %s", err.text);
	cr_assert_eq(value, 1234, "untouched");
	cr_assert_eq(quantity_parse(row->text, &value, NULL), row->expected);
}

Test(quantity, quotes_no_more_than_a_line)
{
	static char text[4096];
	struct errtext err = {0};
	uint64_t value;

	memset(text, 'x', sizeof(text) - 1);
	cr_assert_eq(quantity_parse(text, &value, &err), -EINVAL);
	cr_assert(strstr(err.text, "64Mi"), "%s", err.text);
}
