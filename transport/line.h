// SPDX-License-Identifier: Apache-2.0
// A connection that has passed the door: a socket and, unless TLS is off, what protects it.
//
// A small value: whoever has it owns both, and moves it by line_steal. What reads and writes by it
// does not learn whether there is TLS. Reading and writing may be done by two threads, each of them
// by one at a time.
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>
#include <sys/uio.h>
#include "cleanup.h"
#include "tls.h"

struct line {
	int fd;		 /* -1: none */
	struct tls *tls; /* NULL: plain */
};

#define LINE_NONE ((struct line){.fd = -1})

static inline struct line line_plain(int fd)
{
	return (struct line){.fd = fd};
}

static inline struct line line_steal(struct line *line)
{
	struct line stolen = *line;

	*line = LINE_NONE;
	return stolen;
}

/* Both halves at once, without a word to the peer. */
void line_close(struct line *line);

#define _cleanup_line_ _cleanup_(line_close)

/* What is there, or goes, at once: how many bytes, or a negative errno; -EAGAIN: poll for
 * line_wants. line_read: 0 at the peer's end; -ECONNRESET if it only broke off. */
ssize_t line_read(struct line line, void *buf, size_t n);
ssize_t line_write(struct line line, const struct iovec *iov, size_t n);
/* For poll(2), after a read or a write that returned -EAGAIN. */
short line_wants(struct line line, short events);
/* Are there bytes to read that poll(2) does not know of? */
bool line_has_pending(struct line line);
/* Nothing more will be written: the peer's read ends in order. -EAGAIN: not said yet, poll for
 * POLLOUT; other errors do not matter any more. */
int line_end(struct line line);

/* Exactly n bytes within timeout_ms in all (-1: no limit): as socket_read_full, socket_write_full.
 */
int line_read_full(struct line line, void *buf, size_t n, int timeout_ms);
int line_write_full(struct line line, const void *buf, size_t n, int timeout_ms);
/* What an error of these means, for a text. */
const char *line_why(struct line line, int error);
