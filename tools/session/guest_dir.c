// SPDX-License-Identifier: Apache-2.0
// What dray keeps of a guest on one host.
#include "guest_dir.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include "cleanup.h"

void guest_dir_paths(struct guest_dir *d, const char *uuid)
{
	*d = (struct guest_dir){.lock = -1};
	snprintf(d->path, sizeof(d->path), GUEST_DIR_ROOT "/%s", uuid);
	snprintf(d->gate, sizeof(d->gate), "%s/gate.sock", d->path);
	snprintf(d->tunnel, sizeof(d->tunnel), "%s/tunnel.sock", d->path);
	snprintf(d->control, sizeof(d->control), "%s/" GUEST_DIR_CONTROL, d->path);
	snprintf(d->incoming_control, sizeof(d->incoming_control), "%s/" GUEST_DIR_INCOMING,
		 d->path);
	snprintf(d->owed, sizeof(d->owed), "%s/owed", d->path);
	snprintf(d->stream, sizeof(d->stream), "%s/qemu/stream.sock", d->path);
	snprintf(d->monitor, sizeof(d->monitor), GUEST_DIR_MONITORS "/dray-%s.monitor", uuid);
}

static int make_dir(const char *path, mode_t mode, struct errtext *err)
{
	if (mkdir(path, mode) < 0 && errno != EEXIST)
		return errtext_set(err, -errno, "%s: cannot create: %s", path, strerror(errno));
	return 0;
}

static int take_lock(struct guest_dir *d, struct errtext *err)
{
	char path[128];
	_cleanup_close_ int fd = -1;

	snprintf(path, sizeof(path), "%s/lock", d->path);
	fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	if (fd < 0)
		return errtext_set(err, -errno, "%s: %s", path, strerror(errno));
	if (flock(fd, LOCK_EX | LOCK_NB) < 0)
		return errtext_set(err, -EBUSY,
				   "another dray is working on this guest (%s is locked): wait "
				   "for it, or cancel it",
				   path);
	d->lock = steal_fd(&fd);
	return 0;
}

int guest_dir_open(struct guest_dir *d, const char *uuid, uid_t uid, gid_t gid, struct errtext *err)
{
	char qemu[128];
	int ret;

	guest_dir_paths(d, uuid);
	snprintf(qemu, sizeof(qemu), "%s/qemu", d->path);
	/* Others may pass through, to qemu/, but not look around. */
	if ((ret = make_dir(GUEST_DIR_ROOT, 0711, err)) < 0 ||
	    (ret = make_dir(d->path, 0711, err)) < 0 || (ret = make_dir(qemu, 0700, err)) < 0)
		return ret;
	ret = take_lock(d, err);
	if (ret < 0)
		return ret;
	if (uid != (uid_t)-1 && chown(qemu, uid, gid) < 0) {
		ret = errtext_set(err, -errno, "%s: cannot give to QEMU's user: %s", qemu,
				  strerror(errno));
		guest_dir_close(d);
		return ret;
	}
	return 0;
}

void guest_dir_close(struct guest_dir *d)
{
	cleanup_close(&d->lock);
	d->lock = -1;
}
