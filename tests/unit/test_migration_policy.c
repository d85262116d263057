// SPDX-License-Identifier: Apache-2.0
// Migration policies: which one matches, what it changes, and how files are read.
#include "migration_policy.h"

#include <criterion/criterion.h>
#include <criterion/parameterized.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define HEAD(name)                                                                                 \
	"---\napiVersion: migrations.kubevirt.io/v1alpha1\nkind: MigrationPolicy\n"                \
	"metadata: {name: " name "}\nspec:\n"
#define POLICY(name, vmi, namespace)                                                               \
	HEAD(name)                                                                                 \
	"  selectors: {virtualMachineInstanceSelector: {" vmi "}, "                                \
	"namespaceSelector: {" namespace "}}\n"

static int load(struct migration_policies *p, const char *text, struct errtext *err)
{
	*p = (struct migration_policies){0};
	return migration_policies_load_text(p, "p.yaml", text, strlen(text), err);
}

struct match_row {
	char name[40];
	char text[512], vmi[16], namespace[16], expected[8];
};

ParameterizedTestParameters(migration_policy, matching)
{
	static struct match_row rows[] = {
		{"nothing given", POLICY("a", "x: y", ""), "", "", ""},
		{"one", POLICY("a", "x: y", ""), "x=y", "", "a"},
		{"other value", POLICY("a", "x: y", ""), "x=z", "", ""},
		{"namespace too", POLICY("a", "x: y", "n: m"), "x=y", "", ""},
		{"both", POLICY("a", "x: y", "n: m"), "x=y", "n=m", "a"},
		{"not the other way round", POLICY("a", "x: y", ""), "", "x=y", ""},
		{"empty selectors", POLICY("a", "", ""), "x=y", "n=m", "a"},
		{"empty selectors, no labels", POLICY("a", "", ""), "", "", "a"},
		{"selectors: {}", HEAD("a") "  selectors: {}\n", "", "", "a"},
		{"null selector", HEAD("a") "  selectors: {namespaceSelector: ~}\n", "", "", "a"},
		{"no selectors", HEAD("a") "  allowPostCopy: true\n", "x=y", "n=m", ""},
		{"null selectors", HEAD("a") "  selectors:\n", "x=y", "n=m", ""},
		{"no labels, namespace selected", POLICY("a", "", "n: m"), "", "", ""},
		{"more labels win", POLICY("a", "x: y", "") POLICY("b", "x: y, z: y", ""),
		 "x=y,z=y", "", "b"},
		{"of both kinds together",
		 POLICY("a", "x: y, z: y", "") POLICY("b", "x: y", "n: m, o: m"), "x=y,z=y",
		 "n=m,o=m", "b"},
		{"then more of the guest", POLICY("a", "", "n: m") POLICY("b", "x: y", ""), "x=y",
		 "n=m", "b"},
		{"then the first name", POLICY("b", "x: y", "") POLICY("a", "z: y", ""), "x=y,z=y",
		 "", "a"},
		{"by bytes", POLICY("a10", "", "") POLICY("a9", "", ""), "", "", "a10"},
		{"more that do not match lose", POLICY("a", "x: y, z: y", "") POLICY("b", "", ""),
		 "x=y", "", "b"},
		{"an empty value", POLICY("a", "x: ", ""), "x=", "", "a"},
		{"bool as text", POLICY("a", "x: true", ""), "x=true", "", "a"},
	};

	return cr_make_param_array(struct match_row, rows, sizeof(rows) / sizeof(rows[0]));
}

ParameterizedTest(struct match_row *row, migration_policy, matching)
{
	struct labels vmi = {0}, namespace = {0};
	const struct migration_policy *found;
	struct migration_policies p;
	struct errtext err = {0};

	cr_assert_eq(load(&p, row->text, &err), 0, "%s: %s", row->name, err.text);
	cr_assert_eq(labels_parse(&vmi, row->vmi, "vmi", &err), 0, "%s", err.text);
	cr_assert_eq(labels_parse(&namespace, row->namespace, "namespace", &err), 0, "%s",
		     err.text);
	found = migration_policies_match(&p, &vmi, &namespace);
	cr_assert_eq(!found, !row->expected[0], "%s: %s", row->name, found ? found->name : "none");
	if (found)
		cr_assert_str_eq(found->name, row->expected, "%s", row->name);
	labels_destroy(&vmi);
	labels_destroy(&namespace);
	migration_policies_destroy(&p);
}

/* ---- what a policy changes ---- */

static struct settings apply(const char *spec, enum setting which, const char *text)
{
	struct migration_policies p;
	struct errtext err = {0};
	struct settings s;
	char whole[1024];

	snprintf(whole, sizeof(whole), "%s%s", HEAD("gold"), spec);
	cr_assert_eq(load(&p, whole, &err), 0, "%s", err.text);
	cr_assert_eq(p.count, 1);
	settings_init(&s);
	if (text)
		cr_assert_eq(settings_set(&s, which, text, "config c", &err), 0);
	migration_policy_apply(&p.items[0], &s);
	cr_assert_str_eq(s.policy, "gold");
	migration_policies_destroy(&p);
	return s;
}

static void expect(const struct settings *s, enum setting which, uint64_t number,
		   const char *origin)
{
	cr_assert_eq(settings_number(s, which), number, "%s", setting_row(which)->key);
	cr_assert_str_eq(s->value[which].origin, origin);
}

Test(migration_policy, overrides_what_it_sets)
{
	struct settings s = apply("  bandwidthPerMigration: 2048Mi\n  maxDowntimeMs: null\n"
				  "  allowAutoConverge: true\n  completionTimeoutPerGiB: 1\n"
				  "  experimental: {compression: zstd}\n",
				  SETTING_MAX_DOWNTIME, "100");

	expect(&s, SETTING_BANDWIDTH, 2048ULL << 20, "policy gold");
	expect(&s, SETTING_ALLOW_AUTO_CONVERGE, true, "policy gold");
	expect(&s, SETTING_COMPLETION_TIMEOUT, 1, "policy gold");
	expect(&s, SETTING_MAX_DOWNTIME, 100, "config c");
	expect(&s, SETTING_PROGRESS_TIMEOUT, 150, "default");
}

Test(migration_policy, post_copy_alone_sets_disruption_as_well)
{
	struct settings s =
		apply("  allowPostCopy: true\n", SETTING_ALLOW_WORKLOAD_DISRUPTION, "false");

	expect(&s, SETTING_ALLOW_POST_COPY, true, "policy gold");
	expect(&s, SETTING_ALLOW_WORKLOAD_DISRUPTION, true, "policy gold");
	s = apply("  allowPostCopy: false\n", SETTING_ALLOW_WORKLOAD_DISRUPTION, "true");
	expect(&s, SETTING_ALLOW_WORKLOAD_DISRUPTION, false, "policy gold");
	s = apply("  allowPostCopy: true\n  allowWorkloadDisruption: false\n",
		  SETTING_ALLOW_WORKLOAD_DISRUPTION, "true");
	expect(&s, SETTING_ALLOW_WORKLOAD_DISRUPTION, false, "policy gold");
	s = apply("  maxDowntimeMs: 7\n", SETTING_ALLOW_POST_COPY, "true");
	expect(&s, SETTING_ALLOW_WORKLOAD_DISRUPTION, true, "follows allowPostCopy");
}

/* ---- texts ---- */

Test(migration_policy, a_list_has_items)
{
	static const char list[] =
		"{\"kind\": \"List\", \"apiVersion\": \"v1\", \"items\": ["
		"{\"kind\": \"MigrationPolicy\", \"metadata\": {\"name\": \"a\", \"uid\": \"1\"},"
		" \"apiVersion\": \"migrations.kubevirt.io/v1alpha1\", \"spec\": {}},"
		"{\"kind\": \"MigrationPolicy\", \"metadata\": {\"name\": \"b\"},"
		" \"apiVersion\": \"migrations.kubevirt.io/v1alpha1\", \"spec\": {}}]}";
	struct migration_policies p;
	struct errtext err = {0};

	cr_assert_eq(load(&p, list, &err), 0, "%s", err.text);
	cr_assert_eq(p.count, 2);
	cr_assert_str_eq(p.items[1].name, "b");
	migration_policies_destroy(&p);
	cr_assert_eq(load(&p, "kind: List\nitems: []\n", &err), 0, "%s", err.text);
	cr_assert_eq(p.count, 0);
	migration_policies_destroy(&p);
}

struct bad_row {
	char text[320];
	char says[2][64];
};

ParameterizedTestParameters(migration_policy, bad_texts)
{
	static struct bad_row rows[] = {
		{"", {"p.yaml", "is empty"}},
		{"---\n---\n", {"p.yaml", "is empty"}},
		{"- 1", {"p.yaml:1: a MigrationPolicy object"}},
		{"a: [", {"p.yaml:", "neither YAML nor JSON"}},
		{"kind: Pod\napiVersion: v1\n", {"p.yaml:1: an object of kind 'Pod'", "v1alpha1"}},
		{"kind: MigrationPolicy\napiVersion: v1\n", {"apiVersion 'v1'", "v1alpha1"}},
		{"metadata: {name: a}\n", {"kind ''", "v1alpha1"}},
		{"kind: [x]\n", {"p.yaml:1: kind: one plain value"}},
		{"kind: List\n", {"p.yaml:1: a List needs items"}},
		{"kind: List\nitems: {}\n", {"a List needs items"}},
		{"kind: List\nitems:\n- {kind: List, items: []}\n",
		 {"p.yaml:3: an object of kind 'List'"}},
		{HEAD("Gold_1") "  x: y\n", {"p.yaml:4: metadata.name 'Gold_1'", "such as gold"}},
		{HEAD("") "  x: y\n", {"p.yaml:4: metadata.name ''"}},
		{HEAD("a") "", {"MigrationPolicy a has no spec"}},
		{HEAD("a") " []\n", {"p.yaml:5: spec: a mapping", ""}},
		{HEAD("a") "  bandwidth: 1\n",
		 {"p.yaml:6: unknown key 'bandwidth'", "maxDowntime"}},
		{HEAD("a") "  progressTimeout: 1\n", {"p.yaml:6: unknown key 'progressTimeout'"}},
		{HEAD("a") "  bandwidthPerMigration: 64MB/s\n",
		 {"p.yaml:6: bandwidthPerMigration: '64MB/s'", "64Mi"}},
		{HEAD("a") "  allowPostCopy: {}\n", {"p.yaml:6: allowPostCopy: one plain value"}},
		{HEAD("a") "  selectors: x\n", {"p.yaml:6: selectors: a mapping"}},
		{HEAD("a") "  selectors: {vmiSelector: {}}\n",
		 {"p.yaml:6: unknown key 'vmiSelector'", "virtualMachineInstanceSelector"}},
		{HEAD("a") "  selectors: {namespaceSelector: {matchLabels: {a: b}}}\n",
		 {"p.yaml:6: namespaceSelector: 'matchLabels'", "no matchLabels"}},
		{HEAD("a") "  selectors: {namespaceSelector: {a b: c}}\n",
		 {"p.yaml:6: namespaceSelector: 'a b' is no label key"}},
		{HEAD("a") "  selectors: {namespaceSelector: {a: b, a: b}}\n",
		 {"p.yaml:6: namespaceSelector: label a is given twice"}},
		{HEAD("a") "  selectors: {}\n  selectors: {}\n", {"p.yaml:7: selectors", "twice"}},
		{HEAD("a") "  x-y: 1\n", {"p.yaml:6: unknown key 'x-y'"}},
		{HEAD("a") "  selectors: {}\n" HEAD("a") "  selectors: {}\n",
		 {"p.yaml:10: MigrationPolicy a stands at p.yaml:4 already"}},
	};

	return cr_make_param_array(struct bad_row, rows, sizeof(rows) / sizeof(rows[0]));
}

ParameterizedTest(struct bad_row *row, migration_policy, bad_texts)
{
	struct migration_policies p;
	struct errtext err = {0};

	cr_assert_lt(load(&p, row->text, &err), 0, "%s", row->text);
	for (int i = 0; i < 2; i++)
		cr_assert(strstr(err.text, row->says[i]), "no '%s' in: %s", row->says[i], err.text);
	migration_policies_destroy(&p);
}

/* ---- on disk ---- */

static char directory[] = "/tmp/test_policy.XXXXXX";
static const char *const files[] = {"d/b.yaml", "d/a.yml",   "d/c.json",
				    "d/readme", "d/.h.yaml", "d/bad.yaml"};

static void make_directory(void)
{
	cr_assert_not_null(mkdtemp(directory));
	cr_assert_eq(chdir(directory), 0);
	cr_assert_eq(mkdir("d", 0700), 0);
}

static void remove_directory(void)
{
	for (size_t i = 0; i < sizeof(files) / sizeof(*files); i++)
		unlink(files[i]);
	rmdir("d");
	rmdir(directory);
}

TestSuite(migration_policy_disk, .init = make_directory, .fini = remove_directory);

static void write_file(const char *name, const char *text)
{
	FILE *f = fopen(name, "w");

	cr_assert_not_null(f);
	fputs(text, f);
	fclose(f);
}

Test(migration_policy_disk, a_directory_is_read_by_name)
{
	struct migration_policies p = {0};
	struct errtext err = {0};

	write_file("d/b.yaml", POLICY("b", "", ""));
	write_file("d/a.yml", POLICY("z", "", "") POLICY("y", "", ""));
	write_file("d/c.json", POLICY("c", "", ""));
	write_file("d/readme", "no policy");
	write_file("d/.h.yaml", "no policy either");
	cr_assert_eq(migration_policies_load(&p, "d", &err), 0, "%s", err.text);
	cr_assert_eq(p.count, 4);
	cr_assert_str_eq(p.items[0].name, "z");
	cr_assert_str_eq(p.items[1].name, "y");
	cr_assert_str_eq(p.items[2].name, "b");
	cr_assert_str_eq(p.items[3].name, "c");
	migration_policies_destroy(&p);
	cr_assert_eq(migration_policies_load(&p, "d/b.yaml", &err), 0, "%s", err.text);
	cr_assert_eq(p.count, 1);
	migration_policies_destroy(&p);
}

Test(migration_policy_disk, an_error_names_the_file_in_it)
{
	struct migration_policies p = {0};
	struct errtext err = {0};

	write_file("d/b.yaml", POLICY("b", "", ""));
	write_file("d/bad.yaml", "a: [");
	cr_assert_eq(migration_policies_load(&p, "d", &err), -EINVAL);
	cr_assert(strstr(err.text, "d/bad.yaml:"), "%s", err.text);
	migration_policies_destroy(&p);
}

Test(migration_policy_disk, one_name_in_two_files)
{
	struct migration_policies p = {0};
	struct errtext err = {0};

	write_file("d/b.yaml", POLICY("b", "", ""));
	write_file("d/c.json", POLICY("b", "", ""));
	cr_assert_eq(migration_policies_load(&p, "d", &err), -EEXIST);
	cr_assert(strstr(err.text, "d/b.yaml:4") && strstr(err.text, "d/c.json:4"), "%s", err.text);
	migration_policies_destroy(&p);
}

Test(migration_policy_disk, nothing_there)
{
	struct migration_policies p = {0};
	struct errtext err = {0};

	cr_assert_eq(migration_policies_load(&p, "d", &err), 0, "%s", err.text);
	cr_assert_eq(p.count, 0);
	cr_assert_eq(migration_policies_load(&p, "e", &err), -ENOENT);
	cr_assert(strstr(err.text, "e: "), "%s", err.text);
}
