// SPDX-License-Identifier: Apache-2.0
// The return path of QEMU's migration stream: what the source's QEMU is told. dray tells it, in the
// place of the destination's QEMU, which hears nothing before the release.
//
// dray holds the stream back from its first byte until all memory has arrived. The source's QEMU
// waits for two words of the destination's meanwhile, and gets both from here:
//
//   SWITCHOVER_ACK  at the head, if QEMU waits for it (switchover_ack.h): with the capability
//                   switchover-ack, which libvirt turns on by itself where both QEMUs have it, it
//                   does not stop the guest before; QEMU 10 spins meanwhile. It exists for devices
//                   that must prepare the destination (VFIO), which the direct lane refuses; nobody
//                   else has anything against it. QEMU that does not wait for it must not get it.
//   SHUT, no error  when the stream has come to its end (stream_end.h). It makes the source's QEMU
//                   complete its migration. That must be so BEFORE the release: until then
//                   migrate_cancel (virsh domjobabort, a libvirt client that goes away) lets the
//                   guest run on here, and is obeyed even if the destination's runs already (seen
//                   with QEMU 10.0.2 and 11.1.3). Afterwards only libvirt's Confirm(cancelled)
//                   does, which the gate keeps back (gate.h). And a device may write guest memory
//                   until its state has been saved, so the last look at memory comes after it. It
//                   must not come earlier: QEMU 7.2 closes the whole connection when it reads it.
//
// What the destination's QEMU says after the release is dropped. Messages are be16 type, be16
// length, body (QEMU, migration/migration.c, enum mig_rp_message_type).
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "stream_end.h"

/* What a call returns at most. */
#define RETURN_PATH_MAX 12

/* Zeroed, but for what the caller sets: the beginning of a stream. Belongs to one thread. */
struct return_path {
	bool acknowledge; /* set by the caller: QEMU waits for SWITCHOVER_ACK */
	bool acked, shut; /* have been said */
	struct stream_end end;
};

/* The source's QEMU has sent n bytes: puts what it is told at `out`, which has room for
 * RETURN_PATH_MAX, and returns how many bytes that are. n = 0: nothing has come yet. */
size_t return_path_answer(struct return_path *rp, const uint8_t *in, size_t n, uint8_t *out);
