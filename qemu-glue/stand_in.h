// SPDX-License-Identifier: Apache-2.0
// Takes the place of libvirt's client library on a connection that a killed process has left.
//
// libvirt's daemon ends a migration's job when its client goes. As long as somebody else has the
// same connection open (gate.h: gate_share) it does not see that; but it pings its clients, and
// closes a connection on which nobody answers.
#pragma once

#include "errtext.h"

struct stand_in;

/* Answer the daemon's pings on this connection, which is taken over, in a thread of its own, whose
 * `gone` tells that the daemon, or the connection, has gone; not after stand_in_leave. */
int stand_in_new(int fd, void (*gone)(void *opaque), void *opaque, struct stand_in **out,
		 struct errtext *err);
/* The daemon sees its client go, and `gone` has returned if it was called. Once or more often; NULL
 * is fine. Not from `gone`. */
void stand_in_leave(struct stand_in *s);
void stand_in_destroy(struct stand_in *s); /* NULL is fine */
