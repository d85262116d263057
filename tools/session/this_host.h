// SPDX-License-Identifier: Apache-2.0
// Which host this is: what a receiver says of itself, and records say of it.
//
// libvirt's host UUID, and the kernel's boot. Whoever was told it by libvirt keeps it in a file in
// GUEST_DIR_ROOT, which is what counts when libvirt does not answer within a second: its daemon
// answers nobody while it ends a QEMU, and guests in post-copy wait for a receiver that is started
// again.
#pragma once

#include "door.h"
#include "errtext.h"
#include "host.h"

typedef int this_host_open_fn(const char *socket_path, struct host **out, struct errtext *err);

/* Any thread. Negative errno with a text if it is not known, and libvirt cannot tell. */
int this_host(this_host_open_fn *open, const char *libvirt_socket, struct door_host *self,
	      struct errtext *err);
