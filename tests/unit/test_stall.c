// SPDX-License-Identifier: Apache-2.0
// Stall: short histories of rounds, and whether pre-copy has stalled after each.
#include "stall.h"

#include <criterion/criterion.h>
#include <criterion/parameterized.h>
#include <string.h>

#define ROUNDS_MAX 10
#define MIB (1024ull * 1024)
#define MS 1000ull

/* The prediction is that of convergence: found, scaled by this round's duration over the one
 * before. kinds holds a letter per round: - for none, Stale, Outpaced. */
struct history {
	char name[48];
	struct {
		uint64_t found, ms;
	} round[ROUNDS_MAX];
	char kinds[ROUNDS_MAX + 1];
	uint64_t unit; /* of found */
};

ParameterizedTestParameters(stall, histories)
{
	/* clang-format off */
	static struct history rows[] = {
		{"falls", {{1000, 10000}, {500, 5000}, {250, 2500}, {125, 1250}}, "----", MIB},
		{"all written again in one long round", {{1000, 10000}, {1000, 10000}}, "-O", MIB},
		{"as fast as the network, short rounds",
		 {{1000, 500}, {1000, 500}, {1000, 500}, {1000, 500}, {1000, 500}, {1000, 500}},
		 "----OO", MIB},
		{"a hot set, long rounds", {{1000, 10000}, {200, 2000}, {200, 2000}}, "--O", MIB},
		{"a hot set, short rounds", {{1000, 1000}, {20, 20}, {20, 20}, {20, 20}, {20, 20}, {20, 20}},
		 "------", MIB},
		{"5 % less each round", {{1000, 1000}, {950, 950}, {902, 902}, {857, 857}, {814, 814},
		 {773, 773}}, "------", MIB},
		{"3 % less in two rounds", {{1000, 1000}, {985, 985}, {970, 970}, {955, 955}}, "---O", MIB},
		{"no new low, though below the network",
		 {{1000, 1000}, {500, 900}, {500, 800}, {500, 700}, {500, 600}}, "----S", MIB},
		{"no new low, but faster all at once",
		 {{1000, 1000}, {500, 900}, {500, 860}, {500, 820}, {500, 200}}, "-----", MIB},
		{"small rounds are not outpaced", {{1000, 3000}, {9, 3000}, {9, 3000}, {9, 3000},
		 {9, 3000}}, "----S", 4096},
		{"nothing at all", {{0, 0}, {0, 0}, {0, 0}, {0, 0}, {0, 0}}, "-----", 1},
	};
	/* clang-format on */

	return cr_make_param_array(struct history, rows, sizeof(rows) / sizeof(rows[0]));
}

ParameterizedTest(struct history *h, stall, histories)
{
	struct stall_round round = {0};
	struct stall s = {0};
	uint64_t before = 0;

	for (size_t i = 0; h->kinds[i]; i++) {
		uint64_t ms = h->round[i].ms;

		round.found_bytes = h->round[i].found * h->unit;
		round.remaining_bytes =
			before ? round.found_bytes * ms / before : round.found_bytes;
		round.duration_us = ms * MS;
		round.elapsed_us += round.duration_us;
		before = ms;
		stall_note(&s, &round);
		cr_expect_eq("-SO"[s.kind], h -> kinds[i], "%s, round %zu: %c", h->name, i + 1,
			     "-SO"[s.kind]);
	}
}

static void note(struct stall *s, uint64_t mib)
{
	struct stall_round round = {
		.found_bytes = mib * MIB,
		.remaining_bytes = mib * MIB,
		.duration_us = STALL_US,
		.elapsed_us = (uint64_t)(s->rounds + 1) * STALL_US,
	};

	stall_note(s, &round);
}

Test(stall, a_restart_leaves_out_what_was_written_before)
{
	struct stall s = {0};

	note(&s, 1000);
	note(&s, 1000);
	cr_assert_eq(s.kind, STALL_OUTPACED);
	stall_restart(&s);
	cr_assert_eq(s.kind, STALL_NONE);
	note(&s, 1000);
	cr_assert_eq(s.kind, STALL_NONE);
	note(&s, 1000);
	cr_assert_eq(s.kind, STALL_OUTPACED);
}

Test(stall, least_of_late)
{
	struct stall s = {0};

	cr_assert_eq(stall_recent_least(&s), UINT64_MAX);
	note(&s, 1);
	cr_assert_eq(stall_recent_least(&s), UINT64_MAX, "the first round found everything");
	note(&s, 40);
	note(&s, 50);
	cr_assert_eq(stall_recent_least(&s), 40 * MIB);
	for (int i = 0; i < STALL_RECENT; i++)
		note(&s, 60);
	cr_assert_eq(stall_recent_least(&s), 60 * MIB);
}
