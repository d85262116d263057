// SPDX-License-Identifier: Apache-2.0
// The return path of QEMU's migration stream: what the destination's QEMU says to the source's.
//
// With the capability switchover-ack, which libvirt turns on by itself where both QEMUs have it,
// the source's QEMU does not stop the guest before the destination's has sent SWITCHOVER_ACK, and
// that one sends it when it reads OPEN_RETURN_PATH. dray holds the stream back from its first byte
// until all memory has arrived, so the acknowledgement would never come, and QEMU 10 spins
// meanwhile. The acknowledgement exists for devices that must prepare the destination (VFIO), which
// the direct lane refuses; nobody else has anything to say against the switch-over. So dray puts it
// in at the head of the return path, and drops the real one when it comes after the release.
//
//   QEMU 7.2              does not know the message: it must not be sent (the caller asks)
//   QEMU 8.1 to 10        waits for it in any case
//   QEMU 11.1             waits for it with machine types before 11.1; else only if a device asks
//
// A source that does not wait takes note of it and goes on. Messages are be16 type, be16 length,
// body (QEMU, migration/migration.c, enum mig_rp_message_type).
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* What a call may return beyond what it was given. */
#define RETURN_PATH_EXTRA 8

/* Zeroed: the beginning of a stream. Belongs to one thread. */
struct return_path {
	bool acked;	   /* ours has been put in */
	bool swallowed;	   /* the real one has been dropped */
	uint8_t head[4];   /* of the message that is coming in */
	unsigned int have; /* bytes of it */
	uint32_t body;	   /* bytes of its body still to come */
};

/* Turns n bytes from the destination into what goes to the source, at `out`, which has room for
 * n + RETURN_PATH_EXTRA. Returns how many. n may be 0: the acknowledgement goes first. */
size_t return_path_translate(struct return_path *rp, const uint8_t *in, size_t n, uint8_t *out);
