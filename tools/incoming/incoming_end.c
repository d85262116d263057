// SPDX-License-Identifier: Apache-2.0
// How a migration ends, as the destination sees it.
//
// Before RELEASE the guest belongs to the source: whatever breaks, everything here is taken down,
// and libvirt, whose client connection (the tunnel) is cut, ends the QEMU it started. After RELEASE
// libvirt's Finish call decides: it either came through the tunnel, and the guest runs here, or
// the tunnel is cut and QEMU ended. Either way the answer to a later QUERY is definite.
//
// In post-copy QEMU's monitor is no witness: QEMU may hang in a page fault, and who carries on
// another's session has missed events. Libvirt is asked instead, which knows without QEMU.
#include "incoming_private.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include "cleanup.h"
#include "clock.h"
#include "guard.h"
#include "libvirt_host.h"

#define FOREVER_US (3600ull * 1000000)
#define WIND_UP_US 5000000
#define SETTLE_US 15000000
#define POLL_US 20000
#define LOOK_US 200000
#define MONITOR_MS 500

static void tell_source(struct incoming *in)
{
	struct wire_message *m = calloc(1, sizeof(*m));

	if (m && in->control && !in->control_lost) {
		m->type = WIRE_ABORT;
		snprintf(m->abort.text, sizeof(m->abort.text), "%s", in->err.text);
		control_send(in->control, m);
	}
	free(m);
}

void incoming_stop_streams(struct incoming *in)
{
	struct receiver *r = in->receiver;

	pthread_mutex_lock(&r->lock);
	in->ending = true;
	for (unsigned int i = 0; i < WIRE_STREAMS_MAX; i++)
		if (in->streams[i])
			in->streams[i]->ops->shutdown(in->streams[i]);
	if (in->faults)
		fault_handler_stop(in->faults);
	incoming_cut_lanes(in);
	pthread_cond_broadcast(&r->changed);
	while (in->users)
		pthread_cond_wait(&r->changed, &r->lock);
	pthread_mutex_unlock(&r->lock);
}

static void cut_tunnels(struct incoming *in)
{
	for (unsigned int i = 0; i < in->tunnel_count; i++)
		pump_stop(in->tunnels[i]);
}

/* ---- the guest, as libvirt has it ---- */

/* Libvirt may not have answered when the session began. */
static int look(struct incoming *in, enum domain_state *state)
{
	struct domain_info info;
	int ret = 0;

	if (!in->host)
		ret = host_open(in->receiver->opt.libvirt_socket, &in->host, NULL);
	if (ret == 0)
		ret = host_state(in->host, in->uuid, &info, NULL);
	if (ret == 0)
		*state = info.state;
	else if (in->host)
		host_reopen(in->host, NULL);
	return ret;
}

static bool has_run(enum domain_state state)
{
	return state == DOMAIN_RUNNING || state == DOMAIN_PAUSED_USER;
}

static bool has_ended(enum domain_state state)
{
	return state == DOMAIN_ABSENT || state == DOMAIN_SHUT_OFF;
}

/* Once it is no longer on its way; INCOMING if that takes too long. */
static enum domain_state settle(struct incoming *in, uint64_t for_us)
{
	uint64_t end = clock_monotonic_us() + for_us;

	for (;;) {
		enum domain_state state;

		if (look(in, &state) == 0 && state != DOMAIN_INCOMING &&
		    state != DOMAIN_PAUSED_MIGRATION)
			return state;
		if (clock_monotonic_us() >= end)
			return DOMAIN_INCOMING;
		usleep(POLL_US);
	}
}

/* libvirt stores the definition before it starts the guest; what then fails leaves it behind. */
static void remember_that_it_never_ran(struct incoming *in)
{
	enum domain_state state = settle(in, 0);

	if (in->resumed || in->missed_events || !has_ended(state) || (in->released && !in->gone))
		return;
	in->record.never_ran = true;
	record_write(&in->dir, RECORD_INCOMING, &in->record, NULL);
	if (state == DOMAIN_SHUT_OFF && !in->record.defined_before)
		host_undefine(in->host, in->uuid, NULL);
}

/* Nothing came, or it was called off. libvirt's client at the source may still wind up in good
 * order through the tunnel; if not, the cut tunnel makes libvirt end its QEMU. A guest that has run
 * here is nobody's but its user's to end, and one that may have is its source's to give up. */
static void undo(struct incoming *in)
{
	tell_source(in);
	incoming_stop_streams(in);
	if (in->relay)
		pump_stop(in->relay);
	if (in->control_lost || settle(in, WIND_UP_US) == DOMAIN_INCOMING)
		cut_tunnels(in);
	if (settle(in, SETTLE_US) == DOMAIN_INCOMING && in->host && !in->resumed &&
	    !in->missed_events)
		host_destroy(in->host, in->uuid, &in->err);
	remember_that_it_never_ran(in);
}

/* Released, then silence: give libvirt's Finish no more chance to arrive, then see what it did. */
static bool arrived_after_all(struct incoming *in)
{
	cut_tunnels(in);
	return has_run(settle(in, SETTLE_US));
}

/* ---- waiting ---- */

static void forget_monitor(struct incoming *in)
{
	incoming_detach(in);
	qmp_close(in->monitor);
	in->monitor = NULL;
	in->monitor_lost = false;
}

/* QEMU answers when the pages have come that it hangs on. */
static void reach_monitor_again(struct incoming *in)
{
	if (in->monitor_lost)
		forget_monitor(in);
	if (in->monitor || qmp_open(in->dir.monitor, MONITOR_MS, &in->monitor, NULL) < 0)
		return;
	in->missed_events = true;
	if (incoming_watch_monitor(in) < 0)
		forget_monitor(in);
}

/* What no event told. */
static void look_after(struct incoming *in)
{
	enum domain_state state = DOMAIN_INCOMING;

	if (look(in, &state) < 0)
		return;
	if (has_run(state) && !in->resumed) {
		incoming_take(in, clock_monotonic_us() + LOOK_US); /* its event is more exact */
		incoming_note_resumed(in, clock_realtime_us());
	}
	if (has_ended(state)) {
		in->gone = true;
		in->err = (struct errtext){0}; /* what broke before was mended */
		errtext_set(&in->err, -ECONNRESET,
			    "the guest has ended on the destination, before all of its memory had "
			    "come");
	}
}

/* A guest that runs still has a FINISH to come, unless the source has gone; in post-copy it has its
 * pages to come, and the source may go and come back. */
static bool is_decided(const struct incoming *in)
{
	if (!in->released || !in->owed)
		return in->finished || in->aborted || in->control_lost;
	if (incoming_must_prove(in))
		return false;
	return in->gone || (in->complete && in->resumed) || (in->control_lost && !in->resumed);
}

/* Does an event not suffice? */
static bool must_look(const struct incoming *in)
{
	return in->owed && in->released && (!in->monitor || in->monitor_lost || !in->resumed);
}

static void wait_until_decided(struct incoming *in)
{
	while (!is_decided(in)) {
		uint64_t pause_us = must_look(in) ? LOOK_US : FOREVER_US;

		if (incoming_must_prove(in)) {
			incoming_prove(in);
			continue;
		}
		if (incoming_take(in, clock_monotonic_us() + pause_us) || !must_look(in))
			continue;
		reach_monitor_again(in);
		look_after(in);
	}
}

void incoming_wait(struct incoming *in)
{
	for (;;) {
		wait_until_decided(in);
		if (!in->owed || !in->released || in->gone || in->resumed)
			return;
		/* The source is lost: did libvirt's Finish come through before? */
		if (arrived_after_all(in))
			incoming_note_resumed(in, clock_realtime_us());
		while (incoming_take(in, clock_monotonic_us()))
			;
		if (!in->resumed)
			return;
	}
}

/* ---- the end ---- */

/* A capability left behind would make a later migration by somebody else skip the memory. Whatever
 * becomes of that, memory is complete: the guard, or `dray recover`, tries again. */
static int forget_capability(struct incoming *in)
{
	int ret = 0;

	if (!in->monitor)
		ret = qmp_open(in->dir.monitor, ANSWER_MS, &in->monitor, &in->err);
	return ret < 0 ? ret : qmp_set_capability(in->monitor, "x-ignore-shared", false, &in->err);
}

static int welcome(struct incoming *in)
{
	int ret = in->owed ? incoming_end_postcopy(in) : 0;

	incoming_detach(in);
	in->record.resumed = true;
	in->record.complete = ret == 0;
	if (ret == 0)
		ret = forget_capability(in);
	record_write(&in->dir, RECORD_INCOMING, &in->record, NULL);
	if (in->owed && in->record.complete)
		unlink(in->dir.owed);
	/* Once it hears FINISHED, or COMPLETE, the source may send the guest on: let go of it
	 * first. */
	incoming_stop_streams(in);
	incoming_release_postcopy(in);
	destination_destroy(in->destination);
	in->destination = NULL;
	in->ram_bytes = ram_map_bytes(&in->ram);
	ram_map_destroy(&in->ram);
	guest_dir_close(&in->dir);
	if (ret == 0 && in->control)
		control_send_type(in->control, WIRE_FINISHED);
	return ret;
}

static bool arrived(struct incoming *in)
{
	if (in->owed)
		return in->complete && in->resumed;
	if (in->finished || (in->released && in->resumed))
		return true;
	return in->released && arrived_after_all(in);
}

/* Nobody saw what came of it, or it was seen to run and then no more. */
static bool is_unknown(struct incoming *in)
{
	return in->resumed ||
	       (in->released && !in->record.never_ran && settle(in, 0) == DOMAIN_INCOMING);
}

void incoming_conclude(struct incoming *in, int ret, struct incoming_result *result)
{
	enum domain_state state = DOMAIN_INCOMING;

	result->arrived = ret == 0 && arrived(in);
	if (result->arrived)
		ret = welcome(in);
	else if (in->dir.lock >= 0)
		undo(in);
	else
		tell_source(in);
	if (ret == 0 || !result->arrived)
		guard_done(steal_fd(&in->guard));
	result->unknown = !result->arrived && is_unknown(in);
	incoming_stop_streams(in);
	in->ended = !result->arrived && in->released && look(in, &state) == 0 && has_ended(state);
	result->untold = !incoming_tell_link(in) && in->record.post_copy && in->record.complete;
	result->post_copy = in->record.post_copy;
	result->told = in->told;
	result->ram_bytes = in->ram_bytes ? in->ram_bytes : ram_map_bytes(&in->ram);
	result->wire_bytes = in->wire_bytes; /* no stream is left that could add to it */
	result->streams = in->prepare.streams;
	snprintf(result->reason, sizeof(result->reason), "%s", result->arrived ? "" : in->err.text);
}
