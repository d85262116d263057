// SPDX-License-Identifier: Apache-2.0
// A bandwidth cap shared by any number of threads.
//
// Promise, for takes of at most pacer_quantum() bytes and from 1 MiB/s up: no 100 ms window sees
// more than 1.1 times the rate, no second differs from it by more than 3 % while there is demand,
// the whole run by no more than 1 %. Waiters are served in order of arrival.
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

/* The most bytes to take at a time. At least 1; SIZE_MAX without a cap. */
size_t pacer_quantum(const struct pacer *p);

/* Wait until these bytes may go. 0, or -ECANCELED after pacer_stop(). */
int pacer_take(struct pacer *p, size_t bytes);
/* The same, given up with -ECANCELED also when *cancel is true. Who sets it calls pacer_kick(). */
int pacer_take_unless(struct pacer *p, size_t bytes, const atomic_bool *cancel);
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
	uint64_t next_ns; /* when all that was charged so far has been paid for */
	uint64_t owed;	  /* remainder of that, in bytes * 1e9, less than rate */
};

void pacer_schedule_set(struct pacer_schedule *s, uint64_t rate, uint64_t now_ns);
/* How long until the next take may go, 0 = now. */
uint64_t pacer_schedule_wait(const struct pacer_schedule *s, uint64_t now_ns);
void pacer_schedule_charge(struct pacer_schedule *s, uint64_t bytes, uint64_t now_ns);
size_t pacer_schedule_quantum(uint64_t rate);
