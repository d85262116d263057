// SPDX-License-Identifier: Apache-2.0
// The pages that the destination still owes its guest: missing here, to come from the source.
//
// The set lives in a file, on tmpfs, that is mapped shared: whatever kills dray, the kernel keeps
// it, and owed_open carries on. A page is in the set from before it is made missing until after it
// is in place, so an entry may be late but never absent.
//
// Pages are counted in 4 KiB as everywhere; but they are owed in whole units, which are the pages
// of the memory behind the block: 1, or a whole huge page, all of which is missing or present.
//
// Any thread may call anything but owed_close.
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include "errtext.h"
#include "ram_map.h"

struct owed;

/* An empty set in a new file; what was there before is replaced. -ENOTSUP if a block's pages are
 * too large to be fetched one by one (WIRE_FRAME_PAGES_MAX). `ram` is borrowed. */
int owed_create(const char *path, const struct ram_map *ram, struct owed **out,
		struct errtext *err);
/* The set that an earlier process left. -ENOENT: there is none. -EINVAL: the file is damaged, or
 * about other RAM than this. */
int owed_open(const char *path, const struct ram_map *ram, struct owed **out, struct errtext *err);
/* The file stays. */
void owed_close(struct owed *o);

/* The set is complete: from now on the guest may run on it. Survives like the set itself, so that
 * a later process can tell an abandoned migration from one that has to go on. */
void owed_seal(struct owed *o);
bool owed_sealed(const struct owed *o);

/* Pages in one unit of a block. */
uint32_t owed_unit(const struct owed *o, unsigned int block);

bool owed_test(const struct owed *o, unsigned int block, uint64_t page);
/* Every unit that [first, first + count) touches. Returns pages added. */
uint64_t owed_set(struct owed *o, unsigned int block, uint64_t first, uint64_t count);
/* Every unit that lies in [first, first + count) as a whole. Returns pages removed. */
uint64_t owed_clear(struct owed *o, unsigned int block, uint64_t first, uint64_t count);
/* First page in [from, end) that is owed (is not), or end. */
uint64_t owed_next(const struct owed *o, unsigned int block, uint64_t from, uint64_t end);
uint64_t owed_next_clear(const struct owed *o, unsigned int block, uint64_t from, uint64_t end);

/* Pages owed, all blocks. */
uint64_t owed_left(const struct owed *o);
