// SPDX-License-Identifier: Apache-2.0
// Exact reads and writes on a stream socket, with a timeout.
#include <errno.h>
#include <poll.h>
#include <stdbool.h>
#include <sys/socket.h>
#include "deadline.h"
#include "socket.h"

/* 0 when fd is ready, or broken: the transfer that follows tells. */
static int await(int fd, short events, const struct deadline *deadline)
{
	struct pollfd p = {.fd = fd, .events = events};
	int n;

	do
		n = poll(&p, 1, deadline_left_ms(deadline));
	while (n < 0 && errno == EINTR);
	if (n < 0)
		return -errno;
	return n ? 0 : -ETIMEDOUT;
}

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
		ret = await(fd, POLLIN, &deadline);
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
		ret = await(fd, POLLOUT, &deadline);
		if (ret)
			return ret;
	}
	return 0;
}
