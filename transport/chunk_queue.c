// SPDX-License-Identifier: Apache-2.0
// A list of chunks: filled at the tail, emptied at the head.
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/uio.h>
#include "chunk_queue.h"

#define FLUSH_CHUNKS 16 /* in one sendmsg(2): as much as a large socket buffer takes */

struct chunk {
	struct chunk *next;
	size_t start, end; /* bytes[start..end) are filled */
	char bytes[CHUNK_SIZE];
};

/* The chunk to fill: the tail while it has room. */
static struct chunk *chunk_to_fill(struct chunk_queue *q)
{
	struct chunk *c = q->tail;

	if (c && c->end < CHUNK_SIZE)
		return c;
	c = q->spare ? q->spare : malloc(sizeof(*c));
	if (!c)
		return NULL;
	q->spare = NULL;
	c->next = NULL;
	c->start = c->end = 0;
	if (q->tail)
		q->tail->next = c;
	else
		q->head = c;
	q->tail = c;
	return c;
}

ssize_t chunk_queue_fill(struct chunk_queue *q, struct line from, size_t limit)
{
	struct chunk *c = chunk_to_fill(q);
	ssize_t n;

	if (!c)
		return -ENOMEM;
	if (limit > CHUNK_SIZE - c->end)
		limit = CHUNK_SIZE - c->end;
	n = line_read(from, c->bytes + c->end, limit);
	if (n < 0)
		return n;
	c->end += (size_t)n;
	q->bytes += (size_t)n;
	return n;
}

const void *chunk_queue_last(const struct chunk_queue *q, size_t n)
{
	return q->tail->bytes + q->tail->end - n;
}

int chunk_queue_put(struct chunk_queue *q, const void *bytes, size_t n)
{
	const char *from = bytes;

	while (n) {
		struct chunk *c = chunk_to_fill(q);
		size_t some;

		if (!c)
			return -ENOMEM;
		some = n < CHUNK_SIZE - c->end ? n : CHUNK_SIZE - c->end;
		memcpy(c->bytes + c->end, from, some);
		c->end += some;
		q->bytes += some;
		from += some;
		n -= some;
	}
	return 0;
}

static void chunk_queue_consume(struct chunk_queue *q, size_t n)
{
	q->bytes -= n;
	while (n) {
		struct chunk *c = q->head; /* not NULL: n is no more than the queue holds */
		/* NOLINTNEXTLINE(clang-analyzer-core.NullDereference) */
		size_t some = c->end - c->start < n ? c->end - c->start : n;

		c->start += some;
		n -= some;
		if (c->start < c->end)
			return;
		q->head = c->next;
		if (!q->head)
			q->tail = NULL;
		free(q->spare);
		q->spare = c;
	}
}

ssize_t chunk_queue_flush(struct chunk_queue *q, struct line to)
{
	struct iovec iov[FLUSH_CHUNKS];
	size_t count = 0;
	ssize_t n;

	for (struct chunk *c = q->head; c && count < FLUSH_CHUNKS; c = c->next)
		iov[count++] = (struct iovec){c->bytes + c->start, c->end - c->start};
	n = line_write(to, iov, count);
	if (n > 0)
		chunk_queue_consume(q, (size_t)n);
	return n;
}

void chunk_queue_clear(struct chunk_queue *q)
{
	while (q->head) {
		struct chunk *c = q->head;

		q->head = c->next;
		free(c);
	}
	free(q->spare);
	*q = (struct chunk_queue){};
}
