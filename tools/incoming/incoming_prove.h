// SPDX-License-Identifier: Apache-2.0
// The proof, in post-copy, that what the guest has not written since is what the source had.
//
// The session's thread only.
#pragma once

#include <pthread.h>
#include <stdint.h>
#include "fault_handler.h"

struct incoming;

struct incoming_proof {
	uint64_t give_up_us;	     /* CLOCK_MONOTONIC; 0: not begun */
	struct fault_handler *holes; /* serves faults on pages that were never used; may be NULL */
	pthread_t thread;	     /* in which it does */
};

/* In PROVING: one try. When the source has all of the proof, or cannot be given it: ARRIVED. */
void incoming_prove(struct incoming *in);
