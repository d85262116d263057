// SPDX-License-Identifier: Apache-2.0
// The rounds: pre-copy, the gate's opening, the last pass, and the proof.
#include "outgoing_private.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "clock.h"
#include "digest.h"
#include "fault.h"

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
	uint64_t spent = (clock_monotonic_us() - o->begun_us) / 1000;

	if (limit == 0)
		return NO_LIMIT_MS;
	return spent < limit ? limit - spent : 1;
}

/* What is left of the time that the last pass may take while the guest is stopped. */
static uint64_t stopped_left_ms(const struct outgoing *o)
{
	uint64_t limit = o->opt->stopped_ms > o->opt->max_downtime_ms ? o->opt->stopped_ms
								      : o->opt->max_downtime_ms;
	uint64_t spent = (clock_monotonic_us() - o->stopped_at_us) / 1000;

	return spent < limit ? limit - spent : 0;
}

static bool round_over_or_stopped(const struct outgoing *o)
{
	return round_over(o) || o->stopped;
}

/* A live round, which may turn into one that holds up a stopped guest. */
static int await_round(struct outgoing *o)
{
	int ret = outgoing_await(o, round_over_or_stopped, completion_left_ms(o), NULL);

	if (ret == -ETIMEDOUT && !o->failed) {
		o->cancelled = true;
		outgoing_fail(o, ret, "not finished after %llu s (--completion-timeout-per-gib %u)",
			      (unsigned long long)completion_s(o), o->opt->completion_s_per_gib);
	}
	if (ret == 0 && !round_over(o))
		ret = outgoing_await(o, round_over, stopped_left_ms(o),
				     "the destination to take pages, guest stopped");
	o->last_round_us = clock_monotonic_us() - o->round_started_us;
	/* The last pass has no time for words. */
	if (ret == 0 && !o->stopped)
		report_round(o->report, o->round, o->round_pages * RAM_PAGE_SIZE, o->last_round_us);
	return ret;
}

static enum convergence_verdict judge(struct outgoing *o)
{
	struct convergence_limits limits = {.max_downtime_ms = o->opt->max_downtime_ms,
					    .completion_s = completion_s(o)};
	struct convergence_round round = {
		.round = o->round,
		.bytes = o->round_pages * RAM_PAGE_SIZE,
		.duration_us = o->last_round_us,
		.elapsed_us = clock_monotonic_us() - o->begun_us,
		.fixed_us = FIXED_US,
	};

	return convergence_decide(&o->convergence, &limits, &round);
}

int outgoing_precopy(struct outgoing *o)
{
	o->precopy_us = clock_monotonic_us();
	for (;;) {
		enum convergence_verdict verdict;
		int ret;

		start_round(o, SOURCE_ROUND_LIVE);
		if (fault_point(o->round == 1 ? "first-round" : "later-round") < 0)
			return outgoing_fail(o, -EIO, "failure asked for in round %u", o->round);
		ret = await_round(o);
		if (ret < 0)
			return ret;
		verdict = judge(o);
		if (verdict == CONVERGENCE_ABORT) {
			o->cancelled = true;
			return outgoing_fail(o, -ETIMEDOUT, "%s", o->convergence.reason);
		}
		if (verdict == CONVERGENCE_SWITCH) {
			report_event(o->report, "decision", o->phase, o->convergence.reason);
			return 0;
		}
	}
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

	if (fault_point("switch-over") < 0)
		return outgoing_fail(o, -EIO, "failure asked for at switch-over");
	o->gate_opened = true;
	gate_open(o->gate);
	while (!o->stopped) {
		int ret;

		start_round(o, SOURCE_ROUND_LIVE);
		ret = await_round(o);
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
	if (fault_point("last-pass") < 0)
		return outgoing_fail(o, -EIO, "failure asked for in the last pass");
	start_round(o, SOURCE_ROUND_LAST);
	return outgoing_await(o, round_over, stopped_left_ms(o),
			      "the destination to take the last pages, guest stopped");
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
	atomic_bool never = false;
	int ret = ours ? control_send_type(o->control, WIRE_DIGEST_REQUEST) : -ENOMEM;

	if (ret == 0)
		ret = digest_ram(&o->ram, o->opt->streams, &never, ours, &o->err);
	if (ret == 0)
		ret = outgoing_await(o, has_digest, VERIFY_MS, "the destination's digest");
	if (ret == 0)
		ret = compare_digests(o, ours);
	free(ours);
	return ret < 0 ? outgoing_fail(o, ret, "cannot verify") : 0;
}
