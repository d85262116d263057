// SPDX-License-Identifier: Apache-2.0
// The gate: dray's own seat between libvirt's client library and the source's libvirtd.
//
// A managed migration is a series of calls that the client library makes: Begin, Prepare, Perform,
// Finish, Confirm. Two of those to the source's daemon must not go out before their time, and the
// library cannot be told so. Its connection therefore leads through this socket:
//
//   Perform   (QEMU starts its own migration, and soon stops the guest) is kept back until
//             gate_open: dray moves RAM meanwhile. The daemon holds no lock on the guest, so every
//             other tool can go on looking at it.
//   Confirm with cancelled = 1   (resume the guest on the source) is kept back once gate_forbid
//             was called, until gate_permit: after the hand-over a broken connection must never
//             lead to a guest running twice.
//   Confirm with cancelled = 0   (end the source's QEMU: the guest runs at the destination) is kept
//             back, too, if gate_forbid was told so: in post-copy QEMU may be the only one to have
//             the memory that is to follow. libvirt's job stays meanwhile, so nobody resumes the
//             guest through libvirt.
//
// Once Perform has passed, QEMU's migration must never wait for anything: the RAM that it would
// send is the direct lane's, so what is left is quickly sent, and QEMU 10 then spins, with more
// than 10,000 MIGRATION_PASS events a second, until it may stop the guest. What each version, and
// machine type, waits for before it does stands in switchover_ack.h; who tells it, in
// return_path.h.
//
// Everything else passes untouched, in order. A held call is the library's own message, forwarded
// later; libvirt allows calls to overtake each other. One connection per gate.
#pragma once

#include <stdbool.h>
#include "errtext.h"

struct gate;

struct gate_options {
	const char *listen_path;  /* created here, mode 0600; removed by gate_destroy */
	const char *libvirt_path; /* the daemon's socket */
	/* The call is being held. From the gate's thread; must not call back into the gate. */
	void (*perform_held)(void *opaque);
	void (*confirm_held)(void *opaque, bool cancelled);
	void *opaque;
};

/* Listens, and serves the one connection in threads of its own. */
int gate_new(const struct gate_options *options, struct gate **out, struct errtext *err);
/* Let Perform pass, now or when it comes. Any thread, once or more often. */
void gate_open(struct gate *g);
/* From now on hold Confirm(cancelled); `all`: hold every Confirm. Any thread. Returns false if a
 * cancelled one has passed already, in which case the guest is about to run on the source and must
 * not be released. */
bool gate_forbid(struct gate *g, bool all);
/* Let it pass after all: the destination is known not to run the guest; or nobody needs the
 * source's QEMU any more. Any thread. */
void gate_permit(struct gate *g);
/* A descriptor of our own of the connection to the daemon, the caller's: as long as it is open the
 * daemon does not see its client go, though this process be killed. -ENOTCONN: there is none, or it
 * was cut. Any thread. */
int gate_share(struct gate *g, int *fd);
/* Cut the connection: the library's calls fail, and the daemon sees its client go. Any thread. */
void gate_cut(struct gate *g);
void gate_destroy(struct gate *g);
