// SPDX-License-Identifier: Apache-2.0
// After a crash: find out where a guest is, and finish or undo.
#pragma once

#include <stdint.h>
#include "errtext.h"
#include "libvirt_host.h"
#include "wire.h"
#include "dial.h"

struct recover_options {
	const char *domain;	    /* name or UUID */
	const char *libvirt_socket; /* NULL: the usual one */
	uint32_t wait_ms;	    /* for daemons to settle, and for the destination to answer */
};

/* After host_library_init. 0: settled; the errtext then says how it was found, or what was done.
 * -EHOSTUNREACH: the destination does not answer, and it alone knows; -ECONNABORTED: the guest
 * ended there before all its memory had come; others: could not be done. In post-copy it takes as
 * long as it takes. */
int recover_run(const struct recover_options *options, struct errtext *told);

/* Ask the destination what it knows of a guest (QUERY), or to give up an incoming one (DISCARD). */
int recover_ask(const struct peer *peer, enum wire_type question, const uint8_t uuid[16],
		enum wire_state *state, struct errtext *err);
/* Ask until the answer is final (anything but INCOMING), for at most wait_ms; an incoming guest
 * that nobody finishes for half of that is given up. -EHOSTUNREACH if nobody answered. */
int recover_settle(const struct peer *peer, const uint8_t uuid[16], uint32_t wait_ms,
		   enum wire_state *state, struct errtext *err);
/* The guest runs elsewhere: remove the paused one, and its definition if `persistent`. */
int recover_retire(struct host *host, const char *uuid, bool persistent, struct errtext *err);
/* Wait, at most wait_ms, until libvirt has no job on the domain; then its state. */
int recover_wait_job(struct host *host, const char *uuid, uint32_t wait_ms,
		     struct domain_info *info, struct errtext *err);
