// SPDX-License-Identifier: Apache-2.0
// Labels: Kubernetes' syntax, lists on a command line, matching.
#include "labels.h"

#include <criterion/criterion.h>
#include <criterion/parameterized.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

#define X63 "x12345678901234567890123456789012345678901234567890123456789012"

struct text_row {
	char text[160];
	int expected;
	unsigned int count;
	char says[40];
};

ParameterizedTestParameters(labels, lists)
{
	static struct text_row rows[] = {
		{"", 0, 0, ""},
		{"a=b", 0, 1, ""},
		{"a=b,c=d", 0, 2, ""},
		{"a=", 0, 1, ""},
		{"a=,b=", 0, 2, ""},
		{"example.com/tier=Gold_1.x-y", 0, 1, ""},
		{"kubevirt.io/a=1,a=1", 0, 2, ""},
		{X63 "=" X63, 0, 1, ""},
		{X63 "x=a", -EINVAL, 0, "label key"},
		{"a=" X63 "x", -EINVAL, 0, "label value"},
		{"a", -EINVAL, 0, "no '='"},
		{"a=b,", -EINVAL, 1, "no '='"},
		{",a=b", -EINVAL, 0, "no '='"},
		{"=b", -EINVAL, 0, "label key"},
		{" a=b", -EINVAL, 0, "label key"},
		{"a=b, c=d", -EINVAL, 1, "' c' is no label key"},
		{"a=b c", -EINVAL, 0, "'b c' is no label value"},
		{"a=b=c", -EINVAL, 0, "label value"},
		{"-a=b", -EINVAL, 0, "label key"},
		{"a.=b", -EINVAL, 0, "label key"},
		{"a=-b", -EINVAL, 0, "label value"},
		{"/a=b", -EINVAL, 0, "label key"},
		{"a/=b", -EINVAL, 0, "label key"},
		{"a/b/c=d", -EINVAL, 0, "label key"},
		{"Example.com/a=b", -EINVAL, 0, "label key"},
		{"example..com/a=b", -EINVAL, 0, "label key"},
		{"example.com./a=b", -EINVAL, 0, "label key"},
		{"a=b,a=b", -EEXIST, 1, "label a is given twice"},
		{"a=b,a=c", -EEXIST, 1, "label a is given twice"},
	};

	return cr_make_param_array(struct text_row, rows, sizeof(rows) / sizeof(rows[0]));
}

ParameterizedTest(struct text_row *row, labels, lists)
{
	struct errtext err = {0};
	struct labels l = {0};

	cr_assert_eq(labels_parse(&l, row->text, "--vmi-labels", &err), row->expected, "'%s': %s",
		     row->text, err.text);
	cr_assert_eq(l.count, row->count, "'%s'", row->text);
	cr_assert(strstr(err.text, row->says), "%s", err.text);
	if (row->expected)
		cr_assert(strstr(err.text, "--vmi-labels: ") == err.text, "%s", err.text);
	labels_destroy(&l);
}

struct match_row {
	char selector[48], labels[48];
	bool expected;
};

ParameterizedTestParameters(labels, matching)
{
	static struct match_row rows[] = {
		{"", "", true},
		{"", "a=b", true},
		{"a=b", "", false},
		{"a=b", "a=b", true},
		{"a=b", "a=c", false},
		{"a=b", "a=b,c=d", true},
		{"a=b,c=d", "a=b", false},
		{"a=b,c=d", "c=d,a=b", true},
		{"a=", "a=", true},
		{"a=", "", false},
		{"a=b", "A=b", false},
	};

	return cr_make_param_array(struct match_row, rows, sizeof(rows) / sizeof(rows[0]));
}

ParameterizedTest(struct match_row *row, labels, matching)
{
	struct labels selector = {0}, l = {0};

	cr_assert_eq(labels_parse(&selector, row->selector, "a", NULL), 0);
	cr_assert_eq(labels_parse(&l, row->labels, "b", NULL), 0);
	cr_assert_eq(labels_match(&selector, &l), row->expected, "'%s' and '%s'", row->selector,
		     row->labels);
	labels_destroy(&selector);
	labels_destroy(&l);
}

Test(labels, have_a_limit)
{
	struct errtext err = {0};
	struct labels l = {0};
	char key[16];

	for (int i = 0; i < LABELS_MAX; i++) {
		snprintf(key, sizeof(key), "k%d", i);
		cr_assert_eq(labels_add(&l, key, "", "x", &err), 0, "%s", err.text);
	}
	cr_assert_eq(labels_add(&l, "one-more", "", "x", &err), -E2BIG);
	cr_assert(strstr(err.text, "256"), "%s", err.text);
	labels_destroy(&l);
}

Test(labels, dns_subdomains)
{
	char text[300];

	cr_assert(label_is_dns_subdomain("a"));
	cr_assert(label_is_dns_subdomain("gold-1.example.com"));
	cr_assert_not(label_is_dns_subdomain(""));
	cr_assert_not(label_is_dns_subdomain("Gold"));
	cr_assert_not(label_is_dns_subdomain("gold_1"));
	cr_assert_not(label_is_dns_subdomain("a/b"));
	memset(text, 'a', sizeof(text));
	text[254] = '\0';
	cr_assert_not(label_is_dns_subdomain(text));
	text[253] = '\0';
	cr_assert(label_is_dns_subdomain(text));
}
