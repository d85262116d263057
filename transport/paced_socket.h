// SPDX-License-Identifier: Apache-2.0
// A sending socket under a pacer: how much may go now.
//
// What lies unsent in the socket's buffer was charged, but is not on the wire: after a stall it
// would all go at once. Under a cap the next quantum is therefore not asked for before the socket
// has sent most of the last (TCP_NOTSENT_LOWAT and poll), and what was stuck there for long is
// charged again. SO_MAX_PACING_RATE was rejected: it is per socket, so a share of the cap would
// bind an uneven load below the cap, while the whole cap would not limit several sockets.
//
// Belongs to one thread at a time, that which sends.
#pragma once

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct pacer;

struct paced_socket {
	/* constant after init */
	int fd;
	struct pacer *pacer; /* NULL: everything may go at once */

	/* for the sending thread; zero at first, but for urgent */
	bool urgent;   /* everything may go at once, but is charged */
	uint64_t rate; /* bytes/s, when the socket's limit was last adapted to it */
	bool limited;  /* the socket has such a limit */
};

/* Wait until some of the next `left` (> 0) bytes may go: *granted. 0, or -ECANCELED as from
 * pacer_take_part(); a shut down socket does not keep it waiting. */
int paced_socket_take(struct paced_socket *s, size_t left, const atomic_bool *cancel,
		      size_t *granted);
