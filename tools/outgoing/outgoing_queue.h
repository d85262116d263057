// SPDX-License-Identifier: Apache-2.0
// Waiting for one's turn: so many migrations at once leave a host, and come to one. Driving thread
// only; negative errno, recorded.
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include "slot.h"

struct outgoing;
struct wire_message;

struct outgoing_turn {
	struct slot *slot;
	bool queued_there; /* the destination has said so, since it was last looked at */
	uint64_t came_us;  /* CLOCK_MONOTONIC: from then on the completion time-out counts */
};

/* Wait for our turn on this host. */
int outgoing_queue_here(struct outgoing *o);
/* The destination has us wait for our turn there, or accepts the guest at once. */
int outgoing_queue_there(struct outgoing *o);
/* QUEUED: so many are before us there. */
void outgoing_queue_take(struct outgoing *o, struct wire_message *m);
/* It is our turn on both hosts. */
void outgoing_queue_note_turn(struct outgoing *o);
void outgoing_queue_leave(struct outgoing *o);
