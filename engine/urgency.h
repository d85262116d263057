// SPDX-License-Identifier: Apache-2.0
// Background work that gives way to urgent work, which never waits itself.
//
// Any thread.
#pragma once

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

struct urgency {
	pthread_mutex_t lock; /* held for a few instructions at a time */
	pthread_cond_t calm;  /* everything has ended, or nothing is held any more */
	/* under lock */
	unsigned int active;  /* urgent pieces under way */
	uint64_t quiet_since; /* CLOCK_MONOTONIC, microseconds; while active == 0 */
	unsigned int waiting; /* in urgency_give_way */
	bool held;
	bool stopped;
};

/* A lock that urgent threads and background ones share: who holds it lends the priority of who
 * waits for it. */
void urgency_mutex_init(pthread_mutex_t *mutex);

void urgency_init(struct urgency *u);
void urgency_destroy(struct urgency *u);

/* Around each urgent piece. */
void urgency_begin(struct urgency *u);
void urgency_end(struct urgency *u);

/* Before each piece of background work: wait until no urgent one is under way and none has been for
 * grace_us, but no longer than patience_us (0: as long as it takes), so that background work goes
 * on, slowly, however busy it gets. 0, or -ECANCELED after urgency_stop. */
int urgency_give_way(struct urgency *u, uint64_t grace_us, uint64_t patience_us);
/* While held, background work waits, whatever its patience. */
void urgency_hold(struct urgency *u, bool held);
/* Wake all, for good. */
void urgency_stop(struct urgency *u);
