// SPDX-License-Identifier: Apache-2.0
// Can this guest be migrated, by which lane, and if not, why not. Touches nothing.
#pragma once

#include "domain_xml.h"
#include "errtext.h"
#include "libvirt_host.h"
#include "ram_map.h"

struct guest_facts {
	struct domain_info info;
	struct domain_facts xml;
	char monitor_path[108]; /* of the private monitor; empty: none */
	pid_t qemu;
	struct ram_map ram; /* mapped read-only; guest_facts_destroy */
};

/* The process itself: root, and a kernel that can track. */
int guest_check_process(struct errtext *err);
/* 0 if the guest is ready for the direct lane; else a negative errno and a text that names the
 * guest, what is wrong and what to do. facts is filled as far as it went; destroy it always. */
int guest_check(struct host *host, const char *domain, struct guest_facts *facts,
		struct errtext *err);
void guest_facts_destroy(struct guest_facts *facts);
