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

	if (in->resumed || in->monitor.missed_events || !incoming_settle_has_ended(state) ||
	    (in->joined.released && !in->gone))
		return;
	in->place.record.never_ran = true;
	incoming_place_write(in, NULL);
	if (state == DOMAIN_SHUT_OFF && !in->place.record.defined_before)
		host_undefine(in->host, in->uuid, NULL);
}

/* Nothing came, or it was called off. libvirt's client at the source may still wind up in good
 * order through the tunnel; if not, the cut tunnel makes libvirt end its QEMU. A guest that has run
 * here is nobody's but its user's to end, and one that may have is its source's to give up. */
static void undo(struct incoming *in)
{
	tell_source(in);
	incoming_joined_end(in);
	if (in->joined.qemu_stream)
		pump_stop(in->joined.qemu_stream);
	if (in->control_lost || incoming_settle(in, WIND_UP_US) == DOMAIN_INCOMING)
		incoming_joined_cut_tunnels(in);
	if (incoming_settle(in, SETTLE_US) == DOMAIN_INCOMING && in->host && !in->resumed &&
	    !in->monitor.missed_events)
		host_destroy(in->host, in->uuid, &in->err);
	remember_that_it_never_ran(in);
}

static int welcome(struct incoming *in, struct incoming_result *result)
{
	int ret = in->postcopy.owed ? incoming_postcopy_end(in) : 0;

	incoming_monitor_unwatch(in);
	in->place.record.resumed = true;
	in->place.record.complete = ret == 0;
	/* If this fails memory is complete all the same: the guard, or `dray recover`, tries again.
	 */
	if (ret == 0)
		ret = incoming_monitor_forget_capability(in);
	incoming_place_write(in, NULL);
	if (in->postcopy.owed && in->place.record.complete)
		unlink(in->place.dir.owed);
	/* Once it hears FINISHED, or COMPLETE, the source may send the guest on: let go of it
	 * first. */
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

static bool arrived(struct incoming *in)
{
	if (in->postcopy.owed)
		return in->postcopy.complete && in->resumed;
	if (in->finished || (in->joined.released && in->resumed))
		return true;
	return in->joined.released && incoming_settle_arrived(in);
}

/* Nobody saw what came of it, or it was seen to run and then no more. */
static bool is_unknown(struct incoming *in)
{
	return in->resumed || (in->joined.released && !in->place.record.never_ran &&
			       incoming_settle(in, 0) == DOMAIN_INCOMING);
}

void incoming_end(struct incoming *in, int ret, struct incoming_result *result)
{
	enum domain_state state = DOMAIN_INCOMING;
	bool ended;

	result->arrived = ret == 0 && arrived(in);
	if (result->arrived)
		ret = welcome(in, result);
	else if (in->place.dir.lock >= 0)
		undo(in);
	else
		tell_source(in);
	if (ret == 0 || !result->arrived)
		incoming_place_guard_done(in);
	result->unknown = !result->arrived && is_unknown(in);
	incoming_joined_end(in);
	ended = !result->arrived && in->joined.released && incoming_settle_look(in, &state) == 0 &&
		incoming_settle_has_ended(state);
	result->untold = !incoming_link_tell_end(in, ended) && in->place.record.post_copy &&
			 in->place.record.complete;
	result->post_copy = in->place.record.post_copy;
	result->told = in->postcopy.told;
	if (!result->arrived)
		result->ram_bytes = ram_map_bytes(&in->ram);
	result->wire_bytes = in->joined.wire_bytes; /* no stream is left that could add to it */
	result->streams = in->prepare.streams;
	snprintf(result->reason, sizeof(result->reason), "%s", result->arrived ? "" : in->err.text);
}
