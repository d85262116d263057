// SPDX-License-Identifier: Apache-2.0
// Convergence: short histories of rounds, and the verdict after each.
#include "convergence.h"

#include <criterion/criterion.h>
#include <criterion/parameterized.h>
#include <string.h>

#define ROUNDS_MAX 8
#define KIB 1024ull
#define MIB (1024 * KIB)
#define MS 1000ull
#define S (1000 * MS)

/* One history. verdicts holds a letter per round: Continue, Switch, ThrOttle, Post-copy, paUse,
 * Abort. */
struct history {
	char name[40];
	uint32_t max_downtime_ms;
	uint32_t completion_s;
	uint64_t fixed_us;
	struct {
		uint64_t bytes;
		uint64_t duration_us;
	} round[ROUNDS_MAX];
	char verdicts[ROUNDS_MAX + 1];
	uint64_t predicted_us; /* after the last */
	char reason[80];       /* part of the last */
};

ParameterizedTestParameters(convergence, histories)
{
	/* clang-format off */
	/* name, allowed ms, completion s, fixed us, {{bytes, us}...}, verdicts, predicted us, reason */
	static struct history rows[] = {
		{"small guest", 300, 0, 5 * MS, {{512 * KIB, 10 * MS}}, "S", 15 * MS,
		 "predicted downtime 15 ms fits 300 ms, and another round would not lower it"},
		{"nothing at all", 300, 0, 7 * MS, {{0, 0}}, "S", 7 * MS, "7 ms fits"},
		{"large first round never switches", 300, 0, 0, {{100 * MIB, 100 * MS}}, "C", 100 * MS,
		 "first round"},
		{"idle guest", 300, 0, 0, {{1024 * MIB, 1 * S}, {1000 * KIB, 10 * MS}}, "CS", 9,
		 "1 ms fits 300 ms"},
		/* Writes half as fast as the network: each round is half the one before. */
		{"halving until small", 300, 0, 0,
		 {{16 * MIB, 16 * MS}, {8 * MIB, 8 * MS}, {4 * MIB, 4 * MS}, {2 * MIB, 2 * MS},
		  {1 * MIB, 1 * MS}}, "CCCCS", 500,
		 "another round would not lower it"},
		{"falling, still too much", 300, 0, 0, {{4096 * MIB, 4 * S}, {3072 * MIB, 3 * S}}, "CC",
		 2250 * MS, "predicted downtime 2250 ms exceeds 300 ms"},
		{"fits but still falls", 300, 0, 0, {{1000 * MIB, 1 * S}, {500 * MIB, 500 * MS}}, "CC",
		 250 * MS, "250 ms fits 300 ms, but another round should lower it"},
		{"settled within a quarter", 300, 0, 0,
		 {{1000 * MIB, 1 * S}, {200 * MIB, 200 * MS}, {89 * MIB, 89 * MS}}, "CCS", 39604,
		 "40 ms fits"},
		/* The same 40 MiB over and over: round 2 flatters, and is believed for so long. */
		{"hot set", 300, 0, 0,
		 {{1000 * MIB, 1 * S}, {40 * MIB, 40 * MS}, {40 * MIB, 40 * MS}, {40 * MIB, 40 * MS},
		  {40 * MIB, 40 * MS}}, "CCCCS", 40 * MS,
		 "would not lower it"},
		{"writes faster than the network", 300, 0, 0,
		 {{1000 * MIB, 1 * S}, {1000 * MIB, 1 * S}, {1000 * MIB, 1 * S}}, "CCC", 1 * S,
		 "the guest writes 1000.0 MiB/s and the network takes 1000.0 MiB/s; nothing that"},
		{"exactly fits", 300, 0, 200 * MS, {{512 * KIB, 100 * MS}}, "S", 300 * MS,
		 "300 ms fits 300 ms"},
		{"one microsecond too long", 300, 0, 200 * MS + 1, {{512 * KIB, 100 * MS}}, "C",
		 300 * MS + 1, "301 ms exceeds 300 ms"},
		{"fixed cost alone too long", 100, 0, 150 * MS, {{512 * KIB, 10 * MS}}, "C", 160 * MS,
		 "the stop alone costs 150 ms of the 100 ms allowed"},
		{"no downtime allowed", 0, 0, 0, {{512 * KIB, 10 * MS}}, "C", 10 * MS,
		 "10 ms exceeds 0 ms"},
		{"no downtime needed", 0, 0, 0, {{0, 10 * MS}}, "S", 0, "0 ms fits 0 ms"},
		{"time is up", 300, 2, 0, {{1000 * MIB, 1 * S}, {1000 * MIB, 1 * S}, {1000 * MIB, 1}},
		 "CCA", 0, "not done within 2 s"},
		{"time is up, though it would fit", 2000, 1, 0, {{512 * KIB, 1 * S + 1}}, "A", 1 * S + 1,
		 "not done within 1 s; predicted downtime 1001 ms, allowed 2000 ms"},
		{"time is just not up", 300, 1, 0, {{1000 * MIB, 1 * S}}, "C", 1 * S, "first round"},
		{"rounds of no duration", 300, 0, 3, {{4096 * MIB, 0}, {4096 * MIB, 0}}, "CS", 3, "fits"},
		{"a round of no duration before", 300, 0, 0, {{4096 * MIB, 0}, {4096 * MIB, 1 * S}}, "CC",
		 1999998, "exceeds"},
		{"too slow to measure", 300, 0, 0, {{1, 2 * S}, {1, 2 * S}}, "CC", UINT64_MAX, "exceeds"},
		{"everything overflows", 300, 0, 0,
		 {{UINT64_MAX, 1}, {UINT64_MAX, UINT64_MAX}, {UINT64_MAX, UINT64_MAX}}, "CCC", 3999999,
		 "there is no completion time-out"},
		{"fixed cost overflows", UINT32_MAX, 0, UINT64_MAX, {{512 * KIB, 1 * S}}, "C", UINT64_MAX,
		 "the stop alone costs"},
	};
	/* clang-format on */

	return cr_make_param_array(struct history, rows, sizeof(rows) / sizeof(rows[0]));
}

static char letter(enum convergence_verdict verdict)
{
	return "CSOPUA"[verdict];
}

ParameterizedTest(struct history *h, convergence, histories)
{
	struct convergence_limits limits = {
		.max_downtime_ms = h->max_downtime_ms,
		.completion_s = h->completion_s,
	};
	struct convergence_round round = {.fixed_us = h->fixed_us};
	struct convergence c = {0};

	for (uint32_t i = 0; h->verdicts[i]; i++) {
		enum convergence_verdict verdict;

		round.round = i + 1;
		round.bytes = h->round[i].bytes;
		round.duration_us = h->round[i].duration_us;
		round.elapsed_us += round.duration_us;
		verdict = convergence_decide(&c, &limits, &round);
		cr_assert_eq(letter(verdict), h->verdicts[i], "%s, round %u: %c, since %s", h->name,
			     i + 1, letter(verdict), c.reason);
	}
	cr_assert_eq(c.rounds, strlen(h->verdicts));
	cr_assert_eq(c.predicted_us, h->predicted_us, "%s: predicted %lu us", h->name,
		     c.predicted_us);
	cr_assert(strstr(c.reason, h->reason), "%s: '%s'", h->name, c.reason);
}

static void feed(struct convergence *c, uint64_t bytes, uint64_t duration_us)
{
	static const struct convergence_limits limits = {.max_downtime_ms = 1};
	struct convergence_round round = {
		.round = (uint32_t)c->rounds + 1,
		.bytes = bytes,
		.duration_us = duration_us,
	};

	convergence_decide(c, &limits, &round);
}

Test(convergence, rates_are_learnt_and_weighted)
{
	struct convergence c = {0};

	feed(&c, 1000 * MIB, 1 * S);
	cr_assert_eq(c.bytes_per_s, 1000 * MIB);
	cr_assert_eq(c.dirty_bytes_per_s, 0, "unknown yet");
	feed(&c, 300 * MIB, 500 * MS);
	cr_assert_eq(c.bytes_per_s, 800 * MIB, "half of the old, half of 600");
	cr_assert_eq(c.dirty_bytes_per_s, 300 * MIB);
	cr_assert_eq(c.remaining_bytes, 150 * MIB);
	feed(&c, 4 * KIB, 10 * MS);
	cr_assert_eq(c.bytes_per_s, 800 * MIB, "a small round says nothing of the network");
}

Test(convergence, stale_rounds_count_since_the_last_clear_fall)
{
	struct convergence c = {0};

	feed(&c, 1000 * MIB, 1 * S);
	cr_assert_eq(c.stale_rounds, 0);
	feed(&c, 800 * MIB, 1 * S);
	cr_assert_eq(c.stale_rounds, 1, "a fifth is no clear fall");
	cr_assert_eq(c.least_bytes, 800 * MIB);
	feed(&c, 900 * MIB, 1 * S);
	cr_assert_eq(c.stale_rounds, 2);
	cr_assert_eq(c.least_bytes, 800 * MIB);
	feed(&c, 500 * MIB, 1 * S);
	cr_assert_eq(c.stale_rounds, 0);
	cr_assert_eq(c.least_bytes, 500 * MIB);
}

/* ---- whole traces: a guest and a link, stepped through in milliseconds ---- */

/* The guest writes at rate within its hot set, so what it dirties in a time saturates there. With a
 * period it writes at rate for one half and at calm for the other. */
struct trace {
	char name[56];
	double ram, hot;   /* MiB */
	double rate, calm; /* MiB/s */
	double period;	   /* s */
	double link;	   /* MiB/s */
	double change_at;  /* s; 0: never. Then: */
	double link_then;  /* MiB/s, 0: as before */
	struct convergence_limits limits, limits_then;
	char end;	       /* the last verdict */
	uint32_t min_s, max_s; /* when */
	double left_max;       /* MiB, really left then */
	uint32_t throttle;     /* percent, then */
	char reason[72];       /* part of the last */
};

struct world {
	const struct trace *t;
	struct convergence_limits limits;
	double now_s, link, dirty; /* dirty: MiB written in this round */
	uint32_t throttle_percent;
};

static void tick(struct world *w)
{
	const struct trace *t = w->t;
	double rate = t->rate;

	if (t->period > 0 && (long)(w->now_s / t->period * 2) % 2 == 1)
		rate = t->calm;
	rate *= (100 - w->throttle_percent) / 100.0;
	if (t->hot > 0)
		w->dirty += rate / 1000 * (1 - w->dirty / t->hot);
	w->now_s += 0.001;
	if (t->change_at > 0 && w->now_s >= t->change_at) {
		if (t->link_then > 0)
			w->link = t->link_then;
		w->limits = t->limits_then;
	}
}

/* Sends what the round before left behind; a round takes a millisecond at least. */
static void run_round(struct world *w, struct convergence_round *round)
{
	double sent = 0, found = round->round == 0 ? w->t->ram : w->dirty, began = w->now_s;

	w->dirty = 0;
	do {
		tick(w);
		sent += w->link / 1000;
	} while (sent < found);
	round->round++;
	round->bytes = (uint64_t)(found * MIB);
	round->duration_us = (uint64_t)((w->now_s - began) * S);
	round->elapsed_us = (uint64_t)(w->now_s * S);
	round->throttle_percent = w->throttle_percent;
}

ParameterizedTestParameters(convergence, traces)
{
	/* clang-format off */
	static struct trace rows[] = {
		{.name = "idle guest", .ram = 1024, .hot = 1, .rate = 1, .link = 1000,
		 .limits = {.max_downtime_ms = 300, .post_copy = true, .auto_converge = true},
		 .end = 'S', .min_s = 1, .max_s = 2, .left_max = 1,
		 .reason = "20 ms fits 300 ms"},
		{.name = "converges slowly", .ram = 4096, .hot = 4096, .rate = 800, .link = 1000,
		 .limits = {.max_downtime_ms = 300, .post_copy = true, .auto_converge = true},
		 .end = 'S', .min_s = 10, .max_s = 12, .left_max = 260,
		 .reason = "268 ms fits 300 ms"},
		{.name = "never, nothing allowed", .ram = 1024, .hot = 200, .rate = 100, .link = 16,
		 .limits = {.max_downtime_ms = 300, .completion_s = 150},
		 .end = 'A', .min_s = 150, .max_s = 165, .left_max = 200,
		 .reason = "not done within 150 s; predicted downtime 12496 ms, allowed 300 ms"},
		{.name = "never, no time-out", .ram = 1024, .hot = 200, .rate = 100, .link = 16,
		 .limits = {.max_downtime_ms = 300},
		 .end = 'C', .min_s = 4000, .max_s = 4020, .left_max = 200,
		 .reason = "nothing that would help is allowed"},
		{.name = "never, disruption", .ram = 1024, .hot = 200, .rate = 100, .link = 16,
		 .limits = {.max_downtime_ms = 300, .completion_s = 150, .disruption = true},
		 .end = 'U', .min_s = 150, .max_s = 165, .left_max = 200,
		 .reason = "pausing the guest to finish"},
		{.name = "never, post-copy", .ram = 1024, .hot = 200, .rate = 100, .link = 16,
		 .limits = {.max_downtime_ms = 300, .completion_s = 150, .post_copy = true},
		 .end = 'P', .min_s = 88, .max_s = 90, .left_max = 200,
		 .reason = "switching to post-copy with about 199.2 MiB left"},
		{.name = "never, post-copy and the rest", .ram = 1024, .hot = 200, .rate = 100, .link = 16,
		 .limits = {.max_downtime_ms = 300, .completion_s = 150, .post_copy = true, .auto_converge = true, .disruption = true},
		 .end = 'P', .min_s = 88, .max_s = 90, .left_max = 200,
		 .reason = "switching to post-copy with about 199.2 MiB left"},
		{.name = "never, auto-converge", .ram = 1024, .hot = 200, .rate = 100, .link = 16,
		 .limits = {.max_downtime_ms = 300, .completion_s = 600, .auto_converge = true},
		 .end = 'S', .min_s = 230, .max_s = 240, .left_max = 1, .throttle = 99,
		 .reason = "40 ms fits 300 ms"},
		{.name = "never, auto-converge and disruption", .ram = 1024, .hot = 200, .rate = 100, .link = 16,
		 .limits = {.max_downtime_ms = 300, .completion_s = 150, .auto_converge = true, .disruption = true},
		 .end = 'U', .min_s = 150, .max_s = 165, .left_max = 200, .throttle = 60,
		 .reason = "pausing the guest"},
		{.name = "never, asked for post-copy", .ram = 1024, .hot = 200, .rate = 100, .link = 16,
		 .limits = {.max_downtime_ms = 300, .completion_s = 150, .post_copy_now = true},
		 .end = 'P', .min_s = 64, .max_s = 65, .left_max = 200,
		 .reason = "post-copy was asked for"},
		{.name = "all memory, post-copy", .ram = 1024, .hot = 1024, .rate = 4000, .link = 16,
		 .limits = {.max_downtime_ms = 300, .post_copy = true},
		 .end = 'P', .min_s = 128, .max_s = 129, .left_max = 1024,
		 .reason = "about 1024.0 MiB left"},
		{.name = "oscillates", .ram = 4096, .hot = 2048, .rate = 1500, .calm = 20, .period = 20, .link = 1000,
		 .limits = {.max_downtime_ms = 300},
		 .end = 'S', .min_s = 10, .max_s = 20, .left_max = 1,
		 .reason = "fits 300 ms"},
		{.name = "oscillates, post-copy", .ram = 1024, .hot = 1024, .rate = 120, .calm = 40, .period = 20, .link = 100,
		 .limits = {.max_downtime_ms = 300, .post_copy = true},
		 .end = 'P', .min_s = 30, .max_s = 40, .left_max = 70,
		 .reason = "switching to post-copy"},
		{.name = "oscillates, auto-converge", .ram = 1024, .hot = 1024, .rate = 120, .calm = 40, .period = 20, .link = 100,
		 .limits = {.max_downtime_ms = 300, .auto_converge = true},
		 .end = 'S', .min_s = 30, .max_s = 40, .left_max = 1, .throttle = 20,
		 .reason = "fits 300 ms"},
		{.name = "bandwidth raised", .ram = 1024, .hot = 200, .rate = 100, .link = 16,
		 .limits = {.max_downtime_ms = 300, .completion_s = 300},
		 .change_at = 120, .link_then = 1000, .limits_then = {.max_downtime_ms = 300, .completion_s = 300},
		 .end = 'S', .min_s = 120, .max_s = 121, .left_max = 1,
		 .reason = "fits 300 ms"},
		{.name = "max_downtime raised", .ram = 1024, .hot = 50, .rate = 500, .link = 100,
		 .limits = {.max_downtime_ms = 300, .completion_s = 300},
		 .change_at = 60, .limits_then = {.max_downtime_ms = 1000, .completion_s = 300},
		 .end = 'S', .min_s = 60, .max_s = 61, .left_max = 50,
		 .reason = "517 ms fits 1000 ms"},
		{.name = "longer downtime within reason", .ram = 1024, .hot = 40, .rate = 500, .link = 100,
		 .limits = {.max_downtime_ms = 300, .completion_s = 300},
		 .end = 'S', .min_s = 12, .max_s = 14, .left_max = 40,
		 .reason = "accepting a downtime of 418 ms, 300 ms allowed"},
		{.name = "auto-converge withdrawn", .ram = 1024, .hot = 200, .rate = 100, .link = 16,
		 .limits = {.max_downtime_ms = 300, .completion_s = 300, .auto_converge = true},
		 .change_at = 130, .limits_then = {.max_downtime_ms = 300, .completion_s = 300},
		 .end = 'A', .min_s = 300, .max_s = 315, .left_max = 200,
		 .reason = "not done within 300 s"},
		{.name = "post-copy permitted later", .ram = 1024, .hot = 200, .rate = 100, .link = 16,
		 .limits = {.max_downtime_ms = 300, .completion_s = 300},
		 .change_at = 130, .limits_then = {.max_downtime_ms = 300, .completion_s = 300, .post_copy = true},
		 .end = 'P', .min_s = 130, .max_s = 143, .left_max = 200,
		 .reason = "switching to post-copy"},
	};
	/* clang-format on */

	return cr_make_param_array(struct trace, rows, sizeof(rows) / sizeof(rows[0]));
}

#define TRACE_S 4000

ParameterizedTest(struct trace *t, convergence, traces)
{
	struct world w = {.t = t, .link = t->link, .limits = t->limits};
	struct convergence_round round = {.fixed_us = 20 * MS};
	enum convergence_verdict verdict;
	struct convergence c = {0};

	do {
		run_round(&w, &round);
		verdict = convergence_decide(&c, &w.limits, &round);
		if (verdict == CONVERGENCE_THROTTLE)
			w.throttle_percent = c.throttle_percent;
		cr_assert(c.tell || verdict == CONVERGENCE_CONTINUE, "%s: %s", t->name, c.reason);
	} while ((verdict == CONVERGENCE_CONTINUE || verdict == CONVERGENCE_THROTTLE) &&
		 w.now_s < TRACE_S);
	cr_expect_eq(letter(verdict), t->end, "%s: %c, since %s", t->name, letter(verdict),
		     c.reason);
	cr_expect(w.now_s >= t->min_s && w.now_s <= t->max_s, "%s: ends at %.3f s", t->name,
		  w.now_s);
	cr_expect(w.dirty <= t->left_max, "%s: %.3f MiB left", t->name, w.dirty);
	cr_expect(w.throttle_percent == t->throttle, "%s: throttled by %u %%", t->name,
		  w.throttle_percent);
	cr_expect(strstr(c.reason, t->reason), "%s: '%s'", t->name, c.reason);
}

Test(convergence, each_verdict_is_told_and_each_change_of_mind_once)
{
	struct convergence c = {0};

	for (uint32_t i = 0; i < 8; i++) {
		feed(&c, 1000 * MIB, 1 * S);
		cr_assert_eq(c.tell, i == 2, "round %u: %s", i + 1, c.reason);
	}
	feed(&c, 500 * MIB, 100 * MS);
	cr_assert(c.tell);
	cr_assert_str_eq(c.reason, "no longer stalled: predicted downtime 17 ms exceeds 1 ms");
}

struct expiry {
	struct convergence_limits limits;
	uint64_t elapsed_us;
	enum convergence_verdict verdict;
	char reason[96];
};

ParameterizedTestParameters(convergence, expiries)
{
	/* clang-format off */
	static struct expiry rows[] = {
		{{.completion_s = 10}, 10 * S, CONVERGENCE_CONTINUE, "untouched"},
		{{.completion_s = 0}, UINT64_MAX, CONVERGENCE_CONTINUE, "untouched"},
		{{.completion_s = 10, .auto_converge = true}, 10 * S + 1, CONVERGENCE_ABORT,
		 "not done within 10 s; the first round is not over yet"},
		{{.completion_s = 10, .disruption = true}, 10 * S + 1, CONVERGENCE_PAUSE,
		 "not done within 10 s; the first round is not over yet: pausing the guest to finish"},
		{{.completion_s = 10, .post_copy = true}, 10 * S + 1, CONVERGENCE_POST_COPY,
		 "not done within 10 s; the first round is not over yet: switching to post-copy"},
		{{.completion_s = 10, .post_copy = true, .disruption = true}, 10 * S + 1,
		 CONVERGENCE_POST_COPY, "switching to post-copy"},
		{{.completion_s = UINT32_MAX}, (UINT32_MAX + 1ull) * S, CONVERGENCE_ABORT,
		 "not done within 4294967295 s"},
	};
	/* clang-format on */

	return cr_make_param_array(struct expiry, rows, sizeof(rows) / sizeof(rows[0]));
}

ParameterizedTest(struct expiry *e, convergence, expiries)
{
	struct convergence c = {.reason = "untouched"};

	cr_assert_eq(convergence_expired(&c, &e->limits, e->elapsed_us), e->verdict);
	cr_assert(strstr(c.reason, e->reason), "%s", c.reason);
	cr_assert_eq(c.tell, e->verdict != CONVERGENCE_CONTINUE);
}

/* A stop that costs more than is allowed: throttling would not lower it, post-copy ends it. */
Test(convergence, fixed_cost_too_long)
{
	struct convergence_limits limits = {.max_downtime_ms = 10, .auto_converge = true};
	struct convergence_round round = {
		.bytes = 4 * KIB, .duration_us = 10 * MS, .fixed_us = 20 * MS};
	struct convergence c = {0};

	for (round.round = 1; round.round <= 300; round.round++) {
		round.elapsed_us += round.duration_us;
		cr_assert_eq(convergence_decide(&c, &limits, &round), CONVERGENCE_CONTINUE);
	}
	cr_assert_eq(c.mind, CONVERGENCE_STUCK, "%s", c.reason);
	limits.post_copy = true;
	round.elapsed_us += round.duration_us;
	cr_assert_eq(convergence_decide(&c, &limits, &round), CONVERGENCE_POST_COPY);
}

/* A throttle that is not in force (it broke, it is late) is not made stronger. */
Test(convergence, no_step_before_the_last_one_is_in_force)
{
	struct convergence_limits limits = {.max_downtime_ms = 10, .auto_converge = true};
	struct convergence_round round = {.bytes = 1000 * MIB, .duration_us = 1 * S};
	struct convergence c = {0};

	for (round.round = 1; round.round <= 20; round.round++) {
		round.elapsed_us += round.duration_us;
		convergence_decide(&c, &limits, &round);
	}
	cr_assert_eq(c.throttle_percent, CONVERGENCE_THROTTLE_FIRST);
}

/* What a round left suspect is looked at in the stop. */
Test(convergence, suspects_are_part_of_the_stop)
{
	const struct convergence_limits limits = {.max_downtime_ms = 300};
	struct convergence_round round = {.bytes = 512 * KIB,
					  .duration_us = 10 * MS,
					  .fixed_us = 20 * MS,
					  .settle_us = 275 * MS};
	struct convergence c = {0};

	cr_assert_eq(convergence_decide(&c, &limits, &round), CONVERGENCE_CONTINUE);
	cr_assert_eq(c.predicted_us, 305 * MS);
	cr_assert(strstr(c.reason, "275 ms of it go to pages that slow disks"), "%s", c.reason);
	round.settle_us = 200 * MS;
	cr_assert_eq(convergence_decide(&c, &limits, &round), CONVERGENCE_SWITCH, "%s", c.reason);
}

/* Huge pages, say: much is looked at, and little of it has changed. */
Test(convergence, reading_may_take_longer_than_sending)
{
	const struct convergence_limits limits = {.max_downtime_ms = 300};
	struct convergence_round round = {.bytes = 1000 * MIB, .duration_us = 1 * S};
	struct convergence c = {0};

	convergence_decide(&c, &limits, &round);
	cr_assert_eq(c.predicted_us, 1 * S, "the first round is all of it");
	round = (struct convergence_round){
		.bytes = 1 * MIB, .duration_us = 100 * MS, .read_us = 80 * MS};
	convergence_decide(&c, &limits, &round);
	cr_assert_eq(c.predicted_us, 8 * MS, "a tenth of what was written in a second");
	round.read_us = 0;
	round.bytes = 500 * MIB;
	convergence_decide(&c, &limits, &round);
	cr_assert_gt(c.predicted_us, 100 * MS);
}
