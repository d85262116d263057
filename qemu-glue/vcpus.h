// SPDX-License-Identifier: Apache-2.0
// The vCPU threads of a QEMU: find them by name, hold them, let them go.
//
// All calls from one thread, the tracer: ptrace knows threads, not processes. Should it end, in
// whatever way, the kernel lets go of all that it holds. Nobody else in the program may wait for
// children by waitpid(-1).
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>
#include "errtext.h"

struct vcpu {
	pid_t tid;
	bool held; /* or about to be */
};

struct vcpus {
	pid_t pid;
	int task_fd; /* /proc/PID/task: stays that process's, whoever gets its number */
	size_t count, room;
	struct vcpu *vcpu; /* owned */
};

/* Is it the name of a thread that runs guest code, as QEMU gives with -name debug-threads=on? */
bool vcpus_is_name(const char *comm);

/* Finds the threads, too. -ESRCH: no such process; -ENOTSUP: it has no thread of such a name. */
int vcpus_open(struct vcpus *v, pid_t pid, struct errtext *err);
void vcpus_close(struct vcpus *v); /* lets go of nothing */

/* Look for threads that are new, forget those that have ended. -ESRCH: none is left. */
int vcpus_scan(struct vcpus *v, struct errtext *err);

/* Begin to stop all; returns without waiting for that. Negative errno if a thread could not be
 * taken (-EPERM: traced by somebody else, or no permission), *failed is the first of those; the
 * others are held all the same. */
int vcpus_hold(struct vcpus *v, pid_t *failed);

/* Let go of all that have stopped. Returns how many have not yet: in an uninterruptible sleep, or
 * on their way. They will stop later: call again soon. */
size_t vcpus_release(struct vcpus *v);

/* Who traces a thread of it; 0: nobody. */
pid_t vcpus_tracer(const struct vcpus *v, pid_t tid);
