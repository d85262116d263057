// SPDX-License-Identifier: Apache-2.0
// What a domain's state in libvirt means for a migration, here, and what it answers the other host.
//
// One row for each state, and every question of who has the guest is answered from it. Pure: what
// is known besides is handed in. Any thread.
//
// Two states are never of dray's making. INCOMING on the source: somebody starts the guest anew
// here, or it is on its way back. PAUSED_POSTCOPY on either host: QEMU's own post-copy, which
// somebody else began, is under way out of here or has broken off, and part of the guest's memory
// is on each host. Whatever dray did with that guest before is long over; dray touches neither.
#pragma once

#include <stdbool.h>
#include "host.h"
#include "wire.h"

/* For texts: "paused by a migration". */
const char *ownership_table_text(enum domain_state state);

/* The source's view: what has become of a guest that was to leave this host. */
enum ownership_departure {
	DEPARTURE_LEFT,	   /* it is not here any more */
	DEPARTURE_STAYED,  /* it lives here, as before */
	DEPARTURE_RESUME,  /* it stands here paused by the migration, and was not handed over */
	DEPARTURE_ASK,	   /* only the destination knows whether it runs there */
	DEPARTURE_WAIT,	   /* passes by itself */
	DEPARTURE_FOREIGN, /* another migration than dray's: not to be touched */
};

/* released: the destination may own it. */
enum ownership_departure ownership_table_departure(enum domain_state state, bool released);

/* The destination's view: what has become of a guest that was to come. */
enum ownership_arrival {
	ARRIVAL_NONE,	 /* no QEMU has it here: it never came, or has ended */
	ARRIVAL_PENDING, /* its QEMU stands here, and may yet run or be ended */
	ARRIVAL_LIVES,	 /* it runs here, or has run */
};

enum ownership_arrival ownership_table_arrival(enum domain_state state);

/* The guest lives on the other host: what to do about the one here. */
enum ownership_retirement {
	RETIRE_NOTHING,	   /* it has gone */
	RETIRE_DEFINITION, /* only that is left */
	RETIRE_GUEST,	   /* paused, and out of date: end it; then as above */
	RETIRE_TWICE,	   /* it runs here as well: an operator must decide */
	RETIRE_FOREIGN,	   /* it is no leftover of this migration */
};

enum ownership_retirement ownership_table_retirement(enum domain_state state);

/* What the destination's record says of a guest. */
enum ownership_evidence {
	EVIDENCE_PREPARED, /* it was to come, and was not released: it cannot have run */
	EVIDENCE_RELEASED, /* it may have run, and ended, unseen */
	EVIDENCE_NEVER,	   /* it never ran here, whether or not a definition of it is here */
	EVIDENCE_RAN,	   /* it was seen to run here */
	EVIDENCE_END_
};

/* The answer to a QUERY, which must be final: ABSENT only if the guest can no longer begin to run
 * here, ENDED only if it did run. leaving: a migration out of here is recorded. False: nobody can
 * tell. */
bool ownership_table_answer(enum domain_state state, enum ownership_evidence evidence, bool leaving,
			    enum wire_state *answer);
