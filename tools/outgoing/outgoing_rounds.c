// SPDX-License-Identifier: Apache-2.0
// The rounds: pre-copy, the gate's opening, the last pass, and the proof.
#include "outgoing_private.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "clock.h"
#include "digest.h"
#include "failure_point.h"

#define NO_LIMIT_MS (365ull * 24 * 3600 * 1000)
/* Between gate and stop: a round needs time to find something. */
#define CHASE_MS 5
#define STOP_MS 30000
/* The destination's digest takes about as long as ours. */
#define VERIFY_MS 60000
/* The estimate of a stop's fixed cost (device state, libvirt's round trips) before any is known. */
#define FIXED_US 20000

static bool round_over(const struct outgoing *o)
{
	return !o->round_running && o->synced >= o->opt->streams;
}

static void start_round(struct outgoing *o, enum source_round_kind kind)
{
	struct source_stats stats;

	source_stats(o->source, &stats);
	o->round_begin = (stats.pages_sent + stats.pages_zero) * RAM_PAGE_SIZE;
	o->round++;
	o->synced = 0;
	o->round_running = true;
	o->round_started_us = clock_monotonic_us();
	source_round_start(o->source, o->round, kind);
}

static uint64_t completion_s(const struct outgoing *o)
{
	uint64_t gib = (ram_map_bytes(&o->ram) + (1ull << 30) - 1) >> 30;

	return o->opt->completion_s_per_gib * gib;
}

/* The completion time-out holds inside a round, too. */
static uint64_t completion_left_ms(const struct outgoing *o)
{
	uint64_t limit = completion_s(o) * 1000;
	uint64_t spent = (clock_monotonic_us() - o->turn_us) / 1000;

	if (limit == 0)
		return NO_LIMIT_MS;
	return spent < limit ? limit - spent : 1;
}

/* What is left of the time that the last pass may take while the guest is stopped. A guest paused
 * to finish has the whole time again, as in KubeVirt. */
static uint64_t stopped_left_ms(const struct outgoing *o)
{
	uint64_t limit = o->opt->stopped_ms > o->limits.max_downtime_ms ? o->opt->stopped_ms
									: o->limits.max_downtime_ms;
	uint64_t spent = (clock_monotonic_us() - o->stopped_at_us) / 1000;

	if (o->paused)
		limit = completion_s(o) ? completion_s(o) * 1000 : NO_LIMIT_MS;
	return spent < limit ? limit - spent : 0;
}

static bool round_over_or_stopped(const struct outgoing *o)
{
	return round_over(o) || o->stopped;
}

/* A debugger on QEMU, say: its vCPUs run free, and the migration does without. */
static bool may_throttle(struct outgoing *o)
{
	struct errtext err = {0};

	if (!o->opt->auto_converge || o->unthrottleable)
		return false;
	if (o->throttle && throttle_result(o->throttle, &err) < 0) {
		report_event(o->report, "warning", o->phase, err.text);
		o->unthrottleable = true;
		o->throttle_percent = 0;
	}
	return !o->unthrottleable;
}

/* A paused guest writes nothing: pre-copy suffices. */
static bool may_post_copy(const struct outgoing *o)
{
	return o->was_running && !o->post_copy_refused;
}

static void limits_now(struct outgoing *o, struct convergence_limits *limits)
{
	*limits = (struct convergence_limits){
		.max_downtime_ms = o->limits.max_downtime_ms,
		.completion_s = (uint32_t)completion_s(o),
		.post_copy = may_post_copy(o) && o->limits.post_copy,
		.post_copy_now = may_post_copy(o) && o->opt->post_copy_now,
		.disruption = o->opt->disruption,
		.auto_converge = may_throttle(o),
	};
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
static int await_stopped(struct outgoing *o, const char *what)
{
	int ret = outgoing_await(o, round_over, stopped_left_ms(o), what);

	if (ret == -ETIMEDOUT && o->paused && stopped_left_ms(o) == 0)
		o->cancelled = true;
	return ret;
}

/* A live round, which may turn into one that holds up a stopped guest. -ETIMEDOUT without a failure
 * recorded: the completion time-out, round still running. */
static int await_round(struct outgoing *o, uint64_t timeout_ms)
{
	int ret = outgoing_await(o, round_over_or_stopped, timeout_ms, NULL);

	if (ret == 0 && !round_over(o))
		ret = await_stopped(o, "the destination to take pages, guest stopped");
	return ret < 0 ? ret : end_round(o);
}

int outgoing_round(struct outgoing *o, enum source_round_kind kind, uint64_t timeout_ms)
{
	start_round(o, kind);
	return await_round(o, timeout_ms);
}

static enum convergence_verdict judge(struct outgoing *o)
{
	struct convergence_limits limits;
	struct convergence_round round = {
		.round = o->round,
		.bytes = o->round_pages * RAM_PAGE_SIZE,
		.duration_us = o->last_round_us,
		.elapsed_us = clock_monotonic_us() - o->turn_us,
		.fixed_us = FIXED_US,
		.throttle_percent = o->throttle_percent,
	};

	enum convergence_verdict verdict;

	limits_now(o, &limits);
	verdict = convergence_decide(&o->convergence, &limits, &round);
	progress_round(&o->progress, clock_monotonic_us(), o->convergence.remaining_bytes);
	return verdict;
}

/* The time is up inside a round: let it end early, what it leaves is found later. */
static enum convergence_verdict expire(struct outgoing *o)
{
	struct convergence_limits limits;

	limits_now(o, &limits);
	source_hurry(o->source);
	return convergence_expired(&o->convergence, &limits, clock_monotonic_us() - o->turn_us);
}

static int slow_down(struct outgoing *o)
{
	struct errtext err = {0};

	if (!o->throttle && throttle_new(o->qemu, &o->throttle, &err) < 0) {
		report_event(o->report, "warning", o->phase, err.text);
		o->unthrottleable = true;
		return 0;
	}
	o->throttle_percent = o->convergence.throttle_percent;
	if (o->throttle_percent > o->most_throttled)
		o->most_throttled = o->throttle_percent;
	throttle_set(o->throttle, o->throttle_percent);
	return 0;
}

/* Act on a verdict. 1: on to the switch-over; 0: another round. */
static int act(struct outgoing *o, enum convergence_verdict verdict)
{
	if (o->convergence.tell)
		report_event(o->report, "decision", o->phase, o->convergence.reason);
	switch (verdict) {
	case CONVERGENCE_CONTINUE:
		return 0;
	case CONVERGENCE_THROTTLE:
		return slow_down(o);
	case CONVERGENCE_SWITCH:
		return 1;
	case CONVERGENCE_PAUSE:
		o->paused = true;
		o->mode = "Paused";
		return 1;
	case CONVERGENCE_POST_COPY:
		return outgoing_listen(o);
	case CONVERGENCE_ABORT:
		break;
	}
	o->cancelled = true;
	return outgoing_fail(o, -ETIMEDOUT, "%s (--completion-timeout-per-gib %u)",
			     o->convergence.reason, o->opt->completion_s_per_gib);
}

static int live_round(struct outgoing *o)
{
	enum convergence_verdict verdict;
	int ret;

	start_round(o, SOURCE_ROUND_LIVE);
	if (failure_point(o->round == 1 ? "first-round" : "later-round") < 0)
		return outgoing_fail(o, -EIO, "failure asked for in round %u", o->round);
	ret = await_round(o, completion_left_ms(o));
	if (ret < 0 && (ret != -ETIMEDOUT || o->failed))
		return ret;
	verdict = ret < 0 ? expire(o) : judge(o);
	if (ret < 0 && verdict != CONVERGENCE_ABORT) {
		ret = await_round(o, NO_LIMIT_MS);
		if (ret < 0)
			return ret;
	}
	return act(o, verdict);
}

int outgoing_precopy(struct outgoing *o)
{
	int ret;

	o->precopy_us = clock_monotonic_us();
	do
		ret = live_round(o);
	while (ret == 0);
	return ret < 0 ? ret : 0;
}

static bool has_stopped(const struct outgoing *o)
{
	return o->stopped;
}

/* QEMU takes a while from the gate's opening to the stop; rounds go on, so that the last pass
 * finds only what was written in the last few milliseconds. */
int outgoing_switchover(struct outgoing *o)
{
	uint64_t end = clock_monotonic_us() + STOP_MS * 1000ull;

	if (failure_point("switch-over") < 0)
		return outgoing_fail(o, -EIO, "failure asked for at switch-over");
	if (o->post_copy)
		outgoing_hasten(o);
	o->gate_opened = true;
	gate_open(o->gate);
	while (!o->stopped) {
		int ret;

		ret = outgoing_round(o, o->post_copy ? SOURCE_ROUND_STALE : SOURCE_ROUND_LIVE,
				     STOP_MS);
		if (ret == 0)
			ret = outgoing_await(o, has_stopped, CHASE_MS, NULL);
		if (ret < 0 && ret != -ETIMEDOUT)
			return ret;
		if (o->failed)
			return o->failed;
		if (clock_monotonic_us() > end)
			return outgoing_fail(o, -ETIMEDOUT,
					     "waited %d s for QEMU to stop the guest",
					     STOP_MS / 1000);
	}
	return 0;
}

int outgoing_last_pass(struct outgoing *o)
{
	int ret;

	if (failure_point("last-pass") < 0)
		return outgoing_fail(o, -EIO, "failure asked for in the last pass");
	start_round(o, o->post_copy ? SOURCE_ROUND_STALE_LAST : SOURCE_ROUND_LAST);
	ret = await_stopped(o, "the destination to take the last pages, guest stopped");
	return ret == 0 && o->post_copy ? outgoing_serve(o) : ret;
}

static bool has_digest(const struct outgoing *o)
{
	return o->got_digest;
}

static int compare_digests(struct outgoing *o, const struct wire_digest *ours)
{
	if (ours->count != o->digest.count)
		return outgoing_fail(o, -EPROTO,
				     "the destination sent %u digests for %u RAM blocks",
				     o->digest.count, ours->count);
	for (unsigned int i = 0; i < ours->count; i++)
		if (memcmp(ours->digest[i], o->digest.digest[i], 16) != 0)
			return outgoing_fail(o, -EBADMSG,
					     "RAM block %s differs between the hosts: not handed "
					     "over; please report this as a bug in dray",
					     o->ram.blocks[i].name);
	for (int i = 0; i < 16; i++)
		snprintf(o->verified + 2 * i, 3, "%02x", ours->digest[0][i]);
	return 0;
}

/* Both sides compute at the same time; heartbeats go on, so a dead peer still shows within
 * stopped_ms. */
int outgoing_verify(struct outgoing *o)
{
	struct wire_digest *ours = calloc(1, sizeof(*ours));
	struct errtext err = {0};
	int ret = ours ? control_send_type(o->control, WIRE_DIGEST_REQUEST) : -ENOMEM;

	if (ret == 0)
		ret = digest_ram(&o->ram, o->opt->streams, mailbox_urgent(o->mail), ours, &err);
	/* Cancelled: the mail that asked for it is taken now. */
	if (ret == 0 || ret == -ECANCELED)
		ret = outgoing_await(o, has_digest, VERIFY_MS, "the destination's digest");
	if (ret == 0)
		ret = compare_digests(o, ours);
	free(ours);
	return ret < 0 ? outgoing_fail(o, ret, "cannot verify: %s", err.text) : 0;
}
