// SPDX-License-Identifier: Apache-2.0
// What dray keeps of a guest on one host: /run/dray/UUID.
//
//   lock         flock: one migrate, session of receive, or recover at a time
//   outgoing     record (record.h) of the migration that left, or is leaving, from here
//   incoming     record of the migration that came, or is coming, here
//   gate.sock    libvirt's calls to the source's daemon     (root's, while migrating)
//   tunnel.sock  libvirt's calls to the destination's
//   control.sock status, cancel, set (live.h)               (root's, while it leaves)
//   incoming.sock  the same                                 (root's, while it comes)
//   owed         the pages that a guest in post-copy still lacks here (owed.h)
//   qemu/        QEMU's user's: stream.sock                 (while migrating)
//
// It is there for as long as something is in it that a later dray may need: a migration that left,
// or was given up, leaves nothing, one that came leaves its record, by which the source is
// answered.
//
// On a tmpfs: a host that reboots has lost the guests anyway.
//
// The socket of the guest's private monitor is elsewhere, in libvirt's own directory for QEMU. QEMU
// 11.1 and newer drop it when the guest has arrived (monitor_log.h). But its path is in the guest's
// XML, and goes along with a managed save, over a reboot, and with a migration by somebody else to
// a host that has never seen dray: QEMU makes the socket, and must be able to wherever libvirt
// starts that XML. libvirtd makes the directory when it starts, and gives it to QEMU's user.
// Rejected: the guest's own directory in there, whose name has libvirt's number of the guest,
// another one each time; an abstract address, which has no permissions; a monitor that connects to
// us, which QEMU would try, and log, for as long as the guest lives.
//
// The QEMU of a user's own daemon (qemu:///session, as in a launcher of KubeVirt's) may write to no
// such place. Both its sockets, stream and monitor, are in that daemon's directory, which it makes
// when it starts: dray-UUID.stream, dray-UUID.monitor.
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>
#include "errtext.h"

#define GUEST_DIR_ROOT "/run/dray"
#define GUEST_DIR_CONTROL "control.sock"
#define GUEST_DIR_INCOMING "incoming.sock"
#define GUEST_DIR_MONITORS "/var/lib/libvirt/qemu"

#define GUEST_DIR_SOCKETS_SIZE 56

struct guest_dir {
	char path[80]; /* /run/dray/UUID */
	char gate[108], tunnel[108], control[108], incoming_control[108], owed[108];
	char stream[108], monitor[108];
	int lock; /* -1: not held */
};

/* Fill in the paths; touches nothing. */
void guest_dir_paths(struct guest_dir *d, const char *uuid);
/* QEMU's sockets are in this directory of its daemon's (host_qemu_sockets); "": in the usual ones.
 */
void guest_dir_set_sockets(struct guest_dir *d, const char *directory);
/* Make the directories and take the lock. qemu/ belongs to uid:gid (pass -1 to leave it as it is).
 * -EBUSY with a text if another dray works on this guest. */
int guest_dir_open(struct guest_dir *d, const char *uuid, uid_t uid, gid_t gid,
		   struct errtext *err);
/* Give the lock back, and remove the directory if nothing in it is of use any more. */
void guest_dir_close(struct guest_dir *d);
/* Whoever used the directory without its lock has done: the same, unless somebody else has it. */
void guest_dir_tidy(const char *uuid);
