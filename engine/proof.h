// SPDX-License-Identifier: Apache-2.0
// Proof that both hosts hold the same memory, while the guest runs on one of them.
//
// The destination has all pages protected (missing_register) before anything of the guest may write
// them. When every page has come it hashes each, and looks then which have been written since: a
// page that has not been by then held all the time what the hash is of. The source, whose memory
// stands still, compares the hashes of the others with those of its own pages:
//
//   there    here
//   written  any         nothing to prove
//   h        h           equal
//   zero     h           given back since: a page that the balloon, or free page reporting, gives
//   back
//                        to the host becomes a hole without being written
//   h        zero        given back before, when its content was on its way already
//   h        other h     unequal: not the guest's doing
//
// So a page taken for unequal is damaged, and one taken for equal is not. A guest that has given
// nothing back has no page of the middle kinds: there they are unequal (proof_deny_giving_back).
// Nearly every guest could do it, as libvirt gives each a balloon; that it did is what counts: it
// has virtio-mem or free page reporting, or its balloon was inflated, or has moved meanwhile.
//
// Belongs to one thread at a time.
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include "errtext.h"
#include "ram_map.h"
#include "tracker.h"
#include "wire.h"

struct proof;

/* Page of a block. */
struct proof_place {
	unsigned int block;
	uint64_t page;
};

/* What came of it, in pages of 4 KiB. */
struct proof_result {
	uint64_t equal, written, given_back, unequal;
	struct proof_place first_given_back, first_unequal; /* if there is one */
	bool complete; /* every page is in one of the counts; not if our own were lost meanwhile */
};

/* `ram` is borrowed: mapped. tracker: at the destination, over QEMU's memory; NULL at the source.
 */
int proof_new(const struct ram_map *ram, struct tracker *tracker, struct proof **out,
	      struct errtext *err);
void proof_destroy(struct proof *p); /* NULL is fine */

/* Destination: the next piece, in order. 1: *out has it; 0: there is none left. */
int proof_next(struct proof *p, struct wire_proof *out, struct errtext *err);

/* Source: compare a piece, and add to the result. Only a failure to read our own memory, or a piece
 * that is not the next one (-EPROTO), is an error. */
int proof_compare(struct proof *p, const struct wire_proof *piece, struct errtext *err);
void proof_result(const struct proof *p, struct proof_result *result);
/* The guest has given nothing back: what would be given back is unequal. */
void proof_deny_giving_back(struct proof_result *r);
