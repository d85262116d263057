// SPDX-License-Identifier: Apache-2.0
// The end of a migration: hand-over, or roll-back.
//
// What makes two running guests impossible: the destination's QEMU starts only on libvirt's Finish
// call, which this process sends, after the source's QEMU has sent everything and libvirt has
// recorded so. From then on libvirt resumes the source only on Confirm(cancelled), and the gate
// holds that back unless the destination says that it never ran the guest.
#include "outgoing_private.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "cleanup.h"
#include "clock.h"
#include "failure_point.h"
#include "guard.h"
#include "ownership.h"

/* For libvirt to wind up by itself before its connections are cut. */
#define WIND_UP_MS 3000
#define CUT_MS 20000
#define HANDOVER_MS 30000
#define SETTLE_MS 10000
#define AGAIN_US 50000

static bool job_is_done(const struct outgoing *o)
{
	return o->job_done;
}

static bool round_is_idle(const struct outgoing *o)
{
	return !o->round_running;
}

/* ---- hand-over ---- */

static bool outcome_known(const struct outgoing *o)
{
	return o->job_done || o->control_lost || o->confirm_held;
}

/* libvirt's library must come to an end before its connections go. */
static void end_job(struct outgoing *o)
{
	if (!o->job || o->job_done)
		return;
	forward_cut(o->tunnel);
	if (outgoing_await(o, job_is_done, WIND_UP_MS, NULL) < 0) {
		gate_cut(o->gate);
		outgoing_await(o, job_is_done, CUT_MS, NULL);
	}
}

/* It runs there, but libvirt's end of the job broke: finish that by hand. The gate stays shut to
 * Confirm(cancelled). */
static int retire_by_hand(struct outgoing *o)
{
	struct domain_info info;
	int ret;

	gate_cut(o->gate);
	end_job(o);
	ret = ownership_wait_job(o->host, o->guest.uuid, SETTLE_MS, &info, &o->err);
	if (ret == 0)
		ret = ownership_retire(o->host, o->guest.uuid, o->persistent, &o->err);
	return ret;
}

/* The destination never ran it: libvirt may resume the source after all. */
static int take_back(struct outgoing *o)
{
	errtext_set(&o->err, 0, "%s",
		    o->job_text[0] ? o->job_text : "the connection broke during the hand-over");
	gate_permit(o->gate);
	end_job(o);
	return -ECONNABORTED;
}

static int give_up(struct outgoing *o, const char *why)
{
	errtext_set(&o->err, -EHOSTUNREACH,
		    "the guest was handed over, and the destination no longer answers (%s). It is "
		    "paused here and may run on %s. Do not resume it here; when the other host "
		    "can be reached, run: dray recover %s",
		    why, o->opt->destination, o->guest.name);
	outgoing_enter(o, PHASE_LOST);
	return -EHOSTUNREACH;
}

/* libvirt resumes the guest here by itself when QEMU's migration fails, which it can only do while
 * Finish has not been sent: proof that it does not run there. */
static bool runs_here(struct outgoing *o)
{
	struct domain_info info;

	return host_state(o->host, o->guest.uuid, &info, NULL) == 0 && info.state == DOMAIN_RUNNING;
}

/* Ask until it is known. */
static int resolve(struct outgoing *o)
{
	struct errtext err = {0};
	enum wire_state state;
	int ret;

	if (runs_here(o))
		return take_back(o);
	report_event(o->report, "resolve", o->phase,
		     "the hand-over broke off; asking the destination who has the guest");
	forward_cut(o->tunnel); /* its half of libvirt must not wait for ours */
	/* In post-copy to give up would be to give up the guest's memory. */
	do
		ret = ownership_settle(ownership_ask, &o->peer, o->guest.uuid_bytes,
				       o->opt->resolve_ms, &state, &err);
	while (ret < 0 && o->post_copy && !runs_here(o));
	if (ret < 0)
		return runs_here(o) ? take_back(o) : give_up(o, err.text);
	if (state == WIRE_STATE_ABSENT)
		return take_back(o);
	o->resumed_there = true;
	ret = retire_by_hand(o);
	return ret < 0 ? give_up(o, o->err.text) : 0;
}

/* QEMU's virtio-serial takes input from the host even while the guest stands still, and some other
 * device may too: guest memory that no longer fits the device state must not be handed over. */
static int check_still(struct outgoing *o)
{
	o->round_running = true;
	source_round_start(o->source, o->round, SOURCE_ROUND_CHECK);
	if (outgoing_await(o, round_is_idle, SETTLE_MS, "the last look at guest memory") < 0)
		return o->failed;
	if (o->round_pages)
		return outgoing_fail(
			o, -EAGAIN,
			"a device wrote guest memory after the guest had stopped (%llu "
			"pages; input on a virtio console?): try again",
			(unsigned long long)o->round_pages);
	return 0;
}

int outgoing_handover(struct outgoing *o)
{
	int ret = check_still(o);

	if (ret < 0)
		return ret;
	if (!steering_commit(o->steering)) {
		o->cancelled = true;
		return outgoing_fail(o, -ECANCELED, "cancelled");
	}
	if (!gate_forbid(o->gate))
		return outgoing_fail(o, -EPROTO, "libvirt is already resuming the guest here");
	o->record.released = true;
	o->record.post_copy = o->post_copy;
	snprintf(o->record.phase, sizeof(o->record.phase), "%s", phase_name(PHASE_HANDOVER));
	ret = record_write(&o->dir, RECORD_OUTGOING, &o->record, &o->err);
	if (ret < 0) {
		gate_permit(o->gate);
		return outgoing_fail(o, ret, "cannot record the hand-over");
	}
	outgoing_enter(o, PHASE_HANDOVER);
	ret = control_send_type(o->control, WIRE_RELEASE);
	failure_point("hand-over");
	if (ret == 0)
		outgoing_await(o, outcome_known, HANDOVER_MS, NULL);
	if (o->job_done && o->job_result == 0)
		return 0;
	/* Frozen or cut: what the control channel still said may be the answer. */
	if (o->resumed_there && retire_by_hand(o) == 0)
		return 0;
	ret = resolve(o);
	if (ret == -ECONNABORTED)
		outgoing_enter(o, PHASE_ROLLBACK);
	return ret;
}

static bool all_said(const struct outgoing *o)
{
	return (o->resumed_there || !o->was_running) || o->control_lost;
}

static bool said_finished(const struct outgoing *o)
{
	return o->finished_there || o->control_lost;
}

/* libvirt's library calls a migration done also when its last call, on which the daemon here
 * removes the guest, was lost with that daemon: the one started next has it paused. */
static int retire_leftover(struct outgoing *o, struct errtext *err)
{
	uint64_t end = clock_monotonic_us() + SETTLE_MS * 1000ull;

	for (;;) {
		struct domain_info info;
		int ret;

		*err = (struct errtext){0};
		ret = ownership_wait_job(o->host, o->guest.uuid, SETTLE_MS, &info, err);
		if (ret == 0)
			ret = ownership_retire(o->host, o->guest.uuid, o->persistent, err);
		if (ret == 0 || ret == -EEXIST || clock_monotonic_us() >= end)
			return ret;
		usleep(AGAIN_US);
		host_reopen(o->host, NULL);
	}
}

int outgoing_finish(struct outgoing *o)
{
	struct errtext err;

	outgoing_await(o, all_said, SETTLE_MS, NULL);
	if (!o->finished_there && control_send_type(o->control, WIRE_FINISH) == 0)
		outgoing_await(o, said_finished, SETTLE_MS, NULL);
	if (!o->finished_there)
		report_event(o->report, "warning", o->phase,
			     "the guest runs on the destination, which did not confirm that it has "
			     "tidied up: run `dray recover` for it there");
	o->ignore_shared = false; /* goes with the source's QEMU */
	o->left_behind = retire_leftover(o, &err) < 0;
	if (o->left_behind) /* the guard tries on */
		report_event(o->report, "warning", o->phase, err.text);
	else
		record_remove(&o->dir, RECORD_OUTGOING);
	return 0;
}

/* ---- roll-back ---- */

static void tell_destination(struct outgoing *o)
{
	const struct wire_message m = {.type = WIRE_ABORT, .abort = {o->err.text}};

	if (o->control && !o->control_lost)
		control_send(o->control, &m);
}

/* Before the gate opened QEMU knows of nothing, and without its client libvirt forgets the job.
 * Later QEMU's migration fails as its stream breaks, and libvirt winds up both sides; but while
 * the guest stands still it must not wait for the other host in that. */
static void undo_job(struct outgoing *o)
{
	if (!o->job)
		return;
	forward_cut(o->relay);
	if (o->control_lost || o->stop_us)
		forward_cut(o->tunnel);
	if (!o->gate_opened)
		gate_cut(o->gate);
	else if (!o->job_done)
		host_abort_job(o->host, o->guest.uuid);
	if (outgoing_await(o, job_is_done, WIND_UP_MS, NULL) < 0)
		end_job(o);
}

/* libvirt has usually resumed it by now. */
static void make_sure_it_runs(struct outgoing *o)
{
	struct errtext err = {0};
	struct domain_info info;
	int ret = ownership_wait_job(o->host, o->guest.uuid, SETTLE_MS, &info, &err);

	if (ret == 0 && info.state == DOMAIN_PAUSED_MIGRATION && o->was_running)
		ret = host_resume(o->host, o->guest.uuid, &err);
	if (ret == 0 && o->ignore_shared)
		ret = host_set_ignore_shared(o->host, o->guest.uuid, false, &err);
	if (ret == 0) {
		o->ignore_shared = false;
		record_remove(&o->dir, RECORD_OUTGOING);
		return;
	}
	report_event(o->report, "warning", o->phase, err.text);
}

void outgoing_rollback(struct outgoing *o)
{
	if (o->phase != PHASE_ROLLBACK)
		outgoing_enter(o, PHASE_ROLLBACK);
	throttle_destroy(o->throttle);
	o->throttle = NULL;
	page_link_destroy(o->link);
	o->link = NULL;
	tell_destination(o);
	if (o->source) {
		source_abort(o->source);
		outgoing_await(o, round_is_idle, SETTLE_MS, NULL);
	}
	undo_job(o);
	tracker_destroy(o->tracker);
	o->tracker = NULL;
	if (o->ignore_shared || o->job)
		make_sure_it_runs(o);
	else if (o->record.uuid[0]) /* ours, written under our lock */
		record_remove(&o->dir, RECORD_OUTGOING);
	outgoing_enter(o, o->cancelled ? PHASE_ABORTED : PHASE_FAILED);
}

/* In an order in which nothing uses what has gone. False if something still might. */
bool outgoing_release_all(struct outgoing *o)
{
	bool tidy = phase_is_final(o->phase) && o->phase != PHASE_LOST && !o->ignore_shared &&
		    !o->left_behind;

	throttle_destroy(o->throttle);
	o->throttle = NULL;
	page_link_destroy(o->link);
	o->link = NULL;
	if (o->source)
		source_abort(o->source);
	source_destroy(o->source);
	o->source = NULL;
	tracker_destroy(o->tracker);
	o->tracker = NULL;
	if (o->job && !o->job_done)
		end_job(o);
	/* A library that hangs in a dead daemon still has our mailbox in its hands: leave all to
	 * the end of the process, which is near. */
	if (o->job && !o->job_done) {
		slot_leave(o->slot);
		guest_dir_close(&o->dir);
		return false;
	}
	libvirt_job_join(o->job);
	gate_destroy(o->gate);
	forward_destroy(o->tunnel);
	forward_destroy(o->relay);
	control_destroy(o->control);
	for (unsigned int i = 0; o->streams && i < o->opt->streams; i++)
		if (o->streams[i])
			o->streams[i]->ops->destroy(o->streams[i]);
	free(o->streams);
	wire_cost_destroy(o->wire_cost);
	slot_leave(o->slot);
	qmp_close(o->monitor);
	host_close(o->host);
	ram_map_destroy(&o->ram);
	record_destroy(&o->record);
	/* The guard takes over what is not tidy, and needs the lock for it. */
	guest_dir_close(&o->dir);
	if (tidy || o->guard < 0)
		guard_done(o->guard);
	return true;
}
