// SPDX-License-Identifier: Apache-2.0
// An ordered, reliable stream of bytes, as the engine sees one connection.
//
// transport implements it over io_uring sockets, tests in memory. A stream belongs to one thread
// at a time; only shutdown may be called from any other.
#pragma once

#include <stddef.h>
#include <sys/uio.h>

struct byte_stream;

struct byte_stream_ops {
	/* Hand n buffers (1..IOV_MAX, not empty) to the stream, in order. Returns once every
	 * EARLIER send has left the caller's memory, so at most the latest is under way: whoever
	 * alternates two header buffers never overwrites one in use. The iovec array itself is
	 * copied. 0 or a negative errno, after which the stream is dead. */
	int (*send)(struct byte_stream *stream, const struct iovec *iov, unsigned int n);
	/* Wait until every send has left the caller's memory. */
	int (*drain)(struct byte_stream *stream);
	/* Fill all n buffers. -ENODATA: the peer closed before the first byte; -ECONNRESET: it
	 * closed, or failed, in the middle. The iovec array is copied. */
	int (*recv)(struct byte_stream *stream, const struct iovec *iov, unsigned int n);
	/* Any thread, async-signal-unsafe: make every present and future call fail soon. */
	void (*shutdown)(struct byte_stream *stream);
	/* Release it. No call may be under way. */
	void (*destroy)(struct byte_stream *stream);
};

struct byte_stream {
	const struct byte_stream_ops *ops;
	/* So many bytes had best be handed over at a time, while the cache has them: a stream whose
	 * thread goes through them itself. 0: as many as the caller likes. */
	size_t batch;
};
