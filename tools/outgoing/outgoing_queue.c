// SPDX-License-Identifier: Apache-2.0
// Waiting for one's turn.
#include "outgoing_queue.h"

#include <errno.h>
#include "connection.h"
#include "outgoing_await.h"
#include "outgoing_private.h"
#include "outgoing_state.h"
#include "outgoing_status.h"

#define LOOK_MS 100
/* The destination repeats itself once a second while it has us wait. */

static int too_long(struct outgoing *o, const char *where)
{
	o->cancelled = true;
	return outgoing_fail(o, -ETIMEDOUT,
			     "no turn on the %s within %u s (--queue-timeout): see `dray status` "
			     "for what runs there",
			     where, o->opt->queue_s);
}

static bool is_over(const struct outgoing *o, uint64_t begun_us)
{
	return o->opt->queue_s && o->world->now_us() - begun_us >= o->opt->queue_s * 1000000ull;
}

int outgoing_queue_here(struct outgoing *o)
{
	uint64_t begun = o->world->now_us();
	unsigned int ahead;
	int ret = o->world->join_queue(GUEST_DIR_ROOT "/outbound", &o->turn.slot, &o->err);

	while (ret == 0) {
		ret = slot_ahead(o->turn.slot, &ahead);
		if (ret < 0)
			return outgoing_fail(o, ret, "cannot count this host's migrations");
		ahead = ahead < o->opt->max_outbound ? 0 : ahead - o->opt->max_outbound + 1;
		outgoing_status_show_ahead(o, "source", ahead);
		if (ahead == 0)
			return 0;
		if (is_over(o, begun))
			return too_long(o, "source");
		ret = outgoing_await(o, outgoing_never, LOOK_MS, NULL);
		if (ret == -ETIMEDOUT && !o->failed)
			ret = 0;
	}
	return outgoing_fail(o, ret, "cannot wait for a turn on this host");
}

static bool is_prepared_or_queued(const struct outgoing *o)
{
	return o->peer.accepted || o->turn.queued_there;
}

int outgoing_queue_there(struct outgoing *o)
{
	uint64_t begun = o->world->now_us();
	int ret = 0;

	while (ret == 0 && !o->peer.accepted) {
		o->turn.queued_there = false;
		ret = outgoing_await(o, is_prepared_or_queued, CONNECTION_ANSWER_MS,
				     "the destination to accept the guest");
		if (ret == 0 && !o->peer.accepted && is_over(o, begun))
			ret = too_long(o, "destination");
	}
	return ret;
}

void outgoing_queue_take(struct outgoing *o, struct wire_message *m)
{
	o->turn.queued_there = true;
	outgoing_status_show_ahead(o, "destination", m->queued.ahead);
}

void outgoing_queue_note_turn(struct outgoing *o)
{
	o->turn.came_us = o->world->now_us();
}

void outgoing_queue_leave(struct outgoing *o)
{
	slot_leave(o->turn.slot);
}
