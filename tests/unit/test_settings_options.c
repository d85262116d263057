// SPDX-License-Identifier: Apache-2.0
// The options of settings, and the order of the layers.
#include "settings_options.h"

#include <criterion/criterion.h>
#include <criterion/parameterized.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define WORDS_MAX 16

static error_t parse_parent(int key, char *arg, struct argp_state *state)
{
	(void)arg;
	if (key != ARGP_KEY_INIT)
		return ARGP_ERR_UNKNOWN;
	state->child_inputs[0] = state->input;
	return 0;
}

/* Words of a command line; they must outlive in. */
static int parse(struct settings_input *in, char *line)
{
	static const struct argp_child children[] = {{&settings_argp, 0, NULL, 0}, {0}};
	static const struct argp parent = {NULL, parse_parent, NULL, NULL, children, NULL, NULL};
	char *words[WORDS_MAX] = {(char *)"dray test"}, *word;
	int count = 1;

	*in = (struct settings_input){0};
	while ((word = strsep(&line, " ")))
		if (*word)
			words[count++] = word;
	cr_assert_lt(count, WORDS_MAX);
	return argp_parse(&parent, count, words, ARGP_NO_EXIT, NULL, in);
}

struct line_row {
	char line[120];
	enum setting which;
	uint64_t number;
	char text[32];
	bool now;
};

ParameterizedTestParameters(settings_options, accepted)
{
	static struct line_row rows[] = {
		{"--bandwidth 64Mi", SETTING_BANDWIDTH, 64 << 20, "64Mi", false},
		{"--bandwidth 64Mi --bandwidth 65536Ki", SETTING_BANDWIDTH, 64 << 20, "65536Ki",
		 false},
		{"--completion-timeout-per-gib=800", SETTING_COMPLETION_TIMEOUT, 800, "800", false},
		{"--compression zstd:3 --compression=zstd:3", SETTING_COMPRESSION, 0, "zstd:3",
		 false},
		{"--progress-timeout 0", SETTING_PROGRESS_TIMEOUT, 0, "0", false},
		{"--post-copy", SETTING_ALLOW_POST_COPY, 1, "yes", false},
		{"--post-copy=no", SETTING_ALLOW_POST_COPY, 0, "no", false},
		{"--post-copy=now", SETTING_ALLOW_POST_COPY, 1, "now", true},
		{"--post-copy=now --post-copy=now", SETTING_ALLOW_POST_COPY, 1, "now", true},
		{"--post-copy=yes --post-copy", SETTING_ALLOW_POST_COPY, 1, "yes", false},
		{"--allow-workload-disruption", SETTING_ALLOW_WORKLOAD_DISRUPTION, 1, "yes", false},
		{"--auto-converge=true", SETTING_ALLOW_AUTO_CONVERGE, 1, "true", false},
		{"--max-downtime 5", SETTING_MAX_DOWNTIME, 5, "5", false},
		{"--max-outbound 5", SETTING_MAX_OUTBOUND, 5, "5", false},
		{"--bind eth1", SETTING_NETWORK, 0, "eth1", false},
		{"--disable-tls", SETTING_DISABLE_TLS, 1, "yes", false},
		{"--disable-tls=no", SETTING_DISABLE_TLS, 0, "no", false},
	};

	return cr_make_param_array(struct line_row, rows, sizeof(rows) / sizeof(rows[0]));
}

ParameterizedTest(struct line_row *row, settings_options, accepted)
{
	struct errtext err = {0};
	struct settings_input in;
	struct settings s;
	char origin[64];

	cr_assert_eq(parse(&in, row->line), 0);
	cr_assert_eq(settings_resolve(&in, &s, &err), 0, "%s", err.text);
	cr_assert_eq(settings_number(&s, row->which), row->number);
	cr_assert_str_eq(settings_text(&s, row->which), row->text);
	cr_assert_eq(s.post_copy_now, row->now);
	snprintf(origin, sizeof(origin), "option --%s", setting_row(row->which)->option);
	cr_assert_str_eq(s.value[row->which].origin, origin);
}

/* What argp_error says goes to standard error. */
struct bad_row {
	char line[120];
	char says[2][48];
};

ParameterizedTestParameters(settings_options, refused)
{
	static struct bad_row rows[] = {
		{"--bandwidth 64MB/s", {"--bandwidth: '64MB/s'", "64Mi"}},
		{"--bandwidth=-1", {"--bandwidth: '-1'", "64Mi"}},
		{"--bandwidth 1e30", {"--bandwidth: '1e30'", "64Mi"}},
		{"--bandwidth 64", {"--bandwidth: '64'", "unit"}},
		{"--post-copy=maybe", {"--post-copy: 'maybe'", "yes, no or now"}},
		{"--auto-converge=now", {"--auto-converge: 'now'", "yes or no"}},
		{"--max-downtime 0", {"--max-downtime: '0'", "from 1 to 2000000"}},
		{"--max-downtime 1 --max-downtime 2", {"--max-downtime is given twice", "'2'"}},
		{"--post-copy --post-copy=no", {"--post-copy is given twice"}},
		{"--post-copy --post-copy=now", {"--post-copy is given twice"}},
		{"--post-copy=now --post-copy", {"--post-copy is given twice"}},
		{"--bind eth1 --bind eth2", {"--bind is given twice"}},
		{"--config a --config b", {"--config is given twice"}},
		{"--policy a --policy b", {"--policy is given twice"}},
		{"--vmi-labels a=b --vmi-labels c=d", {"--vmi-labels is given twice"}},
		{"--compression lz4", {"--compression: 'lz4'", "zstd:LEVEL"}},
		{"--compression=zstd:20", {"--compression: 'zstd:20'", "from 1 to 19"}},
		{"--compression zstd --compression none", {"--compression is given twice"}},
		{"--max-inbound 2", {"unrecognized option"}},
	};

	return cr_make_param_array(struct bad_row, rows, sizeof(rows) / sizeof(rows[0]));
}

ParameterizedTest(struct bad_row *row, settings_options, refused)
{
	_Static_assert(sizeof(((struct errtext *)NULL)->text) <= 4096, "said holds one");
	char said[4096] = "", path[] = "/tmp/test_options.XXXXXX";
	struct settings_input in;
	FILE *f;

	close(mkstemp(path));
	cr_assert_not_null(freopen(path, "w", stderr));
	cr_assert_neq(parse(&in, row->line), 0);
	fflush(stderr);
	f = fopen(path, "r");
	unlink(path);
	cr_assert_not_null(f);
	cr_assert_gt(fread(said, 1, sizeof(said) - 1, f), 0);
	fclose(f);
	for (int i = 0; i < 2; i++)
		cr_assert(strstr(said, row->says[i]), "no '%s' in: %s", row->says[i], said);
}

Test(settings_options, every_setting_has_one_but_max_inbound)
{
	for (enum setting i = 0; i < SETTING_COUNT; i++) {
		const struct argp_option *o = settings_argp.options;

		while (o->name && strcmp(o->name, setting_row(i)->option) != 0)
			o++;
		cr_assert_eq(!o->name, i == SETTING_MAX_INBOUND, "%s", setting_row(i)->option);
	}
}

Test(settings_options, labels_need_a_policy)
{
	char vmi[] = "--vmi-labels a=b", namespace[] = "--namespace-labels a=b";
	struct settings_input in;
	struct errtext err = {0};
	struct settings s;

	cr_assert_eq(parse(&in, vmi), 0);
	cr_assert_eq(settings_resolve(&in, &s, &err), -EINVAL);
	cr_assert(strstr(err.text, "--vmi-labels") && strstr(err.text, "--policy"), "%s", err.text);
	err = (struct errtext){0};
	cr_assert_eq(parse(&in, namespace), 0);
	cr_assert_eq(settings_resolve(&in, &s, &err), -EINVAL);
	cr_assert(strstr(err.text, "--namespace-labels"), "%s", err.text);
}

/* ---- with files ---- */

static char directory[] = "/tmp/test_options.XXXXXX";

static void write_file(const char *name, const char *text)
{
	FILE *f = fopen(name, "w");

	cr_assert_not_null(f);
	fputs(text, f);
	fclose(f);
}

static void make_files(void)
{
	cr_assert_not_null(mkdtemp(directory));
	cr_assert_eq(chdir(directory), 0);
	write_file("c", "bandwidthPerMigration: 1G\nmaxDowntimeMs: 100\nprogressTimeout: 1\n"
			"parallelInboundMigrationsPerNode: 9\n");
	write_file("p", "apiVersion: migrations.kubevirt.io/v1alpha1\nkind: MigrationPolicy\n"
			"metadata: {name: gold}\nspec:\n"
			"  selectors: {virtualMachineInstanceSelector: {tier: gold}}\n"
			"  bandwidthPerMigration: 2G\n  maxDowntimeMs: 200\n");
}

static void remove_files(void)
{
	unlink("c");
	unlink("p");
	rmdir(directory);
}

TestSuite(settings_layers, .init = make_files, .fini = remove_files);

static void expect(const struct settings *s, enum setting which, uint64_t number,
		   const char *origin)
{
	cr_assert_eq(settings_number(s, which), number, "%s", setting_row(which)->key);
	cr_assert_str_eq(s->value[which].origin, origin);
}

static struct settings resolve(char *line)
{
	struct settings_input in;
	struct errtext err = {0};
	struct settings s;

	cr_assert_eq(parse(&in, line), 0);
	cr_assert_eq(settings_resolve(&in, &s, &err), 0, "%s", err.text);
	return s;
}

Test(settings_layers, defaults_then_config_then_policy_then_options)
{
	char line[] = "--bandwidth 3G --policy p --vmi-labels tier=gold,x=y --config c";
	struct settings s = resolve(line);

	expect(&s, SETTING_BANDWIDTH, 3000000000, "option --bandwidth");
	expect(&s, SETTING_MAX_DOWNTIME, 200, "policy gold");
	expect(&s, SETTING_PROGRESS_TIMEOUT, 1, "config c");
	expect(&s, SETTING_MAX_INBOUND, 9, "config c");
	expect(&s, SETTING_COMPLETION_TIMEOUT, 150, "default");
	cr_assert_str_eq(s.policy, "gold");
	cr_assert_eq(s.policies, 1);
}

Test(settings_layers, no_policy_matches)
{
	char line[] = "--policy p --config c --namespace-labels tier=gold";
	struct settings s = resolve(line);

	expect(&s, SETTING_MAX_DOWNTIME, 100, "config c");
	cr_assert_str_empty(s.policy);
	cr_assert_eq(s.policies, 1);
}

Test(settings_layers, usual_file_without_config)
{
	char bare[] = "--max-downtime 200", config[] = "--config c";
	struct settings_input in;
	struct errtext err = {0};
	struct settings s;

	write_file("u", "maxDowntimeMs: 50\nprogressTimeout: 7\n");
	cr_assert_eq(parse(&in, bare), 0);
	cr_assert_str_eq(in.usual, SETTINGS_FILE);
	in.usual = "u";
	cr_assert_eq(settings_resolve(&in, &s, &err), 0, "%s", err.text);
	expect(&s, SETTING_PROGRESS_TIMEOUT, 7, "config u");
	expect(&s, SETTING_MAX_DOWNTIME, 200, "option --max-downtime");
	cr_assert_eq(parse(&in, config), 0);
	in.usual = "u";
	cr_assert_eq(settings_resolve(&in, &s, &err), 0, "%s", err.text);
	expect(&s, SETTING_PROGRESS_TIMEOUT, 1, "config c");
	unlink("u");
}

Test(settings_layers, usual_file_may_be_missing_or_say_nothing)
{
	struct errtext err = {0};
	struct settings s;

	settings_init(&s);
	cr_assert_eq(settings_load_usual(&s, "u", &err), 0, "%s", err.text);
	write_file("u", "# maxDowntimeMs: 50\n\n");
	cr_assert_eq(settings_load_usual(&s, "u", &err), 0, "%s", err.text);
	expect(&s, SETTING_MAX_DOWNTIME, 300, "default");
	write_file("u", "maxDowntime: 50\n");
	cr_assert_eq(settings_load_usual(&s, "u", &err), -EINVAL);
	cr_assert(strstr(err.text, "u:1"), "%s", err.text);
	unlink("u");
}

struct layer_row {
	char line[80];
	int expected;
	char says[48];
};

ParameterizedTestParameters(settings_layers, errors)
{
	static struct layer_row rows[] = {
		{"--config missing", -ENOENT, "missing"},
		{"--policy missing", -ENOENT, "missing"},
		{"--config p", -EINVAL, "--policy"},
		{"--policy c", -EINVAL, "MigrationPolicy"},
		{"--policy p --vmi-labels tier", -EINVAL, "--vmi-labels: 'tier'"},
		{"--policy p --namespace-labels a=b,a=c", -EEXIST, "--namespace-labels: label a"},
	};

	return cr_make_param_array(struct layer_row, rows, sizeof(rows) / sizeof(rows[0]));
}

ParameterizedTest(struct layer_row *row, settings_layers, errors)
{
	struct settings_input in;
	struct errtext err = {0};
	struct settings s;

	cr_assert_eq(parse(&in, row->line), 0);
	cr_assert_eq(settings_resolve(&in, &s, &err), row->expected, "%s", err.text);
	cr_assert(strstr(err.text, row->says), "%s", err.text);
}
