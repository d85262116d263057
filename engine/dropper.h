// SPDX-License-Identifier: Apache-2.0
// Gathers pages that are to be dropped of memory private to QEMU, and has them dropped.
//
// Nobody but QEMU can drop them, and each time it is made to costs a few milliseconds: so what all
// streams have gathered goes in one call. Dropped pages are missing, where the block is registered
// for that (missing.h).
//
// Any thread, but dropper_destroy.
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <sys/uio.h>
#include "errtext.h"
#include "ram_map.h"

struct dropper;

struct dropper_options {
	/* Drops ranges of QEMU's memory, by its addresses. Called by one thread at a time. 0 or a
	 * negative errno with a text: some may be there still. */
	int (*drop)(void *opaque, const struct iovec *ranges, unsigned int n, struct errtext *err);
	void *opaque;
	int uffd;     /* borrowed: missing.h */
	bool tracked; /* dropped pages are protected again: to be filled is not to be written */
};

int dropper_new(const struct dropper_options *options, struct dropper **out, struct errtext *err);
/* What was added and not dropped stays. NULL is fine. */
void dropper_destroy(struct dropper *d);

/* These pages of a private block, whole huge pages, go with the next flush, or now if too many are
 * waiting for one. */
int dropper_add(struct dropper *d, const struct ram_block *b, uint64_t first, uint64_t count,
		struct errtext *err);
/* What this thread has added before, all of it, has gone when 0 is returned. Once one flush has
 * failed all do. */
int dropper_flush(struct dropper *d, struct errtext *err);
