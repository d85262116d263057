// SPDX-License-Identifier: Apache-2.0
// A stream over io_uring, as uring_stream.c and tls_stream.c see it.
//
// With TLS the same transfers carry records instead of the caller's memory: see tls_stream.c.
#pragma once

#include <liburing.h>
#include <stdatomic.h>
#include "iov_cursor.h"
#include "paced_socket.h"
#include "uring_stream.h"

struct uring_stream;

/* What lies between the caller's memory and the ring. */
struct uring_stream_layer {
	void (*end)(struct uring_stream *s);	 /* it may still send */
	void (*destroy)(struct uring_stream *s); /* the kernel has none of its buffers any more */
};

struct transfer {
	struct iov_cursor cursor;
	struct iovec window[IOV_MAX]; /* what the kernel was asked for */
	struct msghdr msg;
	bool some;	      /* receive what there is, and not all */
	size_t granted;	      /* bytes that may still be asked for: all, or a pacer's quantum */
	bool requested;	      /* a request is in the kernel */
	unsigned int notices; /* zero-copy notices that have yet to come */
	int error;	      /* the direction is dead */
};

struct uring_stream {
	struct byte_stream base;

	/* constant after init */
	int fd;
	bool resets;	    /* began with zero copy */
	uint64_t acked_ago; /* bytes that others sent by the socket before */

	/* owned by the stream's thread of the moment */
	struct io_uring ring;
	struct transfer tx, rx;
	bool zero_copy;
	struct paced_socket paced;
	const struct uring_stream_layer *layer; /* NULL: the caller's memory is what is sent */
	void *layer_state;

	/* any thread */
	atomic_bool stopped;
	_Atomic uint64_t sent, received; /* relaxed: statistics */
};

static inline struct uring_stream *uring_stream_of(const struct byte_stream *base)
{
	return (struct uring_stream *)((char *)base - offsetof(struct uring_stream, base));
}

/* Bytes as they are. Each as the call of byte_stream.h. */
int uring_stream_send(struct byte_stream *base, const struct iovec *iov, unsigned int n);
int uring_stream_drain(struct byte_stream *base);
/* The next bytes, at least one: *got. -ENODATA: the end. */
int uring_stream_recv_some(struct uring_stream *s, void *buf, size_t n, size_t *got);
bool uring_stream_is_stopped(struct uring_stream *s);
