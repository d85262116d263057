// SPDX-License-Identifier: Apache-2.0
// When to switch over, and what to do about a guest that does not converge: a pure decision from
// the figures of the rounds so far.
//
// No clock, no I/O; one thread. The caller feeds each finished round and acts on the verdict.
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include "stall.h"

/* May differ from one call to the next: they can be changed while a migration runs. */
struct convergence_limits {
	uint32_t max_downtime_ms; /* the guest may stop for so long, fixed costs included */
	uint32_t completion_s;	  /* whole migration; 0: no limit */
	bool post_copy;		  /* allowed, on a stall and when the time is up */
	bool post_copy_now;	  /* asked for: at the next round end */
	bool disruption;	  /* the guest may be paused when the time is up */
	bool auto_converge;	  /* the guest's vCPUs may be slowed */
};

struct convergence_round {
	uint32_t round;	      /* 1, 2, ... */
	uint64_t bytes;	      /* RAM bytes found dirty and sent in this round (data pages) */
	uint64_t duration_us; /* of this round, until acknowledged */
	uint64_t elapsed_us;  /* since the migration began */
	uint64_t read_us;     /* in it, to look at pages and hand them over (source.h) */
	uint64_t fixed_us;    /* estimate of the stop's cost that no round can lower: stop_cost.h */
	uint64_t settle_us;   /* ... and of what pages that are suspect now (source.h) cost in it */
	uint32_t throttle_percent; /* in force throughout the round; 0: vCPUs run free */
};

enum convergence_verdict {
	CONVERGENCE_CONTINUE,
	CONVERGENCE_SWITCH,    /* open the gate */
	CONVERGENCE_THROTTLE,  /* slow the vCPUs to throttle_percent (0: free), then go on */
	CONVERGENCE_POST_COPY, /* switch to post-copy now */
	CONVERGENCE_PAUSE,     /* stop the guest and finish, however long that takes */
	CONVERGENCE_ABORT,     /* time is up */
};

/* Why it is CONTINUE; a change is worth telling. */
enum convergence_mind {
	CONVERGENCE_FALLING,	  /* or not known yet */
	CONVERGENCE_FIXED_COST,	  /* max_downtime is below what the stop alone costs */
	CONVERGENCE_AWAITING_LOW, /* stalled, the decision made; a better moment should come soon */
	CONVERGENCE_STUCK,	  /* stalled, and nothing more is allowed */
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
	uint32_t throttle_percent; /* wanted; the share of time in which vCPUs stand still */
	uint64_t throttle_rate;	   /* dirty_bytes_per_s before the latest step */
	uint32_t waited_rounds;	   /* for a local minimum */
	uint64_t waited_since_us;
	struct stall stall;
	enum convergence_mind mind;
	bool tell;	  /* the last verdict, or its reason, is news: make it an event */
	char reason[224]; /* of the last verdict, plain words with figures */
};

#define CONVERGENCE_SMALL_BYTES STALL_SMALL_BYTES
#define CONVERGENCE_STALE_ROUNDS 3
#define CONVERGENCE_THROTTLE_FIRST 20 /* QEMU's cpu-throttle-initial */
#define CONVERGENCE_THROTTLE_STEP 10  /* QEMU's cpu-throttle-increment */
#define CONVERGENCE_THROTTLE_MAX 99   /* QEMU's max-cpu-throttle */
#define CONVERGENCE_PATIENCE_STEPS 4
#define CONVERGENCE_PATIENCE_STEP_US 3000000u
#define CONVERGENCE_PATIENCE_US 20000000u

/* Feed a finished round. Formulas:
 *   dirty rate r_k = bytes_k / duration_{k-1}   (what round k found was written during k-1)
 *   remaining    = r_k * duration_k             (written while round k was sent)
 *   throughput   = half bytes_k / duration_k, half the value before; rounds that sent less than
 *                  CONVERGENCE_SMALL_BYTES measure latency and are left out, but for the first
 *   pages        = remaining / throughput, or, if that is more, read_k * duration_k /
 *                  duration_{k-1}: few of the bytes looked at may have changed
 *   predicted    = fixed + settle + pages
 * The first of these that applies:
 *   1. Past completion_s, whatever the prediction: as convergence_expired.
 *   2. SWITCH when predicted fits max_downtime and another round would not clearly lower it:
 *      remaining is below CONVERGENCE_SMALL_BYTES, or less than a quarter off the least so far, or
 *      above that but has not fallen clearly for CONVERGENCE_STALE_ROUNDS rounds. The first round
 *      knows no dirty rate and takes remaining to be all that it sent; it never switches unless
 *      that is less than CONVERGENCE_SMALL_BYTES.
 *   3. POST_COPY if post_copy_now.
 *   4. THROTTLE to 0 if vCPUs are slowed and auto_converge no longer allows it.
 *   5. CONTINUE while predicted fits, and while pre-copy has not stalled (stall.h).
 *   6. Stalled: POST_COPY if post_copy.
 *   7. Stalled: THROTTLE if auto_converge and there is a step left: first 20 %, then 10 more if the
 *      step before lowered the dirty rate by a tenth or more, 20 more if not, up to 99. Each step
 *      starts the judgement anew, so the next one is at least two rounds off, or more than that if
 *      those are shorter than STALL_US. Not if the fixed cost alone is too long.
 *   8. Stalled: SWITCH if predicted <= 1.5 * max_downtime (KubeVirt's soft switch-over).
 *   9. CONTINUE, until the time is up.
 * 6 and 8 wait for a local minimum: CONTINUE unless remaining is within 10 % of the least that the
 * latest rounds found. The tolerance doubles with each step of patience lost, which takes a round
 * and CONVERGENCE_PATIENCE_STEP_US at least (KubeVirt halves its patience likewise). The waiting
 * ends after CONVERGENCE_PATIENCE_STEPS, or if another round would end later than
 * CONVERGENCE_PATIENCE_US after its beginning. A guest whose writing is steady is always at its
 * minimum, and does not wait. */
enum convergence_verdict convergence_decide(struct convergence *c,
					    const struct convergence_limits *limits,
					    const struct convergence_round *round);

/* Time may be up inside a round, too: then POST_COPY if post_copy, else PAUSE if disruption, else
 * ABORT, with c->reason. CONTINUE, and c is as it was, if it is not. */
enum convergence_verdict convergence_expired(struct convergence *c,
					     const struct convergence_limits *limits,
					     uint64_t elapsed_us);
