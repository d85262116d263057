// SPDX-License-Identifier: Apache-2.0
// The process behind a thread id that somebody else tells.
//
// libvirt's daemon and QEMU tell ids as they see them: in a container those are the container's
// own, which mean another process here, or none. All ids that are told, rather than found in /proc
// or given by the kernel (SO_PEERCRED, which translates), come through here. Any thread; stateless.
#pragma once

#include <stdbool.h>
#include <sys/types.h>
#include "errtext.h"

/* The process, as this process sees it, of the thread that is `tid` in the PID namespace of
 * `teller`: any process there, as seen here; 0: here. -ESRCH with a text: there is none, or the
 * namespace cannot be looked into from here. */
int process_thread_find(pid_t teller, pid_t tid, pid_t *pid, struct errtext *err);

/* Was it started, as libvirt starts a QEMU, for the guest with this UUID? */
bool process_thread_is_qemu(pid_t pid, const char *uuid);
