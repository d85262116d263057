// SPDX-License-Identifier: Apache-2.0
// The memory behind one RAM block at the destination, before the guest runs there: a file that is
// mapped here, or memory that is private to QEMU.
//
// A granule of its pages belongs to one thread, that of its stream.
#pragma once

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include "bitmap.h"
#include "dropper.h"
#include "errtext.h"
#include "ram_map.h"
#include "wire.h"

struct destination_block {
	const struct ram_block *ram;
	bool sparse;	      /* holes are possible and kept */
	struct bitmap filled; /* sparse only: pages with memory behind them; whole huge pages. Of
			       * private memory: pages that may be other than zero */
	int memory;	      /* private only: of QEMU's process (ram_private.h); else -1 */
	/* Private only: borrowed; NULL before post-copy was agreed on. Set once, with release. */
	_Atomic(struct dropper *) dropper;
};

/* The block, mapped writable unless it is private, is borrowed. A file that is not preallocated is
 * emptied. On failure destroy it all the same; zeroed, it may be destroyed, too. */
int destination_block_init(struct destination_block *d, const struct ram_block *b,
			   struct errtext *err);
void destination_block_destroy(struct destination_block *d);

/* Not private: memory for these pages, which are about to be written, in one go instead of one
 * fault a page. -ENOMEM: there is none. */
int destination_block_fill(struct destination_block *d, const struct wire_run *run,
			   struct errtext *err);
/* Private: these pages become what is in `in`. As ram_private_write. */
int destination_block_write(struct destination_block *d, const struct wire_run *run,
			    const uint8_t *in, struct errtext *err);
/* Make these pages zero; what was not preallocated becomes a hole, if it can. */
int destination_block_clear(struct destination_block *d, const struct wire_run *run,
			    struct errtext *err);
/* From now on what is missing is waited for: nothing is written any more but what is there, and
 * pages of private memory are dropped, by the dropper's next flush. Any thread. */
void destination_block_expect_loss(struct destination_block *d, struct dropper *dropper);
/* Take the memory of [first, end), whole huge pages, away: missing_make, or the dropper. */
int destination_block_lose(struct destination_block *d, uint64_t first, uint64_t end,
			   struct errtext *err);
/* Can [end, first) be lost along with what lies on both sides, which saves a call? */
bool destination_block_bridges(const struct destination_block *d, uint64_t end, uint64_t first);
