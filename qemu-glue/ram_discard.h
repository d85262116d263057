// SPDX-License-Identifier: Apache-2.0
// Does a guest's QEMU empty its RAM's files when it ends?
//
// It does if a memory backend's `discard-data` is on (libvirt's <discard/>): told to end, by
// SIGTERM or `quit`, it gives the file's memory back, whoever else has the file open. In post-copy
// that is memory which the guest still lacks on the other host. The property obeys at run time.
//
// Through libvirt's monitor, so not during a migration job. Any thread that alone uses the host.
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include "errtext.h"
#include "host.h"

#define RAM_DISCARD_IDS_MAX 2048

/* The backends that have it on, DIMMs too: their ids, separated by blanks; "" if there are none. A
 * backend without the property, which is no file, never does it. -E2BIG: they do not fit. */
int ram_discard_find(struct host *h, const char *uuid, char ids[RAM_DISCARD_IDS_MAX],
		     struct errtext *err);
/* Switch it for those, and see that it is so. One that has been unplugged meanwhile is no error if
 * it is switched on. -EREMOTEIO: one keeps it as it is; the others may have been switched. */
int ram_discard_set(struct host *h, const char *uuid, const char *ids, bool on,
		    struct errtext *err);
