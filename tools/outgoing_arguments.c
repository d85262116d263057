// SPDX-License-Identifier: Apache-2.0
// From settings to the options of an outgoing migration, for every subcommand that has them.
#include "outgoing_arguments.h"

#include <stdio.h>
#include "exit_status.h"

static void take_settings(const struct settings *s, struct outgoing_options *o)
{
	o->limits = (struct steering_limits){
		.bandwidth = settings_number(s, SETTING_BANDWIDTH),
		.max_downtime_ms = (uint32_t)settings_number(s, SETTING_MAX_DOWNTIME),
		.post_copy = settings_bool(s, SETTING_ALLOW_POST_COPY),
	};
	o->completion_s_per_gib = (uint32_t)settings_number(s, SETTING_COMPLETION_TIMEOUT);
	o->progress_s = (uint32_t)settings_number(s, SETTING_PROGRESS_TIMEOUT);
	o->disruption = settings_bool(s, SETTING_ALLOW_WORKLOAD_DISRUPTION);
	o->auto_converge = settings_bool(s, SETTING_ALLOW_AUTO_CONVERGE);
	o->compression = settings_compression(s);
	o->keep_private = settings_bool(s, SETTING_KEEP_PRIVATE);
	o->max_outbound = (uint32_t)settings_number(s, SETTING_MAX_OUTBOUND);
	o->post_copy_now = s->post_copy_now;
	snprintf(o->socket.bind, sizeof(o->socket.bind), "%s", settings_text(s, SETTING_NETWORK));
	if (!settings_bool(s, SETTING_DISABLE_TLS))
		snprintf(o->tls_dir, sizeof(o->tls_dir), "%s", settings_text(s, SETTING_TLS_DIR));
}

/* Which policy it was is part of the record. */
static void tell_policy(const struct settings *s, struct report *report)
{
	char text[SETTING_NAME_SIZE + 64];

	if (s->policies == 0)
		return;
	if (s->policy[0])
		snprintf(text, sizeof(text), "MigrationPolicy %s applies", s->policy);
	else
		snprintf(text, sizeof(text), "none of %u MigrationPolicies matches", s->policies);
	report_event(report, "policy", PHASE_CONNECT, text);
}

int outgoing_arguments_resolve(const struct settings_input *in, struct outgoing_options *out,
			       struct report *report)
{
	struct settings settings;
	struct errtext err = {0};

	if (settings_resolve(in, &settings, &err) < 0) {
		report_error(report, err.text);
		return EXIT_REFUSED;
	}
	tell_policy(&settings, report);
	take_settings(&settings, out);
	return 0;
}
