// SPDX-License-Identifier: Apache-2.0
// A connection, with TLS or without.
#include "line.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include "deadline.h"
#include "socket.h"

void line_close(struct line *line)
{
	tls_destroy(line->tls);
	cleanup_close(&line->fd);
	*line = LINE_NONE;
}

ssize_t line_read(struct line line, void *buf, size_t n)
{
	ssize_t got;

	if (line.tls)
		return tls_read(line.tls, buf, n);
	do
		got = recv(line.fd, buf, n, MSG_DONTWAIT);
	while (got < 0 && errno == EINTR);
	return got < 0 ? -errno : got;
}

static ssize_t write_tls(struct tls *tls, const struct iovec *iov, size_t n)
{
	ssize_t done = 0, one = 0;

	for (size_t i = 0; i < n; i++) {
		one = tls_write(tls, iov[i].iov_base, iov[i].iov_len);
		if (one > 0)
			done += one;
		if (one < (ssize_t)iov[i].iov_len)
			break;
	}
	return done ? done : one;
}

ssize_t line_write(struct line line, const struct iovec *iov, size_t n)
{
	const struct msghdr msg = {.msg_iov = (struct iovec *)iov, .msg_iovlen = n};
	ssize_t put;

	if (line.tls)
		return write_tls(line.tls, iov, n);
	do
		put = sendmsg(line.fd, &msg, MSG_DONTWAIT | MSG_NOSIGNAL);
	while (put < 0 && errno == EINTR);
	return put < 0 ? -errno : put;
}

short line_wants(struct line line, short events)
{
	if (line.tls)
		return tls_wants(line.tls);
	return events;
}

bool line_has_pending(struct line line)
{
	return line.tls && tls_has_pending(line.tls);
}

int line_end(struct line line)
{
	int ret = line.tls ? tls_end(line.tls) : 0;

	if (ret != -EAGAIN)
		shutdown(line.fd, SHUT_WR);
	return ret;
}

static int read_full_tls(struct line line, char *buf, size_t len, int timeout_ms)
{
	struct deadline deadline;
	size_t done = 0;

	deadline_set(&deadline, timeout_ms);
	while (done < len) {
		ssize_t n = tls_read(line.tls, buf + done, len - done);
		int ret = 0;

		if (n == 0)
			return done ? -ECONNRESET : -ENODATA;
		if (n > 0)
			done += (size_t)n;
		else if (n == -EAGAIN)
			ret = deadline_await(&deadline, line.fd, tls_wants(line.tls));
		else
			ret = (int)n;
		if (ret < 0)
			return ret;
	}
	return 0;
}

static int write_full_tls(struct line line, const char *buf, size_t len, int timeout_ms)
{
	struct deadline deadline;
	size_t done = 0;

	deadline_set(&deadline, timeout_ms);
	while (done < len) {
		ssize_t n = tls_write(line.tls, buf + done, len - done);
		int ret = 0;

		if (n > 0)
			done += (size_t)n;
		else if (n == -EAGAIN)
			ret = deadline_await(&deadline, line.fd, tls_wants(line.tls));
		else
			ret = n ? (int)n : -EPIPE;
		if (ret < 0)
			return ret;
	}
	return 0;
}

int line_read_full(struct line line, void *buf, size_t n, int timeout_ms)
{
	return line.tls ? read_full_tls(line, buf, n, timeout_ms)
			: socket_read_full(line.fd, buf, n, timeout_ms);
}

int line_write_full(struct line line, const void *buf, size_t n, int timeout_ms)
{
	return line.tls ? write_full_tls(line, buf, n, timeout_ms)
			: socket_write_full(line.fd, buf, n, timeout_ms);
}

const char *line_why(struct line line, int error)
{
	if (line.tls && *tls_why(line.tls))
		return tls_why(line.tls);
	return strerror(-error);
}
