// SPDX-License-Identifier: Apache-2.0
// A first-in first-out queue of bytes between two sockets, in chunks, so that growing to hundreds
// of MiB moves nothing. Belongs to one thread.
#pragma once

#include <stddef.h>
#include <sys/types.h>
#include "line.h"

#define CHUNK_SIZE ((size_t)256 << 10)

struct chunk;

struct chunk_queue {
	struct chunk *head, *tail;
	struct chunk *spare; /* one empty chunk is kept: no allocation while bytes just flow */
	size_t bytes;
};

/* Receive, without blocking, at most limit (> 0) bytes and at most one chunk. Returns the
 * number of bytes, 0 at the end of file, or a negative errno (-EAGAIN: nothing there). */
ssize_t chunk_queue_fill(struct chunk_queue *q, struct line from, size_t limit);
/* The last n bytes; n is no more than the last fill returned. Valid until the next call. */
const void *chunk_queue_last(const struct chunk_queue *q, size_t n);
/* Put bytes in that did not come from a socket. 0 or -ENOMEM. */
int chunk_queue_put(struct chunk_queue *q, const void *bytes, size_t n);
/* Send, without blocking, from a queue that is not empty. Returns the number of bytes or a
 * negative errno. */
ssize_t chunk_queue_flush(struct chunk_queue *q, struct line to);
/* Drop everything. A zeroed queue is an empty one. */
void chunk_queue_clear(struct chunk_queue *q);
