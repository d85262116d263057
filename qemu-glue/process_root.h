// SPDX-License-Identifier: Apache-2.0
// Files as another process has them: by its root directory, in its mount namespace.
//
// Stateless; any thread. Needs root for another user's process. Descriptors are the caller's.
// Negative errno.
#pragma once

#include <stdio.h>
#include <sys/types.h>

/* Its root directory; of 0, the caller's own. */
int process_root_open(pid_t pid);
/* A path below a root; symbolic links lead to where they lead for whoever has that root. flags: as
 * open(2), close-on-exec. */
int process_root_open_in(int root, const char *path, int flags);
/* The same for reading, as a stream, the caller's; NULL: it cannot be had. */
FILE *process_root_read(int root, const char *path);
/* The path, or what of it there is, by O_PATH. Cuts it. */
int process_root_open_nearest(int root, char *path);
