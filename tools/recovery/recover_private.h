// SPDX-License-Identifier: Apache-2.0
// What recover.c and recover_postcopy.c share.
#pragma once

#include "host.h"
#include "record.h"
#include "recover.h"
#include "wire.h"

/* recover.c */
/* The source's side: who has the guest of this record, by libvirt here and, if need be, by the
 * destination; then resume or remove the one here. 0: settled; *elsewhere: it lives there, as far
 * as can be known. */
int recover_settle_departure(struct host *host, const struct record *r, uint32_t wait_ms,
			     bool *elsewhere, struct errtext *told);

/* recover_postcopy.c */
/* This host's libvirt. */
int recover_open_host(const struct recover_options *options, struct host **out,
		      struct errtext *err);
/* The guest was handed over, and memory that it lacks may be here: hold that, serve it, and settle
 * what libvirt has here. Returns as recover_run. */
int recover_serve_pages(const struct recover_options *options, const struct guest_dir *dir,
			const struct record *r, struct errtext *told);
/* The guest was handed over to here, and memory is still to come. host may be NULL. Gives the lock
 * back. -EINPROGRESS: somebody else is at it, or nobody can be. */
int recover_await_pages(const struct recover_options *options, struct host *host,
			struct guest_dir *dir, struct record *r, struct errtext *told);
