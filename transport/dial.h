// SPDX-License-Identifier: Apache-2.0
// Connections from the source to the destination's receiver, hello included.
#pragma once

#include <stdint.h>
#include "errtext.h"
#include "socket.h"
#include "wire.h"

/* Where the receiver is and how to reach it; constant during a migration. */
struct peer {
	char host[SOCKET_HOST_SIZE];
	uint16_t port;
	struct socket_options socket;
	uint8_t session[WIRE_SESSION_SIZE];
	int timeout_ms; /* for connecting and for the hello */
};

/* Connect and say hello. *fd is the caller's; reply may be NULL. -EPROTO if the receiver refuses,
 * or is none: the text says why and what to do. Any thread. */
int dial(const struct peer *peer, enum wire_kind kind, unsigned int index, int *fd,
	 struct wire_hello_reply *reply, struct errtext *err);
