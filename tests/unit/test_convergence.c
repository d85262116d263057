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

/* One history. verdicts holds a letter per round: Continue, Switch, Abort. */
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
		/* Writes half as fast as the link: each round is half the one before. */
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
		{"writes faster than the link", 300, 0, 0,
		 {{1000 * MIB, 1 * S}, {1000 * MIB, 1 * S}, {1000 * MIB, 1 * S}}, "CCC", 1 * S,
		 "predicted downtime 1000 ms exceeds 300 ms"},
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
		 "exceeds"},
		{"fixed cost overflows", UINT32_MAX, 0, UINT64_MAX, {{512 * KIB, 1 * S}}, "C", UINT64_MAX,
		 "the stop alone costs"},
	};
	/* clang-format on */

	return cr_make_param_array(struct history, rows, sizeof(rows) / sizeof(rows[0]));
}

static char letter(enum convergence_verdict verdict)
{
	return "CSA"[verdict];
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
	cr_assert_eq(c.bytes_per_s, 800 * MIB, "a small round says nothing of the link");
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
