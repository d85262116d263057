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

static uint64_t difference(uint64_t a, uint64_t b)
{
	return a > b ? a - b : 0;
}

/* What the guest has ever used of its memory: the rest is holes, which take no time. */
static uint64_t used_bytes(const struct outgoing *o)
{
	const struct ram_map *ram = &o->guest.ram;
	uint64_t bytes = 0;

	for (unsigned int i = 0; i < ram->count; i++)
		bytes += ram_block_allocated(&ram->blocks[i]);
	return bytes;
}

/* In the first round, of which nothing is known yet: no more than was not dealt with, and no more
 * than there is data that was not sent. */
static uint64_t remaining_of_all(const struct outgoing *o)
{
	uint64_t all = difference(ram_map_bytes(&o->guest.ram), outgoing_round_moved(o));
	struct source_stats stats = {0};
	uint64_t data;

	o->world->source.stats(o->rounds.source, &stats);
	data = difference(used_bytes(o), stats.pages_sent * RAM_PAGE_SIZE);
	return data < all ? data : all;
}

/* What is still to be sent, by what is known now. */
static uint64_t remaining_bytes(const struct outgoing *o)
{
	const struct convergence *c = &o->precopy.convergence;

	return c->rounds ? difference(c->remaining_bytes, outgoing_round_moved(o))
			 : remaining_of_all(o);
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
					   .dirty_known = o->precopy.convergence.rounds > 1,
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
