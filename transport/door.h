// SPDX-License-Identifier: Apache-2.0
// The door of a receiver: the first words on every connection, both halves of them.
//
// The source asks (hello: what the connection is for, what it speaks), the destination answers.
// Whatever else has to be settled before a connection carries anything is settled here, and nowhere
// else: a connection that has passed the door is a descriptor on both sides, and the terms.
//
// Any thread. 0 or a negative errno with a text.
#pragma once

#include <stdint.h>
#include "errtext.h"
#include "socket.h"
#include "wire.h"

/* Which host it is, whatever its address; zeroes: not known yet. */
struct door_host {
	uint8_t uuid[WIRE_UUID_SIZE];	 /* of its libvirt */
	uint8_t boot_id[WIRE_UUID_SIZE]; /* another one each time the host starts */
};

/* Where the receiver is and how to reach it; constant during a migration. */
struct peer {
	char host[SOCKET_HOST_SIZE];
	uint16_t port;
	struct socket_options socket;
	uint8_t session[WIRE_SESSION_SIZE];
	struct door_host who; /* once it has said so: no other one will do */
	int timeout_ms;	      /* for connecting, for the hello and for its answer: each */
};

/* What holds on a connection from then on. */
struct door_terms {
	uint16_t version;      /* of the protocol */
	uint64_t features;     /* those that both sides know */
	struct door_host host; /* the destination */
};

/* Connect to the receiver and ask. *fd is the caller's; terms may be NULL. -EPROTO if the receiver
 * refuses, or is none: the text says why and what to do. -EXDEV: it is another host than peer->who,
 * as when an address has moved; -EOWNERDEAD: it is that host, started again since, so that nothing
 * of the session can be there any more. */
int door_dial(const struct peer *peer, enum wire_kind kind, unsigned int index, int *fd,
	      struct door_terms *terms, struct errtext *err);
/* The source's half, on a connection that there is already; fd stays the caller's. */
int door_ask(int fd, const struct peer *peer, enum wire_kind kind, unsigned int index,
	     struct door_terms *terms, struct errtext *err);
/* The destination's half: wait for a hello, at most timeout_ms, and answer it as `self`. -EPROTO:
 * it was refused, and told why. fd stays the caller's. */
int door_answer(int fd, int timeout_ms, const struct door_host *self, struct wire_hello *hello,
		struct door_terms *terms, struct errtext *err);
