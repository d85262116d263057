// SPDX-License-Identifier: Apache-2.0
// What `dray status` and `dray cancel` see and do at the destination: a control socket (live.h) in
// the guest's directory, for as long as the session has that.
//
// The session's thread. The socket's own thread looks at what is under the receiver's lock and at
// constants, and posts mail.
#pragma once

#include <stdint.h>
#include <time.h>
#include "incoming_state.h"
#include "owed.h"
#include "socket.h"

struct incoming;
struct live;

struct incoming_live {
	struct live *live; /* NULL: there is none */
	/* constant while there is */
	char source[SOCKET_PEER_SIZE];
	uint64_t begun_us, total_bytes;
	struct timespec begun; /* CLOCK_REALTIME */

	/* under the receiver's lock: what is shown */
	enum incoming_state state;
	const struct owed *owed; /* NULL: no post-copy has been agreed on */
};

/* fd: a connection of the source's. The guest's directory is ours. A migration goes on without the
 * socket if it cannot be made. */
void incoming_live_start(struct incoming *in, int fd);
/* Before the set of owed pages goes. May be called again. */
void incoming_live_stop(struct incoming *in);
/* The state has changed. */
void incoming_live_show(struct incoming *in);
