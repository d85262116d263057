// SPDX-License-Identifier: Apache-2.0
// What a receiver has served, and so when it may end, and with which status.
//
// A receiver that is to serve one migration (`--once`), or one session of another process's, ends
// after that; but not while others are under way, which its end would end.
//
// Any thread.
#pragma once

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

struct served {
	int changed; /* eventfd: constant; something below has */
	pthread_mutex_t lock;
	/* under lock */
	int status;		/* of what was to be served: of several the worst */
	unsigned int under_way; /* sessions */
	bool done;		/* what was to be served has been */
	unsigned int untold;	/* sessions of which the source may not know how they ended */
	uint64_t end_us;	/* CLOCK_MONOTONIC: when to end, or 0 */
};

int served_init(struct served *s);
void served_destroy(struct served *s);

/* A session begins, and ends. */
void served_enter(struct served *s);
void served_leave(struct served *s);
/* What was to be served has been, with this exit status; untold: its source may not have heard of
 * it, and will ask. Between the session's two calls. */
void served_note(struct served *s, int status, bool untold);
/* A source has asked what became of its session, and was told. */
void served_tell(struct served *s);

/* Until it is to end; -1: it is not. */
int served_left_ms(struct served *s);
int served_status(struct served *s);
