// SPDX-License-Identifier: Apache-2.0
// Pre-copy: rounds while the guest runs.
#include "outgoing_precopy.h"

#include <errno.h>
#include "failure_point.h"
#include "outgoing_limits.h"
#include "outgoing_postcopy.h"
#include "outgoing_private.h"
#include "outgoing_round.h"
#include "outgoing_state.h"
#include "outgoing_status.h"
#include "stop_cost.h"

/* ---- the vCPUs ---- */

/* A debugger on QEMU, say: its vCPUs run free, and the migration does without. */
static bool may_throttle(struct outgoing *o)
{
	struct errtext err = {0};

	if (!o->opt->auto_converge || o->precopy.unthrottleable)
		return false;
	if (o->precopy.throttle && o->world->throttle.result(o->precopy.throttle, &err) < 0) {
		report_event(o->report, "warning", o->phase, err.text);
		o->precopy.unthrottleable = true;
		o->precopy.throttle_percent = 0;
	}
	return !o->precopy.unthrottleable;
}

static int slow_down(struct outgoing *o)
{
	struct errtext err = {0};

	if (!o->precopy.throttle &&
	    o->world->throttle.new(o->guest.qemu, &o->precopy.throttle, &err) < 0) {
		report_event(o->report, "warning", o->phase, err.text);
		o->precopy.unthrottleable = true;
		return 0;
	}
	o->precopy.throttle_percent = o->precopy.convergence.throttle_percent;
	if (o->precopy.throttle_percent > o->precopy.most_throttled)
		o->precopy.most_throttled = o->precopy.throttle_percent;
	o->world->throttle.set(o->precopy.throttle, o->precopy.throttle_percent);
	return 0;
}

void outgoing_precopy_free_vcpus(struct outgoing *o)
{
	if (o->precopy.throttle)
		o->world->throttle.set(o->precopy.throttle, 0);
}

void outgoing_precopy_release(struct outgoing *o)
{
	o->world->throttle.destroy(o->precopy.throttle);
	o->precopy.throttle = NULL;
}

/* ---- what to do next ---- */

/* A paused guest writes nothing: pre-copy suffices. */
static bool may_post_copy(const struct outgoing *o)
{
	return o->guest.runs && !o->postcopy.refused;
}

static void limits_now(struct outgoing *o, struct convergence_limits *limits)
{
	*limits = (struct convergence_limits){
		.max_downtime_ms = o->precopy.limits.max_downtime_ms,
		.completion_s = (uint32_t)outgoing_limits_completion_s(o),
		.post_copy = may_post_copy(o) && o->precopy.limits.post_copy,
		.post_copy_now = may_post_copy(o) && o->opt->post_copy_now,
		.disruption = o->opt->disruption,
		.auto_converge = may_throttle(o),
	};
}

/* What a stop costs, whatever is sent in it. */
static uint64_t fixed_us(const struct outgoing *o)
{
	struct stop_cost cost = {.scan_us = o->rounds.scan_us, .record_us = o->place.record_us};
	int64_t offset;

	o->world->control.clock(o->peer.control, &offset, &cost.trip_us);
	return stop_cost_fixed_us(&cost);
}

static enum convergence_verdict judge(struct outgoing *o)
{
	struct convergence_limits limits;
	const struct convergence_round round = {
		.round = o->rounds.number,
		.bytes = o->rounds.pages * RAM_PAGE_SIZE,
		.duration_us = o->rounds.last_us,
		.elapsed_us = o->world->now_us() - o->turn.came_us,
		.read_us = o->rounds.read_us,
		.fixed_us = fixed_us(o),
		.settle_us = outgoing_disks_settle_us(o),
		.throttle_percent = o->precopy.throttle_percent,
	};
	enum convergence_verdict verdict;

	o->precopy.fixed_us = round.fixed_us;
	limits_now(o, &limits);
	verdict = convergence_decide(&o->precopy.convergence, &limits, &round);
	progress_round(&o->precopy.progress, o->world->now_us(),
		       o->precopy.convergence.remaining_bytes);
	return verdict;
}

/* In post-copy no pages go in the stop. */
uint64_t outgoing_precopy_predicted_us(const struct outgoing *o)
{
	return o->postcopy.decided ? o->precopy.fixed_us : o->precopy.convergence.predicted_us;
}

/* The time is up inside a round: let it end early, what it leaves is found later. */
static enum convergence_verdict expire(struct outgoing *o)
{
	struct convergence_limits limits;

	limits_now(o, &limits);
	outgoing_round_hurry(o);
	return convergence_expired(&o->precopy.convergence, &limits,
				   o->world->now_us() - o->turn.came_us);
}

/* Act on a verdict. 1: on to the switch-over; 0: another round. */
static int act(struct outgoing *o, enum convergence_verdict verdict)
{
	if (o->precopy.convergence.tell)
		report_event(o->report, "decision", o->phase, o->precopy.convergence.reason);
	switch (verdict) {
	case CONVERGENCE_CONTINUE:
		return 0;
	case CONVERGENCE_THROTTLE:
		return slow_down(o);
	case CONVERGENCE_SWITCH:
		return 1;
	case CONVERGENCE_PAUSE:
		o->precopy.paused = true;
		outgoing_status_set_mode(o, "Paused");
		return 1;
	case CONVERGENCE_POST_COPY:
		return outgoing_postcopy_listen(o);
	case CONVERGENCE_ABORT:
		break;
	}
	o->cancelled = true;
	return outgoing_fail(o, -ETIMEDOUT, "%s (--completion-timeout-per-gib %u)",
			     o->precopy.convergence.reason, o->opt->completion_s_per_gib);
}

/* 1: on to the switch-over; 0: another round. */
static int act_unless_held(struct outgoing *o, enum convergence_verdict verdict)
{
	bool stops = verdict == CONVERGENCE_SWITCH || verdict == CONVERGENCE_POST_COPY;

	return stops && outgoing_disks_hold(o) ? o->failed : act(o, verdict);
}

/* ---- the rounds ---- */

/* Each once: a test that lets a stopped process go on does not expect it to stop again. */
static int pass_failure_point(uint32_t round)
{
	if (round > 2)
		return 0;
	return failure_point(round == 1 ? "first-round" : "later-round");
}

static int live_round(struct outgoing *o)
{
	enum convergence_verdict verdict;
	int ret;

	outgoing_round_start(o, SOURCE_ROUND_LIVE);
	if (pass_failure_point(o->rounds.number) < 0)
		return outgoing_fail(o, -EIO, "failure asked for in round %u", o->rounds.number);
	ret = outgoing_round_await(o, outgoing_limits_completion_left_ms(o));
	if (ret < 0 && (ret != -ETIMEDOUT || o->failed))
		return ret;
	verdict = ret < 0 ? expire(o) : judge(o);
	if (ret < 0 && verdict != CONVERGENCE_ABORT) {
		ret = outgoing_round_await(o, OUTGOING_NO_LIMIT_MS);
		if (ret < 0)
			return ret;
	}
	return act_unless_held(o, verdict);
}

int outgoing_precopy(struct outgoing *o)
{
	int ret;

	o->precopy.begun_us = o->world->now_us();
	do
		ret = live_round(o);
	while (ret == 0);
	return ret < 0 ? ret : 0;
}

/* A migration that gets nowhere shall not block the way for as long as a large guest may take. */
void outgoing_precopy_check_progress(struct outgoing *o, uint64_t now_us, uint64_t remaining)
{
	char reason[PROGRESS_REASON_SIZE];

	if (o->phase != PHASE_PRECOPY)
		return;
	progress_note(&o->precopy.progress, now_us, remaining, outgoing_round_acked(o));
	if (o->failed || !progress_stuck(&o->precopy.progress, now_us, o->opt->progress_s, reason))
		return;
	o->cancelled = true;
	outgoing_fail(o, -ETIMEDOUT, "%s (--progress-timeout %u)", reason, o->opt->progress_s);
}
