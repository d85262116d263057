// SPDX-License-Identifier: Apache-2.0
// A byte_stream over one connected stream socket, with an io_uring of its own.
//
// Thread rule: that of byte_stream.h. A stream may move to another thread, but only drained: the
// kernel cancels what is under way when the thread that started it exits.
// Error rule: that of byte_stream.h; and after shutdown() every call returns -ECANCELED, so that
// nobody takes our own doing for the peer's orderly end.
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include "byte_stream.h"
#include "errtext.h"

struct pacer;

struct uring_stream_options {
	bool zero_copy;	     /* send without copying into the kernel, where it can; pays from
			      * some 10 KiB per buffer on real network cards, never on loopback;
			      * shutdown() then resets the connection rather than ending it */
	struct pacer *pacer; /* caps what is sent, NULL = none; shared, must outlive the stream */
	bool urgent;	     /* what is sent is charged to the pacer, but never waits for it */
};

/* Does this kernel let this process use io_uring? 0, or a negative errno with a text that says what
 * forbids it. */
int uring_stream_supported(struct errtext *err);

/* fd is owned by the stream on success only. opt may be NULL. */
int uring_stream_new(int fd, const struct uring_stream_options *opt, struct byte_stream **out,
		     struct errtext *err);

/* From now on as if made with `urgent`. Not while another call is under way. */
void uring_stream_hasten(struct byte_stream *stream);

/* Bytes moved since the start. Any thread. The kernel has accepted those sent; the peer need not
 * have them. */
uint64_t uring_stream_bytes_sent(const struct byte_stream *stream);
uint64_t uring_stream_bytes_received(const struct byte_stream *stream);
/* Their sum. */
uint64_t uring_stream_bytes(const struct byte_stream *stream);

/* Bytes sent that the peer's kernel has acknowledged, which is what tells a slow network from a
 * dead one. Never decreases before shutdown(). Any thread. A socket that is not TCP acknowledges at
 * once. */
uint64_t uring_stream_bytes_acked(const struct byte_stream *stream);

/* The socket, borrowed until destroy: to read its counters, see wire_cost.h. Any thread. */
int uring_stream_socket(const struct byte_stream *stream);
