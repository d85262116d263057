// SPDX-License-Identifier: Apache-2.0
// What dray keeps of a guest on one host.
#include "guest_dir.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>
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

void guest_dir_set_sockets(struct guest_dir *d, const char *directory)
{
	const char *uuid = strrchr(d->path, '/') + 1;

	if (!directory[0])
		return;
	snprintf(d->stream, sizeof(d->stream), "%.*s/dray-%s.stream", GUEST_DIR_SOCKETS_SIZE - 1,
		 directory, uuid);
	snprintf(d->monitor, sizeof(d->monitor), "%.*s/dray-%s.monitor", GUEST_DIR_SOCKETS_SIZE - 1,
		 directory, uuid);
}

static int make_dir(const char *path, mode_t mode, struct errtext *err)
{
	if (mkdir(path, mode) < 0 && errno != EEXIST)
		return errtext_set(err, -errno, "%s: cannot create: %s", path, strerror(errno));
	return 0;
}

/* Whoever had the lock may have removed it, and the directory, since it was opened. */
static bool is_there_still(int fd)
{
	struct stat st;

	return fstat(fd, &st) == 0 && st.st_nlink > 0;
}

/* -ESTALE: try again. */
static int take_lock(struct guest_dir *d, struct errtext *err)
{
	char path[128];
	_cleanup_close_ int fd = -1;

	snprintf(path, sizeof(path), "%s/lock", d->path);
	fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	if (fd < 0 && errno == ENOENT)
		return -ESTALE;
	if (fd < 0)
		return errtext_set(err, -errno, "%s: %s", path, strerror(errno));
	if (flock(fd, LOCK_EX | LOCK_NB) < 0)
		return errtext_set(err, -EBUSY,
				   "another dray is working on this guest (%s is locked): wait "
				   "for it, or cancel it",
				   path);
	if (!is_there_still(fd))
		return -ESTALE;
	d->lock = steal_fd(&fd);
	return 0;
}

static int make_and_lock(struct guest_dir *d, struct errtext *err)
{
	int ret;

	for (;;) {
		/* Others may pass through, to qemu/, but not look around. */
		if ((ret = make_dir(GUEST_DIR_ROOT, 0711, err)) < 0 ||
		    (ret = make_dir(d->path, 0711, err)) < 0)
			return ret;
		ret = take_lock(d, err);
		if (ret != -ESTALE)
			return ret;
	}
}

int guest_dir_open(struct guest_dir *d, const char *uuid, uid_t uid, gid_t gid, struct errtext *err)
{
	char qemu[128];
	int ret;

	guest_dir_paths(d, uuid);
	snprintf(qemu, sizeof(qemu), "%s/qemu", d->path);
	ret = make_and_lock(d, err);
	if (ret == 0)
		ret = make_dir(qemu, 0700, err);
	if (ret == 0 && uid != (uid_t)-1 && chown(qemu, uid, gid) < 0)
		ret = errtext_set(err, -errno, "%s: cannot give to QEMU's user: %s", qemu,
				  strerror(errno));
	if (ret < 0)
		guest_dir_close(d);
	return ret;
}

/* Nothing in it is of use to a later dray: no record, and no page that a guest still lacks. */
static bool is_of_no_use(const struct guest_dir *d)
{
	static const char *const useful[] = {"outgoing", "incoming", "owed"};
	char path[128];

	for (size_t i = 0; i < sizeof(useful) / sizeof(*useful); i++) {
		snprintf(path, sizeof(path), "%s/%s", d->path, useful[i]);
		if (access(path, F_OK) == 0 || errno != ENOENT)
			return false;
	}
	return true;
}

/* The lock goes before the directory, and after the rest: who waits for it finds it gone, and makes
 * all of it anew. */
static void remove_all(const struct guest_dir *d)
{
	char path[128];

	unlink(d->stream);
	snprintf(path, sizeof(path), "%s/qemu", d->path);
	rmdir(path);
	snprintf(path, sizeof(path), "%s/lock", d->path);
	unlink(path);
	rmdir(d->path); /* not while its control socket is served */
}

void guest_dir_close(struct guest_dir *d)
{
	if (d->lock >= 0 && is_of_no_use(d))
		remove_all(d);
	cleanup_close(&d->lock);
	d->lock = -1;
}

void guest_dir_tidy(const char *uuid)
{
	struct guest_dir d;

	guest_dir_paths(&d, uuid);
	if (access(d.path, F_OK) == 0 && guest_dir_open(&d, uuid, -1, -1, NULL) == 0)
		guest_dir_close(&d);
}
