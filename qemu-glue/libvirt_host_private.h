// SPDX-License-Identifier: Apache-2.0
// What the libvirt files share among themselves.
#pragma once

#include "libvirt_host.h"

struct watch;

struct host {
	virConnectPtr conn;
	char uri[200];
	struct watch *watch; /* NULL: not watching */
	int event_id;
};

/* Fill err from libvirt's last error; -ENOENT if the domain is unknown, else -EIO. */
int host_failed(struct errtext *err, const char *what);
/* NULL with err filled. */
virDomainPtr host_domain(struct host *h, const char *uuid, struct errtext *err);
void host_domain_free(virDomainPtr *dom);
