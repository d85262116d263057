// SPDX-License-Identifier: Apache-2.0
// The phases of a migration as the source lives them, and the legal moves between them.
//
//   connect > prepare > attach > pre-copy > switch-over > last-pass > [verify] > hand-over >
//   [post-copy] > finish > completed
//
// Any phase before hand-over may move to roll-back, which ends in aborted (someone asked for it) or
// failed; the guest runs on the source. From hand-over the exits are post-copy or finish; lost
// (nobody knows yet: `dray recover`); and roll-back, but only once the destination has said that it
// never ran the guest and never will. From post-copy there is no way back.
#pragma once

#include <stdbool.h>

enum phase {
	PHASE_CONNECT,	  /* reach the receiver, agree on a version */
	PHASE_PREPARE,	  /* libvirt starts the destination's QEMU, paused */
	PHASE_ATTACH,	  /* map RAM, borrow a userfaultfd, begin tracking */
	PHASE_PRECOPY,	  /* rounds while the guest runs */
	PHASE_SWITCHOVER, /* gate open: QEMU prepares to stop; rounds go on */
	PHASE_LAST_PASS,  /* guest stopped: the last pages */
	PHASE_VERIFY,	  /* guest stopped: digests compared */
	PHASE_HANDOVER,	  /* released: never resume the source; not yet seen running there */
	PHASE_POSTCOPY,	  /* it runs there; the rest of its memory follows */
	PHASE_FINISH,	  /* it runs there; tidy up */
	PHASE_ROLLBACK,	  /* undo, guest to run on the source */
	PHASE_COMPLETED,
	PHASE_ABORTED,
	PHASE_FAILED,
	PHASE_LOST,
	PHASE_END_
};

/* Who runs the guest, or will by itself if dray dies in this phase. Unknown in hand-over: for some
 * milliseconds after the release a dead dray may leave it on either side. */
enum phase_owner { OWNER_SOURCE, OWNER_UNKNOWN, OWNER_DESTINATION };

/* Lower-case words as in the JSON events: "connect", "pre-copy", "last-pass", ... */
const char *phase_name(enum phase phase);
enum phase_owner phase_owner(enum phase phase);
/* "source", "unknown", "destination". */
const char *phase_owner_name(enum phase_owner owner);
bool phase_may_move(enum phase from, enum phase to);
/* Guest does not run on either side (by our doing). Not roll-back, which resumes it first thing. */
bool phase_guest_stopped(enum phase phase);
bool phase_is_final(enum phase phase);

/* The one setter: moves *phase, or returns -EINVAL and leaves it. */
int phase_move(enum phase *phase, enum phase to);
