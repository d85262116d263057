// SPDX-License-Identifier: Apache-2.0
// Which file system a disk's file is on, and whether libvirt takes that for shared.
//
// libvirt refuses to migrate a guest that writes to a file on any other file system than those of
// the table ("Migration without shared storage is unsafe"), so the table is libvirt's, by the same
// magic numbers: to know more file systems than libvirt would promise what it then refuses. Two
// FUSE file systems are told by their name in mountinfo, as FUSE has one number for all.
#include "disk_storage.h"

#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include "cleanup.h"
#include "process_root.h"

#define FUSE_MAGIC 0x65735546u
#define CONF_PATH "/etc/libvirt/qemu.conf"

static const unsigned int shared_magic[] = {
	0x6969,	    /* NFS */
	0x01161970, /* GFS2 */
	0x7461636f, /* OCFS2 */
	0x6b414653, /* AFS */
	0x517b,	    /* SMB */
	0xff534d42, /* CIFS */
	0x00c36400, /* CephFS */
	0x47504653, /* GPFS */
	0x61636673, /* Oracle ACFS */
	0x19830326, /* BeeGFS */
};

static const char *const shared_fuse[] = {"fuse.glusterfs", "fuse.quobyte"};

/* The type of this mount in a mountinfo file; false: not there. */
static bool find_mount(const char *path, uint64_t id, char *type, size_t size)
{
	_cleanup_fclose_ FILE *f = fopen(path, "re");
	_cleanup_free_ char *line = NULL;
	size_t len = 0;

	while (f && getline(&line, &len, f) > 0) {
		char *name = strstr(line, " - ");

		if (!name || strtoull(line, NULL, 10) != id)
			continue;
		name += 3;
		snprintf(type, size, "%.*s", (int)strcspn(name, " \n"), name);
		return true;
	}
	return false;
}

/* Mount ids are the kernel's own, the same in every namespace. A process in a chroot does not see
 * the mount that its root is in; we may. */
static bool mount_type(pid_t qemu, int fd, char *type, size_t size)
{
	static const char own[] = "/proc/self/mountinfo";
	struct statx st;
	char path[40];

	snprintf(path, sizeof(path), "/proc/%d/mountinfo", qemu);
	return statx(fd, "", AT_EMPTY_PATH, STATX_MNT_ID, &st) == 0 &&
	       (find_mount(path, st.stx_mnt_id, type, size) ||
		find_mount(own, st.stx_mnt_id, type, size));
}

static bool is_shared(unsigned int magic, const char *fs)
{
	for (size_t i = 0; i < sizeof(shared_magic) / sizeof(*shared_magic); i++) {
		if (magic == shared_magic[i])
			return true;
	}
	for (size_t i = 0; i < sizeof(shared_fuse) / sizeof(*shared_fuse); i++) {
		if (magic == FUSE_MAGIC && !strcmp(fs, shared_fuse[i]))
			return true;
	}
	return false;
}

int disk_storage_look(pid_t qemu, const char *path, struct disk_storage *out, struct errtext *err)
{
	_cleanup_close_ int root = process_root_open(qemu);
	_cleanup_free_ char *copy = strdup(path);
	_cleanup_close_ int fd = root >= 0 && copy ? process_root_open_nearest(root, copy) : -1;
	struct statfs fs;
	unsigned int magic;

	*out = (struct disk_storage){0};
	if (fd < 0 || fstatfs(fd, &fs) < 0)
		return errtext_set(err, -errno, "%s: cannot tell its file system: %s", path,
				   strerror(errno));
	/* Wider than the number, and sign-extended on some architectures. */
	magic = (unsigned int)fs.f_type;
	/* The name is for the message, unless it is FUSE. */
	if (!mount_type(qemu, fd, out->fs, sizeof(out->fs)))
		snprintf(out->fs, sizeof(out->fs), "0x%x", magic);
	out->known = true;
	out->shared = is_shared(magic, out->fs);
	return 0;
}

bool disk_storage_overridden(pid_t qemu)
{
	static const char key[] = "shared_filesystems";
	_cleanup_close_ int root = process_root_open(qemu);
	_cleanup_fclose_ FILE *f = root < 0 ? NULL : process_root_read(root, CONF_PATH);
	_cleanup_free_ char *line = NULL;
	size_t len = 0;

	while (f && getline(&line, &len, f) > 0) {
		const char *p = line + strspn(line, " \t");

		if (strncmp(p, key, strlen(key)) != 0)
			continue;
		p += strlen(key);
		if (p[strspn(p, " \t")] == '=')
			return true;
	}
	return false;
}
