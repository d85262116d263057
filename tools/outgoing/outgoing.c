// SPDX-License-Identifier: Apache-2.0
// One migration, as the source drives it.
//
// The driving thread walks down a lane's table of steps (outgoing_direct.c is the one to read
// first). Inside a step it waits for mail; whatever goes wrong arrives as mail too, is recorded
// once, and ends the wait. A failure before the hand-over leads to roll-back, which walks the table
// up again; after it, outgoing_handover finds out who has the guest.
#include "outgoing.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "connection.h"
#include "outgoing_direct.h"
#include "outgoing_end.h"
#include "outgoing_mail.h"
#include "outgoing_private.h"
#include "outgoing_result.h"
#include "outgoing_setup.h"

/* The first one that the guest allows is taken. */
static const struct outgoing_lane *const lanes[] = {&outgoing_direct};

static const struct outgoing_lane *find_lane(const char *name)
{
	for (size_t i = 0; i < sizeof(lanes) / sizeof(*lanes); i++)
		if (!name || strcmp(lanes[i]->name, name) == 0)
			return lanes[i];
	return NULL;
}

bool outgoing_has_lane(const char *name)
{
	return find_lane(name) != NULL;
}

void outgoing_defaults(struct outgoing_options *o)
{
	long cores = sysconf(_SC_NPROCESSORS_ONLN);

	*o = (struct outgoing_options){
		.world = outgoing_world_real(),
		.streams = cores < 1 ? 1 : (cores > 8 ? 8 : (unsigned int)cores),
		.limits = {.max_downtime_ms = 300},
		.completion_s_per_gib = 150,
		.progress_s = 150,
		.max_outbound = 2,
		.queue_s = 900,
		.connect_ms = CONNECTION_DIAL_MS,
		.silence_ms = CONNECTION_SILENCE_MS,
		.stopped_ms = 2000,
		.resolve_ms = 30000,
	};
	strcpy(o->socket.congestion, SOCKET_CONGESTION);
}

static int run(struct outgoing *o, const struct outgoing_lane *lane, struct report_result *result,
	       bool *may_pass)
{
	enum exit_status status;
	bool refused, for_operator;

	*may_pass = false;
	if (outgoing_setup_check(o) < 0) {
		report_event(o->report, "refused", o->phase, o->err.text);
		outgoing_result_fill(o, "failed", result);
		return EXIT_REFUSED;
	}
	outgoing_lane_walk(o, lane);
	for_operator = o->postcopy.damaged || o->libvirt.stands;
	status = outgoing_result_status(o->phase, for_operator);
	/* A receiver that cannot be reached, or will not do, is found before anything is touched;
	 * and what libvirt refuses has been undone. */
	refused = status == EXIT_FAILED &&
		  (!o->peer.accepted || o->peer.declined || o->libvirt.refused);
	*may_pass = status == EXIT_FAILED && !o->guest.ended &&
		    (!refused || outgoing_result_is_passing(o->failed));
	outgoing_result_fill(o, outgoing_result_word(o->phase, for_operator), result);
	if (refused)
		return EXIT_REFUSED;
	if (status == EXIT_ABORTED && o->libvirt.tried)
		return EXIT_COMPLETED;
	return status;
}

int outgoing_run(const struct outgoing_options *options, struct steering *steering,
		 struct report *report, struct report_result *result, bool *may_pass)
{
	const struct outgoing_lane *lane =
		options->trial ? &outgoing_direct_trial : find_lane(options->lane);
	struct outgoing *o = calloc(1, sizeof(*o));
	int status;

	if (!o || mailbox_new(&o->mail.box) < 0)
		abort();
	o->opt = options;
	o->world = options->world;
	o->report = report;
	o->steering = steering;
	o->mail.take = outgoing_mail_take;
	outgoing_status_begin(o, lane->name);
	outgoing_place_init(o);
	outgoing_guest_init(o);
	steering_limits(steering, &o->precopy.limits);
	if (outgoing_peer_init(o) < 0)
		abort();
	steering_attach(steering, o->mail.box);
	status = run(o, lane, result, may_pass);
	steering_attach(steering, NULL);
	if (outgoing_end_release_all(o)) {
		mailbox_destroy(o->mail.box);
		free(o);
	}
	return status;
}
