// SPDX-License-Identifier: Apache-2.0
// The hand-over.
//
// What makes two running guests impossible: the source's QEMU has completed its migration, so that
// no cancelling lets it run the guest any more, and libvirt has recorded so. From then on libvirt
// resumes the source only on Confirm(cancelled), and from the commit on the gate holds that back
// unless the destination says that it never ran the guest. The destination's QEMU starts on
// libvirt's Finish call, which waits there for the stream that the release lets go.
#include "outgoing_handover.h"

#include <errno.h>
#include "failure_point.h"
#include "outgoing_await.h"
#include "outgoing_libvirt.h"
#include "outgoing_place.h"
#include "outgoing_private.h"
#include "outgoing_qemu.h"
#include "outgoing_round.h"
#include "outgoing_state.h"
#include "outgoing_stop.h"
#include "outgoing_stop_parts.h"
#include "outgoing_status.h"
#include "ownership.h"
#include "ownership_table.h"

#define HANDOVER_MS 30000

/* It has all that it wanted, and hung up: post-copy of a small guest is over before libvirt here
 * has removed the guest. */
static bool is_served(const struct outgoing *o)
{
	return o->stop.resumed && o->postcopy.over && !o->postcopy.ended;
}

static bool outcome_known(const struct outgoing *o)
{
	return o->libvirt.done || o->libvirt.confirm_held || o->peer.refused ||
	       (o->peer.lost && !is_served(o));
}

/* The destination never ran it: libvirt may resume the source after all. Only then does its library
 * come to its end, and tell what the destination's QEMU did not like. */
static int take_back(struct outgoing *o)
{
	bool told;

	outgoing_qemu_take_back(o);
	o->world->gate.permit(o->libvirt.gate);
	outgoing_libvirt_end_job(o);
	told = o->libvirt.text[0] && o->libvirt.result != -ECONNRESET;
	errtext_set(&o->err, 0, "%s",
		    told ? o->libvirt.text : "the connection broke during the hand-over");
	return -ECONNABORTED;
}

/* What an operator is to do comes before whatever broke first. */
static int give_up(struct outgoing *o, int why, const struct errtext *text)
{
	o->err = (struct errtext){0};
	if (why == -EEXIST)
		errtext_set(&o->err, why, "%s", text->text);
	else if (why == -EOWNERDEAD || why == -ENODATA)
		errtext_set(&o->err, why, "the guest was handed over, and is paused here: %s",
			    text->text);
	else
		errtext_set(&o->err, why,
			    "the guest was handed over, and the destination no longer answers "
			    "(%s). It is paused here and may run on %s. Do not resume it here; "
			    "when the other host can be reached, run: dray recover %s",
			    text->text, o->opt->destination, o->guest.info.name);
	outgoing_status_enter(o, PHASE_LOST);
	return -EHOSTUNREACH;
}

/* It runs there, so what is here must go. What does not go now goes later (outgoing_end_finish),
 * but for a guest that runs here as well. */
static int let_go(struct outgoing *o)
{
	struct errtext err = {0};

	if (o->qemu.needed) /* until the last page has gone */
		return 0;
	return outgoing_libvirt_retire_by_hand(o, &err) == -EEXIST ? give_up(o, -EEXIST, &err) : 0;
}

/* Proof that it does not run there (ownership_table.c). A QEMU that is stopped runs nothing,
 * whatever libvirt has last heard. */
static bool runs_here(struct outgoing *o)
{
	struct domain_info info;

	return !o->qemu.frozen &&
	       host_state(o->libvirt.host, o->guest.info.uuid, &info, NULL) == 0 &&
	       ownership_table_departure(info.state, true) == DEPARTURE_STAYED;
}

static void on_unknown(void *opaque, const char *text)
{
	struct outgoing *o = opaque;

	report_event(o->report, "resolve", o->phase, text);
}

/* In post-copy to give up would be to give up the guest's memory, for as long as the destination
 * may still answer. One that does not know leaves it to an operator; the guard holds the memory
 * meanwhile, serves it, and asks on. */
static bool must_ask_on(struct outgoing *o, int ret, const struct errtext *why)
{
	if (ret == -EOWNERDEAD || ret == -ENODATA || !o->postcopy.decided || runs_here(o))
		return false;
	report_event(o->report, "resolve", o->phase, why->text);
	return true;
}

/* Ask until it is known. */
static int resolve(struct outgoing *o)
{
	const struct ownership_inquiry inquiry = {.ask = o->world->ask,
						  .peer = &o->peer.at,
						  .uuid = o->guest.info.uuid_bytes,
						  .domain = o->guest.info.name,
						  .wait_ms = o->opt->resolve_ms,
						  .unknown = on_unknown,
						  .opaque = o};
	struct errtext err = {0};
	enum wire_state state;
	int ret;

	if (runs_here(o))
		return take_back(o);
	report_event(o->report, "resolve", o->phase,
		     "the hand-over broke off; asking the destination who has the guest");
	o->world->forward.cut(o->libvirt.tunnel); /* its half of libvirt must not wait for ours */
	do {
		err = (struct errtext){0};
		ret = ownership_settle(&inquiry, &state, &err);
	} while (ret < 0 && must_ask_on(o, ret, &err));
	if (ret < 0)
		return runs_here(o) ? take_back(o) : give_up(o, ret, &err);
	if (state == WIRE_STATE_ABSENT)
		return take_back(o);
	outgoing_stop_note_resumed(o);
	return let_go(o);
}

/* One that is gone by now cannot start the guest. Once released to it, nobody here would know. */
static int check_peer(struct outgoing *o)
{
	if (o->world->control.is_up(o->peer.control))
		return 0;
	outgoing_await_cause(o);
	return o->failed ? o->failed
			 : outgoing_fail(o, -ECONNRESET,
					 "the destination hung up before the hand-over");
}

int outgoing_handover_commit(struct outgoing *o)
{
	int ret;

	outgoing_stop_parts_end(o, STOP_VERIFY);
	ret = outgoing_round_check(o);
	outgoing_stop_parts_end(o, STOP_CHECK);
	if (ret == 0)
		ret = check_peer(o);
	if (ret < 0)
		return ret;
	if (!steering_commit(o->steering)) {
		o->cancelled = true;
		return outgoing_fail(o, -ECANCELED, "cancelled");
	}
	if (!o->world->gate.forbid(o->libvirt.gate, outgoing_qemu_has_ram(o)))
		return outgoing_fail(o, -EPROTO, "libvirt is already resuming the guest here");
	ret = outgoing_qemu_keep(o);
	if (ret == 0)
		ret = outgoing_place_hand_over(o);
	if (ret < 0) {
		o->qemu.needed = false;
		o->world->gate.permit(o->libvirt.gate);
		return outgoing_fail(o, ret, "cannot record the hand-over");
	}
	return 0;
}

int outgoing_handover(struct outgoing *o)
{
	int ret;

	outgoing_stop_parts_end(o, STOP_RECORD);
	ret = outgoing_peer_send(o, WIRE_RELEASE);

	failure_point("hand-over");
	if (ret == 0)
		outgoing_await(o, outcome_known, HANDOVER_MS, NULL);
	if ((o->libvirt.done && o->libvirt.result == 0) || o->libvirt.confirmed)
		return 0;
	if (o->peer.refused && !o->stop.resumed)
		return take_back(o);
	/* Frozen or cut: what the control channel still said may be the answer. */
	return o->stop.resumed ? let_go(o) : resolve(o);
}
