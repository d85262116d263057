// SPDX-License-Identifier: Apache-2.0
// Exact reads and writes on a stream socket, with a timeout.
#include <errno.h>
#include <stdbool.h>
#include <sys/socket.h>
#include "deadline.h"
#include "socket.h"

static bool try_again(int code)
{
	return code == EAGAIN || code == EWOULDBLOCK || code == EINTR;
}

int socket_read_full(int fd, void *buf, size_t len, int timeout_ms)
{
	struct deadline deadline;
	size_t done = 0;

	deadline_set(&deadline, timeout_ms);
	while (done < len) {
		ssize_t n = recv(fd, (char *)buf + done, len - done, MSG_DONTWAIT);
		int ret;

		if (n > 0) {
			done += (size_t)n;
			continue;
		}
		if (n == 0)
			return done ? -ECONNRESET : -ENODATA;
		if (!try_again(errno))
			return -errno;
		ret = deadline_await(&deadline, fd, POLLIN);
		if (ret)
			return ret;
	}
	return 0;
}

int socket_write_full(int fd, const void *buf, size_t len, int timeout_ms)
{
	struct deadline deadline;
	size_t done = 0;

	deadline_set(&deadline, timeout_ms);
	while (done < len) {
		ssize_t n =
			send(fd, (const char *)buf + done, len - done, MSG_DONTWAIT | MSG_NOSIGNAL);
		int ret;

		if (n >= 0) {
			done += (size_t)n;
			continue;
		}
		if (!try_again(errno))
			return -errno;
		ret = deadline_await(&deadline, fd, POLLOUT);
		if (ret)
			return ret;
	}
	return 0;
}
