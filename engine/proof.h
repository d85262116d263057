// SPDX-License-Identifier: Apache-2.0
// Proof that both hosts hold the same memory, while the guest runs on one of them.
//
// The destination has all pages protected (missing_register) before anything of the guest may write
// them. When every page has come it hashes each, and looks then which have been written since: a
// page that has not been by then held all the time what the hash is of. The source, whose memory
// stands still, compares its own pages with one digest over the rest of each piece:
//
//   pages     0   1   2   3   4        hashed, all of them
//   written           x                looked up afterwards
//   digest    of the hashes of 0 1 3 4
//
// A write that comes between hash and look leaves the page out; none is taken for intact wrongly.
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

/* What came of it, in pages of 4 KiB. */
struct proof_result {
	uint64_t equal;	  /* proven */
	uint64_t written; /* by the guest since, so there is nothing to prove */
	uint64_t unequal; /* in pieces whose digests differ */
	uint32_t block;	  /* the first such piece, if there is one */
	uint64_t first;
	uint32_t count;
};

/* `ram` is borrowed: mapped. tracker: at the destination, over QEMU's memory; NULL at the source.
 */
int proof_new(const struct ram_map *ram, struct tracker *tracker, struct proof **out,
	      struct errtext *err);
void proof_destroy(struct proof *p); /* NULL is fine */

/* Destination: the next piece, in order. 1: *out has it; 0: there is none left. */
int proof_next(struct proof *p, struct wire_proof *out, struct errtext *err);

/* Source: compare a piece, and add to the result. Only a failure to read our own memory, or a piece
 * that does not exist (-EPROTO), is an error. */
int proof_compare(struct proof *p, const struct wire_proof *piece, struct errtext *err);
void proof_result(const struct proof *p, struct proof_result *result);
