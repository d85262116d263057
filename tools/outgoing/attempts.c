// SPDX-License-Identifier: Apache-2.0
// One migration from the caller's point of view.
#include "attempts.h"

#include <time.h>
#include "exit_status.h"
#include "guest_dir.h"
#include "history.h"
#include "json_field.h"

#define PAUSE_FIRST_S 1
#define PAUSE_MOST_S 60

/* A history that cannot be written is no reason to fail a migration. */
static void remember(const struct report_result *r, const struct timespec *start,
		     struct report *report)
{
	json_object *entry = report_result_json(r);
	struct errtext err = {0};
	struct timespec end;

	clock_gettime(CLOCK_REALTIME, &end);
	json_object_object_del(entry, "event");
	json_object_object_del(entry, "time");
	json_put_time(entry, "start", start, 3);
	json_put_time(entry, "end", &end, 3);
	if (r->uuid[0] && history_add(HISTORY_DIR, r->uuid, entry, &err) < 0)
		report_event(report, "warning", PHASE_FINISH, err.text);
	json_object_put(entry);
}

static int attempt(const struct outgoing_options *options, struct steering *steering,
		   struct report *report, struct report_result *result, bool *may_pass)
{
	struct timespec start;
	int status;

	clock_gettime(CLOCK_REALTIME, &start);
	status = outgoing_run(options, steering, report, result, may_pass);
	remember(result, &start, report);
	return status;
}

int attempts_run(const struct outgoing_options *options, struct report *report)
{
	struct report_result result;
	struct steering *steering;
	struct errtext err = {0};
	unsigned int pause = PAUSE_FIRST_S;
	int status;

	if (steering_new(options->die_with_parent, &options->limits, &steering, &err) < 0) {
		report_error(report, err.text);
		return EXIT_REFUSED;
	}
	for (unsigned int i = 1;; i++) {
		bool may_pass;

		status = attempt(options, steering, report, &result, &may_pass);
		if (!may_pass || i > options->retries)
			break;
		report_attempt(report, i, pause, result.reason);
		if (!steering_pause(steering, pause)) {
			result.result = "aborted";
			status = EXIT_ABORTED;
			break;
		}
		pause = 2 * pause < PAUSE_MOST_S ? 2 * pause : PAUSE_MOST_S;
	}
	report_result(report, &result);
	steering_destroy(steering); /* its socket was in there */
	if (result.uuid[0])
		guest_dir_tidy(result.uuid);
	return status;
}
