// SPDX-License-Identifier: Apache-2.0
// Parses what a person writes for a host and port.
//
//   host          name or IPv4 address, default port
//   host:7470     name or IPv4 address
//   [fe80::1]     IPv6, default port; scope as in [fe80::1%eth0]
//   [fe80::1]:7470
//   fe80::1       two colons or more and no brackets: IPv6, default port
#include <errno.h>
#include <string.h>
#include "socket.h"

static int parse_port(const char *text, uint16_t *port)
{
	unsigned int value = 0;

	if (!*text || strlen(text) > 5)
		return -EINVAL;
	for (; *text; text++) {
		if (*text < '0' || *text > '9')
			return -EINVAL;
		value = value * 10 + (unsigned int)(*text - '0');
	}
	if (!value || value > UINT16_MAX)
		return -EINVAL;
	*port = (uint16_t)value;
	return 0;
}

int socket_parse_endpoint(const char *text, uint16_t default_port, char host[SOCKET_HOST_SIZE],
			  uint16_t *port, struct errtext *err)
{
	const char *start = text, *end = text + strlen(text), *number = NULL;
	const char *first = strchr(text, ':'), *last = strrchr(text, ':');
	size_t len;

	if (strchr(text, '@') || strchr(text, '/'))
		return errtext_set(err, -EINVAL,
				   "'%s' is not a host: its name or address alone is needed, "
				   "with no user and no URI, such as host-b or 10.0.0.2:7470",
				   text);
	if (*text == '[') {
		start++;
		end = strchr(start, ']');
		if (!end || (end[1] && end[1] != ':'))
			return errtext_set(err, -EINVAL,
					   "'%s' is not a host: expected [ADDRESS] or "
					   "[ADDRESS]:PORT",
					   text);
		number = end[1] ? end + 2 : NULL;
	} else if (first && first == last) {
		end = first;
		number = first + 1;
	}
	len = (size_t)(end - start);
	if (!len || len >= SOCKET_HOST_SIZE)
		return errtext_set(err, -EINVAL,
				   "'%s' is not a host: its name must have 1 to %d "
				   "bytes",
				   text, SOCKET_HOST_SIZE - 1);
	*port = default_port;
	if (number && parse_port(number, port))
		return errtext_set(err, -EINVAL, "'%s': the port must be a number from 1 to 65535",
				   text);
	memcpy(host, start, len);
	host[len] = '\0';
	return 0;
}
