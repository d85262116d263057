// SPDX-License-Identifier: Apache-2.0
// Find the userfaultfd that was kept open inside a process.
//
// Which of several? /proc/PID/fdinfo tells waiting faults and features, not registrations. The
// kernel does, if asked right: to register a range that is registered already changes nothing with
// the same userfaultfd, and is refused with another. So: take a range that smaps marks as
// registered for missing pages, and ask with each, for the very modes that smaps shows: Linux 7.3
// refuses fewer even to the owner, if write protection is what would go. Nobody changes
// registrations meanwhile: whoever made them has gone.
#include "attach.h"

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <unistd.h>
#include "cleanup.h"
#include "kernel_abi.h"
#include "maps.h"
#include "process.h"

#define CANDIDATES_MAX 16

struct found {
	pid_t pid;
	int pidfd, proc_fd;
	unsigned int count;
	int numbers[CANDIDATES_MAX]; /* inside */
};

static void found_close(struct found *f)
{
	cleanup_close(&f->pidfd);
	cleanup_close(&f->proc_fd);
}

static void cleanup_closedir(DIR **dir)
{
	if (*dir)
		closedir(*dir);
}

static int list_candidates(struct found *f, struct errtext *err)
{
	int fd = openat(f->proc_fd, "fd", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	_cleanup_(cleanup_closedir) DIR *dir = fd < 0 ? NULL : fdopendir(fd);
	const struct dirent *entry;

	if (!dir) {
		int ret = errtext_set(err, -errno, "/proc/%d/fd: %s", f->pid, strerror(errno));

		cleanup_close(&fd);
		return ret;
	}
	while (f->count < CANDIDATES_MAX && (entry = readdir(dir))) {
		char link[64] = "";

		if (!isdigit((unsigned char)entry->d_name[0]) ||
		    readlinkat(fd, entry->d_name, link, sizeof(link) - 1) < 0 ||
		    strcmp(link, "anon_inode:[userfaultfd]") != 0)
			continue;
		f->numbers[f->count++] = atoi(entry->d_name);
	}
	return 0;
}

static uint64_t modes_of(const char *vm_flags)
{
	uint64_t modes = 0;

	if (strstr(vm_flags, " um"))
		modes |= UFFDIO_REGISTER_MODE_MISSING;
	if (strstr(vm_flags, " uw"))
		modes |= UFFDIO_REGISTER_MODE_WP;
	if (strstr(vm_flags, " ui"))
		modes |= UFFDIO_REGISTER_MODE_MINOR;
	return modes;
}

/* A mapping registered for missing pages, and for what else: in smaps, a line as in maps, later one
 * of VmFlags. */
static int registered_range(const struct found *f, struct uffdio_register *range)
{
	_cleanup_fclose_ FILE *smaps = maps_fopen(f->proc_fd, "smaps");
	_cleanup_free_ char *line = NULL;
	unsigned long long start = 0, end = 0, a, b;
	size_t size = 0;

	if (!smaps)
		return -errno;
	while (getline(&line, &size, smaps) > 0) {
		if (sscanf(line, "%llx-%llx ", &a, &b) == 2) {
			start = a;
			end = b;
		} else if (!strncmp(line, "VmFlags:", 8) && strstr(line, " um")) {
			*range = (struct uffdio_register){.range = {start, end - start},
							  .mode = modes_of(line)};
			return 0;
		}
	}
	return -ENOENT;
}

static bool holds(const struct found *f, int number, const struct uffdio_register *range)
{
	_cleanup_close_ int fd = (int)syscall(SYS_pidfd_getfd, f->pidfd, number, 0);
	struct uffdio_register reg = *range;

	return fd >= 0 && ioctl(fd, UFFDIO_REGISTER, &reg) == 0;
}

static int choose(const struct found *f, int *number, struct errtext *err)
{
	struct uffdio_register range;
	int ret;

	if (f->count == 0)
		return errtext_set(err, -ENOENT, "process %d has no userfaultfd open", f->pid);
	*number = f->numbers[0];
	if (f->count == 1)
		return 0;
	ret = registered_range(f, &range);
	if (ret < 0 && ret != -ENOENT)
		return errtext_set(err, ret, "/proc/%d/smaps: %s", f->pid, strerror(-ret));
	for (unsigned int i = 0; ret == 0 && i < f->count; i++) {
		if (holds(f, f->numbers[i], &range)) {
			*number = f->numbers[i];
			return 0;
		}
	}
	return errtext_set(err, -EEXIST,
			   "process %d has %u userfaultfds open, and none of them has memory "
			   "registered; no page of it is missing",
			   f->pid, f->count);
}

int attach_find_inside(pid_t pid, int *uffd, int *inside_fd, struct errtext *err)
{
	_cleanup_(found_close) struct found f = {.pid = pid, .pidfd = -1, .proc_fd = -1};
	int number = -1, ret = process_open(pid, &f.pidfd, &f.proc_fd, err);

	if (ret == 0)
		ret = list_candidates(&f, err);
	if (ret == 0)
		ret = choose(&f, &number, err);
	if (ret < 0)
		return ret;
	*uffd = (int)syscall(SYS_pidfd_getfd, f.pidfd, number, 0);
	if (*uffd < 0)
		return errtext_set(err, -errno, "process %d: cannot fetch its userfaultfd: %s%s",
				   pid, strerror(errno), errno == EPERM ? " (run as root)" : "");
	*inside_fd = number;
	return 0;
}
