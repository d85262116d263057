// SPDX-License-Identifier: Apache-2.0
// The progress time-out: does a migration still get anywhere?
//
// Pure: no clock, no I/O; one thread. KubeVirt's progressTimeout compares with the sample before,
// so that remaining bytes which go up and down reset it for ever; here only a new low since the
// beginning counts.
//
// Where the caller takes the remaining bytes from: during round 1, what of RAM it has not sent yet;
// afterwards convergence's remaining_bytes at the last round end, minus what this round has sent
// (not below 0). What is sent first and dirtied later shows at the next round end. Note only while
// there is something to be sent and acknowledged: not while the gate is open or the guest stopped.
#pragma once

#include <stdbool.h>
#include <stdint.h>

#define PROGRESS_REASON_SIZE 160

/* Zero-initialise. */
struct progress {
	uint64_t least_bytes;
	uint64_t least_us; /* when it was reached */
	uint64_t rounds;
	uint64_t least_round; /* of what remained at a round's end */
	uint64_t acked_bytes;
	uint64_t acked_us; /* when it last grew */
	bool begun;
};

/* now_us on any clock that does not go back. acked_bytes: acknowledged by the destination so far;
 * if it falls, on a new connection, counting goes on from there. Call it as often as you like. */
void progress_note(struct progress *p, uint64_t now_us, uint64_t remaining_bytes,
		   uint64_t acked_bytes);

/* A round has ended, with so much found to remain. A new low of these begins the count inside the
 * round anew: what remains of a round falls to nothing each time, and says little by itself. */
void progress_round(struct progress *p, uint64_t now_us, uint64_t remaining_bytes);

/* No new low for limit_s seconds, or no byte acknowledged? reason (plain words with figures) is
 * filled if so. limit_s 0: never. Before the first note: no. */
bool progress_stuck(const struct progress *p, uint64_t now_us, uint32_t limit_s,
		    char reason[PROGRESS_REASON_SIZE]);
