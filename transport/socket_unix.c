// SPDX-License-Identifier: Apache-2.0
// UNIX stream sockets: listen, replacing a stale one, and connect.
#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include "cleanup.h"
#include "socket.h"

static int unix_address(const char *path, struct sockaddr_un *addr, struct errtext *err)
{
	size_t len = strlen(path);

	if (!len || len >= sizeof(addr->sun_path))
		return errtext_set(err, -ENAMETOOLONG,
				   "UNIX socket path '%s' must have 1 to %zu bytes", path,
				   sizeof(addr->sun_path) - 1);
	*addr = (struct sockaddr_un){.sun_family = AF_UNIX};
	memcpy(addr->sun_path, path, len);
	return 0;
}

static int unix_socket(int flags, int *out, const char *path, struct errtext *err)
{
	*out = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | flags, 0);
	if (*out < 0)
		return errtext_set(err, -errno, "cannot create a UNIX socket for '%s': %s", path,
				   strerror(errno));
	return 0;
}

/* Unlink what nobody listens on any more. Never anything but a socket. */
static int remove_stale(const struct sockaddr_un *addr, struct errtext *err)
{
	const char *path = addr->sun_path;
	_cleanup_close_ int fd = -1;
	struct stat st;
	int ret;

	if (lstat(path, &st))
		return errno == ENOENT ? 0
				       : errtext_set(err, -errno, "cannot look at '%s': %s", path,
						     strerror(errno));
	if (!S_ISSOCK(st.st_mode))
		return errtext_set(err, -EEXIST, "'%s' is in the way: it is not a socket", path);
	/* Non-blocking: a full backlog (-EAGAIN) is proof of life too. */
	ret = unix_socket(SOCK_NONBLOCK, &fd, path, err);
	if (ret)
		return ret;
	if (!connect(fd, (const struct sockaddr *)addr, sizeof(*addr)) || errno != ECONNREFUSED)
		return errtext_set(err, -EADDRINUSE, "'%s' is in use by another process", path);
	if (unlink(path) && errno != ENOENT)
		return errtext_set(err, -errno, "cannot remove the stale socket '%s': %s", path,
				   strerror(errno));
	return 0;
}

int socket_unix_listen(const char *path, int backlog, int *fd, struct errtext *err)
{
	_cleanup_close_ int sock = -1;
	struct sockaddr_un addr;
	int ret;

	ret = unix_address(path, &addr, err);
	if (!ret)
		ret = remove_stale(&addr, err);
	if (!ret)
		ret = unix_socket(0, &sock, path, err);
	if (ret)
		return ret;
	/* Before bind, which makes the file with the mode of the socket: never open to others. */
	if (fchmod(sock, 0600) || bind(sock, (const struct sockaddr *)&addr, sizeof(addr)) ||
	    listen(sock, backlog))
		return errtext_set(err, -errno, "cannot listen on '%s': %s", path, strerror(errno));
	*fd = steal_fd(&sock);
	return 0;
}

int socket_unix_connect(const char *path, int *fd, struct errtext *err)
{
	_cleanup_close_ int sock = -1;
	struct sockaddr_un addr;
	int ret;

	ret = unix_address(path, &addr, err);
	if (!ret)
		ret = unix_socket(0, &sock, path, err);
	if (ret)
		return ret;
	if (connect(sock, (const struct sockaddr *)&addr, sizeof(addr)))
		return errtext_set(err, -errno, "cannot connect to '%s': %s", path,
				   strerror(errno));
	*fd = steal_fd(&sock);
	return 0;
}
