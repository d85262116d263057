// SPDX-License-Identifier: Apache-2.0
// A byte stream inside one process: what goes into a pipe's `out` comes out of its `in`.
//
// It is as late as the contract allows: the buffers of a send are read at the next send, or at
// drain, and not before. So a caller that reuses a header too early, or takes what it has looked
// at for what it has sent, is found out each time and not once in a while.
#pragma once

#include <errno.h>
#include <limits.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include "byte_stream.h"

struct memory_pipe;

struct memory_end {
	struct byte_stream stream; /* first: the ops get a pointer to it */
	struct memory_pipe *pipe;
};

/* Before buffers are read, from the sending thread. */
typedef void memory_hook(void *opaque, const struct iovec *iov, unsigned int n);

struct memory_pipe {
	struct memory_end out, in;

	/* constant once bytes flow */
	size_t capacity;
	uint64_t break_after; /* sending breaks after so many bytes */
	memory_hook *hook;
	void (*on_shutdown)(void *opaque);
	void *opaque;

	/* private to the sending thread */
	struct iovec late[IOV_MAX];
	unsigned int late_count;

	pthread_mutex_t lock;
	pthread_cond_t changed;
	/* under lock */
	uint8_t *ring;
	size_t head, used;
	uint64_t sends, bytes; /* calls of send; bytes taken from the sender */
	bool closed, broken;
	bool blocked, failed; /* the sender waits for room; has had an error */
};

static inline struct memory_pipe *memory_pipe_of(struct byte_stream *stream)
{
	return ((struct memory_end *)stream)->pipe;
}

/* Waits for room. Returns how much there is, or a negative errno. Under lock. */
static inline long memory_await_room(struct memory_pipe *p)
{
	while (p->used == p->capacity && !p->broken) {
		p->blocked = true;
		pthread_cond_broadcast(&p->changed);
		pthread_cond_wait(&p->changed, &p->lock);
	}
	p->blocked = false;
	if (p->bytes == p->break_after)
		p->broken = true;
	if (p->broken)
		return -EPIPE;
	if (p->break_after - p->bytes < p->capacity - p->used)
		return (long)(p->break_after - p->bytes);
	return (long)(p->capacity - p->used);
}

static inline int memory_write(struct memory_pipe *p, const uint8_t *from, size_t len)
{
	while (len) {
		size_t tail = (p->head + p->used) % p->capacity, n = len;
		long room = memory_await_room(p);

		if (room < 0)
			return (int)room;
		tail = (p->head + p->used) % p->capacity;
		n = n < (size_t)room ? n : (size_t)room;
		n = n < p->capacity - tail ? n : p->capacity - tail;
		memcpy(p->ring + tail, from, n);
		p->used += n;
		p->bytes += n;
		from += n;
		len -= n;
		pthread_cond_broadcast(&p->changed);
	}
	return 0;
}

static inline int memory_drain(struct byte_stream *stream)
{
	struct memory_pipe *p = memory_pipe_of(stream);
	unsigned int n = p->late_count;
	int ret = 0;

	if (n && p->hook)
		p->hook(p->opaque, p->late, n);
	p->late_count = 0;
	pthread_mutex_lock(&p->lock);
	for (unsigned int i = 0; i < n && ret == 0; i++)
		ret = memory_write(p, p->late[i].iov_base, p->late[i].iov_len);
	ret = ret == 0 && p->broken ? -EPIPE : ret;
	p->failed |= ret < 0;
	pthread_cond_broadcast(&p->changed);
	pthread_mutex_unlock(&p->lock);
	return ret;
}

static inline int memory_send(struct byte_stream *stream, const struct iovec *iov, unsigned int n)
{
	struct memory_pipe *p = memory_pipe_of(stream);
	int ret = memory_drain(stream);

	if (n < 1 || n > IOV_MAX)
		abort();
	for (unsigned int i = 0; i < n; i++)
		if (iov[i].iov_len == 0)
			abort();
	if (ret < 0)
		return ret;
	memcpy(p->late, iov, n * sizeof(*iov));
	p->late_count = n;
	pthread_mutex_lock(&p->lock);
	p->sends++;
	pthread_mutex_unlock(&p->lock);
	return 0;
}

/* Fills one buffer; *any says whether a byte has come at all. Under lock. */
static inline int memory_read(struct memory_pipe *p, uint8_t *to, size_t len, bool *any)
{
	while (len) {
		size_t n = len;

		while (p->used == 0 && !p->closed && !p->broken)
			pthread_cond_wait(&p->changed, &p->lock);
		if (p->used == 0)
			return p->broken || *any ? -ECONNRESET : -ENODATA;
		n = n < p->used ? n : p->used;
		n = n < p->capacity - p->head ? n : p->capacity - p->head;
		memcpy(to, p->ring + p->head, n);
		p->head = (p->head + n) % p->capacity;
		p->used -= n;
		to += n;
		len -= n;
		*any = true;
		pthread_cond_broadcast(&p->changed);
	}
	return 0;
}

static inline int memory_recv(struct byte_stream *stream, const struct iovec *iov, unsigned int n)
{
	struct memory_pipe *p = memory_pipe_of(stream);
	bool any = false;
	int ret = 0;

	pthread_mutex_lock(&p->lock);
	for (unsigned int i = 0; i < n && ret == 0; i++)
		ret = memory_read(p, iov[i].iov_base, iov[i].iov_len, &any);
	pthread_mutex_unlock(&p->lock);
	return ret;
}

static inline void memory_shutdown(struct byte_stream *stream)
{
	struct memory_pipe *p = memory_pipe_of(stream);

	pthread_mutex_lock(&p->lock);
	p->broken = true;
	pthread_cond_broadcast(&p->changed);
	pthread_mutex_unlock(&p->lock);
	if (p->on_shutdown)
		p->on_shutdown(p->opaque);
}

/* The sending end's is a clean close. */
static inline void memory_destroy(struct byte_stream *stream)
{
	struct memory_pipe *p = memory_pipe_of(stream);

	pthread_mutex_lock(&p->lock);
	p->closed = true;
	pthread_cond_broadcast(&p->changed);
	pthread_mutex_unlock(&p->lock);
}

static const struct byte_stream_ops memory_stream_ops = {
	.send = memory_send,
	.drain = memory_drain,
	.recv = memory_recv,
	.shutdown = memory_shutdown,
	.destroy = memory_destroy,
};

static inline void memory_pipe_init(struct memory_pipe *p, size_t capacity)
{
	*p = (struct memory_pipe){.capacity = capacity, .break_after = UINT64_MAX};
	p->out = p->in = (struct memory_end){{&memory_stream_ops}, p};
	p->ring = malloc(capacity);
	if (!p->ring)
		abort();
	pthread_mutex_init(&p->lock, NULL);
	pthread_cond_init(&p->changed, NULL);
}

static inline void memory_pipe_free(struct memory_pipe *p)
{
	free(p->ring);
	pthread_cond_destroy(&p->changed);
	pthread_mutex_destroy(&p->lock);
}

/* Until the sender waits for a receiver that does not come. */
static inline void memory_pipe_await_blocked(struct memory_pipe *p)
{
	pthread_mutex_lock(&p->lock);
	while (!p->blocked)
		pthread_cond_wait(&p->changed, &p->lock);
	pthread_mutex_unlock(&p->lock);
}

/* Until a send or drain has failed. */
static inline void memory_pipe_await_failed(struct memory_pipe *p)
{
	pthread_mutex_lock(&p->lock);
	while (!p->failed)
		pthread_cond_wait(&p->changed, &p->lock);
	pthread_mutex_unlock(&p->lock);
}

static inline uint64_t memory_pipe_sends(struct memory_pipe *p)
{
	uint64_t sends;

	pthread_mutex_lock(&p->lock);
	sends = p->sends;
	pthread_mutex_unlock(&p->lock);
	return sends;
}
