// SPDX-License-Identifier: Apache-2.0
// Progress: samples of remaining and acknowledged bytes, and whether that is stuck at the end.
#include "progress.h"

#include <criterion/criterion.h>
#include <criterion/parameterized.h>
#include <string.h>

#define SAMPLES_MAX 8
#define MIB (1024ull * 1024)
#define S 1000000ull

struct course {
	char name[40];
	uint32_t limit_s;
	uint32_t count;
	struct {
		uint64_t s, remaining, acked; /* MiB */
	} sample[SAMPLES_MAX];
	uint64_t then_us;
	bool stuck;
	char reason[96]; /* part of it */
};

ParameterizedTestParameters(progress, courses)
{
	/* clang-format off */
	static struct course rows[] = {
		{"never noted", 10, 0, {{0}}, 1000 * S, false, ""},
		{"just begun", 10, 1, {{100, 50, 0}}, 100 * S, false, ""},
		{"not yet", 10, 1, {{100, 50, 0}}, 110 * S - 1, false, ""},
		{"nothing ever happened", 10, 1, {{100, 50, 0}}, 110 * S, true,
		 "acknowledged no byte for 10 s (limit 10 s), after 0.0 MiB"},
		{"no limit", 0, 1, {{100, 50, 0}}, UINT64_MAX, false, ""},
		{"falls", 10, 4, {{0, 50, 0}, {9, 49, 1}, {18, 48, 2}, {27, 47, 3}}, 36 * S, false, ""},
		{"oscillates", 10, 6,
		 {{0, 50, 0}, {3, 20, 30}, {6, 60, 60}, {9, 21, 90}, {12, 55, 120}, {13, 20, 155}},
		 13 * S, true, "have not gone below 20.0 MiB for 10 s (limit 10 s)"},
		{"oscillates and falls", 10, 6,
		 {{0, 50, 0}, {3, 20, 30}, {6, 60, 60}, {9, 19, 90}, {12, 55, 120}, {15, 20, 155}},
		 18 * S, false, ""},
		{"grows", 10, 3, {{0, 10, 0}, {5, 20, 5}, {10, 30, 10}}, 10 * S, true, "below 10.0 MiB"},
		{"falls, acknowledged by nobody", 10, 3, {{0, 50, 7}, {5, 40, 7}, {10, 30, 7}}, 10 * S,
		 true, "acknowledged no byte for 10 s (limit 10 s), after 7.0 MiB"},
		{"a new connection", 10, 3, {{0, 50, 100}, {5, 40, 0}, {9, 30, 1}}, 18 * S, false, ""},
		{"a new connection, nothing more", 10, 2, {{0, 50, 100}, {9, 40, 0}}, 10 * S, true,
		 "no byte"},
		{"a clock that went back", 10, 1, {{100, 50, 0}}, 50 * S, false, ""},
		{"the longest limit", UINT32_MAX, 1, {{0, 50, 0}}, UINT32_MAX * S - 1, false, ""},
		{"everything at its greatest", UINT32_MAX, 1, {{0, UINT64_MAX / MIB, 0}}, UINT64_MAX,
		 true, "no progress"},
	};
	/* clang-format on */

	return cr_make_param_array(struct course, rows, sizeof(rows) / sizeof(rows[0]));
}

ParameterizedTest(struct course *course, progress, courses)
{
	char reason[PROGRESS_REASON_SIZE] = "";
	struct progress p = {0};

	for (uint32_t i = 0; i < course->count; i++)
		progress_note(&p, course->sample[i].s * S, course->sample[i].remaining * MIB,
			      course->sample[i].acked * MIB);
	cr_assert_eq(progress_stuck(&p, course->then_us, course->limit_s, reason), course->stuck,
		     "%s: '%s'", course->name, reason);
	cr_assert(strstr(reason, course->reason), "%s: '%s'", course->name, reason);
	cr_assert_eq(reason[0] != '\0', course->stuck);
}

/* 64 GiB at 128 MiB/s, every round half of the one before: each takes longer than the limit for a
 * while, and each is progress. */
Test(progress, shrinking_rounds_are_progress_however_long)
{
	struct progress p = {0};
	uint64_t now = 0, left = 64ull << 30, acked = 0;
	char reason[PROGRESS_REASON_SIZE];

	while (left > 1u << 20) {
		for (uint64_t sent = 0; sent < left; sent += 128u << 20) {
			now += 1000000;
			acked += 128u << 20;
			progress_note(&p, now, left - sent, acked);
			cr_assert_not(progress_stuck(&p, now, 150, reason), "%s", reason);
		}
		left /= 2;
		progress_round(&p, now, left);
	}
}

Test(progress, equal_rounds_are_none)
{
	struct progress p = {0};
	uint64_t now = 0, acked = 0, left = 1ull << 30;
	char reason[PROGRESS_REASON_SIZE];

	for (int round = 0; round < 100 && !progress_stuck(&p, now, 150, reason); round++) {
		for (uint64_t sent = 0; sent < left; sent += 128u << 20) {
			now += 1000000;
			acked += 128u << 20;
			progress_note(&p, now, left - sent, acked);
		}
		progress_round(&p, now, left);
	}
	cr_assert(progress_stuck(&p, now, 150, reason));
	cr_assert_lt(now, 200000000);
}
