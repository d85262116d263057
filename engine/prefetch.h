// SPDX-License-Identifier: Apache-2.0
// Guesses, from the pages that the guest's CPUs faulted on, which they will need next.
//
// Like the kernel's read-ahead, one track a thread of the guest:
//
//   faults      10   11      20           a step seen twice (or +1 once) starts a run of
//   fetched       ..  12..15    21..28    PREFETCH_START; a fault exactly where the run ended says
//                                         that all of it was used: the next run is twice as long;
//   elsewhere: the run expected next is half as long, and at 0 there is none until a step repeats
//
// So a guest that jumps about pays nothing. Positions and counts are units of one block (owed.h).
// Not thread-safe. No allocation.
#pragma once

#include <stdint.h>

#define PREFETCH_THREADS 64u   /* tracks; a new thread replaces the one that was silent longest */
#define PREFETCH_START 4u      /* units of the first run */
#define PREFETCH_STEP_MAX 256u /* units; what is farther apart is no stride */

struct prefetch_track {
	uint32_t thread; /* 0: none yet */
	uint32_t block;
	uint64_t used;	 /* when, in faults */
	uint64_t last;	 /* unit of the last fault */
	int64_t step;	 /* from the one before, 0: unknown */
	int64_t stride;	 /* of the run, while window */
	uint64_t next;	 /* unit right behind the run, while window */
	uint32_t window; /* units of the run; 0: no run */
};

/* Zero-initialise. */
struct prefetch {
	uint64_t faults;
	uint64_t guessed; /* units */
	uint64_t used;	  /* units of runs that were used up */
	struct prefetch_track tracks[PREFETCH_THREADS];
};

/* first, first + stride, ...: count units, all of them inside the block. */
struct prefetch_run {
	uint64_t first;
	int64_t stride;
	uint32_t count;
};

/* A thread of the guest (any number) faulted on a unit of a block of `units`. The run to fetch now
 * is returned; its count is 0 for none, and at most window_max. */
struct prefetch_run prefetch_fault(struct prefetch *p, uint32_t thread, uint32_t block,
				   uint64_t unit, uint64_t units, uint32_t window_max);
