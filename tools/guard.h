// SPDX-License-Identifier: Apache-2.0
// The guard: a process that outlives a killed dray and tidies up after it.
//
// dray keeps the write end of a pipe. A guard that reads "done" exits; one that reads end of file
// (dray was killed) runs `dray recover` for the guest.
#pragma once

#include "errtext.h"

/* Starts `dray guard UUID`. *fd is the caller's. */
int guard_start(const char *uuid, const char *libvirt_socket, int *fd, struct errtext *err);
/* All is tidy. Closes the pipe; fd may be -1. */
void guard_done(int fd);
