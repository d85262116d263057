// SPDX-License-Identifier: Apache-2.0
// --verify: both hosts compute a digest of all guest RAM while the guest stands still. Driving
// thread only.
#pragma once

#include <stdbool.h>
#include "wire.h"

struct outgoing;
struct wire_message;

struct outgoing_proof {
	bool known; /* the destination's digest */
	struct wire_digest theirs;
	char verified[33]; /* hexadecimal, of the first RAM block; empty: not verified */
};

/* The phase. Negative errno, recorded: -EBADMSG if the memories differ. */
int outgoing_verify(struct outgoing *o);
/* DIGEST */
void outgoing_verify_take_digest(struct outgoing *o, struct wire_message *m);
