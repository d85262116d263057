// SPDX-License-Identifier: Apache-2.0
// How far a migration is, measured a few times a second.
#include "outgoing_progress.h"

#include "outgoing_await.h"
#include "outgoing_precopy.h"
#include "outgoing_private.h"
#include "outgoing_round.h"
#include "outgoing_state.h"
#include "outgoing_status.h"

#define RATE_US 1000000

uint64_t outgoing_progress_bytes(const struct outgoing *o)
{
	uint64_t bytes = outgoing_round_bytes(o);

	bytes += o->postcopy.link ? o->world->link.bytes(o->postcopy.link) : 0;
	bytes += o->libvirt.tunnel ? o->world->forward.bytes(o->libvirt.tunnel) : 0;
	bytes += o->libvirt.qemu_stream ? o->world->forward.bytes(o->libvirt.qemu_stream) : 0;
	return bytes;
}

/* What is still to be sent, by what is known now. */
static uint64_t remaining_bytes(const struct outgoing *o)
{
	const struct convergence *c = &o->precopy.convergence;
	uint64_t total = ram_map_bytes(&o->guest.ram);
	uint64_t moved = outgoing_round_moved(o);

	if (c->rounds)
		return moved < c->remaining_bytes ? c->remaining_bytes - moved : 0;
	return moved < total ? total - moved : 0;
}

static uint64_t unsent_bytes(const struct outgoing *o)
{
	struct page_server_stats stats;

	o->world->link.stats(o->postcopy.link, &stats);
	return stats.pages_left * RAM_PAGE_SIZE;
}

/* Of post-copy, whose streams are others than those of the rounds: over the last second or so. */
static uint64_t recent_bytes_per_s(struct outgoing *o, uint64_t now)
{
	struct outgoing_status *st = &o->status;
	uint64_t bytes = st->shown.transferred_bytes, rate = st->shown.bytes_per_s;

	if (st->rated_us && now - st->rated_us < RATE_US)
		return rate;
	if (st->rated_us)
		rate = bytes > st->rated_bytes
			       ? (bytes - st->rated_bytes) * 1000000 / (now - st->rated_us)
			       : 0;
	st->rated_us = now;
	st->rated_bytes = bytes;
	return rate;
}

/* While the connections are broken only the destination knows what it lacks: the last that was
 * known stays. */
static void measure_postcopy(struct outgoing *o, uint64_t now)
{
	struct steering_status *s = &o->status.shown;

	s->bytes_per_s = o->postcopy.broken ? 0 : recent_bytes_per_s(o, now);
	s->dirty_bytes_per_s = 0;
	if (!o->postcopy.broken)
		s->remaining_bytes = unsent_bytes(o);
}

static void measure_precopy(struct outgoing *o, uint64_t now)
{
	struct steering_status *s = &o->status.shown;
	const struct convergence *c = &o->precopy.convergence;

	s->bytes_per_s = c->bytes_per_s;
	if (c->rounds == 0 && now > o->precopy.begun_us)
		s->bytes_per_s = s->transferred_bytes * 1000000 / (now - o->precopy.begun_us);
	s->dirty_bytes_per_s = c->dirty_bytes_per_s;
	s->remaining_bytes = remaining_bytes(o);
}

/* From the hand-over on, which takes libvirt a while: pages are fetched and pushed meanwhile. */
static bool is_postcopy(const struct outgoing *o)
{
	return o->phase == PHASE_POSTCOPY || (o->phase == PHASE_HANDOVER && o->postcopy.decided);
}

static void measure(struct outgoing *o, uint64_t now)
{
	struct steering_status *s = &o->status.shown;

	s->transferred_bytes = outgoing_progress_bytes(o);
	if (is_postcopy(o))
		measure_postcopy(o, now);
	else
		measure_precopy(o, now);
	s->eta_ms = s->bytes_per_s ? s->remaining_bytes * 1000 / s->bytes_per_s : 0;
}

static void tell(struct outgoing *o)
{
	const struct steering_status *s = &o->status.shown;

	report_progress(o->report, &(struct report_progress){
					   .phase = o->phase,
					   .round = o->rounds.number,
					   .total_bytes = s->total_bytes,
					   .transferred_bytes = s->transferred_bytes,
					   .remaining_bytes = s->remaining_bytes,
					   .bytes_per_s = s->bytes_per_s,
					   .dirty_bytes_per_s = s->dirty_bytes_per_s,
					   .eta_ms = s->eta_ms,
				   });
}

void outgoing_progress_tick(struct outgoing *o)
{
	uint64_t now = o->world->now_us();

	if (now < o->status.next_us || !o->rounds.source ||
	    (outgoing_is_handed_over(o) && !is_postcopy(o)))
		return;
	o->status.next_us = now + OUTGOING_TICK_US;
	measure(o, now);
	outgoing_status_show(o);
	outgoing_round_account(o);
	outgoing_precopy_check_progress(o, now, o->status.shown.remaining_bytes);
	tell(o);
}
