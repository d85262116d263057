// SPDX-License-Identifier: Apache-2.0
// How long things may take.
#include "outgoing_limits.h"

#include "outgoing_place.h"
#include "outgoing_private.h"

uint64_t outgoing_limits_completion_s(const struct outgoing *o)
{
	uint64_t gib = (ram_map_bytes(&o->guest.ram) + (1ull << 30) - 1) >> 30;

	return o->opt->completion_s_per_gib * gib;
}

uint64_t outgoing_limits_completion_left_ms(const struct outgoing *o)
{
	uint64_t limit = outgoing_limits_completion_s(o) * 1000;
	uint64_t spent = (o->world->now_us() - o->turn.came_us) / 1000;

	if (limit == 0)
		return OUTGOING_NO_LIMIT_MS;
	return spent < limit ? limit - spent + 1 : 1;
}

/* A guest paused to finish has the whole time of the migration again, as in KubeVirt. */
uint64_t outgoing_limits_stopped_left_ms(const struct outgoing *o)
{
	uint64_t limit = o->opt->stopped_ms > o->precopy.limits.max_downtime_ms
				 ? o->opt->stopped_ms
				 : o->precopy.limits.max_downtime_ms;
	uint64_t completion_ms = outgoing_limits_completion_s(o) * 1000;
	uint64_t spent = (o->world->now_us() - o->stop.since_us) / 1000;

	if (o->precopy.paused)
		limit = completion_ms ? completion_ms : OUTGOING_NO_LIMIT_MS;
	return spent < limit ? limit - spent : 0;
}

void outgoing_limits_take_set(struct outgoing *o, struct mail *mail)
{
	steering_limits(o->steering, &o->precopy.limits);
	pacer_set(o->peer.pacer, o->precopy.limits.bandwidth);
	outgoing_place_note_bandwidth(o);
	report_event(o->report, "set", o->phase, mail->text);
}
