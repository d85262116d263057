// SPDX-License-Identifier: Apache-2.0
// Hold on to a process by its id, so that from then on a reused id is an error, never another
// process.
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>
#include "errtext.h"

/* Open a pidfd and the /proc directory of one and the same process; both are the caller's, on
 * failure too (-1 if not open), close-on-exec. -ESRCH: no such process. */
int process_open(pid_t pid, int *pidfd, int *proc_fd, struct errtext *err);

/* The pidfd alone, with the same errors. */
int process_hold(pid_t pid, int *pidfd, struct errtext *err);
/* Has it ended, whether or not anybody has asked for its status yet? */
bool process_has_ended(int pidfd);

/* Send it a signal. -ESRCH: it has ended. */
int process_signal(int pidfd, int signal, struct errtext *err);

/* When it was started, in clock ticks since boot: with the id, which may be reused, this names a
 * process for good. -ESRCH: no such process, or it has ended and nobody has asked for its status
 * yet. */
int process_started(pid_t pid, uint64_t *ticks, struct errtext *err);
