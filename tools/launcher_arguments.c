// SPDX-License-Identifier: Apache-2.0
// --launcher PID.
#include "launcher_arguments.h"

#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include "launcher.h"

pid_t launcher_arguments_pid(const char *text, struct argp_state *state)
{
	char *end;
	long n;

	errno = 0;
	n = strtol(text, &end, 10);
	if (errno || end == text || *end || n < 1 || n > INT_MAX)
		argp_error(state, "--launcher %s: a process id is needed", text);
	return (pid_t)n;
}

int launcher_arguments_enter(pid_t pid, const char **libvirt_socket, char room[LIBVIRT_SOCKET_SIZE],
			     struct errtext *err)
{
	uint8_t uuid[16];
	int ret;

	if (!pid)
		return 0;
	ret = launcher_enter(pid, *libvirt_socket, room, err);
	if (ret < 0)
		return ret;
	*libvirt_socket = room;
	/* QEMU and dray must both be able to make sockets in its directory. */
	if (libvirt_address_identity(room, uuid) < 0)
		return errtext_set(err, -ENOTSUP,
				   "launcher %d: the directory of %s is root's: only a launcher "
				   "whose libvirt runs without root (qemu:///session) is supported",
				   pid, room);
	return 0;
}
