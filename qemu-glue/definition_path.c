// SPDX-License-Identifier: Apache-2.0
// Where a path leads, and whether guests have a business there.
#include "definition_path.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include "cleanup.h"

struct place {
	const char *path; /* as given */
	char real[PATH_MAX];
	bool exists;
	struct stat st;
};

/* The system's own. What lies beneath is not a guest's, unless the next list has it. */
static const char *const of_the_system[] = {
	"/.snapshots",
	"/bin",
	"/boot",
	"/dev",
	"/etc",
	"/lib",
	"/lib32",
	"/lib64",
	"/libx32",
	"/nix",
	"/ostree",
	"/proc",
	"/root",
	"/run",
	"/sbin",
	"/snap",
	"/swap.img",
	"/swapfile",
	"/sys",
	"/sysroot",
	"/usr",
	"/var/backups",
	"/var/lib/apt",
	"/var/lib/containerd",
	"/var/lib/containers",
	"/var/lib/docker",
	"/var/lib/dpkg",
	"/var/lib/etcd",
	"/var/lib/kubelet/pki",
	"/var/lib/libvirt",
	"/var/lib/lxc",
	"/var/lib/lxd",
	"/var/lib/pki",
	"/var/lib/polkit-1",
	"/var/lib/private",
	"/var/lib/rpm",
	"/var/lib/samba",
	"/var/lib/sss",
	"/var/lib/sudo",
	"/var/lib/systemd",
	"/var/log",
	"/var/mail",
	"/var/snap",
	"/var/spool",
	NULL,
};

/* Made for guests' files: by libvirt, or for removable media. */
static const char *const of_guests[] = {
	"/run/media",
	"/usr/share/virtio-win",
	"/var/lib/libvirt/boot",
	"/var/lib/libvirt/images",
	"/var/lib/libvirt/qemu/nvram",
	"/var/lib/libvirt/swtpm",
	"/var/log/libvirt/qemu",
	"/var/log/swtpm",
	NULL,
};

/* Where libvirt lets guests' sockets be made. Beside them are its own monitors. */
#define LIBVIRT_QEMU "/var/lib/libvirt/qemu"
static const char *const of_channels[] = {"/run/libvirt/qemu/channel", LIBVIRT_QEMU "/channel",
					  NULL};

static const char *const none[] = {NULL};

static bool is_beneath(const char *path, const char *directory)
{
	size_t n = strlen(directory);

	while (n > 1 && directory[n - 1] == '/')
		n--;
	return strncmp(path, directory, n) == 0 && (path[n] == '/' || path[n] == '\0' || n == 1);
}

/* A directory above one of them. */
static bool is_above_any(const char *path, const char *const *directories)
{
	for (; *directories; directories++) {
		if (is_beneath(*directories, path))
			return true;
	}
	return false;
}

static bool is_beneath_any(const char *path, const char *const *directories)
{
	for (; *directories; directories++) {
		if (is_beneath(path, *directories))
			return true;
	}
	return false;
}

/* ---- where it leads ---- */

/* What is not there yet will lie in the nearest directory that is, wherever that leads. A link that
 * leads nowhere would be followed by whoever makes the file. */
static int find_new(struct place *place)
{
	_cleanup_free_ char *copy = strdup(place->path);
	char directory[PATH_MAX];
	char *name;
	struct stat st;

	if (!copy)
		return -ENOMEM;
	name = strrchr(copy, '/') + 1;
	if (strstr(copy, "/../") || strstr(copy, "//") || strstr(copy, "/./") || !*name ||
	    !strcmp(name, ".") || !strcmp(name, ".."))
		return -EINVAL;
	do {
		if (lstat(copy, &st) == 0)
			return -ELOOP;
		name = strrchr(copy, '/');
		*name = '\0';
		if (name == copy) {
			strcpy(directory, "");
			break;
		}
	} while (!realpath(copy, directory));
	return snprintf(place->real, sizeof(place->real), "%s%s",
			strcmp(directory, "/") ? directory : "",
			place->path + (name - copy)) < (int)sizeof(place->real)
		       ? 0
		       : -ENAMETOOLONG;
}

static int find(struct place *place, const char *path, struct errtext *err)
{
	int ret = 0;

	*place = (struct place){.path = path};
	if (path[0] != '/')
		return errtext_set(err, -EPERM, "%s: not an absolute path", path);
	if (realpath(path, place->real))
		place->exists = stat(place->real, &place->st) == 0;
	else if (errno == ENOENT)
		ret = find_new(place);
	else
		ret = -errno;
	if (ret == -EACCES)
		return errtext_set(err, -EPERM,
				   "%s: root may not look there (NFS with root_squash?), so it "
				   "cannot be judged",
				   path);
	return ret < 0 ? errtext_set(err, -EPERM, "%s: %s", path, strerror(-ret)) : 0;
}

/* ---- what may be there ---- */

static int deny(const struct place *place, struct errtext *err, const char *why)
{
	if (strcmp(place->path, place->real) == 0)
		return errtext_set(err, -EPERM, "%s %s", place->path, why);
	return errtext_set(err, -EPERM, "%s, which leads to %s, %s", place->path, place->real, why);
}

/* The kernel tells: whoever has mounted a block device, or built another one upon it, has claimed
 * it. */
static int check_block_device(const struct place *place, struct errtext *err)
{
	_cleanup_close_ int fd = open(place->real, O_RDONLY | O_EXCL | O_NONBLOCK | O_CLOEXEC);

	if (fd < 0 && errno == EBUSY)
		return deny(place, err,
			    "is a block device that this host itself uses: it is mounted, or part "
			    "of another one, such as of a multipath device; name that one then");
	return 0; /* one that cannot be opened is no use to the guest either */
}

/* A block device that is made only when a guest needs it; a guest can put nothing there. */
static bool is_device_to_come(const struct place *place)
{
	static const char *const file_systems[] = {"/dev/hugepages", "/dev/mqueue", "/dev/pts",
						   "/dev/shm", NULL};

	return !place->exists && is_beneath(place->real, "/dev") &&
	       !is_beneath_any(place->real, file_systems);
}

/* An operator has named a directory within the system's own. */
static bool is_named_by(const char *real, const char *const *paths)
{
	for (; paths && *paths; paths++) {
		if (is_beneath(real, *paths) && is_beneath_any(*paths, of_the_system))
			return true;
	}
	return false;
}

/* `also`: what belongs to guests though it lies in the system's trees. */
static int check_location(const struct place *place, const char *const *paths,
			  const char *const *also, struct errtext *err)
{
	bool is_block = place->exists && S_ISBLK(place->st.st_mode);

	if (paths && !is_beneath_any(place->real, paths))
		return deny(place, err, "is not beneath any --allow-path");
	if (is_block)
		return check_block_device(place, err);
	if (is_above_any(place->real, of_the_system))
		return deny(place, err, "holds this system's own");
	if (is_beneath_any(place->real, of_the_system) && !is_beneath_any(place->real, also) &&
	    !is_named_by(place->real, paths))
		return deny(place, err, "is this system's own");
	return 0;
}

/* Memory of all of this host's is in there. By its inode: it may have any name. */
static bool is_swap(const struct place *place)
{
	_cleanup_fclose_ FILE *f = fopen("/proc/swaps", "re");
	_cleanup_free_ char *line = NULL;
	size_t room = 0;
	struct stat st;

	while (f && getline(&line, &room, f) > 0) {
		char *end = strpbrk(line, " \t");

		if (!end || line[0] != '/')
			continue;
		*end = '\0';
		if (stat(line, &st) == 0 && st.st_dev == place->st.st_dev &&
		    st.st_ino == place->st.st_ino)
			return true;
	}
	return false;
}

static int check_data(const struct place *place, const char *const *paths, struct errtext *err)
{
	if (place->exists && S_ISCHR(place->st.st_mode))
		return deny(place, err, "is a device of the host's");
	if (place->exists && S_ISSOCK(place->st.st_mode))
		return deny(place, err, "is a socket");
	if (place->exists && S_ISREG(place->st.st_mode) && is_swap(place))
		return deny(place, err, "is swap space of the host's");
	if (!paths && is_device_to_come(place))
		return 0;
	return check_location(place, paths, of_guests, err);
}

/* Its mode says so, and each directory above lets everybody through. */
static bool is_readable_by_all(const struct place *place)
{
	char directory[PATH_MAX];
	struct stat st;

	if (!S_ISREG(place->st.st_mode) || !(place->st.st_mode & S_IROTH))
		return false;
	strcpy(directory, place->real);
	for (char *slash = strrchr(directory, '/'); slash != directory;
	     slash = strrchr(directory, '/')) {
		*slash = '\0';
		if (stat(directory, &st) < 0 || !(st.st_mode & S_IXOTH))
			return false;
	}
	return true;
}

static int check_read(const struct place *place, const char *const *paths, struct errtext *err)
{
	/* There is nothing to be read: libvirt says so, if it needs it at all. */
	if (!place->exists)
		return 0;
	if (is_readable_by_all(place) && !is_beneath(place->real, "/proc") &&
	    !is_beneath(place->real, "/sys"))
		return 0;
	return check_data(place, paths, err);
}

/* By custom sockets also lie directly in libvirt's directory; but not those of dray's monitors. */
static bool is_custom_socket(const char *real)
{
	const char *name = real + strlen(LIBVIRT_QEMU "/");

	return is_beneath(real, LIBVIRT_QEMU) && strlen(real) > strlen(LIBVIRT_QEMU "/") &&
	       !strchr(name, '/') && strncmp(name, "dray-", 5) != 0;
}

static int check_listen(const struct place *place, const char *const *paths, struct errtext *err)
{
	if (place->exists && !S_ISSOCK(place->st.st_mode)) /* libvirt would remove it */
		return deny(place, err, "is there already, and is no socket");
	if (is_beneath_any(place->real, of_channels) || is_custom_socket(place->real))
		return 0;
	return check_location(place, paths, none, err);
}

/* An emulator of the host's own: nobody but root can have put it there. */
static int check_emulator(const struct place *place, struct errtext *err)
{
	const char *name = strrchr(place->real, '/') + 1;
	char directory[PATH_MAX];
	struct stat st = place->st;
	char *slash;

	if (!place->exists || !S_ISREG(st.st_mode))
		return deny(place, err, "is not there: no emulator of this host's");
	if (strncmp(name, "qemu-system-", 12) != 0 && strcmp(name, "qemu-kvm") != 0 &&
	    strcmp(name, "kvm") != 0)
		return deny(place, err, "is no emulator");
	strcpy(directory, place->real);
	while (st.st_uid == 0 && !(st.st_mode & (S_IWGRP | S_IWOTH))) {
		slash = strrchr(directory, '/');
		if (slash == directory)
			return 0;
		*slash = '\0';
		if (stat(directory, &st) < 0)
			return deny(place, err, "cannot be looked at");
	}
	return deny(place, err, "is no emulator of this host's: others than root may change it");
}

static int check_one_of(const struct place *place, const char *const *which, struct errtext *err)
{
	for (; *which; which++) {
		if (strcmp(place->path, *which) == 0)
			return 0;
	}
	return deny(place, err, "is a device of the host's");
}

static int check_beneath(const struct place *place, const char *directory, struct errtext *err)
{
	if (is_beneath(place->real, directory) && strcmp(place->real, directory) != 0)
		return 0;
	return deny(place, err, "is a device of the host's");
}

int definition_path_check(const char *path, enum definition_use use, const char *const *paths,
			  struct errtext *err)
{
	static const char *const entropy[] = {"/dev/random", "/dev/urandom", "/dev/hwrng", NULL};
	static const char *const network[] = {"/dev/net/tun", "/dev/vhost-net", NULL};
	static const char *const devices[] = {"/dev/null", NULL};
	struct place place;
	int ret = use == DEFINITION_NONE ? 0 : find(&place, path, err);

	if (ret < 0)
		return ret;
	switch (use) {
	case DEFINITION_DATA:
		return check_data(&place, paths, err);
	case DEFINITION_READ:
		return check_read(&place, paths, err);
	case DEFINITION_LISTEN:
		return check_listen(&place, paths, err);
	case DEFINITION_CONNECT:
		return check_location(&place, paths, none, err);
	case DEFINITION_EMULATOR:
		return check_emulator(&place, err);
	case DEFINITION_TERMINAL:
		return check_beneath(&place, "/dev/pts", err);
	case DEFINITION_RENDER:
		return check_beneath(&place, "/dev/dri", err);
	case DEFINITION_ENTROPY:
		return check_one_of(&place, entropy, err);
	case DEFINITION_NETWORK:
		return check_one_of(&place, network, err);
	case DEFINITION_DEVICE:
		return check_one_of(&place, devices, err);
	case DEFINITION_CEPH:
		return check_beneath(&place, "/etc/ceph", err);
	case DEFINITION_NONE:
		break;
	}
	return 0;
}
