// SPDX-License-Identifier: Apache-2.0
// One migration from the caller's point of view.
#include "attempts.h"

#include <stdio.h>
#include <string.h>
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

bool attempts_are_alike(const struct report_result *a, const struct report_result *b)
{
	return a->stopped && b->stopped && strcmp(a->reason, b->reason) == 0;
}

int attempts_conclude(unsigned int count, const struct report_result *first, int first_status,
		      struct report_result *last, int status)
{
	char text[2 * ERRTEXT_SIZE + 64];

	if (count < 2 || status == EXIT_COMPLETED || status == EXIT_OPERATOR ||
	    strcmp(first->reason, last->reason) == 0)
		return status;
	snprintf(text, sizeof(text), "%s; attempt %u: %s", first->reason, count, last->reason);
	snprintf(last->reason, sizeof(last->reason), "%.*s", (int)sizeof(last->reason) - 1, text);
	return status == EXIT_REFUSED ? first_status : status;
}

/* Attempts until one succeeds, or may not be followed by another; returns how many. */
static unsigned int try(const struct outgoing_options *options, struct steering *steering,
			struct report *report, struct report_result *first, int *first_status,
			struct report_result *result, int *status)
{
	struct report_result before = {0};
	unsigned int pause = PAUSE_FIRST_S;
	bool may_pass;

	for (unsigned int i = 1;; i++) {
		*status = attempt(options, steering, report, result, &may_pass);
		if (i == 1) {
			*first = *result;
			*first_status = *status;
		}
		if (!may_pass || i > options->retries || attempts_are_alike(&before, result))
			return i;
		before = *result;
		report_attempt(report, i, pause, result->reason);
		if (!steering_pause(steering, pause)) {
			result->result = "aborted";
			*status = EXIT_ABORTED;
			return i;
		}
		pause = 2 * pause < PAUSE_MOST_S ? 2 * pause : PAUSE_MOST_S;
	}
}

int attempts_run(const struct outgoing_options *options, struct report *report)
{
	struct report_result result, first;
	struct steering *steering;
	struct errtext err = {0};
	int status, first_status;
	unsigned int count;

	if (steering_new(options->die_with_parent, &options->limits, &steering, &err) < 0) {
		report_error(report, err.text);
		return EXIT_REFUSED;
	}
	count = try(options, steering, report, &first, &first_status, &result, &status);
	status = attempts_conclude(count, &first, first_status, &result, status);
	report_result(report, &result);
	steering_destroy(steering); /* its socket was in there */
	if (result.uuid[0])
		guest_dir_tidy(result.uuid);
	return status;
}
