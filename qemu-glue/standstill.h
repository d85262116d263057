// SPDX-License-Identifier: Apache-2.0
// A process that stands still while something is looked up that it could change.
//
// All of its threads are held by ptrace, by a thread that lives no longer than the look. When that
// thread ends, by whatever, also by SIGKILL of its process, the kernel lets them go on, as if
// nothing had been. Rejected: SIGSTOP, which outlives its sender: nobody would be left to send
// SIGCONT. A process that somebody else has stopped stays stopped.
//
// Needs CAP_SYS_PTRACE over the process (root). Any thread.
#pragma once

#include <sys/types.h>
#include "errtext.h"

/* Call look(arg), in another thread, while no thread of the process executes an instruction of its
 * program, nor one of its guest. What look returns. If it was not called: -ETIMEDOUT, it does not
 * stand still in time; -EPERM, not allowed, or somebody else traces it; the process goes on. One
 * that has ended stands still. */
int standstill_run(pid_t pid, int (*look)(void *arg, struct errtext *err), void *arg,
		   struct errtext *err);
