// SPDX-License-Identifier: Apache-2.0
// The control socket of a running migration: the client.
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include "clock.h"
#include "json_field.h"
#include "live.h"
#include "socket.h"

static int remaining_ms(uint64_t deadline_us)
{
	uint64_t now = clock_monotonic_us();

	return now >= deadline_us ? 0 : (int)((deadline_us - now + 999) / 1000);
}

/* The send time-out bounds connect(2) too, which waits while the server has too many clients. */
static int connect_to(const char *path, int timeout_ms, int *out)
{
	struct timeval limit = {timeout_ms / 1000, timeout_ms % 1000 * 1000};
	struct sockaddr_un addr = {.sun_family = AF_UNIX};
	_cleanup_close_ int fd = -1;

	if (strlen(path) >= sizeof(addr.sun_path))
		return -ENAMETOOLONG;
	strcpy(addr.sun_path, path);
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof(limit)) < 0)
		return -errno;
	if (connect(fd, (const struct sockaddr *)&addr, sizeof(addr)) < 0)
		return errno == EAGAIN ? -ETIMEDOUT : -errno;
	*out = steal_fd(&fd);
	return 0;
}

static int send_request(int fd, json_object *request, uint64_t deadline_us)
{
	const char *text = json_object_to_json_string_ext(
		request, JSON_C_TO_STRING_PLAIN | JSON_C_TO_STRING_NOSLASHESCAPE);
	int ret;

	if (strlen(text) >= LIVE_REQUEST_MAX)
		return -E2BIG;
	ret = socket_write_full(fd, text, strlen(text), remaining_ms(deadline_us));
	return ret < 0 ? ret : socket_write_full(fd, "\n", 1, remaining_ms(deadline_us));
}

/* One line into buf, NUL-terminated, its newline removed. */
static int receive_line(int fd, char buf[LIVE_REPLY_MAX], uint64_t deadline_us)
{
	for (size_t len = 0; len < LIVE_REPLY_MAX;) {
		struct pollfd p = {.fd = fd, .events = POLLIN};
		int ready = poll(&p, 1, remaining_ms(deadline_us));
		ssize_t n;
		char *end;

		if (ready < 0 && errno != EINTR)
			return -errno;
		if (ready == 0)
			return -ETIMEDOUT;
		n = ready > 0 ? recv(fd, buf + len, LIVE_REPLY_MAX - len, MSG_DONTWAIT) : 0;
		if (n < 0 && errno != EAGAIN && errno != EINTR)
			return -errno;
		if (n == 0 && ready > 0)
			return -ECONNRESET;
		end = n > 0 ? memchr(buf + len, '\n', (size_t)n) : NULL;
		if (end) {
			*end = '\0';
			return 0;
		}
		len += n > 0 ? (size_t)n : 0;
	}
	return -EPROTO;
}

static int parse_reply(const char *line, json_object **reply, struct errtext *err)
{
	_cleanup_json_ json_object *o = json_tokener_parse(line);
	json_object *ok = json_field(o, "ok");
	char text[ERRTEXT_SIZE];

	if (!json_object_is_type(ok, json_type_boolean))
		return -EPROTO;
	if (!json_object_get_boolean(ok))
		return errtext_set(err, -EREMOTEIO, "%s",
				   json_field_text(o, "error", text, sizeof(text)));
	*reply = steal_ptr(&o);
	return 0;
}

int live_call(const char *path, json_object *request, json_object **reply, int timeout_ms,
	      struct errtext *err)
{
	uint64_t deadline_us = clock_monotonic_us() + (uint64_t)timeout_ms * 1000;
	_cleanup_free_ char *line = malloc(LIVE_REPLY_MAX);
	_cleanup_close_ int fd = -1;
	int ret = line ? connect_to(path, timeout_ms, &fd) : -ENOMEM;

	if (ret == 0)
		ret = send_request(fd, request, deadline_us);
	if (ret == 0)
		ret = receive_line(fd, line, deadline_us);
	if (ret == 0)
		ret = parse_reply(line, reply, err);
	return ret < 0 ? errtext_set(err, ret, "%s: the migration does not answer: %s", path,
				     strerror(-ret))
		       : 0;
}
