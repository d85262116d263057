// SPDX-License-Identifier: Apache-2.0
// How a migration ends, as the destination sees it.
//
// Before RELEASE the guest belongs to the source: whatever breaks, everything here is taken down,
// and libvirt, whose client connection (the tunnel) is cut, ends the QEMU it started. After RELEASE
// libvirt's Finish call decides: it either came through the tunnel, and the guest runs here, or
// the tunnel is cut and QEMU ended. Either way the answer to a later QUERY is definite.
#include "incoming_private.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>
#include "cleanup.h"
#include "guard.h"

#define WIND_UP_US 5000000
#define SETTLE_US 15000000

static void tell_source(struct incoming *in)
{
	const struct wire_message m = {.type = WIRE_ABORT, .abort = {in->err.text}};

	if (in->control && !in->control_lost)
		control_send(in->control, &m);
}

/* libvirt stores the definition before it starts the guest; what then fails leaves it behind. */
static void remember_that_it_never_ran(struct incoming *in)
{
	enum domain_state state = incoming_settle(in, 0);

	if (in->resumed || in->missed_events || !incoming_settle_has_ended(state) ||
	    (in->released && !in->gone))
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
	incoming_stream_end(in);
	if (in->device_stream)
		pump_stop(in->device_stream);
	if (in->control_lost || incoming_settle(in, WIND_UP_US) == DOMAIN_INCOMING)
		incoming_tunnel_cut(in);
	if (incoming_settle(in, SETTLE_US) == DOMAIN_INCOMING && in->host && !in->resumed &&
	    !in->missed_events)
		host_destroy(in->host, in->uuid, &in->err);
	remember_that_it_never_ran(in);
}

/* A capability left behind would make a later migration by somebody else skip the memory. Whatever
 * becomes of that, memory is complete: the guard, or `dray recover`, tries again. */
static int forget_capability(struct incoming *in)
{
	int ret = 0;

	if (!in->monitor)
		ret = in->world->open_monitor(in->dir.monitor, ANSWER_MS, &in->monitor, &in->err);
	return ret < 0 ? ret : qmp_set_capability(in->monitor, "x-ignore-shared", false, &in->err);
}

static int welcome(struct incoming *in)
{
	int ret = in->owed ? incoming_postcopy_end(in) : 0;

	incoming_monitor_unwatch(in);
	in->record.resumed = true;
	in->record.complete = ret == 0;
	if (ret == 0)
		ret = forget_capability(in);
	record_write(&in->dir, RECORD_INCOMING, &in->record, NULL);
	if (in->owed && in->record.complete)
		unlink(in->dir.owed);
	/* Once it hears FINISHED, or COMPLETE, the source may send the guest on: let go of it
	 * first. */
	incoming_stream_end(in);
	incoming_postcopy_release(in);
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
	return in->released && incoming_settle_arrived(in);
}

/* Nobody saw what came of it, or it was seen to run and then no more. */
static bool is_unknown(struct incoming *in)
{
	return in->resumed ||
	       (in->released && !in->record.never_ran && incoming_settle(in, 0) == DOMAIN_INCOMING);
}

void incoming_end(struct incoming *in, int ret, struct incoming_result *result)
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
	incoming_stream_end(in);
	in->ended = !result->arrived && in->released && incoming_settle_look(in, &state) == 0 &&
		    incoming_settle_has_ended(state);
	result->untold = !incoming_link_tell_end(in) && in->record.post_copy && in->record.complete;
	result->post_copy = in->record.post_copy;
	result->told = in->told;
	result->ram_bytes = in->ram_bytes ? in->ram_bytes : ram_map_bytes(&in->ram);
	result->wire_bytes = in->wire_bytes; /* no stream is left that could add to it */
	result->streams = in->prepare.streams;
	snprintf(result->reason, sizeof(result->reason), "%s", result->arrived ? "" : in->err.text);
}
