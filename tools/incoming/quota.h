// SPDX-License-Identifier: Apache-2.0
// How much of a receiver one host may take, whoever it is: apart from what all of them may
// together.
//
// A host is known by its certificate's subject; without TLS by its address. What a connection and a
// session may take of memory is bounded, so this bounds a host's memory, too.
//
// Any thread.
#pragma once

#include <pthread.h>
#include <stdbool.h>
#include "errtext.h"

#define QUOTA_SESSIONS 32     /* under way, or waiting for their turn */
#define QUOTA_CONNECTIONS 256 /* of these sessions, and others */

struct quota_host;

struct quota {
	pthread_mutex_t lock;
	struct quota_host *hosts; /* under lock: those that have connections here */
};

/* A connection's place in it; zeroes: none. */
struct quota_place {
	struct quota_host *host;
	bool session;
};

void quota_init(struct quota *q);
void quota_destroy(struct quota *q);

/* One more of that host. -EUSERS: it has as many as it may, and the text says so. */
int quota_enter(struct quota *q, struct quota_place *place, const char *host, bool session,
		struct errtext *why);
/* It has ended; nothing happens if it has no place. */
void quota_leave(struct quota *q, struct quota_place *place);
