// SPDX-License-Identifier: Apache-2.0
// Get a userfaultfd for another process's memory, and give some of it back, without that process's
// cooperation.
//
// Needs CAP_SYS_PTRACE over the process (root). Any thread may call; a call forks a short-lived
// helper and blocks until it is done, usually well under 10 ms, at most a few seconds. The process
// itself is disturbed for less than a millisecond, one thread only.
#pragma once

#include <stdbool.h>
#include <sys/types.h>
#include <sys/uio.h>
#include "errtext.h"

/* Create a userfaultfd for the memory of process pid and fetch it. *uffd (close-on-exec,
 * non-blocking) is the caller's, with the UFFDIO_API handshake done for features_wanted
 * (UFFD_FEATURE_*). If WP_ASYNC is among them, and no MISSING, the descriptor is made for
 * user-mode faults only: asynchronous write-protection never hands a fault to anybody, so this
 * loses nothing and needs no privilege in the process. Otherwise it can handle faults of the kernel
 * (KVM, system calls into guest memory) too: by userfaultfd(2) if the process may, else by
 * /dev/userfaultfd.
 *
 * With keep_inside a second copy stays open inside the process, as number *inside_fd there; it
 * is to be closed by attach_close_inside. Otherwise *inside_fd (may be NULL) is set to -1 and
 * closing *uffd drops every registration.
 *
 * If the caller is killed at any moment before this returns, the process goes on unharmed and no
 * descriptor stays inside it, but for a kept one in the last instant, after all has succeeded.
 *
 * -ESRCH: no such process, or it ended; -EPERM: not allowed, or traced by somebody else; -EBUSY:
 * none of its threads could be stopped in time; -ENOTSUP: the kernel lacks a feature (named), or
 * the process is no x86-64 one, or there is no way to its kernel faults (the text names two);
 * -ETIMEDOUT: the helper did not answer. */
int attach_userfaultfd(pid_t pid, unsigned long long features_wanted, bool keep_inside, int *uffd,
		       int *inside_fd, struct errtext *err);

/* Close the copy that stayed inside, by the same borrow. Refuses (-EBADF) a number that is no
 * userfaultfd there. The caller's own copy is not affected. */
int attach_close_inside(pid_t pid, int inside_fd, struct errtext *err);

/* After a crash: fetch the copy that was kept inside, made by an attach_userfaultfd of somebody who
 * has gone. *uffd (close-on-exec) is the caller's. Faults that nobody answered are delivered anew
 * once the caller wakes the range (UFFDIO_WAKE). Does not disturb the process. -ENOENT: there is
 * none, so nothing is missing there. If there are several (QEMU may have one of its own), the one
 * that memory is registered with; -EEXIST if that does not decide it. */
int attach_find_inside(pid_t pid, int *uffd, int *inside_fd, struct errtext *err);

/* Give these ranges of the process's memory back to the kernel, all in one borrow: private memory
 * then is missing where it is registered for that, and reads as zero elsewhere. Addresses and
 * lengths are in whole pages of what lies there; locked memory goes as well. Negative errno, with a
 * text: some may have gone. */
int attach_drop(pid_t pid, const struct iovec *ranges, unsigned int n, struct errtext *err);
