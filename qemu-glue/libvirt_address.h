// SPDX-License-Identifier: Apache-2.0
// A libvirt daemon as it is reached: its socket, what it is, and the URI for libvirt's library.
//
// The sockets that daemons listen on are one table, here. Any thread; no shared state.
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>
#include "errtext.h"

#define LIBVIRT_SOCKET_SIZE 108
#define LIBVIRT_URI_SIZE 200

struct libvirt_address {
	char socket[LIBVIRT_SOCKET_SIZE];
	bool session; /* a user's own daemon, which runs its QEMUs as that user */
	pid_t pid;    /* whoever made the socket, as seen here; 0: not to be seen */
	uid_t uid;
	gid_t gid;
};

/* Where a daemon's socket may be, relative to the root; NULL: no more. `runtime` is the
 * XDG_RUNTIME_DIR of a user, or NULL for the host's own daemons. */
const char *libvirt_address_candidate(size_t i, const char *runtime, char out[LIBVIRT_SOCKET_SIZE]);

/* Who listens there. A guess at `session`, by its user: a daemon in a user namespace of its own may
 * be another user's to us, and the system's to its QEMUs. Negative errno with a text. */
int libvirt_address_look(const char *socket, struct libvirt_address *out, struct errtext *err);

/* For virConnectOpen. */
void libvirt_address_uri(const struct libvirt_address *address, char uri[LIBVIRT_URI_SIZE]);

/* The directory that the socket is in, which is the daemon's. -ENAMETOOLONG. */
int libvirt_address_directory(const char *socket, char *out, size_t size);

/* The UUID that stands for the host of a daemon that is a user's own: such a daemon may make one
 * up each time it starts. It is that of its directory, until that is made anew, or the host is
 * started anew. -ENOENT: it is the system's daemon, which tells its own. */
int libvirt_address_identity(const char *socket, uint8_t uuid[16]);
