// SPDX-License-Identifier: Apache-2.0
// /dev/userfaultfd.
//
// A node of our own is made in a tmpfs that is mounted nowhere: a host's directories, /run too, are
// mostly mounted nodev, and nobody else is to find the node.
#include "uffd_device.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include "cleanup.h"
#include "kernel_abi.h"

#define MISC_MAJOR 10
#define NODE "userfaultfd"

/* A container's masked path is /dev/null: it opens, and is not the device. */
static int check_device(int fd)
{
	_cleanup_close_ int uffd = ioctl(fd, USERFAULTFD_IOC_NEW, O_CLOEXEC | UFFD_USER_MODE_ONLY);

	return uffd < 0 ? -errno : 0;
}

static int open_at(int dir, const char *name, int *fd)
{
	_cleanup_close_ int opened = openat(dir, name, O_RDWR | O_CLOEXEC);
	int ret = opened < 0 ? -errno : check_device(opened);

	if (ret == 0)
		*fd = steal_fd(&opened);
	return ret;
}

static int read_minor(unsigned int *minor_number)
{
	_cleanup_fclose_ FILE *f = fopen("/proc/misc", "re");
	char line[128], name[64];

	if (!f)
		return -errno;
	while (fgets(line, sizeof(line), f)) {
		if (sscanf(line, "%u %63s", minor_number, name) == 2 && !strcmp(name, NODE))
			return 0;
	}
	return -ENODEV;
}

static int make_node(int *fd)
{
	_cleanup_close_ int context = -1, mounted = -1;
	unsigned int minor_number;
	int ret = read_minor(&minor_number);

	if (ret < 0)
		return ret;
	context = fsopen("tmpfs", FSOPEN_CLOEXEC);
	if (context < 0 || fsconfig(context, FSCONFIG_CMD_CREATE, NULL, NULL, 0) < 0)
		return -errno;
	mounted = fsmount(context, FSMOUNT_CLOEXEC, MOUNT_ATTR_NOSUID | MOUNT_ATTR_NOEXEC);
	if (mounted < 0 ||
	    mknodat(mounted, NODE, S_IFCHR | 0600, makedev(MISC_MAJOR, minor_number)) < 0)
		return -errno;
	return open_at(mounted, NODE, fd);
}

int uffd_device_open(const char *path, int *fd, struct errtext *err)
{
	int ret = open_at(AT_FDCWD, path, fd), made;

	if (ret == 0)
		return 0;
	made = make_node(fd);
	if (made == -ENODEV)
		return errtext_set(err, -ENOTSUP,
				   "this kernel has no %s device; Linux 6.1 or newer has", path);
	if (made < 0)
		return errtext_set(err, -ENOTSUP, "cannot open %s: %s, nor make a node for it: %s",
				   path, strerror(-ret), strerror(-made));
	return 0;
}

static bool sysctl_allows(void)
{
	_cleanup_fclose_ FILE *f = fopen("/proc/sys/vm/unprivileged_userfaultfd", "re");
	int value = 0;

	return f && fscanf(f, "%d", &value) == 1 && value;
}

enum kernel_faults kernel_faults_probe(void)
{
	_cleanup_close_ int fd = -1;

	if (uffd_device_open(UFFD_DEVICE_PATH, &fd, NULL) == 0)
		return KERNEL_FAULTS_DEVICE;
	return sysctl_allows() ? KERNEL_FAULTS_SYSCTL : KERNEL_FAULTS_NO;
}

const char *kernel_faults_name(enum kernel_faults by)
{
	static const char *const names[] = {
		[KERNEL_FAULTS_NO] = "no",
		[KERNEL_FAULTS_SYSCTL] = "sysctl",
		[KERNEL_FAULTS_DEVICE] = "device",
	};

	static_assert(sizeof(names) / sizeof(names[0]) == KERNEL_FAULTS_END_, "a name each");
	return (unsigned int)by < KERNEL_FAULTS_END_ ? names[by] : "?";
}
