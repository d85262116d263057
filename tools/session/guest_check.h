// SPDX-License-Identifier: Apache-2.0
// Can this guest be migrated, by which lane, and if not, why not. Touches nothing.
#pragma once

#include "conditions.h"
#include "domain_xml.h"
#include "errtext.h"
#include "host.h"
#include "ram_backends.h"
#include "ram_map.h"

struct guest_facts {
	struct domain_info info;
	struct domain_facts xml;
	char monitor_path[108]; /* of the private monitor; empty: none */
	pid_t qemu;
	bool adds_monitor;  /* that QEMU takes a monitor while it runs: added_monitor.h */
	struct ram_map ram; /* mapped read-only; guest_facts_destroy */
	/* What QEMU told of its memory; empty unless domain_is_strained. */
	struct ram_backends backends;
	/* Every reason that was found for and against, of the types LiveMigratable and DirectLane;
	 * guest_facts_destroy. */
	struct conditions conditions;
};

/* The process itself: root, and a kernel that can track. */
int guest_check_process(struct errtext *err);
/* 0 if no condition is False: the guest can be migrated by the direct lane, as far as this host
 * can tell. -ENOTSUP if one is: the text has the reason and message of the first, and how many more
 * there are. Any other negative errno: it could not be found out. facts is filled as far as it
 * went; destroy it always. */
int guest_check(struct host *host, const char *domain, struct guest_facts *facts,
		struct errtext *err);
/* The same while libvirt has a migration job on the guest, from when on nothing can be plugged in
 * or out. The job closes QEMU's monitor, so what it would tell is left out; `qemu` is the process,
 * and still is that, adds_monitor and backends (copied) what was found of it. */
int guest_check_locked(struct host *host, const char *uuid, pid_t qemu, bool adds_monitor,
		       const struct ram_backends *backends, struct guest_facts *facts,
		       struct errtext *err);
void guest_facts_destroy(struct guest_facts *facts);
