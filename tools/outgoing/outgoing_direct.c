// SPDX-License-Identifier: Apache-2.0
// The direct lane: its steps, and what undoes them.
//
// Roll-back in time order, whatever the phase in which it begins: the guest's vCPUs run free, and
// nothing connects anew for post-copy; the destination is told, so that both sides undo at once;
// nothing is sent any more; libvirt's job ends, which lets the guest run; only then its memory is
// no longer tracked, which takes a while per GiB; and when libvirt has no job on the guest any more
// it is made sure that it runs here as it did before.
#include "outgoing_direct.h"

#include <errno.h>
#include "lane.h"
#include "outgoing_end.h"
#include "outgoing_handover.h"
#include "outgoing_private.h"
#include "outgoing_setup.h"
#include "outgoing_state.h"

static bool wants_verify(const struct outgoing *o)
{
	return o->opt->verify && !o->postcopy.decided;
}

static bool wants_postcopy(const struct outgoing *o)
{
	return o->postcopy.decided;
}

static void undo_connect(struct outgoing *o)
{
	outgoing_peer_abort(o);
	outgoing_round_untrack(o);
	outgoing_end_settle(o);
}

static void undo_prepare(struct outgoing *o)
{
	outgoing_peer_abort(o);
	outgoing_libvirt_undo(o);
}

static void undo_attach(struct outgoing *o)
{
	outgoing_peer_abort(o);
	outgoing_round_stop(o);
}

static void undo_precopy(struct outgoing *o)
{
	outgoing_precopy_release(o);
	outgoing_postcopy_release(o);
}

static const struct outgoing_step steps[] = {
	{PHASE_CONNECT, NULL, outgoing_setup_connect, undo_connect},
	{PHASE_PREPARE, NULL, outgoing_setup_prepare, undo_prepare},
	{PHASE_ATTACH, NULL, outgoing_round_attach, undo_attach},
	{PHASE_PRECOPY, NULL, outgoing_precopy, undo_precopy},
	{PHASE_SWITCHOVER, NULL, outgoing_stop_switchover, NULL},
	{PHASE_LAST_PASS, NULL, outgoing_stop_last_pass, NULL},
	{PHASE_VERIFY, wants_verify, outgoing_verify, NULL},
	{OUTGOING_SAME_PHASE, NULL, outgoing_handover_commit, NULL},
	{PHASE_HANDOVER, NULL, outgoing_handover, NULL},
	{PHASE_POSTCOPY, wants_postcopy, outgoing_postcopy, NULL},
	{PHASE_FINISH, NULL, outgoing_end_finish, NULL},
};

/* All that has begun is undone from here, as by a cancel. */
static int end_trial(struct outgoing *o)
{
	o->libvirt.tried = true;
	o->cancelled = true;
	return outgoing_fail(o, -ECANCELED, "this was a trial, by dray check: it would work");
}

static const struct outgoing_step trial[] = {
	{PHASE_CONNECT, NULL, outgoing_setup_connect, undo_connect},
	{PHASE_PREPARE, NULL, outgoing_setup_prepare, undo_prepare},
	{OUTGOING_SAME_PHASE, NULL, end_trial, NULL},
};

_Static_assert(sizeof(steps) / sizeof(*steps) <= OUTGOING_STEPS_MAX, "a bit for each step");

const struct outgoing_lane outgoing_direct = {
	.name = LANE_DIRECT,
	.steps = steps,
	.count = sizeof(steps) / sizeof(*steps),
};

const struct outgoing_lane outgoing_direct_trial = {
	.name = LANE_DIRECT,
	.steps = trial,
	.count = sizeof(trial) / sizeof(*trial),
};
