// SPDX-License-Identifier: Apache-2.0
// What must outlive a killed dray: the guest's directory with the record of this migration, and the
// guard, a process that tidies up by that record. Driving thread only.
#pragma once

#include <stdbool.h>
#include "guest_dir.h"
#include "record.h"

struct outgoing;

struct outgoing_place {
	struct guest_dir dir;
	struct record record;
	uint64_t record_us; /* to write that, the slowest time so far */
	int guard;	    /* pipe to the guard process, or -1 */
	bool debts;	    /* a migration before this one may have left things borrowed */
};

/* Nothing is open yet. */
void outgoing_place_init(struct outgoing *o);
/* Open the guest's directory and take its lock. Negative errno; the text is set. */
int outgoing_place_open(struct outgoing *o);
/* Start the guard, which holds the guest's RAM as well, and write the record. The same. */
int outgoing_place_hold(struct outgoing *o);
/* Write down that the destination may own the guest from now on. The same. */
int outgoing_place_hand_over(struct outgoing *o);
/* It was not taken there: the reverse. A record that cannot be written is a warning. */
void outgoing_place_take_back(struct outgoing *o);
/* The cap was changed: whoever has to carry on keeps to the new one. */
void outgoing_place_note_bandwidth(struct outgoing *o);
/* The guest was paused, or let go on: whoever has to settle the migration leaves it so. */
void outgoing_place_note_running(struct outgoing *o);
/* The discard-data of these memory backends, separated by blanks, is about to be switched off: that
 * is on disk first. Negative errno, with a text in *err. */
int outgoing_place_note_discard(struct outgoing *o, const char *ids, struct errtext *err);
/* This migration has left nothing to settle: remove its record, if it has written one. */
void outgoing_place_forget(struct outgoing *o);
/* Give the lock back, which the guard needs if it is to tidy up. tidy: it has nothing to do.
 * Otherwise it reads the end of the pipe, and takes over, whether or not this process goes on to
 * another attempt, which then waits for the lock. */
void outgoing_place_dismiss(struct outgoing *o, bool tidy);
