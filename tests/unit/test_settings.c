// SPDX-License-Identifier: Apache-2.0
// Settings: defaults, values and their limits, layers, and configuration files.
#include "settings.h"

#include <criterion/criterion.h>
#include <criterion/parameterized.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static struct settings fresh(void)
{
	struct settings s;

	settings_init(&s);
	return s;
}

static void set(struct settings *s, enum setting which, const char *text, const char *origin)
{
	struct errtext err = {0};

	cr_assert_eq(settings_set(s, which, text, origin, &err), 0, "%s", err.text);
}

static void expect(const struct settings *s, enum setting which, uint64_t number,
		   const char *origin)
{
	cr_assert_eq(settings_number(s, which), number, "%s is %lu", setting_row(which)->key,
		     (unsigned long)settings_number(s, which));
	cr_assert_str_eq(s->value[which].origin, origin);
}

Test(settings, defaults)
{
	struct settings s = fresh();

	expect(&s, SETTING_BANDWIDTH, 0, "default");
	expect(&s, SETTING_COMPLETION_TIMEOUT, 150, "default");
	expect(&s, SETTING_PROGRESS_TIMEOUT, 150, "default");
	expect(&s, SETTING_ALLOW_POST_COPY, false, "default");
	expect(&s, SETTING_ALLOW_WORKLOAD_DISRUPTION, false, "follows allowPostCopy");
	expect(&s, SETTING_ALLOW_AUTO_CONVERGE, false, "default");
	expect(&s, SETTING_MAX_DOWNTIME, 300, "default");
	expect(&s, SETTING_MAX_OUTBOUND, 2, "default");
	expect(&s, SETTING_MAX_INBOUND, 2, "default");
	expect(&s, SETTING_DISABLE_TLS, false, "default");
	cr_assert_str_empty(settings_text(&s, SETTING_NETWORK));
	cr_assert_str_empty(s.policy);
	for (enum setting i = 0; i < SETTING_COUNT; i++)
		cr_assert_not(s.value[i].set);
}

Test(settings, every_row_is_found_by_both_names)
{
	enum setting which;

	for (enum setting i = 0; i < SETTING_COUNT; i++) {
		cr_assert_eq(setting_find_key(setting_row(i)->key, &which), 0);
		cr_assert_eq(which, i);
		cr_assert_eq(setting_find_option(setting_row(i)->option, &which), 0);
		cr_assert_eq(which, i);
	}
	cr_assert_eq(setting_find_key("bandwidth", &which), -ENOENT);
	cr_assert_eq(setting_find_option("bandwidthPerMigration", &which), -ENOENT);
}

struct value_row {
	enum setting which;
	char text[80];
	int expected;
	uint64_t number;
	char says[48]; /* in the error text */
};

static struct value_row values[] = {
	{SETTING_BANDWIDTH, "0", 0, 0, ""},
	{SETTING_BANDWIDTH, "64Ki", 0, 65536, ""},
	{SETTING_BANDWIDTH, "65535", -ERANGE, 0, "mistake in the unit"},
	{SETTING_BANDWIDTH, "64", -ERANGE, 0, "at least 64Ki"},
	{SETTING_BANDWIDTH, "64MB/s", -EINVAL, 0, "64Mi"},
	{SETTING_BANDWIDTH, "-1", -ERANGE, 0, "64Mi"},
	{SETTING_BANDWIDTH, "1e30", -ERANGE, 0, "64Mi"},
	{SETTING_COMPLETION_TIMEOUT, "0", 0, 0, ""},
	{SETTING_COMPLETION_TIMEOUT, "800", 0, 800, ""},
	{SETTING_COMPLETION_TIMEOUT, "1000000", 0, 1000000, ""},
	{SETTING_COMPLETION_TIMEOUT, "1000001", -EINVAL, 0, "seconds from 0 to 1000000"},
	{SETTING_PROGRESS_TIMEOUT, "1m", -EINVAL, 0, "whole number of seconds"},
	{SETTING_PROGRESS_TIMEOUT, "", -EINVAL, 0, "whole number of seconds"},
	{SETTING_PROGRESS_TIMEOUT, "+5", -EINVAL, 0, "whole number"},
	{SETTING_PROGRESS_TIMEOUT, "-5", -EINVAL, 0, "whole number"},
	{SETTING_PROGRESS_TIMEOUT, " 5", -EINVAL, 0, "whole number"},
	{SETTING_PROGRESS_TIMEOUT, "99999999999999999999999", -EINVAL, 0, "whole number"},
	{SETTING_MAX_DOWNTIME, "0", -EINVAL, 0, "milliseconds from 1 to 2000000"},
	{SETTING_MAX_DOWNTIME, "1", 0, 1, ""},
	{SETTING_MAX_DOWNTIME, "2000000", 0, 2000000, ""},
	{SETTING_MAX_DOWNTIME, "2000001", -EINVAL, 0, "2000001"},
	{SETTING_MAX_OUTBOUND, "0", -EINVAL, 0, "migrations from 1 to 1024"},
	{SETTING_MAX_INBOUND, "1024", 0, 1024, ""},
	{SETTING_MAX_INBOUND, "1025", -EINVAL, 0, "1025"},
	{SETTING_ALLOW_POST_COPY, "true", 0, 1, ""},
	{SETTING_ALLOW_POST_COPY, "Yes", 0, 1, ""},
	{SETTING_ALLOW_POST_COPY, "off", 0, 0, ""},
	{SETTING_ALLOW_POST_COPY, "maybe", -EINVAL, 0, "true or false"},
	{SETTING_ALLOW_POST_COPY, "1", -EINVAL, 0, "true or false"},
	{SETTING_ALLOW_POST_COPY, "now", -EINVAL, 0, "true or false"},
	{SETTING_DISABLE_TLS, "", -EINVAL, 0, "true or false"},
	{SETTING_NETWORK, "fe80::1%eth0", 0, 0, ""},
	{SETTING_NETWORK, "eth 1", -EINVAL, 0, "blank"},
	{SETTING_NETWORK, "eth1\n", -EINVAL, 0, "blank"},
	{SETTING_NETWORK, "0123456789012345678901234567890123456789012345678901234567890123",
	 -EINVAL, 0, "63 characters"},
};

ParameterizedTestParameters(settings, values)
{
	return cr_make_param_array(struct value_row, values, sizeof(values) / sizeof(values[0]));
}

ParameterizedTest(struct value_row *row, settings, values)
{
	struct settings s = fresh(), before = s;
	struct errtext err = {0};

	cr_assert_eq(settings_set(&s, row->which, row->text, "config c.yaml", &err), row->expected,
		     "'%s': %s", row->text, err.text);
	if (row->expected == 0) {
		expect(&s, row->which, row->number, "config c.yaml");
		cr_assert_str_eq(settings_text(&s, row->which), row->text);
		cr_assert(s.value[row->which].set);
		return;
	}
	cr_assert(strstr(err.text, row->says), "%s", err.text);
	cr_assert(strstr(err.text, setting_row(row->which)->key), "%s", err.text);
	cr_assert(strstr(err.text, "config c.yaml"), "%s", err.text);
	cr_assert_eq(memcmp(&s, &before, sizeof(s)), 0, "untouched");
}

Test(settings, an_error_names_the_option_if_that_is_what_was_given)
{
	struct settings s = fresh();
	struct errtext err = {0};

	cr_assert_lt(settings_set(&s, SETTING_BANDWIDTH, "64MB/s", "option --bandwidth", &err), 0);
	cr_assert(strstr(err.text, "--bandwidth: '64MB/s'") == err.text, "%s", err.text);
}

Test(settings, disruption_follows_post_copy_until_it_is_set)
{
	struct settings s = fresh();

	set(&s, SETTING_ALLOW_POST_COPY, "true", "config c");
	expect(&s, SETTING_ALLOW_WORKLOAD_DISRUPTION, true, "follows allowPostCopy");
	set(&s, SETTING_ALLOW_POST_COPY, "false", "policy p");
	expect(&s, SETTING_ALLOW_WORKLOAD_DISRUPTION, false, "follows allowPostCopy");
	set(&s, SETTING_ALLOW_WORKLOAD_DISRUPTION, "yes", "config c");
	expect(&s, SETTING_ALLOW_WORKLOAD_DISRUPTION, true, "config c");
	set(&s, SETTING_ALLOW_POST_COPY, "false", "policy p");
	expect(&s, SETTING_ALLOW_WORKLOAD_DISRUPTION, true, "config c");
}

Test(settings, merge_takes_what_is_set_and_nothing_else)
{
	struct settings s = fresh(), over = fresh();

	set(&s, SETTING_BANDWIDTH, "1G", "config c");
	set(&s, SETTING_MAX_DOWNTIME, "100", "config c");
	set(&over, SETTING_MAX_DOWNTIME, "300", "option --max-downtime");
	set(&over, SETTING_ALLOW_POST_COPY, "yes", "option --post-copy");
	over.post_copy_now = true;
	settings_merge(&s, &over);
	expect(&s, SETTING_BANDWIDTH, 1000000000, "config c");
	expect(&s, SETTING_MAX_DOWNTIME, 300, "option --max-downtime");
	expect(&s, SETTING_ALLOW_WORKLOAD_DISRUPTION, true, "follows allowPostCopy");
	cr_assert(s.post_copy_now);
	over = fresh();
	settings_merge(&s, &over);
	cr_assert(s.post_copy_now, "nobody said otherwise");
}

/* ---- files ---- */

static int load(struct settings *s, const char *text, struct errtext *err)
{
	settings_init(s);
	return settings_load_text(s, "c.yaml", text, strlen(text), err);
}

struct file_row {
	char text[200];
	uint64_t bandwidth, completion;
	bool post_copy;
};

ParameterizedTestParameters(settings, files)
{
	static struct file_row rows[] = {
		{"{}", 0, 150, false},
		{"bandwidthPerMigration: 64Mi\ncompletionTimeoutPerGiB: 800\n", 64 << 20, 800,
		 false},
		{"{\"bandwidthPerMigration\": \"64Mi\",\n\t\"allowPostCopy\": true}", 64 << 20, 150,
		 true},
		{"bandwidthPerMigration: 1e9\r\nallowPostCopy: True\r\n", 1000000000, 150, true},
		{"bandwidthPerMigration: 67108864", 64 << 20, 150, false},
		{"bandwidthPerMigration: null\ncompletionTimeoutPerGiB: ~\nallowPostCopy:\n", 0,
		 150, false},
		{"--- # first\ncompletionTimeoutPerGiB: '7'\n...\n", 0, 7, false},
		{"\xef\xbb\xbf"
		 "completionTimeoutPerGiB: 7\n---\n",
		 0, 7, false},
		{"liveMigrationConfig:\n  completionTimeoutPerGiB: 1\n", 0, 1, false},
		{"migrations: {completionTimeoutPerGiB: 1, parallelMigrationsPerCluster: 5}", 0, 1,
		 false},
		{"apiVersion: hco.kubevirt.io/v1beta1\nkind: HyperConverged\nmetadata: {name: h}\n"
		 "spec:\n  infra: {}\n  liveMigrationConfig:\n    completionTimeoutPerGiB: 2\n"
		 "status: {x: [y]}\n",
		 0, 2, false},
		{"kind: KubeVirt\nspec:\n  configuration:\n    developerConfiguration: {}\n"
		 "    migrations:\n      allowPostCopy: true\n",
		 0, 150, true},
		{"apiVersion: hco.kubevirt.io/v1\nkind: HyperConverged\nspec:\n"
		 "  virtualization: {liveMigrationConfig: {completionTimeoutPerGiB: 4}}\n",
		 0, 4, false},
		{"kind: HyperConverged\nmetadata: {name: h}\nspec: {infra: {}}\n", 0, 150, false},
		{"kind: HyperConverged\nspec: {virtualization: {}}\n", 0, 150, false},
		{"kind: KubeVirt\nspec: {configuration: {}}\n", 0, 150, false},
		{"kind: KubeVirt\nmetadata: {name: k}\nspec:\n", 0, 150, false},
		{"apiVersion: v1\nkind: List\nmetadata: {resourceVersion: ''}\nitems:\n"
		 "- kind: KubeVirt\n  spec: {configuration: {migrations: {allowPostCopy: true}}}\n",
		 0, 150, true},
		{"kind: List\nitems: [{completionTimeoutPerGiB: 5}]", 0, 5, false},
		{"nodeDrainTaintKey: a/b\nunsafeMigrationOverride: true\n"
		 "matchSELinuxLevelOnMigration: true\nutilityVolumesTimeout: 3\n"
		 "experimental: {stallDetector: {}}\ncompletionTimeoutPerGiB: 3",
		 0, 3, false},
	};

	return cr_make_param_array(struct file_row, rows, sizeof(rows) / sizeof(rows[0]));
}

ParameterizedTest(struct file_row *row, settings, files)
{
	struct errtext err = {0};
	struct settings s;

	cr_assert_eq(load(&s, row->text, &err), 0, "%s: %s", row->text, err.text);
	cr_assert_eq(settings_number(&s, SETTING_BANDWIDTH), row->bandwidth, "%s", row->text);
	cr_assert_eq(settings_number(&s, SETTING_COMPLETION_TIMEOUT), row->completion, "%s",
		     row->text);
	cr_assert_eq(settings_bool(&s, SETTING_ALLOW_POST_COPY), row->post_copy, "%s", row->text);
	if (row->completion != 150)
		expect(&s, SETTING_COMPLETION_TIMEOUT, row->completion, "config c.yaml");
}

struct bad_file_row {
	char text[160];
	char says[3][48];
};

static struct bad_file_row bad_files[] = {
	{"", {"c.yaml", "is empty"}},
	{"# nothing\n", {"c.yaml", "is empty"}},
	{"---\n", {"c.yaml", "is empty"}},
	{"null", {"c.yaml", "is empty"}},
	{"- 1\n", {"c.yaml:1: a mapping"}},
	{"just text", {"c.yaml:1: a mapping"}},
	{"a: [1\n", {"c.yaml:", "neither YAML nor JSON"}},
	{"\n\nallowPostCopy: 'x\n", {"c.yaml:3", "neither YAML nor JSON"}},
	{"allowPostCopy:\n\ttrue: 1\n", {"c.yaml:2: a tab", "blanks"}},
	{"[]\n---\n? a:\t: x", {"c.yaml:3: a tab", "blanks"}},
	{"{\"allowPostCopy\": true,,}", {"c.yaml:1", "neither YAML nor JSON"}},
	{"# x\n%YAML 1.2\n---\na: 1\n", {"c.yaml:2: a line that begins with '%'"}},
	{"\xef\xbb\xbf%YAML 1.2\n---\na: 1\n", {"c.yaml:1: a line that begins with '%'"}},
	{"allowPostCopy: \xff\n", {"c.yaml", "not UTF-8"}},
	{"\nallowPostCopy: \x01\n", {"c.yaml:2: a control character"}},
	{"\nbandwidth: 1\n", {"c.yaml:2: unknown key 'bandwidth'", "bandwidthPerMigration"}},
	{"<<: {a: b}\n", {"c.yaml:1: unknown key '<<'"}},
	{"? [a]\n: 1\n", {"c.yaml:1: unknown key ''"}},
	{"\"allowPostCopy\\0\": true\n", {"c.yaml:1: unknown key"}},
	{"maxDowntimeMs: 5\nmaxDowntimeMs: 5\n", {"c.yaml:2: maxDowntimeMs", "twice"}},
	{"maxDowntimeMs: ~\nmaxDowntimeMs: 5\n", {"c.yaml:2: maxDowntimeMs", "twice"}},
	{"allowPostCopy: maybe\n", {"c.yaml:1: allowPostCopy: 'maybe'", "true or false"}},
	{"allowPostCopy: now\n", {"c.yaml:1: allowPostCopy: 'now'", "true or false"}},
	{"\nmaxDowntimeMs: {a: 1}\n", {"c.yaml:2: maxDowntimeMs", "plain value"}},
	{"network: [eth1]\n", {"c.yaml:1: network", "plain value", "eth1"}},
	{"a: &x 1\nallowPostCopy: *x\n", {"c.yaml:1: unknown key 'a'"}},
	{"nodeDrainTaintKey: &x true\nallowPostCopy: *x\n",
	 {"c.yaml:2: allowPostCopy", "plain value"}},
	{"network: \"a\\0b\"\n", {"c.yaml:1: network", "plain value"}},
	{"bandwidthPerMigration: 64MB/s\n",
	 {"c.yaml:1: bandwidthPerMigration", "'64MB/s'", "64Mi"}},
	{"progressTimeout: ''\n", {"c.yaml:1: progressTimeout", "whole number"}},
	{"progressTimeout: 150.0\n", {"c.yaml:1: progressTimeout", "whole number"}},
	{"spec: {x: 1}\n", {"c.yaml:1: spec has neither", "--policy"}},
	{"spec: {configuration: {}}\n", {"c.yaml:1: spec has neither"}},
	{"spec:\n", {"c.yaml:1: spec: a mapping"}},
	{"migrations: [1]\n", {"c.yaml:1: migrations: a mapping"}},
	{"spec:\n  liveMigrationConfig: 5\n", {"c.yaml:2: liveMigrationConfig: a mapping"}},
	{"spec: {liveMigrationConfig: {}, configuration: {migrations: {network: x}}}",
	 {"c.yaml:1: both", "leave one"}},
	{"spec: {liveMigrationConfig: {}, virtualization: {liveMigrationConfig: {}}}",
	 {"c.yaml: both", "virtualization", "leave one"}},
	{"kind: KubeVirt\nnetwork: x\n", {"c.yaml:2: key 'network'"}},
	{"kind: KubeVirt\nspec: 5\n", {"c.yaml:1: spec: a mapping"}},
	{"kind: VirtualMachine\nspec: {x: 1}\n", {"c.yaml:2: spec has neither"}},
	{"items: []\n", {"c.yaml: items of a List: one object", "0 are there"}},
	{"items: [{}, {}]\n", {"c.yaml: items of a List", "2 are there"}},
	{"items: [1]\n", {"c.yaml:1: a mapping"}},
	{"items: [{}]\nspec: {}\n", {"c.yaml:2: key 'spec'", "beside items"}},
	{"migrations: {}\nallowPostCopy: true\n", {"c.yaml:2: key 'allowPostCopy'"}},
	{"spec: {liveMigrationConfig: {}}\nnetwork: x\n", {"c.yaml:2: key 'network'"}},
	{"migrations: {}\nmigrations: {}\n", {"c.yaml:2: migrations is given twice"}},
	{"network: x\n---\nnetwork: y\n", {"c.yaml:3: a second document"}},
	{"network: x\n---\n'\n", {"c.yaml:", "neither YAML nor JSON"}},
};

ParameterizedTestParameters(settings, bad_files)
{
	return cr_make_param_array(struct bad_file_row, bad_files,
				   sizeof(bad_files) / sizeof(bad_files[0]));
}

ParameterizedTest(struct bad_file_row *row, settings, bad_files)
{
	struct errtext err = {0};
	struct settings s;

	cr_assert_lt(load(&s, row->text, &err), 0, "%s", row->text);
	for (int i = 0; i < 3; i++)
		cr_assert(strstr(err.text, row->says[i]), "no '%s' in: %s", row->says[i], err.text);
}

Test(settings, an_unknown_key_lists_all_keys)
{
	struct errtext err = {0};
	struct settings s;

	cr_assert_lt(load(&s, "x: 1", &err), 0);
	for (enum setting i = 0; i < SETTING_COUNT; i++)
		cr_assert(strstr(err.text, setting_row(i)->key), "%s", err.text);
}

/* ---- on disk ---- */

static char directory[] = "/tmp/test_settings.XXXXXX";

static void make_directory(void)
{
	cr_assert_not_null(mkdtemp(directory));
	cr_assert_eq(chdir(directory), 0);
}

static void remove_directory(void)
{
	unlink("c.yaml");
	rmdir("c.d");
	rmdir(directory);
}

TestSuite(settings_disk, .init = make_directory, .fini = remove_directory);

static void write_file(const char *text, size_t size)
{
	FILE *f = fopen("c.yaml", "w");

	cr_assert_not_null(f);
	cr_assert_eq(fwrite(text, 1, size, f), size);
	fclose(f);
}

Test(settings_disk, a_file_is_read)
{
	struct settings s = fresh();
	struct errtext err = {0};

	write_file("network: eth1\n", 14);
	cr_assert_eq(settings_load(&s, "c.yaml", &err), 0, "%s", err.text);
	cr_assert_str_eq(settings_text(&s, SETTING_NETWORK), "eth1");
	cr_assert_str_eq(s.value[SETTING_NETWORK].origin, "config c.yaml");
}

Test(settings_disk, what_cannot_be_read_is_named)
{
	struct settings s = fresh();
	struct errtext err = {0};

	cr_assert_eq(settings_load(&s, "c.yaml", &err), -ENOENT);
	cr_assert(strstr(err.text, "c.yaml"), "%s", err.text);
	cr_assert_eq(mkdir("c.d", 0700), 0);
	err = (struct errtext){0};
	cr_assert_eq(settings_load(&s, "c.d", &err), -EISDIR);
	cr_assert(strstr(err.text, "c.d"), "%s", err.text);
}

Test(settings_disk, one_mebibyte_at_most)
{
	const size_t max = 1 << 20;
	struct settings s = fresh();
	struct errtext err = {0};
	char *text = malloc(max + 1);

	cr_assert_not_null(text);
	memset(text, '#', max + 1);
	memcpy(text, "network: eth1\n", 14);
	write_file(text, max);
	cr_assert_eq(settings_load(&s, "c.yaml", &err), 0, "%s", err.text);
	write_file(text, max + 1);
	cr_assert_eq(settings_load(&s, "c.yaml", &err), -EFBIG);
	cr_assert(strstr(err.text, "1 MiB"), "%s", err.text);
	free(text);
}
