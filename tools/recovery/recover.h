// SPDX-License-Identifier: Apache-2.0
// After a crash: find out where a guest is, and finish or undo.
#pragma once

#include <stdint.h>
#include "errtext.h"

struct recover_world;
struct stand_in;

struct recover_options {
	const char *domain;	    /* name or UUID */
	const char *libvirt_socket; /* NULL: the usual one */
	const char *tls_dir;	    /* NULL: that of the migration */
	/* Settle this migration only, as a guard does (in hexadecimal, as records have it); NULL:
	 * whichever is recorded. */
	const char *session;
	/* On the connection of the migration's client to libvirt, so that its job is still on the
	 * guest; NULL: none is. Left when QEMU has ended, or may run. */
	struct stand_in *stand_in;
	uint32_t wait_ms; /* for daemons to settle, for the destination to answer */
	const struct recover_world *world; /* recover_world_real(), but for tests */
};

/* After host_library_init. 0: settled; the errtext then says how it was found, or what was done.
 * -EHOSTUNREACH: the destination does not answer, and it alone knows; -ENOTCONN: libvirt here does
 * not answer; -ECONNABORTED: the guest ended there before all its memory had come; -ENOENT: there
 * is no such guest; -ENOTUNIQ: several have that name, and nothing was done; others: could not be
 * done. In post-copy it takes as long as it takes. */
int recover_run(const struct recover_options *options, struct errtext *told);
