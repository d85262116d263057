// SPDX-License-Identifier: Apache-2.0
// Has pre-copy stalled? Judged at round ends, from what each round found.
//
// Pure: no clock, no I/O; one thread. The measure is what a round *found* dirty, that is, what
// remained when it began: a measured figure. The remainder that convergence predicts would not do:
// a round much shorter than the one before makes it too small, and no later round gets as low.
#pragma once

#include <stdint.h>

#define STALL_ROUNDS 3
#define STALL_US 2000000u /* very short rounds on a fast network are noise */
#define STALL_PERCENT 96  /* a clear new low is below this share of the last one */
#define STALL_SETTLE_ROUNDS 2
#define STALL_RECENT 8
#define STALL_SMALL_BYTES (1024u * 1024) /* less measures the network's latency, not the guest */

enum stall_kind {
	STALL_NONE,
	STALL_STALE,	/* no clear new low for STALL_ROUNDS rounds and STALL_US */
	STALL_OUTPACED, /* for STALL_US in a row the guest wrote as fast as the network takes */
};

/* Zero-initialise. */
struct stall {
	uint64_t low_bytes;   /* found by the round that was the last clear new low */
	uint64_t low_us;      /* when that was; since the migration began */
	uint64_t outpaced_us; /* duration of the latest rounds that were outpaced, in a row */
	uint64_t recent[STALL_RECENT]; /* found by the latest rounds, the first one left out */
	uint32_t low_rounds;	       /* rounds since low_us */
	uint32_t rounds;
	uint32_t settle; /* so many rounds more say nothing, for something was changed */
	enum stall_kind kind;
};

/* What a finished round tells. remaining_bytes is the prediction of what the next one finds. */
struct stall_round {
	uint64_t found_bytes;
	uint64_t remaining_bytes;
	uint64_t duration_us;
	uint64_t elapsed_us; /* since the migration began */
};

/* Note a finished round; the judgement is left in s->kind.
 *   clear new low   found < 96 % of the last clear new low. KubeVirt's stall detector has the same
 *                   share, of the least that is older than 40 s; because only clear lows are
 *                   remembered here, a slow but steady fall adds up.
 *   outpaced        remaining >= 96 % of found, where found is not small: the dirty rate is no less
 *                   than the throughput, and going on is of no use, so a single round of STALL_US
 *                   decides. The second round can be the first to tell.
 * Not stalled, in spite of no new low, if remaining < 75 % of found: the next round should find
 * less (the network has become faster, or the guest calmer). */
void stall_note(struct stall *s, const struct stall_round *round);

/* The guest was slowed: judge anew. What the next round finds was written before; the one after it
 * is the first that tells, hence STALL_SETTLE_ROUNDS. */
void stall_restart(struct stall *s);

/* The least that one of the latest STALL_RECENT rounds found; UINT64_MAX before the second. */
uint64_t stall_recent_least(const struct stall *s);
