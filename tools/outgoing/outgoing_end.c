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
#include "outgoing_qemu.h"
#include "outgoing_queue.h"
#include "outgoing_round.h"
#include "outgoing_state.h"
#include "outgoing_status.h"

#define SETTLE_MS 10000

/* ---- it has moved ---- */

static bool all_said(const struct outgoing *o)
{
	return (o->stop.resumed || !o->guest.was_running) || o->peer.lost;
}

static bool said_finished(const struct outgoing *o)
{
	return o->peer.finished || o->peer.lost;
}

int outgoing_end_finish(struct outgoing *o)
{
	struct errtext err;
	int ret;

	outgoing_await(o, all_said, SETTLE_MS, NULL);
	outgoing_qemu_let_go(o);
	if (!o->peer.finished && outgoing_peer_send(o, WIRE_FINISH) == 0)
		outgoing_await(o, said_finished, SETTLE_MS, NULL);
	if (!o->peer.finished)
		report_event(o->report, "warning", o->phase,
			     "the guest runs on the destination, which did not confirm that it has "
			     "tidied up: run `dray recover` for it there");
	ret = outgoing_libvirt_retire(o, &err);
	if (ret == -EEXIST) { /* somebody has let it run here as well */
		outgoing_status_enter(o, PHASE_LOST);
		return outgoing_fail(o, ret, "%s", err.text);
	}
	if (ret == 0) {
		o->world->forget_monitor(&o->place.dir);
		outgoing_place_forget(o);
	} else /* the guard tries on */
		report_event(o->report, "warning", o->phase, err.text);
	return 0;
}

/* ---- it stays ---- */

/* The guard tries on; but the guest must not be taken for one that runs. */
static void tell_that_it_stands(struct outgoing *o, const struct errtext *why)
{
	struct errtext first = o->err;

	o->libvirt.stands = true;
	o->err = (struct errtext){0};
	errtext_set(&o->err, o->failed,
		    "%.300s. The guest was not handed over, and stands still here, as libvirt does "
		    "not resume it (%.200s). This is tried on; or run: dray recover %s",
		    first.text, why->text, o->guest.info.name);
}

void outgoing_end_settle(struct outgoing *o)
{
	struct errtext err = {0};

	if (outgoing_libvirt_restore(o, &err) == 0) {
		outgoing_place_forget(o);
		return;
	}
	report_event(o->report, "warning", o->phase, err.text);
	if (outgoing_libvirt_stands(o))
		tell_that_it_stands(o, &err);
}

/* ---- and is given back ---- */

bool outgoing_end_release_all(struct outgoing *o)
{
	bool tidy = phase_is_final(o->phase) && o->phase != PHASE_LOST &&
		    !o->libvirt.ignore_shared && !o->place.debts && !o->libvirt.left_behind;
	bool kept;

	outgoing_precopy_release(o);
	outgoing_postcopy_release(o);
	outgoing_round_release(o);
	kept = !outgoing_qemu_release(o);
	if (!kept)
		outgoing_libvirt_end_job(o);
	/* A library that hangs in a dead daemon, or in a call that the gate keeps, still has our
	 * mailbox in its hands: leave all but the guest to the end of the process. */
	if (kept || outgoing_libvirt_hangs(o)) {
		outgoing_queue_leave(o);
		outgoing_place_dismiss(o, false);
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
