// SPDX-License-Identifier: Apache-2.0
// The rounds over guest memory.
#include "outgoing_round.h"

#include <errno.h>
#include <linux/userfaultfd.h>
#include <stdio.h>
#include <stdlib.h>
#include "cleanup.h"
#include "failure_point.h"
#include "kernel_abi.h"
#include "outgoing_await.h"
#include "outgoing_guest.h"
#include "outgoing_limits.h"
#include "outgoing_private.h"
#include "outgoing_state.h"
#include "tls_stream.h"
#include "uring_stream.h"

/* For a round that holds up nothing but the end. */
#define SETTLE_MS 10000

/* ---- made ---- */

int outgoing_round_open_streams(struct outgoing *o)
{
	const struct uring_stream_options options = {.pacer = o->peer.pacer};

	o->rounds.streams = calloc(o->opt->streams, sizeof(*o->rounds.streams));
	if (!o->rounds.streams)
		return outgoing_fail(o, -ENOMEM, "out of memory");
	for (unsigned int i = 0; i < o->opt->streams; i++) {
		_cleanup_line_ struct line line = LINE_NONE;
		int ret = o->world->dial(&o->peer.at, WIRE_KIND_RAM, i, &line, NULL, &o->err);

		if (ret == 0)
			ret = tls_stream_new(line_steal(&line), &options, &o->rounds.streams[i],
					     &o->err);
		if (ret < 0)
			return outgoing_fail(o, ret, "cannot open RAM stream %u", i);
	}
	return 0;
}

static void on_round_done(void *opaque, const struct source_round *round)
{
	struct outgoing *o = opaque;
	const struct mail mail = {.kind = MAIL_ROUND_DONE,
				  .result = round->result,
				  .a = round->pages,
				  .b = round->scan_us,
				  .c = round->read_us,
				  .text = round->err.text};

	outgoing_disks_note_round(o, round);
	mailbox_post(o->mail.box, &mail);
}

struct compression outgoing_round_compression(const struct outgoing *o)
{
	if (o->peer.features & WIRE_FEATURE_ZSTD)
		return o->opt->compression;
	return (struct compression){.kind = COMPRESSION_NONE};
}

static void tell_of_old_peer(struct outgoing *o)
{
	char text[512];

	if (outgoing_round_compression(o).kind == o->opt->compression.kind)
		return;
	snprintf(text, sizeof(text),
		 "the dray on %.300s is too old for compression: pages go as they are",
		 o->opt->destination);
	report_event(o->report, "warning", o->phase, text);
}

int outgoing_round_attach(struct outgoing *o)
{
	const unsigned long long features = UFFD_FEATURE_WP_ASYNC | UFFD_FEATURE_WP_UNPOPULATED |
					    UFFD_FEATURE_WP_HUGETLBFS_SHMEM;
	struct source_options options = {.ram = &o->guest.ram,
					 .streams = o->rounds.streams,
					 .stream_count = o->opt->streams,
					 .compression = outgoing_round_compression(o),
					 .quiesce = o->guest.direct_disks ? outgoing_disks_quiesce
									  : NULL,
					 .round_done = on_round_done,
					 .opaque = o};
	int uffd = -1;
	int ret = outgoing_disks_new(o);

	tell_of_old_peer(o);
	if (ret == 0)
		ret = o->world->borrow_userfaultfd(o->guest.qemu, features, false, &uffd, NULL,
						   &o->err);
	if (ret == 0)
		ret = o->world->tracker.new(uffd, o->guest.qemu, &o->guest.ram, &o->rounds.tracker,
					    &o->err);
	options.tracker = o->rounds.tracker;
	if (ret == 0)
		ret = o->world->source.new(&options, &o->rounds.source, &o->err);
	if (ret == 0 && failure_point("attach") < 0)
		ret = outgoing_fail(o, -EIO, "failure asked for at attach");
	return ret < 0 ? outgoing_fail(o, ret, "cannot attach to QEMU, process %d", o->guest.qemu)
		       : 0;
}

/* ---- run ---- */

static bool round_over(const struct outgoing *o)
{
	return !o->rounds.running && o->rounds.synced >= o->opt->streams;
}

static bool round_over_or_stopped(const struct outgoing *o)
{
	return round_over(o) || o->stop.at_rest;
}

static bool round_is_idle(const struct outgoing *o)
{
	return !o->rounds.running;
}

static uint64_t dealt_with(const struct outgoing *o)
{
	struct source_stats stats = {0};

	if (o->rounds.source)
		o->world->source.stats(o->rounds.source, &stats);
	return (stats.pages_sent + stats.pages_zero) * RAM_PAGE_SIZE;
}

void outgoing_round_start(struct outgoing *o, enum source_round_kind kind)
{
	o->rounds.begin = dealt_with(o);
	o->rounds.number++;
	o->rounds.synced = 0;
	o->rounds.running = true;
	o->rounds.started_us = o->world->now_us();
	o->world->source.round_start(o->rounds.source, o->rounds.number, kind);
}

static int end_round(struct outgoing *o)
{
	const char *disks;

	o->rounds.last_us = o->world->now_us() - o->rounds.started_us;
	disks = outgoing_disks_account(o);
	/* The last pass has no time for words. */
	if (!o->stop.at_rest)
		report_round(o->report, o->rounds.number, o->rounds.pages * RAM_PAGE_SIZE,
			     o->rounds.last_us, disks);
	return 0;
}

/* A guest paused to finish that took too long is a time-out like any other. */
int outgoing_round_await_stopped(struct outgoing *o, const char *what)
{
	int ret = outgoing_await(o, round_over, outgoing_limits_stopped_left_ms(o), what);

	if (ret == -ETIMEDOUT && o->precopy.paused && outgoing_limits_stopped_left_ms(o) == 0)
		o->cancelled = true;
	return ret;
}

int outgoing_round_await(struct outgoing *o, uint64_t timeout_ms)
{
	int ret = outgoing_await(o, round_over_or_stopped, timeout_ms, NULL);

	if (ret == 0 && !round_over(o))
		ret = outgoing_round_await_stopped(o,
						   "the destination to take pages, guest stopped");
	return ret < 0 ? ret : end_round(o);
}

int outgoing_round(struct outgoing *o, enum source_round_kind kind, uint64_t timeout_ms)
{
	outgoing_round_start(o, kind);
	return outgoing_round_await(o, timeout_ms);
}

static int look(struct outgoing *o, const char *what)
{
	o->rounds.running = true;
	o->world->source.round_start(o->rounds.source, o->rounds.number, SOURCE_ROUND_CHECK);
	return outgoing_await(o, round_is_idle, SETTLE_MS, what);
}

/* QEMU's virtio-serial takes input from the host even while the guest stands still, and some other
 * device may too: guest memory that no longer fits the device state must not be handed over. */
int outgoing_round_check(struct outgoing *o)
{
	if (look(o, "the last look at guest memory") < 0)
		return o->failed;
	if (o->rounds.pages)
		return outgoing_fail(
			o, -EAGAIN,
			"a device wrote guest memory after the guest had stopped (%llu "
			"pages; input on a virtio console?): try again",
			(unsigned long long)o->rounds.pages);
	return 0;
}

uint64_t outgoing_round_late(struct outgoing *o)
{
	return look(o, NULL) < 0 ? 0 : o->rounds.pages;
}

void outgoing_round_hurry(struct outgoing *o)
{
	if (o->rounds.source)
		o->world->source.hurry(o->rounds.source);
}

void outgoing_round_hasten(struct outgoing *o)
{
	for (unsigned int i = 0; i < o->opt->streams; i++)
		uring_stream_hasten(o->rounds.streams[i]);
}

/* A destination that gives up says why and closes its sockets, in this order, but on different
 * connections: its own word is the cause, if it has left one. */
static void fail_round(struct outgoing *o, int result, const struct errtext *why)
{
	bool broke = result == -EPIPE || result == -ECONNRESET;

	if (broke)
		outgoing_await_cause(o);
	if (!broke || !o->failed)
		outgoing_fail(o, result, "%s", why->text);
}

void outgoing_round_take_done(struct outgoing *o, struct mail *mail)
{
	struct errtext why = {0};

	o->rounds.running = false;
	o->rounds.pages = mail->a;
	o->rounds.scan_us = mail->b;
	o->rounds.read_us = mail->c;
	if (mail->result == 0 || outgoing_is_handed_over(o)) /* QEMU may have ended by then */
		return;
	errtext_set(&why, mail->result, "%s", mail->text); /* lent until the next mail is taken */
	fail_round(o, mail->result, &why);
}

void outgoing_round_take_synced(struct outgoing *o, struct wire_message *m)
{
	o->rounds.synced += m->synced.round == o->rounds.number;
}

/* ---- measured ---- */

uint64_t outgoing_round_bytes(const struct outgoing *o)
{
	uint64_t bytes = 0;

	for (unsigned int i = 0; o->rounds.streams && i < o->opt->streams; i++)
		if (o->rounds.streams[i])
			bytes += uring_stream_bytes(o->rounds.streams[i]);
	return bytes;
}

uint64_t outgoing_round_moved(const struct outgoing *o)
{
	return dealt_with(o) - o->rounds.begin;
}

uint64_t outgoing_round_acked(const struct outgoing *o)
{
	uint64_t acked = 0;

	for (unsigned int i = 0; i < o->opt->streams; i++)
		acked += uring_stream_bytes_acked(o->rounds.streams[i]);
	return acked;
}

void outgoing_round_account(struct outgoing *o)
{
	struct wire_totals totals = {0};

	for (unsigned int i = 0; i < o->opt->streams; i++)
		wire_totals_add(&totals, uring_stream_socket(o->rounds.streams[i]));
	wire_cost_tick(o->peer.cost, &totals);
}

/* ---- given back ---- */

void outgoing_round_stop(struct outgoing *o)
{
	if (!o->rounds.source)
		return;
	o->world->source.abort(o->rounds.source);
	outgoing_await(o, round_is_idle, SETTLE_MS, NULL);
}

void outgoing_round_untrack(struct outgoing *o)
{
	o->world->tracker.destroy(o->rounds.tracker);
	o->rounds.tracker = NULL;
}

void outgoing_round_release(struct outgoing *o)
{
	if (o->rounds.source)
		o->world->source.abort(o->rounds.source);
	o->world->source.destroy(o->rounds.source);
	o->rounds.source = NULL;
	outgoing_disks_release(o);
	outgoing_round_untrack(o);
}

void outgoing_round_close_streams(struct outgoing *o)
{
	for (unsigned int i = 0; o->rounds.streams && i < o->opt->streams; i++)
		if (o->rounds.streams[i])
			o->rounds.streams[i]->ops->destroy(o->rounds.streams[i]);
	free(o->rounds.streams);
}
