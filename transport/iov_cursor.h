// SPDX-License-Identifier: Apache-2.0
// What is left of a scatter/gather transfer: a private copy of the caller's buffers and how far
// the kernel has come. Belongs to one thread.
#pragma once

#include <limits.h>
#include <stddef.h>
#include <sys/uio.h>

struct iov_cursor {
	struct iovec iov[IOV_MAX];
	unsigned int first, n; /* iov[first..n) are not finished; iov[first] may be a remainder */
	size_t left;	       /* bytes */
};

/* n is 1..IOV_MAX. */
void iov_cursor_set(struct iov_cursor *c, const struct iovec *iov, unsigned int n);
/* bytes <= left have been transferred. */
void iov_cursor_advance(struct iov_cursor *c, size_t bytes);
/* Copy the buffers of the next at most limit (> 0) bytes to out. Returns their number. */
unsigned int iov_cursor_window(const struct iov_cursor *c, size_t limit, struct iovec out[IOV_MAX]);
