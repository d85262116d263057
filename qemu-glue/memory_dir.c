// SPDX-License-Identifier: Apache-2.0
// libvirt's directory for memory files.
//
// No call of libvirt's tells it. The daemon is known by who listens at its socket (with socket
// activation systemd, whose root and home are the daemon's), its configuration by whose daemon it
// is:
//
//                 qemu.conf                           the directory, unless that names one
//   the system's  /etc/libvirt/qemu.conf              /var/lib/libvirt/qemu/ram
//   a user's own  $XDG_CONFIG_HOME/libvirt/qemu.conf  $XDG_CONFIG_HOME/libvirt/qemu/ram
//
// both in the daemon's root. Below it libvirt makes libvirt/qemu, and a directory for each guest.
#include "memory_dir.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <linux/magic.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/un.h>
#include <unistd.h>
#include "cleanup.h"
#include "process_root.h"

#define KEY "memory_backing_dir"
#define SYSTEM_CONF "/etc/libvirt/qemu.conf"
#define SYSTEM_DIR "/var/lib/libvirt/qemu/ram"
#define BELOW "/libvirt/qemu"

/* ---- the daemon ---- */

static int find_daemon(const char *socket_path, pid_t *pid)
{
	struct sockaddr_un at = {.sun_family = AF_UNIX};
	_cleanup_close_ int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	struct ucred peer;
	socklen_t size = sizeof(peer);

	if (strlen(socket_path) >= sizeof(at.sun_path))
		return -ENAMETOOLONG;
	strcpy(at.sun_path, socket_path);
	if (fd < 0 || connect(fd, (const struct sockaddr *)&at, sizeof(at)) < 0 ||
	    getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &size) < 0)
		return -errno;
	*pid = peer.pid;
	return peer.pid > 0 ? 0 : -ESRCH;
}

/* A variable as the process was started with it: "NAME=" before, what else there is behind. */
static bool read_variable(pid_t pid, const char *name, char *out, size_t size)
{
	char path[32];
	_cleanup_fclose_ FILE *f = NULL;
	_cleanup_free_ char *entry = NULL;
	size_t room = 0, len = strlen(name);

	snprintf(path, sizeof(path), "/proc/%d/environ", pid);
	f = fopen(path, "re");
	while (f && getdelim(&entry, &room, '\0', f) > 0)
		if (strncmp(entry, name, len) == 0 && entry[len] == '/')
			return (size_t)snprintf(out, size, "%s", entry + len) < size;
	return false;
}

/* ---- its configuration ---- */

/* "value" or 'value', after the key's `=`. */
static bool take_value(const char *p, char *out, size_t size)
{
	char quote;
	size_t len;

	p += strspn(p, " \t");
	if (*p++ != '=')
		return false;
	p += strspn(p, " \t");
	quote = *p++;
	if (quote != '"' && quote != '\'')
		return false;
	len = strcspn(p, quote == '"' ? "\"\n" : "'\n");
	if (p[len] != quote || p[0] != '/' || len >= size)
		return false;
	memcpy(out, p, len);
	out[len] = '\0';
	return true;
}

static void read_conf(int root, const char *conf, char *path, size_t size)
{
	_cleanup_fclose_ FILE *f = process_root_read(root, conf);
	_cleanup_free_ char *line = NULL;
	size_t len = 0;

	while (f && getline(&line, &len, f) > 0) {
		const char *p = line + strspn(line, " \t");

		if (strncmp(p, KEY, strlen(KEY)) == 0)
			take_value(p + strlen(KEY), path, size);
	}
}

static int find_path(pid_t daemon, int root, bool own, struct memory_dir *out)
{
	char home[MEMORY_DIR_MAX / 2], conf[MEMORY_DIR_MAX];

	if (!own) {
		strcpy(out->path, SYSTEM_DIR);
		read_conf(root, SYSTEM_CONF, out->path, sizeof(out->path));
		return 0;
	}
	if (!read_variable(daemon, "XDG_CONFIG_HOME=", home, sizeof(home))) {
		if (!read_variable(daemon, "HOME=", home, sizeof(home) - strlen("/.config")))
			return -ENOENT;
		strcat(home, "/.config");
	}
	snprintf(conf, sizeof(conf), "%s/libvirt/qemu.conf", home);
	snprintf(out->path, sizeof(out->path), "%s/libvirt/qemu/ram", home);
	read_conf(root, conf, out->path, sizeof(out->path));
	return 0;
}

/* ---- its file system ---- */

static int look_at_path(int root, struct memory_dir *out)
{
	char path[MEMORY_DIR_MAX + sizeof(BELOW)];
	_cleanup_close_ int fd = -1;
	struct statfs fs;

	snprintf(path, sizeof(path), "%s" BELOW, out->path);
	fd = process_root_open_nearest(root, path);
	if (fd < 0 || fstatfs(fd, &fs) < 0)
		return fd < 0 ? fd : -errno;
	out->fit = fs.f_type == TMPFS_MAGIC || fs.f_type == HUGETLBFS_MAGIC;
	out->free = fs.f_blocks ? (uint64_t)fs.f_bavail * (uint64_t)fs.f_bsize : UINT64_MAX;
	return 0;
}

int memory_dir_look(const char *socket_path, bool own, struct memory_dir *out, struct errtext *err)
{
	_cleanup_close_ int root = -1;
	pid_t daemon = 0;
	int ret = find_daemon(socket_path, &daemon);

	*out = (struct memory_dir){0};
	if (ret == 0) {
		root = process_root_open(daemon);
		ret = root < 0 ? root : find_path(daemon, root, own, out);
	}
	if (ret == 0)
		ret = look_at_path(root, out);
	return ret < 0 ? errtext_set(err, ret,
				     "the directory of memory files (" KEY ") of the libvirt at %s "
				     "cannot be found: %s",
				     socket_path, strerror(-ret))
		       : 0;
}
