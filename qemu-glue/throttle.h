// SPDX-License-Identifier: Apache-2.0
// Slow a guest down: auto-converge's mechanism. QEMU's vCPU threads stand still for a share of the
// time.
//
// Needs CAP_SYS_PTRACE over the process (root). A thread of its own does the work; if the program
// ends, in whatever way, the kernel lets go and the guest runs at full speed: nothing to undo.
//
// A vCPU that stands still answers nobody, for THROTTLE_PERIOD_MS at most: QEMU's `stop` waits for
// each one. So set 0 before the guest is to be stopped, if the downtime matters more than what it
// writes meanwhile. Does not get on with a debugger on QEMU; attach.h's borrow is tolerated.
#pragma once

#include <sys/types.h>
#include "errtext.h"

#define THROTTLE_PERIOD_MS 40
#define THROTTLE_MAX 99 /* percent */

struct throttle;

/* Find the vCPU threads; they run free until throttle_set. -ESRCH: no such process; -ENOTSUP: none
 * of its threads has the name of a vCPU. *out is the caller's. */
int throttle_new(pid_t qemu, struct throttle **out, struct errtext *err);

/* From now on, at the latest within one period, the vCPUs stand still for so many percent of the
 * time; 0: they run free, at once; more than THROTTLE_MAX counts as that. Threads hot-plugged later
 * are found within a second. Any thread. */
void throttle_set(struct throttle *t, unsigned int percent);

/* 0 while it works. Otherwise all vCPUs run free and throttle_set does nothing any longer: -ESRCH,
 * QEMU has ended; -EPERM, somebody else has traced one of its threads for about a second, or it is
 * not allowed. Any thread; err is filled. */
int throttle_result(struct throttle *t, struct errtext *err);

/* All vCPUs run free when it returns; it takes well under a period. (One that sleeps
 * uninterruptibly delays it by a second at most, and is free when it awakes.) NULL is fine. */
void throttle_destroy(struct throttle *t);
