// SPDX-License-Identifier: Apache-2.0
// The mail of one migration on the source: what happened, what it changes, and waiting for it.
#include "outgoing_private.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include "clock.h"

#define PROGRESS_US 250000

static bool handed_over(const struct outgoing *o)
{
	return phase_owner(o->phase) != OWNER_SOURCE;
}

/* Later only facts and time count: nothing ends a wait early. */
static bool may_give_up(const struct outgoing *o)
{
	return o->phase < PHASE_HANDOVER;
}

static void take_message(struct outgoing *o, struct wire_message *m)
{
	int64_t offset;
	uint64_t trip;

	switch (m->type) {
	case WIRE_QUEUED:
		o->queued_there = true;
		outgoing_show_ahead(o, "destination", m->queued.ahead);
		break;
	case WIRE_PREPARED:
		o->status.queued_ahead = 0;
		strcpy(o->prepared.monitor_path, m->prepared.monitor_path);
		strcpy(o->prepared.stream_path, m->prepared.stream_path);
		o->got_prepared = true;
		break;
	case WIRE_LISTENING:
		snprintf(o->listening_text, sizeof(o->listening_text), "%s", m->listening.text);
		o->got_listening = true;
		break;
	case WIRE_READY:
		o->got_ready = true;
		break;
	case WIRE_SYNCED:
		o->synced += m->synced.round == o->round;
		break;
	case WIRE_DIGEST:
		o->digest = *m->digest;
		o->got_digest = true;
		break;
	case WIRE_RELEASED:
		break; /* RESUMED, or the job's end, is what counts */
	case WIRE_RESUMED:
		control_clock(o->control, &offset, &trip);
		o->resume_us = m->resumed.time_us - (uint64_t)offset;
		o->resumed_there = true;
		o->resumed_us = clock_monotonic_us();
		if (o->link)
			page_link_push(o->link);
		report_event(o->report, "resumed", o->phase,
			     o->post_copy ? "the guest runs on the destination, and its memory "
					    "follows"
					  : "the guest runs on the destination");
		break;
	case WIRE_FINISHED:
		o->finished_there = true;
		break;
	case WIRE_ABORT:
		if (!handed_over(o))
			outgoing_fail(o, -ECONNABORTED, "the destination gave up: %s",
				      m->abort.text);
		break;
	default:
		outgoing_fail(o, -EPROTO, "the destination sent %s, which has no place here",
			      wire_type_name(m->type));
	}
	wire_message_destroy(m);
}

/* STOP comes when the vCPUs stand still; QEMU then waits for disk I/O in flight, which may still
 * write guest memory. Only the migration state after that says that memory is at rest. */
static void take_qemu_event(struct outgoing *o, const struct mail *mail)
{
	/* Its user may pause it and let it go on: only the last stop is ours. */
	if (mail->event == QEMU_EVENT_RESUME && !o->stopped)
		o->stop_us = o->stopped_at_us = 0;
	if (mail->event == QEMU_EVENT_STOP && o->stop_us == 0) {
		o->stop_us = mail->a;
		o->stopped_at_us = clock_monotonic_us();
		if (o->throttle)
			throttle_set(o->throttle, 0);
	}
	if (mail->event == QEMU_EVENT_AT_REST && !o->stopped) {
		o->stopped = true;
		if (o->stopped_at_us == 0)
			o->stopped_at_us = clock_monotonic_us();
		if (o->source)
			source_hurry(o->source);
		control_set_silence(o->control, o->opt->stopped_ms);
	}
}

static void take_job_end(struct outgoing *o, const struct mail *mail)
{
	o->job_done = true;
	o->job_result = mail->result;
	snprintf(o->job_text, sizeof(o->job_text), "%s", mail->text);
	if (!handed_over(o))
		outgoing_fail(o, mail->result ? mail->result : -EPROTO, "libvirt: %s",
			      mail->result ? mail->text : "the migration ended before its time");
}

static void take_round_end(struct outgoing *o, const struct mail *mail)
{
	o->round_running = false;
	o->round_pages = mail->a;
	if (mail->result < 0)
		outgoing_fail(o, mail->result, "%s", mail->text);
}

static void take_link(struct outgoing *o, const struct mail *mail)
{
	switch ((enum page_link_state)mail->result) {
	case PAGE_LINK_BROKEN:
		if (!handed_over(o))
			outgoing_fail(o, -ECONNRESET, "post-copy's connections broke: %s",
				      mail->text);
		else
			report_event(o->report, "disconnected", o->phase, mail->text);
		break;
	case PAGE_LINK_RESUMED:
		report_event(o->report, "reconnected", o->phase, mail->text);
		break;
	case PAGE_LINK_ENDED:
		o->link_ended = true;
		snprintf(o->link_text, sizeof(o->link_text), "%s", mail->text);
		/* fall through */
	case PAGE_LINK_COMPLETE:
		o->link_over = true;
		break;
	}
}

static void take(struct outgoing *o, struct mail *mail)
{
	switch (mail->kind) {
	case MAIL_NONE:
		break;
	case MAIL_MESSAGE:
		take_message(o, &mail->message);
		break;
	case MAIL_CONTROL_LOST:
		o->control_lost = true;
		if (!handed_over(o))
			outgoing_fail(o, mail->result, "lost the destination %s: %s",
				      o->opt->destination, mail->text);
		break;
	case MAIL_ROUND_DONE:
		take_round_end(o, mail);
		break;
	case MAIL_QEMU_EVENT:
		take_qemu_event(o, mail);
		break;
	case MAIL_PERFORM_HELD:
		o->perform_held = true;
		break;
	case MAIL_JOB_DONE:
		take_job_end(o, mail);
		break;
	case MAIL_TUNNEL:
		/* libvirt's library would notice only with its next call, after the hand-over. */
		if (may_give_up(o))
			outgoing_fail(o, -ECONNRESET,
				      "the connection to libvirt on the destination broke%s%s: did "
				      "libvirtd end there?",
				      mail->text[0] ? ": " : "", mail->text);
		break;
	case MAIL_QEMU_STREAM:
		break; /* QEMU's migration fails, and the job's end tells */
	case MAIL_CANCEL:
		if (handed_over(o))
			break;
		o->cancelled = true;
		outgoing_fail(o, -ECANCELED, "%s", mail->text);
		break;
	case MAIL_SET:
		steering_limits(o->steering, &o->limits);
		pacer_set(o->pacer, o->limits.bandwidth);
		report_event(o->report, "set", o->phase, mail->text);
		break;
	case MAIL_CONFIRM_HELD:
		o->confirm_held = true;
		break;
	case MAIL_LINK:
		take_link(o, mail);
		break;
	case MAIL_STREAM_LOST:
	case MAIL_COMPLETE:
		break;
	}
}

/* What is still to be sent, by what is known now. */
static uint64_t remaining_bytes(const struct outgoing *o, const struct source_stats *stats)
{
	const struct convergence *c = &o->convergence;
	uint64_t total = ram_map_bytes(&o->ram);
	uint64_t moved = (stats->pages_sent + stats->pages_zero) * RAM_PAGE_SIZE - o->round_begin;

	if (c->rounds)
		return moved < c->remaining_bytes ? c->remaining_bytes - moved : 0;
	return moved < total ? total - moved : 0;
}

static uint64_t unsent_bytes(const struct outgoing *o)
{
	struct page_server_stats stats;

	page_link_stats(o->link, &stats);
	return stats.pages_left * RAM_PAGE_SIZE;
}

/* Time without progress is a time-out of its own: a migration that gets nowhere shall not block
 * the way for as long as a large guest may take. */
static void check_progress(struct outgoing *o, uint64_t now, uint64_t remaining)
{
	uint64_t acked = 0;
	char reason[160];

	if (o->phase != PHASE_PRECOPY)
		return;
	for (unsigned int i = 0; i < o->opt->streams; i++)
		acked += uring_stream_bytes_acked(o->streams[i]);
	progress_note(&o->progress, now, remaining, acked);
	if (o->failed || !progress_stuck(&o->progress, now, o->opt->progress_s, reason))
		return;
	o->cancelled = true;
	outgoing_fail(o, -ETIMEDOUT, "%s (--progress-timeout %u)", reason, o->opt->progress_s);
}

void outgoing_show(struct outgoing *o)
{
	struct steering_status *s = &o->status;

	snprintf(s->domain, sizeof(s->domain), "%s", o->guest.name);
	snprintf(s->uuid, sizeof(s->uuid), "%s", o->guest.uuid);
	snprintf(s->host, sizeof(s->host), "%s", o->opt->destination);
	s->phase = o->phase;
	s->mode = o->mode;
	s->lane = "direct";
	s->round = o->round;
	s->throttle_percent = o->throttle_percent;
	s->total_bytes = ram_map_bytes(&o->ram);
	snprintf(s->decision, sizeof(s->decision), "%s", o->convergence.reason);
	steering_show(o->steering, s);
}

static void measure(struct outgoing *o, uint64_t now)
{
	struct steering_status *s = &o->status;
	const struct convergence *c = &o->convergence;
	struct source_stats stats = {0};

	if (o->source)
		source_stats(o->source, &stats);
	s->transferred_bytes = outgoing_wire_bytes(o);
	s->bytes_per_s = c->bytes_per_s;
	if (c->rounds == 0 && now > o->precopy_us)
		s->bytes_per_s = s->transferred_bytes * 1000000 / (now - o->precopy_us);
	s->dirty_bytes_per_s = c->dirty_bytes_per_s;
	s->remaining_bytes =
		o->phase == PHASE_POSTCOPY ? unsent_bytes(o) : remaining_bytes(o, &stats);
	s->eta_ms = s->bytes_per_s ? s->remaining_bytes * 1000 / s->bytes_per_s : 0;
}

static void account_overheads(struct outgoing *o)
{
	struct wire_totals totals = {0};

	for (unsigned int i = 0; i < o->opt->streams; i++)
		wire_totals_add(&totals, uring_stream_socket(o->streams[i]));
	wire_cost_tick(o->wire_cost, &totals);
}

static void tick(struct outgoing *o)
{
	uint64_t now = clock_monotonic_us();
	const struct steering_status *s = &o->status;

	if (now < o->next_progress_us || !o->source ||
	    (handed_over(o) && o->phase != PHASE_POSTCOPY))
		return;
	o->next_progress_us = now + PROGRESS_US;
	measure(o, now);
	outgoing_show(o);
	account_overheads(o);
	check_progress(o, now, s->remaining_bytes);
	report_progress(o->report, &(struct report_progress){
					   .phase = o->phase,
					   .round = o->round,
					   .total_bytes = s->total_bytes,
					   .transferred_bytes = s->transferred_bytes,
					   .remaining_bytes = s->remaining_bytes,
					   .bytes_per_s = s->bytes_per_s,
					   .dirty_bytes_per_s = s->dirty_bytes_per_s,
					   .eta_ms = s->eta_ms,
				   });
}

int outgoing_await(struct outgoing *o, until_fn *until, uint64_t timeout_ms, const char *what)
{
	uint64_t deadline = clock_monotonic_us() + timeout_ms * 1000;

	while (!until(o)) {
		uint64_t now = clock_monotonic_us(), wake = now + PROGRESS_US;
		struct mail mail;

		if (o->failed && may_give_up(o))
			return o->failed;
		if (now >= deadline) {
			if (what)
				outgoing_fail(o, -ETIMEDOUT, "waited %.1f s for %s",
					      (double)timeout_ms / 1000, what);
			return -ETIMEDOUT;
		}
		mailbox_take(o->mail, wake < deadline ? wake : deadline, &mail);
		take(o, &mail);
		tick(o);
	}
	/* The mail that ends the wait may tell of a failure as well. */
	return o->failed && may_give_up(o) ? o->failed : 0;
}
