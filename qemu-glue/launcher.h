// SPDX-License-Identifier: Apache-2.0
// KubeVirt's virt-launcher, or any container with a libvirt daemon of its own: from outside.
//
// dray stays in the host's namespaces, as virt-handler is, but for a mount namespace of its own, in
// which the directory of the launcher's libvirt socket has the place that it has in the launcher.
// That directory is the daemon's user's, who is QEMU's too: there QEMU makes its sockets, and dray
// its own, and a path in it means the same to libvirt, to QEMU and to dray. Rejected: paths below
// /proc/PID/root, two names for each socket, which the user inside may lead anywhere on the host by
// symbolic links; here the kernel follows none. Also rejected: to enter the launcher's namespaces,
// which have neither dray's records nor its network.
//
// Everything else of the host's is as before. Processes that are started from here on are in that
// mount namespace, too. A socket that libvirt's daemon makes anew, as when it is started again, is
// seen; a directory that is made anew is not.
#pragma once

#include <sys/types.h>
#include "errtext.h"
#include "libvirt_address.h"

/* `pid` is any process of the launcher, `socket` the daemon's as the launcher has it, or NULL for
 * those that there may be, the user's own one among them. Before the process has any other thread;
 * needs CAP_SYS_ADMIN and CAP_SYS_CHROOT. -ESRCH, -ENOENT, -EPERM, ... with a text. */
int launcher_enter(pid_t pid, const char *socket, char out[LIBVIRT_SOCKET_SIZE],
		   struct errtext *err);
