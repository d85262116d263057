// SPDX-License-Identifier: Apache-2.0
// The states of a session at the destination, one row each.
#include "incoming_state.h"

#include <errno.h>
#include <stdint.h>
#include <syslog.h>

#define TO(state) (1u << INCOMING_##state)
#define M(type) (1u << WIRE_##type)

_Static_assert(INCOMING_STATE_END_ <= 32, "the successors of a state are bits of a uint32_t");
_Static_assert(WIRE_TYPE_END_ <= 32, "the messages of a state are bits of a uint32_t");

static const struct row {
	const char *name;
	enum phase_owner owner;
	bool decided;
	uint32_t takes; /* messages */
	uint32_t next;	/* states */
	enum incoming_state after[INCOMING_CAUSE_END_];
} rows[] = {
/* clang-format off */
#define AFTER(finished, given_up, lost) {INCOMING_##finished, INCOMING_##given_up, INCOMING_##lost}
#define STAYS(state) AFTER(state, state, state)
	/* name, owner, decided; messages; next; after FINISH, given up, lost */
	[INCOMING_QUEUED]    = {"queued",    OWNER_SOURCE, false,
				M(ABORT),
				TO(PREPARED) | TO(UNDONE),
				AFTER(QUEUED, UNDONE, UNDONE)},
	[INCOMING_PREPARED]  = {"prepared",  OWNER_SOURCE, false,
				M(ABORT),
				TO(READY) | TO(UNDOING),
				AFTER(PREPARED, UNDOING, UNDOING)},
	[INCOMING_READY]     = {"ready",     OWNER_SOURCE, false,
				M(LISTEN) | M(DIGEST_REQUEST) | M(RELEASE) | M(ABORT),
				TO(LISTENING) | TO(RELEASED) | TO(UNDOING),
				AFTER(READY, UNDOING, UNDOING)},
	[INCOMING_LISTENING] = {"listening", OWNER_SOURCE, false,
				M(DIGEST_REQUEST) | M(RELEASE) | M(ABORT),
				TO(OWED) | TO(UNDOING),
				AFTER(LISTENING, UNDOING, UNDOING)},
	[INCOMING_RELEASED]  = {"released",  OWNER_UNKNOWN, false,
				M(FINISH) | M(ABORT),
				TO(RUNNING) | TO(ARRIVED) | TO(SETTLING),
				AFTER(ARRIVED, SETTLING, SETTLING)},
	[INCOMING_RUNNING]   = {"running",   OWNER_DESTINATION, false,
				M(FINISH) | M(ABORT),
				TO(ARRIVED),
				AFTER(ARRIVED, ARRIVED, ARRIVED)},
	[INCOMING_OWED]      = {"owed",      OWNER_UNKNOWN, false,
				M(FINISH) | M(ABORT),
				TO(FETCHING) | TO(GONE) | TO(SETTLING),
				AFTER(OWED, OWED, SETTLING)},
	[INCOMING_FETCHING]  = {"fetching",  OWNER_DESTINATION, false,
				M(FINISH) | M(ABORT),
				TO(PROVING) | TO(ARRIVED) | TO(GONE),
				STAYS(FETCHING)},
	[INCOMING_PROVING]   = {"proving",   OWNER_DESTINATION, false,
				M(FINISH) | M(ABORT),
				TO(ARRIVED),
				STAYS(PROVING)},
	[INCOMING_SETTLING]  = {"settling",  OWNER_UNKNOWN, false,
				M(FINISH) | M(ABORT),
				TO(FETCHING) | TO(ARRIVED) | TO(UNDOING),
				STAYS(SETTLING)},
	/* As it was before: the source's, but for what may have come of a release. */
	[INCOMING_UNDOING]   = {"undoing",   OWNER_UNKNOWN, true, 0,
				TO(UNDONE) | TO(UNKNOWN),
				STAYS(UNDOING)},
	[INCOMING_GONE]      = {"gone",      OWNER_UNKNOWN, true, 0,
				TO(UNDONE) | TO(UNKNOWN),
				STAYS(GONE)},
	[INCOMING_ARRIVED]   = {"arrived",   OWNER_DESTINATION, true, 0, 0, STAYS(ARRIVED)},
	[INCOMING_UNDONE]    = {"undone",    OWNER_SOURCE,      true, 0, 0, STAYS(UNDONE)},
	[INCOMING_UNKNOWN]   = {"unknown",   OWNER_UNKNOWN,     true, 0, 0, STAYS(UNKNOWN)},
	/* clang-format on */
};

_Static_assert(sizeof(rows) / sizeof(rows[0]) == INCOMING_STATE_END_, "one row for each state");

const char *incoming_state_name(enum incoming_state state)
{
	return rows[state].name;
}

enum phase_owner incoming_state_owner(enum incoming_state state)
{
	return rows[state].owner;
}

bool incoming_state_takes(enum incoming_state state, enum wire_type type)
{
	return type < WIRE_TYPE_END_ && rows[state].takes >> type & 1;
}

bool incoming_state_is_decided(enum incoming_state state)
{
	return rows[state].decided;
}

bool incoming_state_may_move(enum incoming_state from, enum incoming_state to)
{
	return to < INCOMING_STATE_END_ && rows[from].next >> to & 1;
}

enum incoming_state incoming_state_after(enum incoming_state state, enum incoming_cause cause)
{
	return rows[state].after[cause];
}

int incoming_state_move(enum incoming_state *state, enum incoming_state to, const char *guest)
{
	const char *from_name = rows[*state].name;

	if (!incoming_state_may_move(*state, to)) {
		syslog(LOG_ERR, "incoming %s: no move from %s to state %d", guest, from_name, to);
		return -EINVAL;
	}
	syslog(LOG_DEBUG, "incoming %s: %s -> %s", guest, from_name, rows[to].name);
	*state = to;
	return 0;
}
