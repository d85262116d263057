// SPDX-License-Identifier: Apache-2.0
// The rounds over guest memory.
#include "outgoing_round.h"

#include <errno.h>
#include <linux/userfaultfd.h>
#include <stdlib.h>
#include "attach.h"
#include "cleanup.h"
#include "clock.h"
#include "failure_point.h"
#include "kernel_abi.h"
#include "outgoing_await.h"
#include "outgoing_guest.h"
#include "outgoing_limits.h"
#include "outgoing_private.h"
#include "outgoing_state.h"
#include "uring_stream.h"

/* For a round that holds up nothing but the end. */
#define SETTLE_MS 10000

/* ---- made ---- */

int outgoing_round_open_streams(struct outgoing *o)
{
	const struct uring_stream_options options = {.pacer = o->peer.pacer};

	o->streams = calloc(o->opt->streams, sizeof(*o->streams));
	if (!o->streams)
		return outgoing_fail(o, -ENOMEM, "out of memory");
	for (unsigned int i = 0; i < o->opt->streams; i++) {
		_cleanup_close_ int fd = -1;
		int ret = dial(&o->peer.at, WIRE_KIND_RAM, i, &fd, NULL, &o->err);

		if (ret == 0)
			ret = uring_stream_new(fd, &options, &o->streams[i], &o->err);
		if (ret < 0)
			return outgoing_fail(o, ret, "cannot open RAM stream %u", i);
		steal_fd(&fd);
	}
	return 0;
}

static void on_round_done(void *opaque, const struct source_round *round)
{
	struct outgoing *o = opaque;
	const struct mail mail = {.kind = MAIL_ROUND_DONE,
				  .result = round->result,
				  .a = round->pages,
				  .b = round->duration_us,
				  .text = round->err.text};

	mailbox_post(o->mail, &mail);
}

int outgoing_round_attach(struct outgoing *o)
{
	const unsigned long long features = UFFD_FEATURE_WP_ASYNC | UFFD_FEATURE_WP_UNPOPULATED |
					    UFFD_FEATURE_WP_HUGETLBFS_SHMEM;
	struct source_options options = {.ram = &o->guest.ram,
					 .streams = o->streams,
					 .stream_count = o->opt->streams,
					 .quiesce = o->guest.monitor ? outgoing_guest_drain : NULL,
					 .round_done = on_round_done,
					 .opaque = o};
	int uffd = -1;
	int ret = attach_userfaultfd(o->guest.qemu, features, false, &uffd, NULL, &o->err);

	if (ret == 0)
		ret = tracker_new(uffd, o->guest.qemu, &o->guest.ram, &o->tracker, &o->err);
	options.tracker = o->tracker;
	if (ret == 0)
		ret = source_new(&options, &o->source, &o->err);
	if (ret == 0 && failure_point("attach") < 0)
		ret = outgoing_fail(o, -EIO, "failure asked for at attach");
	return ret < 0 ? outgoing_fail(o, ret, "cannot attach to QEMU, process %d", o->guest.qemu)
		       : 0;
}

/* ---- run ---- */

static bool round_over(const struct outgoing *o)
{
	return !o->round_running && o->synced >= o->opt->streams;
}

static bool round_over_or_stopped(const struct outgoing *o)
{
	return round_over(o) || o->stopped;
}

static bool round_is_idle(const struct outgoing *o)
{
	return !o->round_running;
}

static uint64_t dealt_with(const struct outgoing *o)
{
	struct source_stats stats = {0};

	if (o->source)
		source_stats(o->source, &stats);
	return (stats.pages_sent + stats.pages_zero) * RAM_PAGE_SIZE;
}

void outgoing_round_start(struct outgoing *o, enum source_round_kind kind)
{
	o->round_begin = dealt_with(o);
	o->round++;
	o->synced = 0;
	o->round_running = true;
	o->round_started_us = clock_monotonic_us();
	source_round_start(o->source, o->round, kind);
}

static int end_round(struct outgoing *o)
{
	o->last_round_us = clock_monotonic_us() - o->round_started_us;
	/* The last pass has no time for words. */
	if (!o->stopped)
		report_round(o->report, o->round, o->round_pages * RAM_PAGE_SIZE, o->last_round_us);
	return 0;
}

/* A guest paused to finish that took too long is a time-out like any other. */
int outgoing_round_await_stopped(struct outgoing *o, const char *what)
{
	int ret = outgoing_await(o, round_over, outgoing_stopped_left_ms(o), what);

	if (ret == -ETIMEDOUT && o->paused && outgoing_stopped_left_ms(o) == 0)
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

/* QEMU's virtio-serial takes input from the host even while the guest stands still, and some other
 * device may too: guest memory that no longer fits the device state must not be handed over. */
int outgoing_round_check(struct outgoing *o)
{
	o->round_running = true;
	source_round_start(o->source, o->round, SOURCE_ROUND_CHECK);
	if (outgoing_await(o, round_is_idle, SETTLE_MS, "the last look at guest memory") < 0)
		return o->failed;
	if (o->round_pages)
		return outgoing_fail(
			o, -EAGAIN,
			"a device wrote guest memory after the guest had stopped (%llu "
			"pages; input on a virtio console?): try again",
			(unsigned long long)o->round_pages);
	return 0;
}

void outgoing_round_hurry(struct outgoing *o)
{
	if (o->source)
		source_hurry(o->source);
}

void outgoing_round_hasten(struct outgoing *o)
{
	for (unsigned int i = 0; i < o->opt->streams; i++)
		uring_stream_hasten(o->streams[i]);
}

void outgoing_round_take_done(struct outgoing *o, struct mail *mail)
{
	o->round_running = false;
	o->round_pages = mail->a;
	if (mail->result < 0)
		outgoing_fail(o, mail->result, "%s", mail->text);
}

void outgoing_round_take_synced(struct outgoing *o, struct wire_message *m)
{
	o->synced += m->synced.round == o->round;
}

/* ---- measured ---- */

uint64_t outgoing_round_bytes(const struct outgoing *o)
{
	uint64_t bytes = 0;

	for (unsigned int i = 0; o->streams && i < o->opt->streams; i++)
		if (o->streams[i])
			bytes += uring_stream_bytes(o->streams[i]);
	return bytes;
}

uint64_t outgoing_round_moved(const struct outgoing *o)
{
	return dealt_with(o) - o->round_begin;
}

uint64_t outgoing_round_acked(const struct outgoing *o)
{
	uint64_t acked = 0;

	for (unsigned int i = 0; i < o->opt->streams; i++)
		acked += uring_stream_bytes_acked(o->streams[i]);
	return acked;
}

void outgoing_round_account(struct outgoing *o)
{
	struct wire_totals totals = {0};

	for (unsigned int i = 0; i < o->opt->streams; i++)
		wire_totals_add(&totals, uring_stream_socket(o->streams[i]));
	wire_cost_tick(o->peer.cost, &totals);
}

/* ---- given back ---- */

void outgoing_round_stop(struct outgoing *o)
{
	if (!o->source)
		return;
	source_abort(o->source);
	outgoing_await(o, round_is_idle, SETTLE_MS, NULL);
}

void outgoing_round_untrack(struct outgoing *o)
{
	tracker_destroy(o->tracker);
	o->tracker = NULL;
}

void outgoing_round_release(struct outgoing *o)
{
	if (o->source)
		source_abort(o->source);
	source_destroy(o->source);
	o->source = NULL;
	outgoing_round_untrack(o);
}

void outgoing_round_close_streams(struct outgoing *o)
{
	for (unsigned int i = 0; o->streams && i < o->opt->streams; i++)
		if (o->streams[i])
			o->streams[i]->ops->destroy(o->streams[i]);
	free(o->streams);
}
