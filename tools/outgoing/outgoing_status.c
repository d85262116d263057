// SPDX-License-Identifier: Apache-2.0
// What others see of a migration.
#include "outgoing_status.h"

#include <stdio.h>
#include <stdlib.h>
#include "outgoing_private.h"

void outgoing_status_begin(struct outgoing *o, const char *lane)
{
	o->status.shown.lane = lane;
	o->status.begun_us = o->world->now_us();
	outgoing_status_set_mode(o, "PreCopy");
}

void outgoing_status_set_mode(struct outgoing *o, const char *mode)
{
	o->status.shown.mode = mode;
}

void outgoing_status_enter(struct outgoing *o, enum phase phase)
{
	if (phase != o->phase && phase_move(&o->phase, phase) < 0)
		abort(); /* the table of steps is wrong */
	report_event(o->report, "phase", phase, phase_name(phase));
	outgoing_status_show(o);
}

void outgoing_status_show(struct outgoing *o)
{
	struct steering_status *s = &o->status.shown;

	snprintf(s->domain, sizeof(s->domain), "%s", o->guest.info.name);
	snprintf(s->uuid, sizeof(s->uuid), "%s", o->guest.info.uuid);
	snprintf(s->host, sizeof(s->host), "%s", o->opt->destination);
	s->phase = o->phase;
	s->tls = o->opt->tls_dir[0] != 0;
	s->round = o->rounds.number;
	s->throttle_percent = o->precopy.throttle_percent;
	s->total_bytes = ram_map_bytes(&o->guest.ram);
	snprintf(s->decision, sizeof(s->decision), "%s", o->precopy.convergence.reason);
	steering_show(o->steering, s);
}

void outgoing_status_show_ahead(struct outgoing *o, const char *where, unsigned int ahead)
{
	if (o->status.shown.queued_ahead == ahead)
		return;
	o->status.shown.queued_ahead = ahead;
	outgoing_status_show(o);
	if (ahead)
		report_queued(o->report, where, ahead);
}
