// SPDX-License-Identifier: Apache-2.0
// The end of a migration, good or bad, on this host.
#include "outgoing_end.h"

#include <errno.h>
#include "outgoing_await.h"
#include "outgoing_guest.h"
#include "outgoing_libvirt.h"
#include "outgoing_peer.h"
#include "outgoing_place.h"
#include "outgoing_postcopy.h"
#include "outgoing_precopy.h"
#include "outgoing_private.h"
#include "outgoing_queue.h"
#include "outgoing_round.h"
#include "outgoing_status.h"
#include "ownership.h"
#include "ownership_table.h"

#define SETTLE_MS 10000
#define AGAIN_US 50000

/* ---- it has moved ---- */

static bool all_said(const struct outgoing *o)
{
	return (o->stop.resumed || !o->guest.was_running) || o->peer.lost;
}

static bool said_finished(const struct outgoing *o)
{
	return o->peer.finished || o->peer.lost;
}

/* libvirt's library calls a migration done also when its last call, on which the daemon here
 * removes the guest, was lost with that daemon: the one started next has it paused. */
static int retire_leftover(struct outgoing *o, struct errtext *err)
{
	uint64_t end = o->world->now_us() + SETTLE_MS * 1000ull;

	for (;;) {
		struct domain_info info;
		int ret;

		*err = (struct errtext){0};
		ret = ownership_wait_job(o->libvirt.host, o->guest.info.uuid, SETTLE_MS, &info,
					 err);
		if (ret == 0)
			ret = ownership_retire(o->libvirt.host, o->guest.info.uuid,
					       o->guest.info.persistent, err);
		if (ret == 0 || ret == -EEXIST || o->world->now_us() >= end)
			return ret;
		o->world->pause(AGAIN_US);
		host_reopen(o->libvirt.host, NULL);
	}
}

int outgoing_end_finish(struct outgoing *o)
{
	struct errtext err;

	outgoing_await(o, all_said, SETTLE_MS, NULL);
	if (!o->peer.finished && outgoing_peer_send(o, WIRE_FINISH) == 0)
		outgoing_await(o, said_finished, SETTLE_MS, NULL);
	if (!o->peer.finished)
		report_event(o->report, "warning", o->phase,
			     "the guest runs on the destination, which did not confirm that it has "
			     "tidied up: run `dray recover` for it there");
	o->libvirt.ignore_shared = false; /* goes with the source's QEMU */
	o->libvirt.left_behind = retire_leftover(o, &err) < 0;
	if (o->libvirt.left_behind) /* the guard tries on */
		report_event(o->report, "warning", o->phase, err.text);
	else
		outgoing_place_forget(o);
	return 0;
}

/* ---- it stays ---- */

/* libvirt has usually resumed it by now. */
static void make_sure_it_runs(struct outgoing *o)
{
	struct errtext err = {0};
	struct domain_info info;
	int ret = ownership_wait_job(o->libvirt.host, o->guest.info.uuid, SETTLE_MS, &info, &err);

	if (ret == 0 && o->guest.was_running &&
	    ownership_table_departure(info.state, false) == DEPARTURE_RESUME)
		ret = host_resume(o->libvirt.host, o->guest.info.uuid, &err);
	if (ret == 0 && o->libvirt.ignore_shared)
		ret = host_set_ignore_shared(o->libvirt.host, o->guest.info.uuid, false, &err);
	if (ret == 0) {
		o->libvirt.ignore_shared = false;
		outgoing_place_forget(o);
		return;
	}
	report_event(o->report, "warning", o->phase, err.text);
}

void outgoing_end_settle(struct outgoing *o)
{
	if (o->libvirt.ignore_shared || o->libvirt.job)
		make_sure_it_runs(o);
	else
		outgoing_place_forget(o);
}

/* ---- and is given back ---- */

bool outgoing_end_release_all(struct outgoing *o)
{
	bool tidy = phase_is_final(o->phase) && o->phase != PHASE_LOST &&
		    !o->libvirt.ignore_shared && !o->libvirt.left_behind;

	outgoing_precopy_release(o);
	outgoing_postcopy_release(o);
	outgoing_round_release(o);
	outgoing_libvirt_end_job(o);
	/* A library that hangs in a dead daemon still has our mailbox in its hands: leave all to
	 * the end of the process, which is near. */
	if (outgoing_libvirt_hangs(o)) {
		outgoing_queue_leave(o);
		outgoing_place_close(o);
		return false;
	}
	outgoing_libvirt_disconnect(o);
	outgoing_peer_hang_up(o);
	outgoing_round_close_streams(o);
	outgoing_peer_release(o);
	outgoing_queue_leave(o);
	outgoing_guest_close_monitor(o);
	outgoing_libvirt_close(o);
	outgoing_guest_forget(o);
	/* The guard takes over what is not tidy, and needs the lock for it. */
	outgoing_place_dismiss(o, tidy);
	return true;
}
