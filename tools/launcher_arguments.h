// SPDX-License-Identifier: Apache-2.0
// --launcher PID, for every subcommand that speaks to libvirt (launcher.h).
#pragma once

#include <argp.h>
#include <sys/types.h>
#include "errtext.h"
#include "libvirt_address.h"

#define LAUNCHER_ARGUMENTS_HELP                                                                    \
	"The guest is in the container of this process, as KubeVirt's virt-launcher, which has a " \
	"libvirt of its own"

/* A process id, or no return: argp_error. */
pid_t launcher_arguments_pid(const char *text, struct argp_state *state);

/* Before there is any thread: makes the launcher's libvirt reachable if one was given (pid is not
 * 0). *libvirt_socket is what --libvirt-socket said (NULL: nothing), and then the socket to use,
 * which may be `room`. Negative errno with a text. */
int launcher_arguments_enter(pid_t pid, const char **libvirt_socket, char room[LIBVIRT_SOCKET_SIZE],
			     struct errtext *err);
