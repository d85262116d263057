// SPDX-License-Identifier: Apache-2.0
// The port of a receiver.
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include "errtext.h"
#include "socket.h"

struct incoming_world;

/* Listen there. A guard or `dray recover` that carries on a post-copy, and so holds the port, soon
 * gives way to a receiver, see dray-recover(8); patient: it is waited for. -EADDRINUSE: somebody
 * else has it, and the text says who that may be. */
int receiver_port_listen(const struct socket_options *socket, uint16_t port, bool patient,
			 const struct incoming_world *world, int *fd, struct errtext *err);
