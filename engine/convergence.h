// SPDX-License-Identifier: Apache-2.0
// When to switch over: a pure decision from the figures of the rounds so far.
//
// No clock, no I/O. The caller feeds each finished round and acts on the verdict.
#pragma once

#include <stdint.h>

struct convergence_limits {
	uint32_t max_downtime_ms; /* the guest may stop for so long, fixed costs included */
	uint32_t completion_s;	  /* whole migration; 0: no limit */
};

struct convergence_round {
	uint32_t round;	      /* 1, 2, ... */
	uint64_t bytes;	      /* RAM bytes found dirty and sent in this round (data pages) */
	uint64_t duration_us; /* of this round, until acknowledged */
	uint64_t elapsed_us;  /* since the migration began */
	uint64_t fixed_us;    /* estimate of the stop's cost that no round can lower */
};

enum convergence_verdict {
	CONVERGENCE_CONTINUE,
	CONVERGENCE_SWITCH, /* open the gate */
	CONVERGENCE_ABORT,  /* time is up */
};

/* Carries what is remembered from earlier rounds; zero-initialise. */
struct convergence {
	uint64_t rounds;
	uint64_t last_duration_us;
	uint64_t bytes_per_s; /* throughput, exponentially weighted */
	uint64_t
		dirty_bytes_per_s; /* bytes found dirty in a round / duration of the round before */
	uint64_t remaining_bytes;  /* predicted dirty bytes now */
	uint64_t predicted_us;	   /* predicted downtime if switched now */
	uint64_t least_bytes;	   /* lowest remaining_bytes so far */
	uint32_t stale_rounds;	   /* rounds since least_bytes fell clearly */
	char reason[160];	   /* of the last verdict, plain words */
};

/* Feed a finished round. Formulas:
 *   dirty rate r_k = bytes_k / duration_{k-1}   (what round k found was written during k-1)
 *   remaining    = r_k * duration_k             (written while round k was sent)
 *   throughput   = half bytes_k / duration_k, half the value before; rounds that sent less than
 *                  CONVERGENCE_SMALL_BYTES measure latency and are left out, but for the first
 *   predicted    = fixed + remaining / throughput
 * SWITCH when predicted fits max_downtime and another round would not clearly lower it: remaining
 * is below CONVERGENCE_SMALL_BYTES, or less than a quarter off the least so far, or above that but
 * has not fallen clearly for CONVERGENCE_STALE_ROUNDS rounds. The first round knows no dirty rate
 * and takes remaining to be all that it sent; it never switches unless that is less than
 * CONVERGENCE_SMALL_BYTES. ABORT past completion_s, whatever the prediction. */
enum convergence_verdict convergence_decide(struct convergence *c,
					    const struct convergence_limits *limits,
					    const struct convergence_round *round);

#define CONVERGENCE_SMALL_BYTES (1024u * 1024)
#define CONVERGENCE_STALE_ROUNDS 3
