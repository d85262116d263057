// SPDX-License-Identifier: Apache-2.0
// What others see of a migration: its phase, and what `dray status` tells. Driving thread only.
#pragma once

#include <stdint.h>
#include "phase.h"
#include "steering.h"

struct outgoing;

struct outgoing_status {
	struct steering_status shown; /* mode and lane are kept here alone */
	/* CLOCK_MONOTONIC */
	uint64_t begun_us;    /* this attempt */
	uint64_t next_us;     /* when to measure again */
	uint64_t rated_us;    /* in post-copy: when the rate was measured, 0: not yet ... */
	uint64_t rated_bytes; /* ... and what had crossed the network by then */
};

/* An attempt begins, in mode PreCopy, by this lane (lane.h; not copied). */
void outgoing_status_begin(struct outgoing *o, const char *lane);
/* PreCopy, Paused or PostCopy; not copied. */
void outgoing_status_set_mode(struct outgoing *o, const char *mode);
/* Move on to a phase, and say so. The table of phases must allow it; the first one may be entered
 * by who is in it already. */
void outgoing_status_enter(struct outgoing *o, enum phase phase);
/* Let the status socket see what is. */
void outgoing_status_show(struct outgoing *o);
/* So many migrations are ahead of this one on `where`, source or destination: told when it
 * changes. */
void outgoing_status_show_ahead(struct outgoing *o, const char *where, unsigned int ahead);
