// SPDX-License-Identifier: Apache-2.0
// Phases: every pair of moves against the picture in phase.h, written out a second time here.
#include "phase.h"

#include <criterion/criterion.h>
#include <criterion/parameterized.h>
#include <errno.h>
#include <string.h>

/* Legal successors as words with a blank on either side. */
struct phase_expectation {
	enum phase phase;
	char name[16];
	char next[48];
	enum phase_owner owner;
	bool stopped;
	bool final;
};

ParameterizedTestParameters(phase, rows_and_all_moves)
{
	static struct phase_expectation rows[] = {
		{PHASE_CONNECT, "connect", " prepare roll-back ", OWNER_SOURCE, false, false},
		{PHASE_PREPARE, "prepare", " attach roll-back ", OWNER_SOURCE, false, false},
		{PHASE_ATTACH, "attach", " pre-copy roll-back ", OWNER_SOURCE, false, false},
		{PHASE_PRECOPY, "pre-copy", " switch-over roll-back ", OWNER_SOURCE, false, false},
		{PHASE_SWITCHOVER, "switch-over", " last-pass roll-back ", OWNER_SOURCE, false,
		 false},
		{PHASE_LAST_PASS, "last-pass", " verify hand-over roll-back ", OWNER_SOURCE, true,
		 false},
		{PHASE_VERIFY, "verify", " hand-over roll-back ", OWNER_SOURCE, true, false},
		{PHASE_HANDOVER, "hand-over", " post-copy finish lost roll-back ", OWNER_UNKNOWN,
		 true, false},
		{PHASE_POSTCOPY, "post-copy", " finish lost ", OWNER_DESTINATION, false, false},
		{PHASE_FINISH, "finish", " completed lost ", OWNER_DESTINATION, false, false},
		{PHASE_ROLLBACK, "roll-back", " aborted failed ", OWNER_SOURCE, false, false},
		{PHASE_COMPLETED, "completed", "", OWNER_DESTINATION, false, true},
		{PHASE_ABORTED, "aborted", "", OWNER_SOURCE, false, true},
		{PHASE_FAILED, "failed", "", OWNER_SOURCE, false, true},
		{PHASE_LOST, "lost", "", OWNER_UNKNOWN, false, true},
	};

	_Static_assert(sizeof(rows) / sizeof(rows[0]) == PHASE_END_, "one row for each phase");
	return cr_make_param_array(struct phase_expectation, rows, sizeof(rows) / sizeof(rows[0]));
}

static bool has_word(const char *words, const char *word)
{
	const char *at = strstr(words, word);

	return at && at[-1] == ' ' && at[strlen(word)] == ' ';
}

ParameterizedTest(struct phase_expectation *row, phase, rows_and_all_moves)
{
	cr_assert_str_eq(phase_name(row->phase), row->name);
	cr_assert_eq(phase_owner(row->phase), row->owner);
	cr_assert_eq(phase_guest_stopped(row->phase), row->stopped);
	cr_assert_eq(phase_is_final(row->phase), row->final);
	for (int to = 0; to < PHASE_END_; to++) {
		bool legal = has_word(row->next, phase_name((enum phase)to));
		enum phase phase = row->phase;

		cr_assert_eq(phase_may_move(row->phase, (enum phase)to), legal, "%s -> %s",
			     row->name, phase_name((enum phase)to));
		cr_assert_eq(phase_move(&phase, (enum phase)to), legal ? 0 : -EINVAL);
		cr_assert_eq((int)phase, legal ? to : (int)row->phase);
	}
}

Test(phase, names_are_unique)
{
	for (int a = 0; a < PHASE_END_; a++)
		for (int b = 0; b < a; b++)
			cr_assert_str_neq(phase_name((enum phase)a), phase_name((enum phase)b));
}

Test(phase, what_is_no_phase_goes_nowhere)
{
	static const int strangers[] = {PHASE_END_, PHASE_END_ + 1, 32, 1000, -1};

	for (unsigned int i = 0; i < sizeof(strangers) / sizeof(strangers[0]); i++) {
		enum phase stranger = (enum phase)strangers[i];

		cr_assert_str_eq(phase_name(stranger), "?");
		cr_assert_eq(phase_owner(stranger), OWNER_UNKNOWN);
		cr_assert_not(phase_is_final(stranger));
		cr_assert_not(phase_guest_stopped(stranger));
		for (int other = 0; other < PHASE_END_; other++) {
			cr_assert_not(phase_may_move(stranger, (enum phase)other));
			cr_assert_not(phase_may_move((enum phase)other, stranger));
		}
	}
}

Test(phase, owner_names)
{
	cr_assert_str_eq(phase_owner_name(OWNER_SOURCE), "source");
	cr_assert_str_eq(phase_owner_name(OWNER_UNKNOWN), "unknown");
	cr_assert_str_eq(phase_owner_name(OWNER_DESTINATION), "destination");
	cr_assert_str_eq(phase_owner_name((enum phase_owner)99), "unknown");
}
