// SPDX-License-Identifier: Apache-2.0
// The decision when to switch over, and by what means. See convergence.h for the formulas.
//
// All figures are integers and every product runs through 128 bits and saturates: figures out of
// proportion make a prediction large, never small by wrapping around.
#include "convergence.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include "saturating.h"

#define US_PER_S 1000000u
#define US_PER_MS 1000u
#define MIB (1024.0 * 1024)

/* a * b / c, saturating. 0 / 0 is 0. */
static uint64_t mul_div(uint64_t a, uint64_t b, uint64_t c)
{
	unsigned __int128 product = (unsigned __int128)a * b;

	if (!product)
		return 0;
	if (!c || product / c > UINT64_MAX)
		return UINT64_MAX;
	return (uint64_t)(product / c);
}

static uint64_t at_least_1(uint64_t value)
{
	return value ? value : 1;
}

/* Rounded up, so that a text never claims that 300 ms exceeds 300 ms. */
static uint64_t us_to_ms(uint64_t us)
{
	return us / US_PER_MS + (us % US_PER_MS != 0);
}

static void learn_throughput(struct convergence *c, const struct convergence_round *round)
{
	uint64_t sample = mul_div(round->bytes, US_PER_S, at_least_1(round->duration_us));

	/* A small round measures the network's latency, not its throughput. */
	if (c->bytes_per_s && round->bytes < CONVERGENCE_SMALL_BYTES)
		return;
	if (c->bytes_per_s)
		sample = sample / 2 + c->bytes_per_s / 2;
	c->bytes_per_s = sample;
}

/* Sending waits for reading and reading for sending, so the slower of them counts. */
static void predict(struct convergence *c, const struct convergence_round *round)
{
	uint64_t read_us = 0, pages_us;

	if (c->rounds) {
		uint64_t before = at_least_1(c->last_duration_us);

		c->dirty_bytes_per_s = mul_div(round->bytes, US_PER_S, before);
		c->remaining_bytes = mul_div(round->bytes, round->duration_us, before);
		read_us = mul_div(round->read_us, round->duration_us, before);
	} else {
		/* Nothing is known of the writing yet: assume that all was written again. */
		c->remaining_bytes = round->bytes;
	}
	pages_us = mul_div(c->remaining_bytes, US_PER_S, c->bytes_per_s);
	c->predicted_us = saturating_add(saturating_add(round->fixed_us, round->settle_us),
					 read_us > pages_us ? read_us : pages_us);
}

/* Is more than a quarter less than the least so far? */
static bool fell_clearly(const struct convergence *c)
{
	return c->remaining_bytes < c->least_bytes - c->least_bytes / 4;
}

/* Could another round clearly lower the remaining bytes? Uses least_bytes of the rounds before. */
static bool could_fall(const struct convergence *c)
{
	bool above_least = c->remaining_bytes > saturating_add(c->least_bytes, c->least_bytes / 4);

	if (c->remaining_bytes < CONVERGENCE_SMALL_BYTES)
		return false;
	if (fell_clearly(c))
		return true;
	/* It was lower before and may be so again; but do not wait for that for ever. */
	return above_least && c->stale_rounds + 1 < CONVERGENCE_STALE_ROUNDS;
}

static void remember(struct convergence *c, const struct convergence_round *round)
{
	if (!c->rounds || fell_clearly(c))
		c->stale_rounds = 0;
	else
		c->stale_rounds++;
	if (!c->rounds || c->remaining_bytes < c->least_bytes)
		c->least_bytes = c->remaining_bytes;
	c->last_duration_us = round->duration_us;
	c->rounds++;
}

static void note_stall(struct convergence *c, const struct convergence_round *round)
{
	struct stall_round note = {
		.found_bytes = round->bytes,
		.remaining_bytes = c->remaining_bytes,
		.duration_us = round->duration_us,
		.elapsed_us = round->elapsed_us,
	};

	if (round->throttle_percent != c->throttle_percent)
		stall_restart(&c->stall);
	stall_note(&c->stall, &note);
}

__attribute__((format(printf, 3, 4))) static enum convergence_verdict
say(struct convergence *c, enum convergence_verdict verdict, const char *fmt, ...)
{
	va_list args;

	va_start(args, fmt);
	vsnprintf(c->reason, sizeof(c->reason), fmt, args);
	va_end(args);
	c->mind = CONVERGENCE_FALLING;
	c->tell = true;
	return verdict;
}

__attribute__((format(printf, 3, 4))) static enum convergence_verdict
go_on(struct convergence *c, enum convergence_mind mind, const char *fmt, ...)
{
	bool again = mind == CONVERGENCE_FALLING && c->mind != mind;
	int len = snprintf(c->reason, sizeof(c->reason), again ? "no longer stalled: " : "");
	va_list args;

	va_start(args, fmt);
	vsnprintf(c->reason + len, sizeof(c->reason) - (size_t)len, fmt, args);
	va_end(args);
	c->tell = c->mind != mind;
	c->mind = mind;
	return CONVERGENCE_CONTINUE;
}

static bool time_is_up(const struct convergence_limits *limits, uint64_t elapsed_us)
{
	return limits->completion_s && elapsed_us > (uint64_t)limits->completion_s * US_PER_S;
}

static enum convergence_verdict expire(struct convergence *c,
				       const struct convergence_limits *limits, bool predicted)
{
	char figures[96] = "the first round is not over yet";

	if (predicted)
		snprintf(figures, sizeof(figures),
			 "predicted downtime %" PRIu64 " ms, allowed %" PRIu32 " ms",
			 us_to_ms(c->predicted_us), limits->max_downtime_ms);
	if (limits->post_copy)
		return say(c, CONVERGENCE_POST_COPY,
			   "not done within %" PRIu32 " s; %s: switching to post-copy",
			   limits->completion_s, figures);
	if (limits->disruption)
		return say(c, CONVERGENCE_PAUSE,
			   "not done within %" PRIu32 " s; %s: pausing the guest to finish",
			   limits->completion_s, figures);
	return say(c, CONVERGENCE_ABORT, "not done within %" PRIu32 " s; %s", limits->completion_s,
		   figures);
}

/* SWITCH, or CONTINUE with the reason why not. */
static enum convergence_verdict judge_downtime(struct convergence *c,
					       const struct convergence_limits *limits,
					       const struct convergence_round *round)
{
	uint64_t allowed_us = (uint64_t)limits->max_downtime_ms * US_PER_MS;
	uint64_t predicted_ms = us_to_ms(c->predicted_us);

	if (round->fixed_us > allowed_us)
		return go_on(c, CONVERGENCE_FIXED_COST,
			     "the stop alone costs %" PRIu64 " ms of the %" PRIu32
			     " ms allowed, and no round can lower that",
			     us_to_ms(round->fixed_us), limits->max_downtime_ms);
	if (!c->rounds && round->bytes >= CONVERGENCE_SMALL_BYTES)
		return go_on(c, CONVERGENCE_FALLING,
			     "the first round does not tell yet how fast the guest writes");
	if (c->predicted_us > allowed_us && round->settle_us)
		return go_on(c, CONVERGENCE_FALLING,
			     "predicted downtime %" PRIu64 " ms exceeds %" PRIu32 " ms; %" PRIu64
			     " ms of it go to pages that slow disks may still have changed",
			     predicted_ms, limits->max_downtime_ms, us_to_ms(round->settle_us));
	if (c->predicted_us > allowed_us)
		return go_on(c, CONVERGENCE_FALLING,
			     "predicted downtime %" PRIu64 " ms exceeds %" PRIu32 " ms",
			     predicted_ms, limits->max_downtime_ms);
	if (could_fall(c))
		return go_on(c, CONVERGENCE_FALLING,
			     "predicted downtime %" PRIu64 " ms fits %" PRIu32
			     " ms, but another round should lower it",
			     predicted_ms, limits->max_downtime_ms);
	return say(c, CONVERGENCE_SWITCH,
		   "predicted downtime %" PRIu64 " ms fits %" PRIu32
		   " ms, and another round would not lower it",
		   predicted_ms, limits->max_downtime_ms);
}

struct stall_text {
	char text[112];
};

static struct stall_text stall_text(const struct convergence *c,
				    const struct convergence_round *round)
{
	const struct stall *s = &c->stall;
	struct stall_text t;

	if (s->kind == STALL_OUTPACED)
		snprintf(t.text, sizeof(t.text),
			 "the guest writes %.1f MiB/s and the network takes %.1f MiB/s",
			 (double)c->dirty_bytes_per_s / MIB,
			 (double)mul_div(round->bytes, US_PER_S, at_least_1(round->duration_us)) /
				 MIB);
	else
		snprintf(t.text, sizeof(t.text),
			 "remaining bytes, now %.1f MiB, have not fallen for %" PRIu32
			 " rounds (%.1f s)",
			 (double)round->bytes / MIB, s->low_rounds,
			 (double)(round->elapsed_us - s->low_us) / US_PER_S);
	return t;
}

static uint64_t waited_us(const struct convergence *c, const struct convergence_round *round)
{
	return c->waited_rounds ? round->elapsed_us - c->waited_since_us : 0;
}

/* How much patience has gone: 0 to PATIENCE_STEPS. Rounds count, and time, for rounds may be short.
 */
static unsigned int impatience(const struct convergence *c, const struct convergence_round *round)
{
	uint64_t next_us = mul_div(c->remaining_bytes, US_PER_S, c->bytes_per_s);
	uint64_t steps = waited_us(c, round) / CONVERGENCE_PATIENCE_STEP_US;

	if (saturating_add(waited_us(c, round), next_us) > CONVERGENCE_PATIENCE_US)
		return CONVERGENCE_PATIENCE_STEPS;
	if (steps > c->waited_rounds)
		steps = c->waited_rounds;
	return steps < CONVERGENCE_PATIENCE_STEPS ? (unsigned int)steps
						  : CONVERGENCE_PATIENCE_STEPS;
}

static bool is_low(const struct convergence *c, unsigned int impatient)
{
	unsigned int percent = 100 + (10u << impatient);

	return (unsigned __int128)c->remaining_bytes * 100 <=
	       (unsigned __int128)stall_recent_least(&c->stall) * percent;
}

/* The means is chosen; choose the moment. */
static enum convergence_verdict at_a_low(struct convergence *c,
					 const struct convergence_round *round,
					 enum convergence_verdict verdict, const char *action)
{
	struct stall_text why = stall_text(c, round);
	double left = (double)c->remaining_bytes / MIB;
	unsigned int impatient = impatience(c, round);

	if (is_low(c, impatient) || impatient == CONVERGENCE_PATIENCE_STEPS)
		return say(c, verdict, "%s: %s with about %.1f MiB left", why.text, action, left);
	if (c->waited_rounds++ == 0)
		c->waited_since_us = round->elapsed_us;
	return go_on(c, CONVERGENCE_AWAITING_LOW,
		     "%s; waiting for a moment with less than %.1f MiB left", why.text, left);
}

static uint32_t next_throttle(const struct convergence *c)
{
	bool fell = c->dirty_bytes_per_s <= c->throttle_rate - c->throttle_rate / 10;
	uint32_t step = fell ? CONVERGENCE_THROTTLE_STEP : 2 * CONVERGENCE_THROTTLE_STEP;

	if (c->throttle_percent == 0)
		return CONVERGENCE_THROTTLE_FIRST;
	if (c->throttle_percent + step > CONVERGENCE_THROTTLE_MAX)
		return CONVERGENCE_THROTTLE_MAX;
	return c->throttle_percent + step;
}

static enum convergence_verdict throttle(struct convergence *c,
					 const struct convergence_round *round)
{
	struct stall_text why = stall_text(c, round);
	uint32_t before = c->throttle_percent;

	c->throttle_percent = next_throttle(c);
	c->throttle_rate = c->dirty_bytes_per_s;
	stall_restart(&c->stall);
	return say(c, CONVERGENCE_THROTTLE,
		   "%s: slowing the vCPUs by %" PRIu32 " %%, %" PRIu32 " %% before", why.text,
		   c->throttle_percent, before);
}

static enum convergence_verdict release(struct convergence *c)
{
	uint32_t before = c->throttle_percent;

	c->throttle_percent = 0;
	stall_restart(&c->stall);
	return say(c, CONVERGENCE_THROTTLE,
		   "auto-converge is not allowed any longer: vCPUs run free, %" PRIu32
		   " %% slower before",
		   before);
}

static enum convergence_verdict hold_out(struct convergence *c,
					 const struct convergence_limits *limits,
					 const struct convergence_round *round)
{
	struct stall_text why = stall_text(c, round);

	if (!limits->completion_s)
		return go_on(c, CONVERGENCE_STUCK,
			     "%s; nothing that would help is allowed, and there is no completion "
			     "time-out",
			     why.text);
	return go_on(c, CONVERGENCE_STUCK,
		     "%s; nothing more is allowed until the completion time-out of %" PRIu32
		     " s, then %s",
		     why.text, limits->completion_s,
		     limits->disruption ? "the guest is paused to finish" : "abort");
}

static enum convergence_verdict judge_stall(struct convergence *c,
					    const struct convergence_limits *limits,
					    const struct convergence_round *round)
{
	uint64_t allowed_us = (uint64_t)limits->max_downtime_ms * US_PER_MS;
	char action[80];

	if (limits->post_copy)
		return at_a_low(c, round, CONVERGENCE_POST_COPY, "switching to post-copy");
	if (limits->auto_converge && c->throttle_percent < CONVERGENCE_THROTTLE_MAX &&
	    round->fixed_us <= allowed_us)
		return throttle(c, round);
	if (c->predicted_us > allowed_us + allowed_us / 2)
		return hold_out(c, limits, round);
	snprintf(action, sizeof(action),
		 "accepting a downtime of %" PRIu64 " ms, %" PRIu32 " ms allowed,",
		 us_to_ms(c->predicted_us), limits->max_downtime_ms);
	return at_a_low(c, round, CONVERGENCE_SWITCH, action);
}

static enum convergence_verdict judge(struct convergence *c,
				      const struct convergence_limits *limits,
				      const struct convergence_round *round)
{
	bool fits = c->predicted_us <= (uint64_t)limits->max_downtime_ms * US_PER_MS;
	enum convergence_mind mind = c->mind;
	enum convergence_verdict verdict;

	if (time_is_up(limits, round->elapsed_us))
		return expire(c, limits, true);
	verdict = judge_downtime(c, limits, round);
	if (verdict == CONVERGENCE_SWITCH)
		return verdict;
	if (limits->post_copy_now)
		return say(c, CONVERGENCE_POST_COPY, "post-copy was asked for; about %.1f MiB left",
			   (double)c->remaining_bytes / MIB);
	if (c->throttle_percent && !limits->auto_converge)
		return release(c);
	if (fits || c->stall.kind == STALL_NONE) {
		c->waited_rounds = 0;
		return verdict;
	}
	c->mind = mind;
	return judge_stall(c, limits, round);
}

enum convergence_verdict convergence_decide(struct convergence *c,
					    const struct convergence_limits *limits,
					    const struct convergence_round *round)
{
	enum convergence_verdict verdict;

	learn_throughput(c, round);
	predict(c, round);
	note_stall(c, round);
	verdict = judge(c, limits, round);
	remember(c, round);
	return verdict;
}

enum convergence_verdict convergence_expired(struct convergence *c,
					     const struct convergence_limits *limits,
					     uint64_t elapsed_us)
{
	if (!time_is_up(limits, elapsed_us))
		return CONVERGENCE_CONTINUE;
	return expire(c, limits, c->rounds > 0);
}
