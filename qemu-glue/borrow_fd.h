// SPDX-License-Identifier: Apache-2.0
// Pass an open descriptor to another process: over a socket, and to one that does not expect it.
//
// Async-signal-safe, as borrow.h is.
#pragma once

#include <stddef.h>
#include "borrow.h"

/* One message of `size` bytes, more than none, with descriptor fd (-1: without). */
int fd_send(int sock, const void *data, size_t size, int fd);

/* Let the process of the borrowed thread have descriptor fd, which stays the caller's too. *inside
 * is its number there, close-on-exec; to be closed by a borrow_call. Nothing else is left there.
 * pidfd is that process's. -EACCES: it may not have it, says a security module (SELinux), or it has
 * as many descriptors as it may have; else as borrow_call, or what one of the calls inside says. */
int borrow_give_fd(struct borrow *b, int pidfd, int fd, int *inside);
