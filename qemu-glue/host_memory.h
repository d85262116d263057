// SPDX-License-Identifier: Apache-2.0
// How much memory a guest could still get on this host: of the machine's, and of what the control
// groups allow in which its QEMU is going to run.
//
// Stateless; any thread.
#pragma once

#include <stdint.h>
#include <sys/types.h>

#define HOST_MEMORY_WHERE_MAX 512

struct host_memory {
	uint64_t free;			   /* bytes; UINT64_MAX: it cannot be told */
	char where[HOST_MEMORY_WHERE_MAX]; /* "this host", "control group /kubepods/..." */
};

/* The scarcest of all. QEMU is going to be in the control group of the libvirt daemon that listens
 * at `daemon`, as that of a user's own is; NULL: its group is not known, and only the machine
 * counts. */
void host_memory_look(const char *daemon, struct host_memory *out);
/* The same of a process, or 0, with /proc and /sys below another root, an O_PATH descriptor that is
 * borrowed. */
void host_memory_look_below(int root, pid_t pid, struct host_memory *out);
