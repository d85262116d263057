// SPDX-License-Identifier: Apache-2.0
// The decision when to switch over. See convergence.h for the formulas.
//
// All figures are integers and every product runs through 128 bits and saturates: figures out of
// proportion make a prediction large, never small by wrapping around.
#include "convergence.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>

#define US_PER_S 1000000u
#define US_PER_MS 1000u

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

static uint64_t add_saturating(uint64_t a, uint64_t b)
{
	return a > UINT64_MAX - b ? UINT64_MAX : a + b;
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

	/* A small round measures the link's latency, not its throughput. */
	if (c->bytes_per_s && round->bytes < CONVERGENCE_SMALL_BYTES)
		return;
	if (c->bytes_per_s)
		sample = sample / 2 + c->bytes_per_s / 2;
	c->bytes_per_s = sample;
}

static void predict(struct convergence *c, const struct convergence_round *round)
{
	if (c->rounds) {
		uint64_t before = at_least_1(c->last_duration_us);

		c->dirty_bytes_per_s = mul_div(round->bytes, US_PER_S, before);
		c->remaining_bytes = mul_div(round->bytes, round->duration_us, before);
	} else {
		/* Nothing is known of the writing yet: assume that all was written again. */
		c->remaining_bytes = round->bytes;
	}
	c->predicted_us = add_saturating(round->fixed_us,
					 mul_div(c->remaining_bytes, US_PER_S, c->bytes_per_s));
}

/* Is more than a quarter less than the least so far? */
static bool fell_clearly(const struct convergence *c)
{
	return c->remaining_bytes < c->least_bytes - c->least_bytes / 4;
}

/* Could another round clearly lower the remaining bytes? Uses least_bytes of the rounds before. */
static bool could_fall(const struct convergence *c)
{
	bool above_least = c->remaining_bytes > add_saturating(c->least_bytes, c->least_bytes / 4);

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

__attribute__((format(printf, 3, 4))) static enum convergence_verdict
say(struct convergence *c, enum convergence_verdict verdict, const char *fmt, ...)
{
	va_list args;

	va_start(args, fmt);
	vsnprintf(c->reason, sizeof(c->reason), fmt, args);
	va_end(args);
	return verdict;
}

static enum convergence_verdict judge(struct convergence *c,
				      const struct convergence_limits *limits,
				      const struct convergence_round *round)
{
	uint64_t allowed_us = (uint64_t)limits->max_downtime_ms * US_PER_MS;
	uint64_t predicted_ms = us_to_ms(c->predicted_us);

	if (limits->completion_s && round->elapsed_us > (uint64_t)limits->completion_s * US_PER_S)
		return say(c, CONVERGENCE_ABORT,
			   "not done within %" PRIu32 " s; predicted downtime %" PRIu64
			   " ms, allowed %" PRIu32 " ms",
			   limits->completion_s, predicted_ms, limits->max_downtime_ms);
	if (round->fixed_us > allowed_us)
		return say(c, CONVERGENCE_CONTINUE,
			   "the stop alone costs %" PRIu64 " ms of the %" PRIu32
			   " ms allowed, and no round can lower that",
			   us_to_ms(round->fixed_us), limits->max_downtime_ms);
	if (!c->rounds && round->bytes >= CONVERGENCE_SMALL_BYTES)
		return say(c, CONVERGENCE_CONTINUE,
			   "the first round does not tell yet how fast the guest writes");
	if (c->predicted_us > allowed_us)
		return say(c, CONVERGENCE_CONTINUE,
			   "predicted downtime %" PRIu64 " ms exceeds %" PRIu32 " ms", predicted_ms,
			   limits->max_downtime_ms);
	if (could_fall(c))
		return say(c, CONVERGENCE_CONTINUE,
			   "predicted downtime %" PRIu64 " ms fits %" PRIu32
			   " ms, but another round should lower it",
			   predicted_ms, limits->max_downtime_ms);
	return say(c, CONVERGENCE_SWITCH,
		   "predicted downtime %" PRIu64 " ms fits %" PRIu32
		   " ms, and another round would not lower it",
		   predicted_ms, limits->max_downtime_ms);
}

enum convergence_verdict convergence_decide(struct convergence *c,
					    const struct convergence_limits *limits,
					    const struct convergence_round *round)
{
	enum convergence_verdict verdict;

	learn_throughput(c, round);
	predict(c, round);
	verdict = judge(c, limits, round);
	remember(c, round);
	return verdict;
}
