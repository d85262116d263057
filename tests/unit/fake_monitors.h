// SPDX-License-Identifier: Apache-2.0
// Monitors that a fake domain's QEMU (fake_host.h) takes while it runs, as QEMU 11.1 does, as far
// as libvirt's monitor tells of it: qom-list-properties of their type, getfd, chardev-add,
// object-add, and what removes them.
#pragma once

#include <fcntl.h>
#include <json-c/json.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

struct fake_monitors {
	bool possible;	     /* such monitors are objects */
	bool old_type;	     /* ... but do not go when their client does */
	const char *refuses; /* this command; NULL: none */
	/* under the daemon's lock */
	int fd;	       /* of the one there is, or of what it is to be made of; 0: none */
	char did[256]; /* commands that had effect, in order */
	bool has_chardev, has_monitor;
};

static inline void fake_monitors_forget(struct fake_monitors *m)
{
	if (m->fd)
		close(m->fd);
	m->fd = 0;
	m->has_chardev = m->has_monitor = false;
}

/* Greets, and answers the first command before it has come. */
static inline void fake_monitors_greet(const struct fake_monitors *m)
{
	static const char text[] = "{\"QMP\": {\"version\": {}, \"capabilities\": []}}\r\n"
				   "{\"return\": {}, \"id\": 1}\r\n";

	if (send(m->fd, text, strlen(text), MSG_NOSIGNAL) < 0)
		return; /* the client has gone */
}

static inline bool fake_monitors_do(struct fake_monitors *m, const char *name, int fd)
{
	if (strcmp(name, "getfd") == 0 && !m->fd && fd >= 0)
		m->fd = fcntl(fd, F_DUPFD_CLOEXEC, 3);
	else if (strcmp(name, "closefd") == 0 && m->fd && !m->has_chardev)
		fake_monitors_forget(m);
	else if (strcmp(name, "chardev-add") == 0 && m->fd && !m->has_chardev)
		m->has_chardev = true;
	else if (strcmp(name, "object-add") == 0 && m->has_chardev && !m->has_monitor)
		m->has_monitor = true;
	else if (strcmp(name, "object-del") == 0 && m->has_monitor)
		m->has_monitor = false;
	else if (strcmp(name, "chardev-remove") == 0 && m->has_chardev && !m->has_monitor)
		fake_monitors_forget(m);
	else
		return false;
	if (strcmp(name, "object-add") == 0)
		fake_monitors_greet(m);
	return true;
}

/* What QEMU returns: the caller's. NULL: this is none of those commands, or is refused. */
static inline json_object *fake_monitors_command(struct fake_monitors *m, const char *command,
						 int fd)
{
	char name[64] = "";
	size_t used = strlen(m->did);

	if (!m->possible || sscanf(command, "{\"execute\":\"%63[a-z-]", name) != 1 ||
	    (m->refuses && strcmp(m->refuses, name) == 0))
		return NULL;
	if (strcmp(name, "qom-list-properties") == 0 && strstr(command, "monitor-qmp"))
		return json_tokener_parse(m->old_type ? "[{\"name\": \"chardev\"}]"
						      : "[{\"name\": \"chardev\"}, "
							"{\"name\": \"close-action\"}]");
	if (!fake_monitors_do(m, name, fd))
		return NULL;
	snprintf(m->did + used, sizeof(m->did) - used, "%s%s", used ? ", " : "", name);
	return json_object_new_object();
}
