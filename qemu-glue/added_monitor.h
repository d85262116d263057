// SPDX-License-Identifier: Apache-2.0
// A monitor that a running QEMU is given for a while, and drops when its client hangs up.
//
// QEMU 11.1 and newer have monitors that are objects: one can be added, on a socket that libvirt
// passes on to QEMU, and its close-action says that it goes when the other end of the socket does,
// by whatever. So there is no file, nothing of it is in the guest's XML, and a dray that is killed
// leaves nothing in QEMU. Which QEMU can do that is asked by the properties of the type.
//
// This is for a guest that is to leave. The QEMU of one that comes cannot be given its monitor in
// this way: libvirt lets nobody speak to it from its start until the guest runs, and before that
// dray sets x-ignore-shared there, and QEMU's own log of what it says must have begun
// (monitor_log.h). That one has its monitor on the command line, by the XML that libvirt starts it
// with (domain_xml.h), and drops it, with socket and log, once the guest has arrived
// (monitor_log_quiet). What remains of it is what libvirt tells of that command line in the live
// XML, until the guest is started, or moved, the next time.
//
// Rejected: qom-list-types, for which QEMU loads all of its modules.
//
// Through libvirt's monitor, so not during a migration job. Any thread that alone uses the host.
#pragma once

#include <stdbool.h>
#include "errtext.h"
#include "host.h"
#include "qmp.h"

/* Can the guest's QEMU do that? */
int added_monitor_is_possible(struct host *h, const char *uuid, bool *possible,
			      struct errtext *err);
/* Can this QEMU program, of which no guest runs yet? It is started to tell; by libvirt's word of
 * where it is (host_emulator), as what it can load depends on that. */
int added_monitor_ask_program(const char *path, bool *possible, struct errtext *err);
/* Add it, and be its client: qmp_close drops it. One at a time for each guest. */
int added_monitor_open(struct host *h, const char *uuid, int timeout_ms, struct qmp **out,
		       struct errtext *err);
