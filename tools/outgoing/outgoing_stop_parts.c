// SPDX-License-Identifier: Apache-2.0
// What a stop is made of: the time since the mark before belongs to the part that has just ended.
#include "outgoing_stop_parts.h"

#include "outgoing_private.h"

void outgoing_stop_parts_begin(struct outgoing *o)
{
	o->parts.mark_us = o->world->now_us();
	o->parts.table.predicted_us = outgoing_precopy_predicted_us(o);
}

void outgoing_stop_parts_end(struct outgoing *o, enum stop_part part)
{
	uint64_t now = o->world->now_us();

	o->parts.table.part[part] += now - o->parts.mark_us;
	o->parts.mark_us = now;
}

/* Each stream scans and sends by turns: what is not scanning is sending. */
void outgoing_stop_parts_end_pass(struct outgoing *o)
{
	uint64_t *part = o->parts.table.part, all;

	outgoing_stop_parts_end(o, STOP_LAST_BYTES);
	all = part[STOP_LAST_BYTES];
	part[STOP_LAST_SCAN] = o->rounds.scan_us < all ? o->rounds.scan_us : all;
	part[STOP_LAST_BYTES] = all - part[STOP_LAST_SCAN];
}

static uint64_t at_most(uint64_t value, uint64_t most)
{
	return value < most ? value : most;
}

/* Once; and nothing took longer there than it takes to hear of it here. */
void outgoing_stop_parts_take_arrival(struct outgoing *o, struct wire_message *m)
{
	uint64_t *part = o->parts.table.part, most = o->world->now_us() - o->parts.mark_us;

	if (o->parts.complete)
		return;
	part[STOP_RELEASE] = at_most(m->arrival.release_us, most);
	part[STOP_LOAD] = at_most(m->arrival.load_us, most);
	part[STOP_FINISH] = at_most(m->arrival.finish_us, most);
	o->parts.told_us = at_most(m->arrival.told_us, most);
	o->parts.complete = true;
}

/* A destination that says no ARRIVAL leaves its parts 0: they are in network then. */
void outgoing_stop_parts_tell(struct outgoing *o)
{
	struct stop_table *t = &o->parts.table;
	uint64_t there = t->part[STOP_RELEASE] + t->part[STOP_LOAD] + t->part[STOP_FINISH] +
			 o->parts.told_us;
	uint64_t away = o->world->now_us() - o->parts.mark_us;

	if (o->stop.resume_us > o->stop.stop_us && o->stop.stop_us)
		t->downtime_us = o->stop.resume_us - o->stop.stop_us;
	t->part[STOP_NETWORK] = away > there ? (away - there) / 2 : 0;
	if (o->parts.complete)
		report_stop(o->report, t);
}
