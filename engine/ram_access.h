// SPDX-License-Identifier: Apache-2.0
// Loads and stores of guest memory, all of which go this way, as any of them may fail.
//
// A page that has no memory gets some when it is touched. If there is none to be had the kernel
// sends SIGBUS, which would end the process, with all of its migrations; so it does for memory that
// is broken. Here that becomes an error of the one migration that touched the page.
//
// The kernel's own accesses (io_uring, pread) say EFAULT instead and are not concerned.
#pragma once

#include <stddef.h>
#include "errtext.h"
#include "ram_map.h"

/* Once, by a process that touches guest memory. */
void ram_access_init(void);

/* Calls touch(arg), which may load and store bytes of the block's mapping, and may be left at any
 * of them: it must hold nothing that would have to be given back. -ENOMEM: there was no memory for
 * a page; -EHWPOISON: the host's memory is broken. Any thread. Costs some ten nanoseconds: touch
 * many pages in one call. */
int ram_access(const struct ram_block *b, void (*touch)(void *arg), void *arg, struct errtext *err);
/* Before somebody else's code, which may not be left in the middle, reads these bytes or writes
 * them: each page is there now. -EFAULT, as the kernel says it, if one cannot be had; what becomes
 * of it between this and that is not excluded. Any memory; any thread. */
int ram_access_probe(const void *at, size_t n);
