// SPDX-License-Identifier: Apache-2.0
// A bandwidth cap shared by any number of threads.
//
// Promise, for takes of at most pacer_quantum() bytes and from 1 MiB/s up: no 100 ms window sees
// more than 1.1 times the rate, no second differs from it by more than 3 % while there is demand,
// the whole run by no more than 1 %. Waiters are served in order of arrival.
//
// The cap is on wire bytes; what is taken and charged is payload, and costs the factor set by
// pacer_set_cost(): see wire_cost.h, which finds it.
//
// Every function may be called from any thread, except pacer_destroy: no other call under way.
#pragma once

#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>

struct pacer;

/* bytes_per_s 0: no cap. -ENOMEM. */
int pacer_new(uint64_t bytes_per_s, struct pacer **out);
void pacer_destroy(struct pacer *p); /* NULL is fine */

/* Change the cap (0: none). Takes effect at once, also for those who wait. */
void pacer_set(struct pacer *p, uint64_t bytes_per_s);
uint64_t pacer_rate(const struct pacer *p);

/* What a byte of payload costs in bytes of the cap, in parts per million; 0 counts as 1000000, the
 * value at first. Applies to what is charged from now on. */
void pacer_set_cost(struct pacer *p, uint32_t ppm);

/* The most bytes to take at a time. At least 1; SIZE_MAX without a cap. */
size_t pacer_quantum(const struct pacer *p);

/* Wait until these bytes may go. 0, or -ECANCELED after pacer_stop(). */
int pacer_take(struct pacer *p, size_t bytes);
/* Wait until some of `most` (> 0) bytes may go: at most a quantum of the rate at that time, so that
 * a new rate also holds for takes that were waiting. Given up with -ECANCELED also when *cancel
 * (may be NULL) is true; who sets it calls pacer_kick(). */
int pacer_take_part(struct pacer *p, size_t most, const atomic_bool *cancel, size_t *granted);
void pacer_kick(struct pacer *p);

/* Count bytes that went without asking, such as urgent ones; those who take wait the longer. */
void pacer_charge(struct pacer *p, size_t bytes);

/* End every present and future wait with -ECANCELED. */
void pacer_stop(struct pacer *p);

/* ---- the decision itself, free of clocks and locks ----
 *
 * All times are nanoseconds of one monotonic clock, given by the caller and never decreasing. */

struct pacer_schedule {
	uint64_t rate;	  /* bytes/s, 0 = no cap */
	uint32_t ppm;	  /* cost of a byte, 0 = 1000000 */
	uint64_t next_ns; /* when all that was charged so far has been paid for */
	uint64_t owed;	  /* remainder of that, in bytes * 1e9, less than rate */
	uint64_t lost_ns; /* to be made good, see pacer_schedule_late() */
};

void pacer_schedule_set(struct pacer_schedule *s, uint64_t rate, uint64_t now_ns);
/* How long until the next take may go, 0 = now. */
uint64_t pacer_schedule_wait(const struct pacer_schedule *s, uint64_t now_ns);
void pacer_schedule_charge(struct pacer_schedule *s, uint64_t bytes, uint64_t now_ns);
/* Somebody waited, and woke up so much after it might go. */
void pacer_schedule_late(struct pacer_schedule *s, uint64_t late_ns);
size_t pacer_schedule_quantum(uint64_t rate);
