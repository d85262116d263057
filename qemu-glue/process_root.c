// SPDX-License-Identifier: Apache-2.0
// Files as another process has them.
//
// A path is looked up below /proc/PID/root with RESOLVE_IN_ROOT: an absolute symbolic link in a
// container then leads to the container's file, not to the host's.
#include "process_root.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>
#include <linux/openat2.h>
#include <sys/syscall.h>

int process_root_open(pid_t pid)
{
	char path[32] = "/";
	int fd;

	if (pid)
		snprintf(path, sizeof(path), "/proc/%d/root", pid);
	fd = open(path, O_PATH | O_DIRECTORY | O_CLOEXEC);
	return fd < 0 ? -errno : fd;
}

int process_root_open_in(int root, const char *path, int flags)
{
	struct open_how how = {.flags = flags | O_CLOEXEC, .resolve = RESOLVE_IN_ROOT};
	int fd = (int)syscall(SYS_openat2, root, path, &how, sizeof(how));

	return fd < 0 ? -errno : fd;
}

FILE *process_root_read(int root, const char *path)
{
	int fd = process_root_open_in(root, path, O_RDONLY);
	FILE *f = fd < 0 ? NULL : fdopen(fd, "r");

	if (fd >= 0 && !f)
		close(fd);
	return f;
}

int process_root_open_nearest(int root, char *path)
{
	int fd = process_root_open_in(root, path, O_PATH);

	while (fd < 0 && path[0] == '/' && path[1]) {
		char *slash = strrchr(path, '/');

		slash[slash == path] = '\0';
		fd = process_root_open_in(root, path, O_PATH);
	}
	return fd;
}
