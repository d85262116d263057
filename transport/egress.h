// SPDX-License-Identifier: Apache-2.0
// The network interface by which a connection leaves this host, and its count of bytes sent.
//
// It is the one that the route to the peer names (or the socket is bound to), not the one that has
// the local address: an address may sit on the loopback or a dummy interface. Where routes are many
// for one destination (ECMP), it is one of them. Where it is a VLAN, bond or bridge, that is the
// interface meant: what lies below is not looked for.
//
// One thread at a time.
#pragma once

#include <stdint.h>
#include "errtext.h"

struct egress;

/* connected_fd: a TCP socket, borrowed for the call. -EAFNOSUPPORT: it is of another kind;
 * -ENETUNREACH and the like from the kernel's routing. */
int egress_new(int connected_fd, struct egress **out, struct errtext *err);
void egress_destroy(struct egress *e); /* NULL is fine */

/* The interface's index, see if_indextoname(3). */
unsigned int egress_interface(const struct egress *e);
/* Bytes that it has sent so far, headers included, as its driver counts them. A negative errno
 * when it has gone. */
int egress_tx_bytes(struct egress *e, uint64_t *bytes);
