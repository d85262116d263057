// SPDX-License-Identifier: Apache-2.0
// One migration, as the source drives it: the phases in order, and the mail between.
//
// The driving thread walks down the table below. Inside a phase it waits for mail; whatever goes
// wrong arrives as mail too, is recorded once, and ends the wait. A failure before hand-over
// leads to roll-back; after it, outgoing_handover finds out who has the guest.
#include "outgoing.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "clock.h"
#include "outgoing_end.h"
#include "outgoing_handover.h"
#include "outgoing_mail.h"
#include "outgoing_peer.h"
#include "outgoing_place.h"
#include "outgoing_postcopy.h"
#include "outgoing_precopy.h"
#include "outgoing_private.h"
#include "outgoing_result.h"
#include "outgoing_round.h"
#include "outgoing_setup.h"
#include "outgoing_status.h"
#include "outgoing_stop.h"
#include "outgoing_verify.h"

static const struct {
	enum phase phase;
	int (*run)(struct outgoing *o);
} steps[] = {
	{PHASE_PREPARE, outgoing_prepare},
	{PHASE_ATTACH, outgoing_round_attach},
	{PHASE_PRECOPY, outgoing_precopy},
	{PHASE_SWITCHOVER, outgoing_stop_switchover},
	{PHASE_LAST_PASS, outgoing_stop_last_pass},
	{PHASE_VERIFY, outgoing_verify},
	{PHASE_HANDOVER, outgoing_handover},
	{PHASE_POSTCOPY, outgoing_postcopy},
	{PHASE_FINISH, outgoing_finish},
};

void outgoing_defaults(struct outgoing_options *o)
{
	long cores = sysconf(_SC_NPROCESSORS_ONLN);

	*o = (struct outgoing_options){
		.streams = cores < 1 ? 1 : (cores > 8 ? 8 : (unsigned int)cores),
		.limits = {.max_downtime_ms = 300},
		.completion_s_per_gib = 150,
		.progress_s = 150,
		.max_outbound = 2,
		.queue_s = 900,
		.connect_ms = 10000,
		.silence_ms = 10000,
		.stopped_ms = 2000,
		.resolve_ms = 30000,
	};
	strcpy(o->socket.congestion, "cubic");
}

/* Walk the phases, to one that is final. */
static void walk(struct outgoing *o)
{
	int ret = outgoing_connect(o);

	for (size_t i = 0; ret == 0 && i < sizeof(steps) / sizeof(*steps); i++) {
		if ((steps[i].phase == PHASE_VERIFY && (!o->opt->verify || o->postcopy.decided)) ||
		    (steps[i].phase == PHASE_POSTCOPY && !o->postcopy.decided))
			continue;
		if (steps[i].phase != PHASE_HANDOVER)
			outgoing_enter(o, steps[i].phase);
		ret = steps[i].run(o);
	}
	if (ret == 0)
		outgoing_enter(o, PHASE_COMPLETED);
	else if (!phase_is_final(o->phase)) /* else hand-over, or post-copy, lost the guest */
		outgoing_rollback(o);
}

static int run(struct outgoing *o, struct report_result *result, bool *may_pass)
{
	enum exit_status status;
	bool refused;

	*may_pass = false;
	if (outgoing_check(o) < 0) {
		report_event(o->report, "refused", o->phase, o->err.text);
		outgoing_result_fill(o, "failed", result);
		return EXIT_REFUSED;
	}
	walk(o);
	status = outgoing_result_status(o->phase, o->postcopy.damaged);
	/* A receiver that cannot be reached, or will not do, is found before anything is touched.
	 */
	refused = status == EXIT_FAILED && !o->peer.accepted;
	*may_pass = status == EXIT_FAILED && (!refused || outgoing_result_is_passing(o->failed));
	outgoing_result_fill(o, outgoing_result_word(o->phase, o->postcopy.damaged), result);
	return refused ? EXIT_REFUSED : status;
}

int outgoing_run(const struct outgoing_options *options, struct steering *steering,
		 struct report *report, struct report_result *result, bool *may_pass)
{
	struct outgoing *o = calloc(1, sizeof(*o));
	int status;

	if (!o || mailbox_new(&o->mail) < 0)
		abort();
	o->opt = options;
	o->report = report;
	o->steering = steering;
	o->take = outgoing_mail_take;
	o->status.shown.mode = "PreCopy";
	outgoing_place_init(o);
	o->status.begun_us = clock_monotonic_us();
	steering_limits(steering, &o->precopy.limits);
	if (outgoing_peer_init(o) < 0)
		abort();
	steering_attach(steering, o->mail);
	status = run(o, result, may_pass);
	steering_attach(steering, NULL);
	if (outgoing_release_all(o)) {
		mailbox_destroy(o->mail);
		free(o);
	}
	return status;
}
