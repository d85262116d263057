// SPDX-License-Identifier: Apache-2.0
// KubeVirt's virt-launcher, from outside.
//
// A mount is copied only within the mount namespace of whoever copies it: so we go there for that,
// and come back. setns(2) takes root and working directory along, and nobody but the only thread of
// a process may call it.
#include "launcher.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <sched.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>
#include "cleanup.h"

struct launcher {
	pid_t pid;
	int root;				  /* of its file system */
	int directory;				  /* of the socket */
	char socket[LIBVIRT_SOCKET_SIZE];	  /* as the launcher has it */
	char directory_path[LIBVIRT_SOCKET_SIZE]; /* the same */
};

static void launcher_close(struct launcher *l)
{
	cleanup_close(&l->root);
	cleanup_close(&l->directory);
}

/* Symbolic links lead to where they lead in the launcher. */
static int open_inside(const struct launcher *l, const char *path, int flags)
{
	struct open_how how = {.flags = flags | O_PATH | O_CLOEXEC, .resolve = RESOLVE_IN_ROOT};

	return (int)syscall(SYS_openat2, l->root, path, &how, sizeof(how));
}

static bool is_socket(const struct launcher *l, const char *path)
{
	_cleanup_close_ int fd = open_inside(l, path, O_NOFOLLOW);
	struct stat st;

	return fd >= 0 && fstat(fd, &st) == 0 && S_ISSOCK(st.st_mode);
}

/* As the process was started with it; false: none, or none below /run. The launcher's user says
 * what it is, and it becomes a directory here. */
static bool runtime_directory(pid_t pid, char *out, size_t size)
{
	static const char key[] = "XDG_RUNTIME_DIR=";
	char path[32];
	_cleanup_fclose_ FILE *f = NULL;
	_cleanup_free_ char *entry = NULL;
	size_t room = 0;

	snprintf(path, sizeof(path), "/proc/%d/environ", pid);
	f = fopen(path, "re");
	while (f && getdelim(&entry, &room, '\0', f) > 0) {
		if (strncmp(entry, key, sizeof(key) - 1) != 0)
			continue;
		snprintf(out, size, "%s", entry + sizeof(key) - 1);
		return strncmp(out, "/run/", 5) == 0 && !strstr(out, "/..");
	}
	return false;
}

static bool find_below(struct launcher *l, const char *runtime)
{
	for (size_t i = 0; libvirt_address_candidate(i, runtime, l->socket); i++)
		if (is_socket(l, l->socket))
			return true;
	return false;
}

static int find_socket(struct launcher *l, const char *given, struct errtext *err)
{
	char runtime[LIBVIRT_SOCKET_SIZE];

	if (given && (given[0] != '/' || strlen(given) >= sizeof(l->socket)))
		return errtext_set(err, -EINVAL,
				   "%s: an absolute path of a UNIX socket is needed, as the "
				   "launcher has it",
				   given);
	if (given)
		snprintf(l->socket, sizeof(l->socket), "%s", given);
	if (given && !is_socket(l, given))
		return errtext_set(err, -ENOENT, "launcher %d has no socket %s", l->pid, given);
	if (given || find_below(l, NULL))
		return 0;
	if (runtime_directory(l->pid, runtime, sizeof(runtime)) && find_below(l, runtime))
		return 0;
	return errtext_set(
		err, -ENOENT,
		"process %d has no libvirt socket (libvirt/libvirt-sock or "
		"libvirt/virtqemud-sock in its /run or XDG_RUNTIME_DIR): is it a process "
		"of the launcher? Does virtqemud run there? Or name the socket with "
		"--libvirt-socket",
		l->pid);
}

static int launcher_open(struct launcher *l, const char *given, struct errtext *err)
{
	char path[32];
	int ret;

	snprintf(path, sizeof(path), "/proc/%d/root", l->pid);
	l->root = open(path, O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (l->root < 0)
		return errtext_set(err, errno == ENOENT ? -ESRCH : -errno,
				   "launcher: there is no process %d, or its files are out of "
				   "reach: %s",
				   l->pid, strerror(errno));
	ret = find_socket(l, given, err);
	if (ret < 0)
		return ret;
	libvirt_address_directory(l->socket, l->directory_path, sizeof(l->directory_path));
	if (!strchr(l->directory_path + 1, '/'))
		return errtext_set(err, -EINVAL,
				   "%s: a socket in a directory of its own is needed, such as "
				   "/run/libvirt",
				   l->socket);
	l->directory = open_inside(l, l->directory_path, O_DIRECTORY);
	return l->directory < 0 ? errtext_set(err, -errno, "launcher %d: %s: %s", l->pid,
					      l->directory_path, strerror(errno))
				: 0;
}

/* ---- the mount ---- */

/* Where we are, to come back to. */
struct place {
	int mounts, root, cwd;
};

static void place_close(struct place *p)
{
	cleanup_close(&p->mounts);
	cleanup_close(&p->root);
	cleanup_close(&p->cwd);
}

static int place_note(struct place *p)
{
	p->mounts = open("/proc/self/ns/mnt", O_RDONLY | O_CLOEXEC);
	p->root = open("/", O_PATH | O_DIRECTORY | O_CLOEXEC);
	p->cwd = open(".", O_PATH | O_DIRECTORY | O_CLOEXEC);
	return p->mounts < 0 || p->root < 0 || p->cwd < 0 ? -errno : 0;
}

/* setns(2) has left us in the root of whatever it went to. */
static int place_return(const struct place *p)
{
	if (setns(p->mounts, CLONE_NEWNS) < 0 || fchdir(p->root) < 0 || chroot(".") < 0 ||
	    fchdir(p->cwd) < 0)
		return -errno;
	return 0;
}

/* A copy of the mount, from the socket's directory down, that is nowhere yet. */
static int copy_mount(const struct launcher *l, int *tree)
{
	_cleanup_(place_close) struct place here = {-1, -1, -1};
	_cleanup_close_ int there = -1;
	char path[32];
	int ret = place_note(&here), back;

	snprintf(path, sizeof(path), "/proc/%d/ns/mnt", l->pid);
	there = open(path, O_RDONLY | O_CLOEXEC);
	if (ret < 0 || there < 0 || setns(there, CLONE_NEWNS) < 0)
		return ret < 0 ? ret : -errno;
	*tree = open_tree(l->directory, "", OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | AT_EMPTY_PATH);
	ret = *tree < 0 ? -errno : 0;
	back = place_return(&here);
	return back < 0 ? back : ret;
}

static int make_directories(const char *path)
{
	char part[LIBVIRT_SOCKET_SIZE];

	for (const char *slash = path; slash; slash = strchr(slash + 1, '/')) {
		const char *end = strchr(slash + 1, '/');
		int len = end ? (int)(end - path) : (int)strlen(path);

		snprintf(part, sizeof(part), "%.*s", len, path);
		if (mkdir(part, 0755) < 0 && errno != EEXIST)
			return -errno;
	}
	return 0;
}

/* In a mount namespace of our own, into which the host's mounts and unmounts go on to come. */
static int put_mount(const struct launcher *l, int tree)
{
	struct mount_attr attr = {.attr_set = MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV |
					      MOUNT_ATTR_NOEXEC | MOUNT_ATTR_NOSYMFOLLOW};
	int ret;

	if (unshare(CLONE_NEWNS) < 0 || mount(NULL, "/", NULL, MS_REC | MS_SLAVE, NULL) < 0 ||
	    mount_setattr(tree, "", AT_EMPTY_PATH, &attr, sizeof(attr)) < 0)
		return -errno;
	ret = make_directories(l->directory_path);
	if (ret == 0 &&
	    move_mount(tree, "", AT_FDCWD, l->directory_path, MOVE_MOUNT_F_EMPTY_PATH) < 0)
		ret = -errno;
	return ret;
}

int launcher_enter(pid_t pid, const char *socket, char out[LIBVIRT_SOCKET_SIZE],
		   struct errtext *err)
{
	_cleanup_(launcher_close) struct launcher l = {.pid = pid, .root = -1, .directory = -1};
	_cleanup_close_ int tree = -1;
	int ret = launcher_open(&l, socket, err);

	if (ret < 0)
		return ret;
	ret = copy_mount(&l, &tree);
	if (ret == 0)
		ret = put_mount(&l, tree);
	if (ret < 0)
		return errtext_set(err, ret,
				   "launcher %d: its directory %s cannot be mounted here: %s", pid,
				   l.directory_path, strerror(-ret));
	snprintf(out, LIBVIRT_SOCKET_SIZE, "%s", l.socket);
	return 0;
}
