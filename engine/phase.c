// SPDX-License-Identifier: Apache-2.0
// The phases of a migration, one row each.
#include "phase.h"

#include <errno.h>
#include <stdint.h>

#define TO(phase) (1u << PHASE_##phase)

_Static_assert(PHASE_END_ <= 32, "the successors of a phase are bits of a uint32_t");

static const struct phase_row {
	const char *name;
	enum phase_owner owner;
	bool stopped;
	bool final;
	uint32_t next;
} rows[] = {
	/* clang-format off */
	/* name, owner, stopped, final, next */
	[PHASE_CONNECT]    = {"connect",     OWNER_SOURCE, false, false, TO(PREPARE) | TO(ROLLBACK)},
	[PHASE_PREPARE]    = {"prepare",     OWNER_SOURCE, false, false, TO(ATTACH) | TO(ROLLBACK)},
	[PHASE_ATTACH]     = {"attach",      OWNER_SOURCE, false, false, TO(PRECOPY) | TO(ROLLBACK)},
	[PHASE_PRECOPY]    = {"pre-copy",    OWNER_SOURCE, false, false, TO(SWITCHOVER) | TO(ROLLBACK)},
	[PHASE_SWITCHOVER] = {"switch-over", OWNER_SOURCE, false, false, TO(LAST_PASS) | TO(ROLLBACK)},
	[PHASE_LAST_PASS]  = {"last-pass",   OWNER_SOURCE, true,  false, TO(VERIFY) | TO(HANDOVER) | TO(ROLLBACK)},
	[PHASE_VERIFY]     = {"verify",      OWNER_SOURCE, true,  false, TO(HANDOVER) | TO(ROLLBACK)},
	/* Released, not yet seen running: which side has the guest if we die now is a matter of ms. */
	[PHASE_HANDOVER]   = {"hand-over",   OWNER_UNKNOWN,     true,  false, TO(POSTCOPY) | TO(FINISH) | TO(LOST) | TO(ROLLBACK)},
	[PHASE_POSTCOPY]   = {"post-copy",   OWNER_DESTINATION, false, false, TO(FINISH) | TO(LOST)},
	[PHASE_FINISH]     = {"finish",      OWNER_DESTINATION, false, false, TO(COMPLETED) | TO(LOST)},
	[PHASE_ROLLBACK]   = {"roll-back",   OWNER_SOURCE,      false, false, TO(ABORTED) | TO(FAILED)},
	[PHASE_COMPLETED]  = {"completed",   OWNER_DESTINATION, false, true,  0},
	[PHASE_ABORTED]    = {"aborted",     OWNER_SOURCE,      false, true,  0},
	[PHASE_FAILED]     = {"failed",      OWNER_SOURCE,      false, true,  0},
	[PHASE_LOST]       = {"lost",        OWNER_UNKNOWN,     false, true,  0},
	/* clang-format on */
};

_Static_assert(sizeof(rows) / sizeof(rows[0]) == PHASE_END_, "one row for each phase");

/* For what is no phase: unknown in every respect, and a dead end. */
static const struct phase_row no_phase = {.name = "?", .owner = OWNER_UNKNOWN};

static const struct phase_row *row_of(enum phase phase)
{
	return (unsigned int)phase < PHASE_END_ ? &rows[phase] : &no_phase;
}

const char *phase_name(enum phase phase)
{
	return row_of(phase)->name;
}

enum phase_owner phase_owner(enum phase phase)
{
	return row_of(phase)->owner;
}

const char *phase_owner_name(enum phase_owner owner)
{
	switch (owner) {
	case OWNER_SOURCE:
		return "source";
	case OWNER_DESTINATION:
		return "destination";
	case OWNER_UNKNOWN:
		break;
	}
	return "unknown";
}

bool phase_may_move(enum phase from, enum phase to)
{
	return (unsigned int)to < PHASE_END_ && row_of(from)->next >> to & 1;
}

bool phase_guest_stopped(enum phase phase)
{
	return row_of(phase)->stopped;
}

bool phase_is_final(enum phase phase)
{
	return row_of(phase)->final;
}

int phase_move(enum phase *phase, enum phase to)
{
	if (!phase_may_move(*phase, to))
		return -EINVAL;
	*phase = to;
	return 0;
}
