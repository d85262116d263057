// SPDX-License-Identifier: Apache-2.0
// With a user's rights at the file system, for a moment: where QEMU's user owns a directory,
// whatever root does there by name, that user can lead elsewhere by a link, between any two steps.
//
// Linux has a user id for access to files alone, a thread's own (setfsuid(2)). While it is another
// one than root, the thread has none of root's capabilities at the file system, files and sockets
// that it makes are that user's from the start, and a link leads to nothing that the user could not
// reach anyway. It has no group of root's either: the groups' ids are another one's meanwhile, and
// main gives the further groups up. Signals, ptrace and the rest stay root's. A process that has
// done this once leaves no core dump any more, as Linux has it.
//
//     _cleanup_fs_user_ uid_t before = fs_user_become(uid);
#pragma once

#include <sys/types.h>
#include "cleanup.h"

/* The calling thread, until fs_user_restore; (uid_t)-1: nothing changes. Returns what it was. */
uid_t fs_user_become(uid_t uid);
/* The same, of the user who owns the directory that `path` is in. If it cannot be seen nothing
 * changes: then there is nothing at the path either. */
uid_t fs_user_become_owner(const char *path);
void fs_user_restore(const uid_t *before);

#define _cleanup_fs_user_ _cleanup_(fs_user_restore) __attribute__((unused))
