// SPDX-License-Identifier: Apache-2.0
// What a domain's state in libvirt means for a migration, here, and what it answers the other host.
#include "ownership_table.h"

#define LEAVES(kept, released) DEPARTURE_##kept, DEPARTURE_##released
#define SAYS(prepared, released, never, ran)                                                       \
	{                                                                                          \
		WIRE_STATE_##prepared, WIRE_STATE_##released, WIRE_STATE_##never, WIRE_STATE_##ran \
	}
#define ALWAYS(answer) SAYS(answer, answer, answer, answer)

struct row {
	enum ownership_departure kept, released; /* before, and after the hand-over */
	enum ownership_arrival arrival;
	enum ownership_retirement retirement;
	enum wire_state answer[EVIDENCE_END_];
	enum wire_state leaving; /* the answer if a migration out of here is recorded; 0: as else */
	const char *text;
};

/* SHUT_OFF       libvirt stores the definition before it starts the guest: that one is here says
 *                nothing.
 * RUNNING        On the source, after the hand-over: libvirt resumes the guest there by itself when
 *                QEMU's migration fails, which it can only do while Finish has not been sent. So
 *                it does not run on the destination.
 * PAUSED_USER    A guest that its user had paused looks the same whether or not it has left since.
 * PAUSED_MIGRATION  By a migration in, which has not ended; but if one out of here is recorded, the
 *                guest had lived here.
 * PAUSED_POSTCOPY  It has run here, whichever end of QEMU's post-copy this is: an older state of it
 *                must not run again on another host. */
static const struct row rows[] = {
	/* clang-format off */
	/* departure, arrival, retirement, answer by evidence (PREPARED, RELEASED, NEVER, RAN), leaving, text */
	[DOMAIN_ABSENT]           = {LEAVES(LEFT, LEFT),       ARRIVAL_NONE,    RETIRE_NOTHING,
				     SAYS(ABSENT, UNKNOWN, ABSENT, ENDED), 0, "not here"},
	[DOMAIN_SHUT_OFF]         = {LEAVES(LEFT, LEFT),       ARRIVAL_NONE,    RETIRE_DEFINITION,
				     SAYS(UNKNOWN, UNKNOWN, ABSENT, ENDED), 0, "shut off"},
	[DOMAIN_RUNNING]          = {LEAVES(STAYED, STAYED),   ARRIVAL_LIVES,   RETIRE_TWICE,
				     ALWAYS(RUNNING), 0, "running"},
	[DOMAIN_PAUSED_USER]      = {LEAVES(STAYED, ASK),      ARRIVAL_LIVES,   RETIRE_GUEST,
				     ALWAYS(RUNNING), 0, "paused by its user"},
	[DOMAIN_PAUSED_MIGRATION] = {LEAVES(RESUME, ASK),      ARRIVAL_PENDING, RETIRE_GUEST,
				     ALWAYS(INCOMING), WIRE_STATE_RUNNING, "paused by a migration"},
	[DOMAIN_INCOMING]         = {LEAVES(WAIT, WAIT),       ARRIVAL_PENDING, RETIRE_FOREIGN,
				     ALWAYS(INCOMING), 0, "just being started, or on its way here"},
	[DOMAIN_PAUSED_POSTCOPY]  = {LEAVES(FOREIGN, FOREIGN), ARRIVAL_LIVES,   RETIRE_FOREIGN,
				     ALWAYS(RUNNING), 0, "paused by a post-copy of QEMU's own"},
	/* clang-format on */
};

_Static_assert(sizeof(rows) / sizeof(*rows) == DOMAIN_STATE_END_, "a row for each state");

const char *ownership_table_text(enum domain_state state)
{
	return rows[state].text;
}

enum ownership_departure ownership_table_departure(enum domain_state state, bool released)
{
	return released ? rows[state].released : rows[state].kept;
}

enum ownership_arrival ownership_table_arrival(enum domain_state state)
{
	return rows[state].arrival;
}

enum ownership_retirement ownership_table_retirement(enum domain_state state)
{
	return rows[state].retirement;
}

bool ownership_table_answer(enum domain_state state, enum ownership_evidence evidence, bool leaving,
			    enum wire_state *answer)
{
	const struct row *row = &rows[state];

	*answer = leaving && row->leaving ? row->leaving : row->answer[evidence];
	return *answer != WIRE_STATE_UNKNOWN;
}
