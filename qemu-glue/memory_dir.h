// SPDX-License-Identifier: Apache-2.0
// Where libvirt's daemon has its guests' memory files made, memory_backing_dir, and whether memory
// there can be tracked.
//
// Stateless; any thread may call. Needs root.
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include "errtext.h"

#define MEMORY_DIR_MAX 512

struct memory_dir {
	char path[MEMORY_DIR_MAX]; /* as the daemon has it */
	bool fit;		   /* on tmpfs or hugetlbfs, where writes can be tracked */
	uint64_t free;		   /* bytes that it has room for; UINT64_MAX: no limit is set */
};

/* Of the daemon that listens at `socket`; own: it is a user's own, not the system's. What its
 * qemu.conf says counts from the daemon's next start on, so the answer is a good guess. Negative
 * errno with a text: it cannot be told. */
int memory_dir_look(const char *socket, bool own, struct memory_dir *out, struct errtext *err);
