// SPDX-License-Identifier: Apache-2.0
// The states of a session at the destination, and the legal moves between them.
//
//   queued > prepared > ready ------------> released > running ---------------> arrived
//                         |                    |                                   |
//                         +---> listening ---> owed > fetching > [proving] --------+
//
// What goes wrong before the release leads to undoing (from queued, where there is nothing to undo,
// straight to undone). After it the destination may have the guest: a source that falls silent, or
// gives up, before the guest was seen to run leads to settling, where libvirt is asked; once it was
// seen to run nothing that the source does takes it away. undoing and gone end as undone or
// unknown.
//
// Each state has a contract: what holds in it, what may happen, what it means that the source is
// lost. "Given up" is an ABORT of the source, or a message that the state does not take: a source
// that is out of step must not talk the destination into anything.
//
// Kept outside, because they are facts and do not decide by themselves: that the guest has run here
// (record.resumed), that nothing is owed any more (postcopy.complete), that the source is lost.
//
// Only the session's thread looks at its state, or moves it.
#pragma once

#include <stdbool.h>
#include "phase.h"
#include "wire.h"

enum incoming_state {
	/* QUEUED: the migration waits for its turn on this host.
	 *
	 * Held: the control connection, libvirt, a slot. Nothing of the guest is here.
	 * Takes ABORT. Given up, lost: UNDONE, there is nothing to undo.
	 * Ends when the guest's directory is ours. */
	INCOMING_QUEUED,

	/* PREPARED: libvirt may start the guest's QEMU here.
	 *
	 * Held: the directory with its lock, a record on disk, a guard.
	 * Takes ABORT. Given up, lost, QEMU ends: UNDOING.
	 * Ends when QEMU's monitor is reached and its RAM is mapped. */
	INCOMING_PREPARED,

	/* READY: pre-copy. RAM streams write into the memory of a QEMU that waits for its stream.
	 *
	 * Held: also QEMU's monitor, and guest RAM, which was empty at first.
	 * Takes LISTEN, DIGEST?, RELEASE, ABORT. LISTEN that cannot be done is refused, and READY
	 * goes on. Given up, lost, a RAM stream breaks, QEMU ends: UNDOING. */
	INCOMING_READY,

	/* LISTENING: the same, and post-copy has been agreed on: pages may be named stale, and
	 * become missing.
	 *
	 * Held: also a userfaultfd, here and inside QEMU, and the set of owed pages, a file.
	 * Takes DIGEST?, RELEASE, ABORT. Given up, lost, a RAM stream breaks, QEMU ends: UNDOING,
	 * which closes the userfaultfd inside QEMU. */
	INCOMING_LISTENING,

	/* RELEASED: all memory is here, and libvirt's Finish may start the guest at any time.
	 *
	 * Holds: the record on disk says `released`, since before QEMU's stream was let go. Not yet
	 * seen to run.
	 * Takes FINISH: ARRIVED, the source knows that it runs. Given up, lost, QEMU ends:
	 * SETTLING. */
	INCOMING_RELEASED,

	/* RUNNING: released, and seen to run here.
	 *
	 * Holds: the record on disk says `resumed`. Only the source's tidying up is missing.
	 * Takes FINISH. That, given up, lost, QEMU ends: ARRIVED. */
	INCOMING_RUNNING,

	/* OWED: post-copy, and libvirt's Finish may start the guest at any time.
	 *
	 * Holds: the owed set is sealed and faults are served; after that the record on disk says
	 * `released`, and only after that QEMU's stream was let go. What is inside QEMU stays
	 * there, whatever becomes of this process. Not yet seen to run. Another process's session
	 * begins here.
	 * Takes FINISH, ABORT and what is out of step, all without effect: the page link is what
	 * counts now. Lost: SETTLING. libvirt is looked at, too: it runs, FETCHING; it has ended,
	 * GONE. */
	INCOMING_OWED,

	/* FETCHING: the guest runs here, and what it lacks is fetched.
	 *
	 * Holds: the record on disk says `resumed`. There is no way back.
	 * Lost: goes on; the source comes again with another page link. Only libvirt's word ends
	 * it early: GONE. When nothing is owed any more: PROVING if that was asked for, else
	 * ARRIVED. */
	INCOMING_FETCHING,

	/* PROVING: all memory is here, and the source compares it.
	 *
	 * Holds: the userfaultfd stays registered, so that it is known what the guest has written.
	 * Lost: goes on for a time; the guest does without a proof rather than without an end.
	 * Ends in ARRIVED, whatever the proof says: only the source can judge it. */
	INCOMING_PROVING,

	/* SETTLING: released, not seen to run, and the source will not help to find out.
	 *
	 * libvirt's tunnels are cut first: its Finish either has come through, or never will. Then
	 * libvirt's word decides: it runs, ARRIVED or FETCHING; else UNDOING. Mail counts for what
	 * it tells of QEMU, no message has an effect. */
	INCOMING_SETTLING,

	/* UNDOING: it does not come, or was called off.
	 *
	 * No mail is taken. What was begun is taken down; a QEMU that has not run, and of which no
	 * event was missed, may be ended. If the release was before, and it cannot be told what
	 * came of it, the source decides. Ends in UNDONE or UNKNOWN. */
	INCOMING_UNDOING,

	/* GONE: in post-copy, the guest has ended here before all of its memory had come.
	 *
	 * No mail is taken. Nothing is left to be saved, on either host; the source is told.
	 * Ends in UNDONE or UNKNOWN. */
	INCOMING_GONE,

	/* The ends. No mail is taken. */
	INCOMING_ARRIVED, /* the guest and all of its memory are here */
	INCOMING_UNDONE,  /* the guest is not here, nor will it be */
	INCOMING_UNKNOWN, /* it has run here and no more, or nobody saw what came of it */
	INCOMING_STATE_END_
};

/* Lower-case words: "queued", "ready", ... */
const char *incoming_state_name(enum incoming_state state);
/* Who runs the guest, or will by itself if dray dies in this state. */
enum phase_owner incoming_state_owner(enum incoming_state state);
/* May the source say that now? */
bool incoming_state_takes(enum incoming_state state, enum wire_type type);
/* Is it decided what becomes of the guest? Then no mail is taken any more. */
bool incoming_state_is_decided(enum incoming_state state);
bool incoming_state_may_move(enum incoming_state from, enum incoming_state to);

/* What the source may do. */
enum incoming_cause {
	INCOMING_FINISHED, /* FINISH, where it is taken */
	INCOMING_GIVEN_UP, /* ABORT, or a message that is not taken; or QEMU's monitor has closed */
	INCOMING_LOST,	   /* the control connection has broken */
	INCOMING_CAUSE_END_
};

/* Where that leads from here; the state itself if it changes nothing. */
enum incoming_state incoming_state_after(enum incoming_state state, enum incoming_cause cause);

/* The one setter: moves *state and notes that in the system's log (debug); or notes a move that is
 * not legal (error) and leaves *state, -EINVAL. `guest` names it there. */
int incoming_state_move(enum incoming_state *state, enum incoming_state to, const char *guest);
