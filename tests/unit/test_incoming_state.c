// SPDX-License-Identifier: Apache-2.0
// The states of a session at the destination: every pair of them, and every message in each.
#include "incoming_state.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <string.h>

TestSuite(incoming_state, .timeout = 20);

/* The table once more, by names, so that a slip of the pen in one of the two is found. */
static const struct expected {
	const char *name, *owner, *next, *takes, *after; /* FINISH, given up, lost; - for none */
} expected[] = {
	{"queued", "source", "prepared undone", "ABORT", "- undone undone"},
	{"prepared", "source", "ready undoing", "ABORT", "- undoing undoing"},
	{"ready", "source", "listening released undoing", "LISTEN DIGEST_REQUEST RELEASE ABORT",
	 "- undoing undoing"},
	{"listening", "source", "owed undoing", "DIGEST_REQUEST RELEASE ABORT",
	 "- undoing undoing"},
	{"released", "unknown", "running settling arrived", "FINISH ABORT",
	 "arrived settling settling"},
	{"running", "destination", "arrived", "FINISH ABORT", "arrived arrived arrived"},
	{"owed", "unknown", "fetching settling gone", "FINISH ABORT", "- - settling"},
	{"fetching", "destination", "proving gone arrived", "FINISH ABORT", "- - -"},
	{"proving", "destination", "arrived", "FINISH ABORT", "- - -"},
	{"settling", "unknown", "fetching undoing arrived", "FINISH ABORT", "- - -"},
	{"undoing", "unknown", "undone unknown", "", "- - -"},
	{"gone", "unknown", "undone unknown", "", "- - -"},
	{"arrived", "destination", "", "", "- - -"},
	{"undone", "source", "", "", "- - -"},
	{"unknown", "unknown", "", "", "- - -"},
};

_Static_assert(sizeof(expected) / sizeof(*expected) == INCOMING_STATE_END_, "every state");

#define EACH_STATE(s)                                                                              \
	enum incoming_state s = 0;                                                                 \
	s < INCOMING_STATE_END_;                                                                   \
	s++

/* Is the word one of the list? */
static bool lists(const char *list, const char *word)
{
	size_t len = strlen(word);

	for (const char *at = list; (at = strstr(at, word)); at += len)
		if ((at == list || at[-1] == ' ') && (at[len] == ' ' || !at[len]))
			return true;
	return false;
}

Test(incoming_state, names_and_owners)
{
	for (EACH_STATE(s)) {
		cr_expect_str_eq(incoming_state_name(s), expected[s].name);
		cr_expect_str_eq(phase_owner_name(incoming_state_owner(s)), expected[s].owner, "%s",
				 expected[s].name);
	}
}

Test(incoming_state, every_pair)
{
	for (EACH_STATE(from))
		for (enum incoming_state to = 0; to <= INCOMING_STATE_END_; to++) {
			bool may = to < INCOMING_STATE_END_ &&
				   lists(expected[from].next, expected[to].name);
			enum incoming_state state = from;

			cr_expect_eq(incoming_state_may_move(from, to), may, "%s to %u",
				     expected[from].name, to);
			cr_expect_eq(incoming_state_move(&state, to, "web"), may ? 0 : -EINVAL,
				     "%s to %u", expected[from].name, to);
			cr_expect_eq(state, may ? to : from, "%s to %u", expected[from].name, to);
		}
}

Test(incoming_state, every_message)
{
	for (EACH_STATE(s)) {
		for (enum wire_type type = 0; type < WIRE_TYPE_END_; type++)
			cr_expect_eq(incoming_state_takes(s, type),
				     lists(expected[s].takes, wire_type_name(type)), "%s, %s",
				     expected[s].name, wire_type_name(type));
		cr_expect(!incoming_state_takes(s, WIRE_TYPE_END_));
		cr_expect(!incoming_state_takes(s, (enum wire_type)1000));
	}
}

Test(incoming_state, every_cause)
{
	for (EACH_STATE(s)) {
		char names[64];
		const char *name = names;

		snprintf(names, sizeof(names), "%s", expected[s].after);
		for (int cause = 0; cause < INCOMING_CAUSE_END_; cause++) {
			enum incoming_state to = incoming_state_after(s, cause);
			char *end = strchr(name, ' ');

			if (end)
				*end = 0;
			cr_expect_str_eq(incoming_state_name(to),
					 *name == '-' ? expected[s].name : name, "%s, cause %d",
					 expected[s].name, cause);
			cr_expect(to == s || incoming_state_may_move(s, to), "%s, cause %d",
				  expected[s].name, cause);
			name = end + 1;
		}
	}
}

/* ---- what the table means ---- */

static bool reaches(enum incoming_state from, enum incoming_state to, unsigned int steps)
{
	if (from == to)
		return true;
	for (EACH_STATE(s))
		if (steps && incoming_state_may_move(from, s) && reaches(s, to, steps - 1))
			return true;
	return false;
}

static bool is_end(enum incoming_state s)
{
	for (EACH_STATE(to))
		if (incoming_state_may_move(s, to))
			return false;
	return true;
}

Test(incoming_state, it_ends)
{
	for (EACH_STATE(s)) {
		bool arrives = reaches(s, INCOMING_ARRIVED, INCOMING_STATE_END_);
		bool fails = reaches(s, INCOMING_UNDONE, INCOMING_STATE_END_);

		cr_expect(arrives || fails || s == INCOMING_UNKNOWN, "%s", expected[s].name);
		cr_expect(!reaches(s, INCOMING_QUEUED, INCOMING_STATE_END_) || s == INCOMING_QUEUED,
			  "%s", expected[s].name);
		if (is_end(s))
			cr_expect(incoming_state_is_decided(s), "%s", expected[s].name);
	}
}

/* Once it is decided nobody can say anything that would change it. */
Test(incoming_state, what_is_decided_stays)
{
	for (EACH_STATE(s)) {
		if (!incoming_state_is_decided(s))
			continue;
		cr_expect_str_empty(expected[s].takes);
		for (EACH_STATE(to))
			if (incoming_state_may_move(s, to))
				cr_expect(incoming_state_is_decided(to), "%s", expected[s].name);
	}
}

/* What was seen to run here is never undone, and what was released is not before libvirt was
 * asked. */
Test(incoming_state, the_guest_is_not_taken_away)
{
	for (EACH_STATE(s)) {
		if (incoming_state_owner(s) == OWNER_DESTINATION)
			cr_expect(!reaches(s, INCOMING_UNDOING, INCOMING_STATE_END_), "%s",
				  expected[s].name);
		if (incoming_state_may_move(s, INCOMING_UNDOING))
			cr_expect(incoming_state_owner(s) == OWNER_SOURCE || s == INCOMING_SETTLING,
				  "%s", expected[s].name);
		if (incoming_state_owner(s) != OWNER_SOURCE)
			for (EACH_STATE(to))
				cr_expect(!incoming_state_may_move(s, to) ||
						  incoming_state_owner(to) != OWNER_SOURCE ||
						  incoming_state_is_decided(s),
					  "%s to %s", expected[s].name, expected[to].name);
	}
}
