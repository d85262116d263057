// SPDX-License-Identifier: Apache-2.0
// How a migration ends, as the destination sees it.
//
// Before RELEASE the guest belongs to the source: whatever breaks, everything here is taken down,
// and libvirt, whose client connection (the tunnel) is cut, ends the QEMU it started. After RELEASE
// libvirt's Finish call decides: it either came through the tunnel, and the guest runs here, or
// the tunnel is cut and QEMU ended. Either way the answer to a later QUERY is definite.
#include "incoming_private.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <syslog.h>
#include <unistd.h>
#include "monitor_log.h"
#include "ownership.h"

#define WIND_UP_US 5000000
#define SETTLE_US 15000000

static void tell_source(struct incoming *in)
{
	const struct wire_message m = {.type = WIRE_ABORT, .abort = {in->err.text, in->why}};

	if (in->control && !in->source_lost)
		control_send(in->control, &m);
}

/* Was QEMU seen to end, or did libvirt say so while post-copy went on? After the release, that
 * libvirt has no such guest now is not enough: it may have run and ended unseen. */
static bool is_known_to_have_ended(const struct incoming *in)
{
	return in->monitor.qemu_ended || in->state == INCOMING_GONE;
}

/* Once it is certain whether the guest has run here, and that it never will again, the record says
 * so: QUERY can then be answered. libvirt stores the definition before it starts the guest, and
 * leaves it behind if the start fails; one that was not there before is removed. */
static void remember_whether_it_ran(struct incoming *in)
{
	enum domain_state state = incoming_settle(in, 0);
	struct record *r = &in->place.record;

	if (r->resumed || !incoming_settle_has_ended(state))
		return;
	record_judge(&in->place.dir, r, true);
	if (!r->resumed && !in->monitor.missed_events &&
	    (!r->released || is_known_to_have_ended(in)))
		r->never_ran = true;
	if (r->resumed || r->never_ran)
		incoming_place_write(in, NULL);
	if (r->never_ran && state == DOMAIN_SHUT_OFF && !r->defined_before)
		host_undefine(in->host, in->uuid, NULL);
}

/* The QEMU of this session, and no other one: it has our monitor. */
static bool find_qemu(struct incoming *in)
{
	struct record *r = &in->place.record;

	if (r->qemu <= 0)
		incoming_monitor_reach_again(in);
	if (r->qemu <= 0 && in->monitor.qmp)
		incoming_place_note_qemu(in, qmp_peer_pid(in->monitor.qmp));
	return r->qemu > 0;
}

/* libvirt neither lets the guest run nor ends it. One that has run belongs to its user; that it has
 * not is made sure of in the same breath, as libvirt's Finish may just be at it. */
static void give_up_guest(struct incoming *in)
{
	struct record *r = &in->place.record;
	int ret;

	if (r->resumed || !find_qemu(in))
		return;
	ret = in->world->end_unless_resumed(r->qemu, r->qemu_started, in->place.dir.monitor,
					    r->released, &in->err);
	r->never_ran = ret == 0;
	r->resumed = ret == -EALREADY;
	if (r->never_ran || r->resumed)
		incoming_place_write(in, NULL);
	if (ret == 0)
		incoming_settle(in, WIND_UP_US); /* libvirt notices */
}

/* A QEMU that was killed leaves its socket. The log is kept for as long as it alone tells whether
 * the guest ran. */
static void forget_monitor(struct incoming *in)
{
	const struct record *r = &in->place.record;
	char log[MONITOR_LOG_PATH_MAX];

	if (!incoming_settle_has_ended(incoming_settle(in, 0)))
		return;
	unlink(in->place.dir.monitor);
	monitor_log_path(in->place.dir.monitor, log);
	if (r->resumed || r->never_ran)
		unlink(log);
}

/* libvirt's client at the source may still end its migration in good order through the tunnel; if
 * it does not, cutting the tunnel makes this host's libvirt end the QEMU that it started. */
static void undo(struct incoming *in)
{
	tell_source(in);
	incoming_joined_end(in);
	incoming_joined_stop_qemu_stream(in);
	if (in->source_lost || incoming_settle(in, WIND_UP_US) == DOMAIN_INCOMING)
		incoming_joined_cut_tunnels(in);
	if (incoming_settle(in, SETTLE_US) == DOMAIN_INCOMING)
		give_up_guest(in);
	remember_whether_it_ran(in);
	forget_monitor(in);
}

/* `dray recover` here tries again. */
static void keep_autostart(struct incoming *in)
{
	struct record *r = &in->place.record;
	struct errtext err = {0};
	enum domain_state state;

	if (r->autostart && incoming_settle_look(in, &state) == 0 && in->host &&
	    ownership_set_autostart(in->host, r, &err) < 0)
		syslog(LOG_WARNING, "domain %s: %s", in->prepare.name, err.text);
}

/* Let go of QEMU, then tell the source. An error means that something may be left inside QEMU; the
 * guest has arrived all the same. */
static int welcome(struct incoming *in, struct incoming_result *result)
{
	struct record *r = &in->place.record;
	bool written;
	int ret;

	incoming_live_stop(in);
	ret = in->postcopy.owed ? incoming_postcopy_end(in) : 0;

	incoming_monitor_unwatch(in);
	r->resumed = true;
	r->complete = ret == 0;
	keep_autostart(in);
	if (ret == 0)
		ret = incoming_monitor_forget_capability(in);
	written = incoming_place_write(in, NULL) == 0;
	incoming_monitor_close(in);
	/* Else the log is all that tells that it has run, or the monitor is needed once more. */
	if (written && ret == 0)
		monitor_log_quiet(in->place.dir.monitor);
	if (in->postcopy.owed && r->complete)
		unlink(in->place.dir.owed);
	/* When the source hears FINISHED, or COMPLETE, the guest may be sent on to another host at
	 * once: everything of this session lets go of it first. */
	incoming_joined_end(in);
	incoming_postcopy_release(in);
	incoming_joined_close(in);
	result->ram_bytes = ram_map_bytes(&in->ram);
	ram_map_destroy(&in->ram);
	guest_dir_close(&in->place.dir);
	if (ret == 0 && in->control)
		control_send_type(in->control, WIRE_FINISHED);
	return ret;
}

/* The guest was seen to run and then no more, or nobody saw what came of the release. */
static bool is_unknown(struct incoming *in)
{
	const struct record *r = &in->place.record;

	return r->resumed ||
	       (r->released && !r->never_ran && incoming_settle(in, 0) == DOMAIN_INCOMING);
}

/* Was the guest handed over, and does libvirt say that it has ended? */
static bool has_ended(struct incoming *in)
{
	enum domain_state state = DOMAIN_INCOMING;

	return in->state != INCOMING_ARRIVED && in->place.record.released &&
	       incoming_settle_look(in, &state) == 0 && incoming_settle_has_ended(state);
}

/* A guard that is not told that all is done tidies up when this session closes its pipe. */
static void act(struct incoming *in, struct incoming_result *result)
{
	int ret = 0;

	switch (in->state) {
	case INCOMING_ARRIVED:
		ret = welcome(in, result);
		break;
	case INCOMING_UNDOING:
	case INCOMING_GONE:
		undo(in);
		break;
	default:
		tell_source(in);
	}
	if (ret == 0)
		incoming_place_guard_done(in);
	if (incoming_state_may_move(in->state, INCOMING_UNKNOWN))
		incoming_move(in, is_unknown(in) ? INCOMING_UNKNOWN : INCOMING_UNDONE);
}

void incoming_end(struct incoming *in, struct incoming_result *result)
{
	const struct record *r = &in->place.record;

	act(in, result);
	result->trial = in->prepare.trial && !r->released; /* whatever the source has called it */
	result->arrived = in->state == INCOMING_ARRIVED;
	result->unknown = in->state == INCOMING_UNKNOWN;
	incoming_joined_end(in);
	result->untold = !incoming_link_tell_end(in, has_ended(in)) && r->post_copy && r->complete;
	result->post_copy = r->post_copy;
	result->told = in->postcopy.told;
	if (!result->arrived)
		result->ram_bytes = ram_map_bytes(&in->ram);
	result->wire_bytes = in->joined.wire_bytes; /* no stream is left that could add to it */
	result->streams = in->prepare.streams;
	snprintf(result->reason, sizeof(result->reason), "%s", result->arrived ? "" : in->err.text);
}
