// SPDX-License-Identifier: Apache-2.0
// The guard: a process that outlives a killed dray and tidies up after it.
//
// dray keeps the write end of a pipe. A guard that reads "done" exits; one that reads end of file
// (dray was killed) runs `dray recover` for the guest.
#pragma once

#include <sys/types.h>
#include "errtext.h"
#include "ram_keep.h"

/* Starts `dray guard UUID SESSION`: it minds this migration of the guest alone, whatever the record
 * says of a later one by then (session: as records have it). *fd is the caller's. What `ram`
 * describes is held by the guard, too (may be NULL): guest RAM lives as long as it does. *child
 * (may be NULL) is its process number. */
int guard_start(const char *uuid, const char *session, const char *libvirt_socket,
		const struct ram_keep *ram, int *fd, pid_t *child, struct errtext *err);
/* All is tidy. Closes the pipe; fd may be -1. */
void guard_done(int fd);
