// SPDX-License-Identifier: Apache-2.0
// The stop: from the gate's opening to the last page.
#include "outgoing_stop.h"

#include <errno.h>
#include "failure_point.h"
#include "outgoing_await.h"
#include "outgoing_guest.h"
#include "outgoing_libvirt.h"
#include "outgoing_limits.h"
#include "outgoing_postcopy.h"
#include "outgoing_precopy.h"
#include "outgoing_private.h"
#include "outgoing_round.h"
#include "outgoing_state.h"
#include "outgoing_stop_parts.h"
#include "outgoing_strain.h"

/* Between gate and stop: a round needs time to find something. */
#define CHASE_MS 5
#define STOP_MS 30000
#define PACED_MS 30000

static bool is_at_rest(const struct outgoing *o)
{
	return o->stop.at_rest;
}

/* QEMU first sends the RAM that is its own (an option ROM, a display), while the guest runs and as
 * slowly as the cap wants, and stops the guest when little is left of that. But a display may be
 * drawn faster than the cap lets it go. False: it is too late for that, too. */
static bool may_wait(struct outgoing *o, uint64_t begun_us)
{
	uint64_t waited = (o->world->now_us() - begun_us) / 1000;
	uint64_t paced = o->precopy.limits.bandwidth ? PACED_MS : 0;
	uint64_t stop = STOP_MS + outgoing_strain_patience_ms(o);

	if (waited > paced && paced)
		o->world->forward.hasten(o->libvirt.qemu_stream);
	if (waited <= paced + stop)
		return true;
	outgoing_fail(o, -ETIMEDOUT, "waited %u s for QEMU to stop the guest",
		      (unsigned int)(paced + stop) / 1000);
	return false;
}

/* Rounds go on meanwhile, so that the last pass finds only what was written in the last few
 * milliseconds. */
int outgoing_stop_switchover(struct outgoing *o)
{
	uint64_t begun;
	int ret = outgoing_guest_check_mappers(o);

	if (ret < 0)
		return ret;
	if (failure_point("switch-over") < 0)
		return outgoing_fail(o, -EIO, "failure asked for at switch-over");
	/* What the next rounds say must not wait for the cap, which QEMU's device state may just
	 * have used up. */
	if (o->postcopy.decided)
		outgoing_round_hasten(o);
	outgoing_stop_parts_begin(o);
	outgoing_libvirt_open_gate(o);
	begun = o->world->now_us();
	while (!o->stop.at_rest) {
		ret = outgoing_round(
			o, o->postcopy.decided ? SOURCE_ROUND_STALE : SOURCE_ROUND_LIVE, STOP_MS);
		if (ret == 0)
			ret = outgoing_await(o, is_at_rest, CHASE_MS, NULL);
		if (ret < 0 && ret != -ETIMEDOUT)
			return ret;
		if (o->failed)
			return o->failed;
		outgoing_strain_raise(o);
		if (!may_wait(o, begun))
			return o->failed;
	}
	return 0;
}

static bool has_completed(const struct outgoing *o)
{
	return o->stop.completed;
}

/* Pages go while QEMU saves its devices. Until it has completed its migration somebody may still
 * cancel that, and a device may still write memory. */
int outgoing_stop_last_pass(struct outgoing *o)
{
	int ret;

	if (failure_point("last-pass") < 0)
		return outgoing_fail(o, -EIO, "failure asked for in the last pass");
	outgoing_stop_parts_end(o, STOP_ROUND);
	outgoing_round_start(o, o->postcopy.decided ? SOURCE_ROUND_STALE_LAST : SOURCE_ROUND_LAST);
	ret = outgoing_round_await_stopped(o,
					   "the destination to take the last pages, guest stopped");
	outgoing_stop_parts_end_pass(o);
	if (ret == 0)
		ret = outgoing_await(o, has_completed, outgoing_limits_stopped_left_ms(o),
				     "QEMU here to save its devices, guest stopped");
	outgoing_stop_parts_end(o, STOP_DEVICE_STATE);
	if (ret == 0 && failure_point("completed") < 0)
		ret = outgoing_fail(o, -EIO, "failure asked for after QEMU's migration");
	return ret == 0 && o->postcopy.decided ? outgoing_postcopy_serve(o) : ret;
}

static void begin_stop(struct outgoing *o, uint64_t stop_us)
{
	o->stop.stop_us = stop_us;
	o->stop.since_us = o->world->now_us();
	outgoing_stop_parts_end(o, STOP_PAUSE);
	outgoing_precopy_free_vcpus(o);
	/* What QEMU has not sent yet of its own RAM was to go before. */
	o->world->forward.hasten(o->libvirt.qemu_stream);
}

/* Its user may pause it and let it go on: only the last stop is ours. But once QEMU's migration has
 * stopped it, only the end of that lets it run. */
static void take_resume(struct outgoing *o)
{
	if (!o->stop.at_rest) {
		o->stop.stop_us = o->stop.since_us = 0;
		outgoing_stop_parts_end(o, STOP_PAUSE);
	} else if (!o->failed && !outgoing_is_handed_over(o)) {
		outgoing_fail(o, -ECONNABORTED,
			      "QEMU has let the guest run on here before the hand-over");
	}
}

static void take_stop(struct outgoing *o, uint64_t time_us)
{
	if (o->stop.stop_us)
		return;
	outgoing_guest_note_running(o, true); /* or it could not stop */
	begin_stop(o, time_us);
}

/* A guest that was paused before QEMU's migration began does not stop again: our part of it begins
 * here. */
static void take_at_rest(struct outgoing *o, uint64_t time_us)
{
	if (o->stop.at_rest)
		return;
	o->stop.at_rest = true;
	if (o->stop.stop_us == 0)
		begin_stop(o, time_us);
	outgoing_stop_parts_end(o, STOP_DRAIN);
	outgoing_round_hurry(o);
	o->world->control.set_silence(o->peer.control, o->opt->stopped_ms);
}

/* By `virsh domjobabort`, say. A roll-back of ours has it cancelled, too. */
static void take_cancelled(struct outgoing *o)
{
	if (o->failed || outgoing_is_handed_over(o))
		return;
	o->cancelled = true;
	outgoing_fail(o, -ECANCELED,
		      "libvirt's migration job was cancelled on this host (virsh domjobabort?)");
}

/* STOP comes when the vCPUs stand still; QEMU then waits for disk I/O in flight, which may still
 * write guest memory. Only the migration state after that says that it is over. */
static void take_own_event(struct outgoing *o, const struct mail *mail)
{
	switch (mail->event) {
	case QEMU_EVENT_STOP:
		take_stop(o, mail->a);
		break;
	case QEMU_EVENT_RESUME:
		take_resume(o);
		break;
	case QEMU_EVENT_AT_REST:
		take_at_rest(o, mail->a);
		break;
	case QEMU_EVENT_COMPLETED:
		o->stop.completed = true;
		break;
	case QEMU_EVENT_CANCELLED:
		take_cancelled(o);
		break;
	case QEMU_EVENT_OTHER:
	case QEMU_EVENT_GONE:
	case QEMU_EVENT_BALLOON: /* outgoing_mail.c */
	case QEMU_EVENT_UNSEEN:	 /* the same */
	case QEMU_EVENT_FLOOD:	 /* the same */
	case QEMU_EVENT_END_:
		break;
	}
}

void outgoing_stop_take_event(struct outgoing *o, struct mail *mail)
{
	if (o->libvirt.gate_opened)
		take_own_event(o, mail);
	else if (mail->event == QEMU_EVENT_STOP || mail->event == QEMU_EVENT_RESUME)
		outgoing_guest_note_running(o, mail->event == QEMU_EVENT_RESUME);
}

void outgoing_stop_note_resumed(struct outgoing *o)
{
	o->stop.resumed = true;
}

void outgoing_stop_take_resumed(struct outgoing *o, struct wire_message *m)
{
	int64_t offset;
	uint64_t trip;

	o->world->control.clock(o->peer.control, &offset, &trip);
	o->stop.resume_us = m->resumed.time_us - (uint64_t)offset;
	o->stop.resumed = true;
	o->stop.resumed_us = o->world->now_us();
	outgoing_stop_parts_tell(o);
	outgoing_postcopy_push(o);
	report_event(o->report, "resumed", o->phase,
		     o->postcopy.decided
			     ? "the guest runs on the destination, and its memory follows"
			     : "the guest runs on the destination");
}
