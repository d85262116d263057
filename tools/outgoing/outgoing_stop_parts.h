// SPDX-License-Identifier: Apache-2.0
// What a stop is made of: the time since the mark before belongs to the part that has just ended.
// Driving thread only.
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include "stop_table.h"

struct outgoing;
struct wire_message;

struct outgoing_stop_parts {
	uint64_t mark_us; /* CLOCK_MONOTONIC; 0: none yet */
	struct stop_table table;
	uint64_t told_us; /* the destination said RESUMED so long after the guest ran */
	bool complete;	  /* the guest runs there, and all parts are known */
};

/* The decision is made. */
void outgoing_stop_parts_begin(struct outgoing *o);
/* This part has ended. A part may come again: its times add up. */
void outgoing_stop_parts_end(struct outgoing *o, enum stop_part part);
/* The last pass has ended: it is told apart by how long its scan took. */
void outgoing_stop_parts_end_pass(struct outgoing *o);
/* The guest runs there, and was told so by RESUMED: tell what the stop was made of. */
void outgoing_stop_parts_tell(struct outgoing *o);

/* ARRIVAL */
void outgoing_stop_parts_take_arrival(struct outgoing *o, struct wire_message *m);
