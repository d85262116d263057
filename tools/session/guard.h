// SPDX-License-Identifier: Apache-2.0
// The guard: a process that outlives a killed dray and tidies up after it.
//
// dray keeps one end of a pair of sockets. A guard that reads "done" exits; one that reads end of
// file (dray was killed) runs `dray recover` for the guest. In between dray may lend it a
// descriptor, which then stays open beyond dray's end.
#pragma once

#include <stdbool.h>
#include <sys/types.h>
#include "errtext.h"
#include "ram_keep.h"

/* Starts `dray guard UUID SESSION`: it minds this migration of the guest alone, whatever the record
 * says of a later one by then (session: as records have it). *fd is the caller's. What `ram`
 * describes is held by the guard, too (may be NULL): guest RAM lives as long as it does. *child
 * (may be NULL) is its process number. */
int guard_start(const char *uuid, const char *session, const char *libvirt_socket,
		const struct ram_keep *ram, int *fd, pid_t *child, struct errtext *err);
/* The guard is to have a copy of this descriptor, too. Negative errno: it has none. */
int guard_lend(int fd, int lent);
/* All is tidy. Closes the socket; fd may be -1. */
void guard_done(int fd);

/* The guard's side: wait on its standard input. False: all is tidy. True: dray has gone; *lent is
 * the newest descriptor that it lent, the caller's, or -1. One that lent a descriptor may have left
 * the rest to the end of its process, and still use it: that end is waited for, ten seconds at
 * most. */
bool guard_await(int fd, int *lent);
