// SPDX-License-Identifier: Apache-2.0
// A host (host.h) that is a real libvirt daemon, reached by its socket.
#pragma once

#include "errtext.h"
#include "host.h"

/* Once per process, before anything else: libvirt's own messages off standard error, its event
 * loop in a thread. */
int host_library_init(struct errtext *err);

/* The daemon's socket: `path` if not NULL, else the first that exists of libvirtd's and
 * virtqemud's (libvirt_address.h). -ENOENT with a text. */
int host_socket_path(const char *path, char out[108], struct errtext *err);

/* Connects by the given socket to qemu:///system or qemu:///session, whichever it is. *out is the
 * caller's to host_close. */
int host_open(const char *socket_path, struct host **out, struct errtext *err);
