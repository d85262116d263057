// SPDX-License-Identifier: Apache-2.0
// Connections that have not yet said, or proven, who they are: so many at once, and no more.
//
// A receiver must stay open to those who have a migration here, whoever else knocks: a guest in
// post-copy waits for its source to connect again. So nobody is turned away because there are too
// many; one who is there gives way, the oldest of the address that has most of them. Who comes from
// an address of its own is not concerned by a crowd from another.
//
// Any thread.
#pragma once

#include <pthread.h>
#include <stdbool.h>
#include "socket.h"

#define STRANGERS_MAX 64

/* One of them; a part of its connection. */
struct stranger {
	int fd; /* shut down when it has to give way; open until strangers_leave */
	char host[SOCKET_PEER_SIZE];
	bool inside;
	struct stranger *newer;
};

struct strangers {
	pthread_mutex_t lock;
	/* under lock */
	struct stranger *oldest; /* a list */
	unsigned int count;
};

void strangers_init(struct strangers *s);
/* peer is its address, with the port, as socket_accept tells it. */
void strangers_enter(struct strangers *s, struct stranger *one, int fd, const char *peer);
/* It is known now, or about to be closed. May be called for one that has given way. */
void strangers_leave(struct strangers *s, struct stranger *one);
void strangers_destroy(struct strangers *s);
