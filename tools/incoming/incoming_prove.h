// SPDX-License-Identifier: Apache-2.0
// The proof, in post-copy, that what the guest has not written since is what the source had.
//
// The session's thread only.
#pragma once

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include "fault_handler.h"

struct incoming;

struct incoming_proof {
	bool over;
	uint64_t give_up_us;	     /* CLOCK_MONOTONIC; 0: not begun */
	struct fault_handler *holes; /* pages that were never used, while it goes on */
	pthread_t thread;	     /* which serves them */
};

/* The source wants a proof, and now is the time for it. */
bool incoming_prove_is_due(const struct incoming *in);
/* One try. It is over when the source has all of the proof, or cannot be given it. */
void incoming_prove(struct incoming *in);
