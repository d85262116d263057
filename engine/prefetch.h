// SPDX-License-Identifier: Apache-2.0
// Guesses, from the pages that the guest's CPUs faulted on, which they will need next.
//
// Like the kernel's read-ahead. A thread of the guest that copies memory goes forward in two places
// by turns, so each has a few tracks; a fault belongs to the track that is near:
//
//   faults      10   11      20           a step seen twice (or +1 once) starts a run of
//   fetched       ..  12..15    21..28    PREFETCH_START; a fault exactly where the run ended says
//                                         that all of it was used: the next run is twice as long;
//   30, if 29 came by other ways          the same, but the next run is as long as this one
//   near, but elsewhere: the run expected next is half as long, and at 0 there is none until a step
//   repeats
//
// So a guest that jumps about hardly pays. One that goes two steps and jumps, again and again,
// would: what is guessed is taken from a credit, what proves right is paid back double. Without
// credit there are no guesses but one in a while, to see whether it would pay by now.
//
// Positions and counts are units of one block (owed.h). Not thread-safe. No allocation.
#pragma once

#include <stdint.h>
#include "atomic_bitmap.h"

#define PREFETCH_THREADS 64u   /* a new thread replaces the one that was silent longest */
#define PREFETCH_TRACKS 4u     /* of a thread; likewise */
#define PREFETCH_START 4u      /* units of the first run */
#define PREFETCH_STEP_MAX 256u /* units; what is farther apart belongs to another track */
#define PREFETCH_CREDIT 512u   /* units, at first and at most */
#define PREFETCH_RETRY 1024u   /* faults without credit until the next try */

struct prefetch_track {
	uint64_t used;	 /* when, in faults; 0: free */
	uint64_t last;	 /* unit of the last fault */
	int64_t step;	 /* from the one before, 0: unknown */
	int64_t stride;	 /* of the run, while window */
	uint64_t next;	 /* unit right behind the run, while window */
	uint32_t window; /* units of the run; 0: no run */
	uint32_t block;
};

struct prefetch_thread {
	uint64_t used; /* when, in faults; 0: free */
	uint32_t thread;
	struct prefetch_track tracks[PREFETCH_TRACKS];
};

struct prefetch {
	uint64_t faults;
	uint64_t guessed; /* units */
	uint64_t used;	  /* units of runs that were used up */
	uint64_t retry;	  /* in faults: when credit is next given for nothing */
	uint32_t credit;  /* units */
	struct prefetch_thread threads[PREFETCH_THREADS];
};

/* first, first + stride, ...: count units, all of them inside the block. */
struct prefetch_run {
	uint64_t first;
	int64_t stride;
	uint32_t count;
};

void prefetch_init(struct prefetch *p);
/* A thread of the guest (any number) faulted on a unit of a block. `unsent`: the units of that
 * block that the guest cannot have yet. The run to fetch now is returned; its count is 0 for none,
 * and at most window_max. */
struct prefetch_run prefetch_fault(struct prefetch *p, uint32_t thread, uint32_t block,
				   uint64_t unit, const struct atomic_bitmap *unsent,
				   uint32_t window_max);
