// SPDX-License-Identifier: Apache-2.0
// A lane as the source takes it: a table of steps in the order of their beginning, walked down, and
// walked up again over all that has begun if the migration has to be rolled back. A new lane is a
// table of its own, and a row in outgoing.c. Driving thread only.
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include "phase.h"

struct outgoing;

/* For a step that goes on in the phase of the one before it. */
#define OUTGOING_SAME_PHASE PHASE_END_

struct outgoing_step {
	enum phase phase; /* entered before the step is run */
	/* NULL: always */
	bool (*wanted)(const struct outgoing *o);
	/* 0, or the negative errno of a failure that is recorded (outgoing_fail): nothing more is
	 * run. A step that finds out that the migration has ended in another way enters that phase,
	 * which is final, and fails: then nothing is undone either. */
	int (*run)(struct outgoing *o);
	/* What must happen in time, if the step has begun; it may have failed half-way. The rest is
	 * given back at the end, by outgoing_end_release_all. NULL: nothing */
	void (*undo)(struct outgoing *o);
};

struct outgoing_lane {
	const char *name; /* lane.h */
	const struct outgoing_step *steps;
	size_t count; /* up to OUTGOING_STEPS_MAX */
};

#define OUTGOING_STEPS_MAX 32

/* Walk a lane to a phase that is final. */
void outgoing_lane_walk(struct outgoing *o, const struct outgoing_lane *lane);
