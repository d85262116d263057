// SPDX-License-Identifier: Apache-2.0
// Is the file behind a disk on a file system that hosts share, as libvirt judges it?
//
// Stateless; any thread may call. Paths are resolved as the QEMU process has them, in its mount
// namespace; a pid of 0 means the caller's own. Needs root for another process. May block for as
// long as the file system does.
#pragma once

#include <stdbool.h>
#include <sys/types.h>
#include "errtext.h"

struct disk_storage {
	bool known;  /* found out */
	bool shared; /* a network or cluster file system that libvirt takes for one */
	char fs[32]; /* its type, as mountinfo has it: "ext4", "fuse.glusterfs" */
};

/* A path that does not exist is judged by the nearest directory above it that does. */
int disk_storage_look(pid_t qemu, const char *path, struct disk_storage *out, struct errtext *err);

/* Does libvirt's qemu.conf there name directories to be taken for shared (shared_filesystems)?
 * False if it cannot be read. */
bool disk_storage_overridden(pid_t qemu);
