// SPDX-License-Identifier: Apache-2.0
// A libvirt daemon as it is reached.
#include "libvirt_address.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>
#include <uuid/uuid.h>
#include "cleanup.h"

#define BOOT_ID "/proc/sys/kernel/random/boot_id"

/* Below /run, or a user's XDG_RUNTIME_DIR. */
static const char *const sockets[] = {
	"libvirt/libvirt-sock",	  /* libvirtd, for all that libvirt has */
	"libvirt/virtqemud-sock", /* the one of many that has QEMU's guests */
};

const char *libvirt_address_candidate(size_t i, const char *runtime, char out[LIBVIRT_SOCKET_SIZE])
{
	int n;

	if (i >= sizeof(sockets) / sizeof(*sockets))
		return NULL;
	n = snprintf(out, LIBVIRT_SOCKET_SIZE, "%s/%s", runtime ? runtime : "/run", sockets[i]);
	return n > 0 && n < LIBVIRT_SOCKET_SIZE ? out : NULL;
}

int libvirt_address_look(const char *socket_path, struct libvirt_address *out, struct errtext *err)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	_cleanup_close_ int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	struct ucred cred = {0};
	socklen_t len = sizeof(cred);

	if (strlen(socket_path) >= sizeof(address.sun_path))
		return errtext_set(err, -ENAMETOOLONG, "%s: too long for a UNIX socket",
				   socket_path);
	strcpy(address.sun_path, socket_path);
	if (fd < 0 || connect(fd, (struct sockaddr *)&address, sizeof(address)) < 0 ||
	    getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &cred, &len) < 0)
		return errtext_set(err, -errno, "libvirt at %s does not answer: %s", socket_path,
				   strerror(errno));
	*out = (struct libvirt_address){
		.session = cred.uid != 0, .pid = cred.pid, .uid = cred.uid, .gid = cred.gid};
	snprintf(out->socket, sizeof(out->socket), "%s", socket_path);
	return 0;
}

void libvirt_address_uri(const struct libvirt_address *address, char uri[LIBVIRT_URI_SIZE])
{
	snprintf(uri, LIBVIRT_URI_SIZE, "qemu+unix:///%s?socket=%s",
		 address->session ? "session" : "system", address->socket);
}

int libvirt_address_directory(const char *socket_path, char *out, size_t size)
{
	const char *slash = strrchr(socket_path, '/');
	size_t len = slash ? (size_t)(slash - socket_path) : 0;

	if (len >= size)
		return -ENAMETOOLONG;
	memcpy(out, socket_path, len);
	out[len] = 0;
	return 0;
}

/* Numbers of this boot only: the boot's own id is the name space. */
int libvirt_address_identity(const char *socket_path, uint8_t uuid[16])
{
	char directory[LIBVIRT_SOCKET_SIZE], boot[37] = "", name[64];
	_cleanup_fclose_ FILE *f = fopen(BOOT_ID, "re");
	struct stat st;
	uuid_t space;

	if (libvirt_address_directory(socket_path, directory, sizeof(directory)) < 0 ||
	    stat(directory, &st) < 0 || st.st_uid == 0)
		return -ENOENT;
	if (!f || fscanf(f, "%36s", boot) != 1 || uuid_parse(boot, space) < 0)
		return -ENOENT;
	snprintf(name, sizeof(name), "libvirt %" PRIu64 " %" PRIu64, (uint64_t)st.st_dev,
		 (uint64_t)st.st_ino);
	uuid_generate_sha1(uuid, space, name, strlen(name));
	return 0;
}
