// SPDX-License-Identifier: Apache-2.0
// One option for each setting, and the layers put together.
#include "settings_options.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include "cleanup.h"
#include "migration_policy.h"

#define NOW "now"

/* A setting's option has its number behind this. */
enum {
	OPT_CONFIG = 256,
	OPT_POLICY,
	OPT_VMI_LABELS,
	OPT_NAMESPACE_LABELS,
	OPT_SETTING = 512,
};

static const struct argp_option options[] = {
	{"bandwidth", OPT_SETTING + SETTING_BANDWIDTH, "QUANTITY", 0,
	 "Send so many bytes per second at most, such as 64Mi or 1G; 0: no limit (0)", 3},
	{"completion-timeout-per-gib", OPT_SETTING + SETTING_COMPLETION_TIMEOUT, "S", 0,
	 "After so many seconds for each GiB of guest RAM switch to post-copy, pause the guest or "
	 "give up, as is allowed; 0: never (150)",
	 3},
	{"progress-timeout", OPT_SETTING + SETTING_PROGRESS_TIMEOUT, "S", 0,
	 "Give up after so many seconds without progress; 0: never (150)", 3},
	{"post-copy", OPT_SETTING + SETTING_ALLOW_POST_COPY, "yes|no|now", OPTION_ARG_OPTIONAL,
	 "May switch to post-copy when the guest does not converge or time is up; now: as soon as "
	 "it can (no)",
	 3},
	{"allow-workload-disruption", OPT_SETTING + SETTING_ALLOW_WORKLOAD_DISRUPTION, "yes|no",
	 OPTION_ARG_OPTIONAL, "May pause the guest to finish (as --post-copy)", 3},
	{"auto-converge", OPT_SETTING + SETTING_ALLOW_AUTO_CONVERGE, "yes|no", OPTION_ARG_OPTIONAL,
	 "May slow the guest's vCPUs down when it does not converge (no)", 3},
	{"max-downtime", OPT_SETTING + SETTING_MAX_DOWNTIME, "MS", 0,
	 "Stop the guest for so long at most (300)", 3},
	{"max-outbound", OPT_SETTING + SETTING_MAX_OUTBOUND, "N", 0,
	 "Migrations that may leave this host at once (2)", 3},
	{"compression", OPT_SETTING + SETTING_COMPRESSION, "auto|none|zstd[:LEVEL]", 0,
	 "Compress guest memory on its way; auto: where it pays; LEVEL from 1, fast, to 19 (none)",
	 3},
	{"keep-private", OPT_SETTING + SETTING_KEEP_PRIVATE, "yes|no", OPTION_ARG_OPTIONAL,
	 "Memory that is private to QEMU stays so, and is not put into shared files there (no)", 3},
	{"bind", OPT_SETTING + SETTING_NETWORK, "ADDRESS|INTERFACE", 0,
	 "Use this address or interface only (the route decides)", 4},
	{"disable-tls", OPT_SETTING + SETTING_DISABLE_TLS, "yes|no", OPTION_ARG_OPTIONAL,
	 "Without TLS: guest memory, and the passwords in it, crosses the network in the clear, "
	 "and "
	 "nobody knows who the other host is (no)",
	 4},
	{"tls-dir", OPT_SETTING + SETTING_TLS_DIR, "DIR", 0,
	 "This host's ca.crt, tls.crt and tls.key, and crl.pem if there is one (/etc/pki/dray)", 4},
	{"config", OPT_CONFIG, "FILE", 0,
	 "Settings, YAML or JSON, as in KubeVirt's liveMigrationConfig (" SETTINGS_FILE
	 ", if there is one)",
	 5},
	{"policy", OPT_POLICY, "FILE|DIR", 0,
	 "MigrationPolicy objects; the best match overrides the configuration", 5},
	{"vmi-labels", OPT_VMI_LABELS, "KEY=VALUE,...", 0, "The guest's labels, for --policy", 5},
	{"namespace-labels", OPT_NAMESPACE_LABELS, "KEY=VALUE,...", 0,
	 "Labels of the guest's namespace, for --policy", 5},
	{0},
};

static int contradiction(const char *option, const char *a, const char *b, struct errtext *err)
{
	return errtext_set(err, -EINVAL,
			   "--%s is given twice, as '%.64s' and '%.64s': one value is needed",
			   option, a, b);
}

static int take_text(const char **to, const char *option, const char *arg, struct errtext *err)
{
	if (*to && strcmp(*to, arg) != 0)
		return contradiction(option, *to, arg, err);
	*to = arg;
	return 0;
}

static bool same_value(const struct settings *a, const struct settings *b, enum setting which)
{
	enum setting_type type = setting_row(which)->type;

	if (type == SETTING_CODEC || type == SETTING_TEXT || type == SETTING_PATH)
		return strcmp(settings_text(a, which), settings_text(b, which)) == 0;
	return settings_number(a, which) == settings_number(b, which) &&
	       (which != SETTING_ALLOW_POST_COPY || a->post_copy_now == b->post_copy_now);
}

/* arg may be NULL for a bool: the option alone says yes. */
static int take_setting(struct settings *s, enum setting which, const char *arg,
			struct errtext *err)
{
	const char *option = setting_row(which)->option;
	bool now = which == SETTING_ALLOW_POST_COPY && arg && strcmp(arg, NOW) == 0, yes;
	struct settings before = *s;
	char origin[SETTING_ORIGIN_SIZE];
	int ret;

	if (which == SETTING_ALLOW_POST_COPY && arg && !now && setting_parse_bool(arg, &yes) < 0)
		return errtext_set(err, -EINVAL, "--%s: '%.64s': yes, no or now is needed", option,
				   arg);
	snprintf(origin, sizeof(origin), "option --%s", option);
	ret = settings_set(s, which, now || !arg ? "yes" : arg, origin, err);
	if (ret < 0)
		return ret;
	if (now) {
		s->post_copy_now = true;
		strcpy(s->value[which].text, NOW);
	}
	if (before.value[which].set && !same_value(&before, s, which))
		return contradiction(option, before.value[which].text, s->value[which].text, err);
	return 0;
}

static int take(struct settings_input *in, int key, const char *arg, struct errtext *err)
{
	switch (key) {
	case OPT_CONFIG:
		return take_text(&in->config, "config", arg, err);
	case OPT_POLICY:
		return take_text(&in->policy, "policy", arg, err);
	case OPT_VMI_LABELS:
		return take_text(&in->vmi_labels, "vmi-labels", arg, err);
	case OPT_NAMESPACE_LABELS:
		return take_text(&in->namespace_labels, "namespace-labels", arg, err);
	default:
		return take_setting(&in->options, (enum setting)(key - OPT_SETTING), arg, err);
	}
}

static error_t parse(int key, char *arg, struct argp_state *state)
{
	struct settings_input *in = state->input;
	struct errtext err = {0};
	int ret;

	if (key == ARGP_KEY_INIT) {
		settings_init(&in->options);
		in->usual = SETTINGS_FILE;
	}
	if (key < OPT_CONFIG || key >= OPT_SETTING + SETTING_COUNT)
		return ARGP_ERR_UNKNOWN;
	ret = take(in, key, arg, &err);
	if (ret < 0)
		argp_error(state, "%s", err.text);
	return -ret;
}

const struct argp settings_argp = {options, parse, NULL, NULL, NULL, NULL, NULL};

static int apply_policies(const struct settings_input *in, struct settings *s, struct errtext *err)
{
	_cleanup_(migration_policies_destroy) struct migration_policies policies = {0};
	_cleanup_(labels_destroy) struct labels vmi = {0}, namespace = {0};
	const struct migration_policy *policy;
	int ret = 0;

	if (in->vmi_labels)
		ret = labels_parse(&vmi, in->vmi_labels, "--vmi-labels", err);
	if (ret == 0 && in->namespace_labels)
		ret = labels_parse(&namespace, in->namespace_labels, "--namespace-labels", err);
	if (ret == 0)
		ret = migration_policies_load(&policies, in->policy, err);
	if (ret < 0)
		return ret;
	s->policies = policies.count;
	policy = migration_policies_match(&policies, &vmi, &namespace);
	if (policy)
		migration_policy_apply(policy, s);
	return 0;
}

int settings_resolve(const struct settings_input *in, struct settings *s, struct errtext *err)
{
	int ret = 0;

	settings_init(s);
	if (!in->policy && (in->vmi_labels || in->namespace_labels))
		return errtext_set(err, -EINVAL,
				   "--%s: labels choose a policy: --policy FILE|DIR is needed too",
				   in->vmi_labels ? "vmi-labels" : "namespace-labels");
	if (in->config)
		ret = settings_load(s, in->config, err);
	else if (in->usual)
		ret = settings_load_usual(s, in->usual, err);
	if (ret == 0 && in->policy)
		ret = apply_policies(in, s, err);
	if (ret == 0)
		settings_merge(s, &in->options);
	return ret;
}
