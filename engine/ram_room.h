// SPDX-License-Identifier: Apache-2.0
// How much memory there is for a RAM block: free huge pages, or the free space of its tmpfs.
//
// Any thread; nothing is kept.
#pragma once

#include <stdint.h>
#include "errtext.h"
#include "ram_map.h"

#define RAM_ROOM_WHERE_MAX 192

struct ram_room {
	uint64_t free;			/* bytes; UINT64_MAX: no limit is known */
	uint64_t pool;			/* equal for blocks that take from the same */
	char where[RAM_ROOM_WHERE_MAX]; /* "/dev/shm/guest (tmpfs)", "huge pages of 2048 KiB" */
};

/* The room behind a block, which has its file open. */
int ram_room_look(const struct ram_block *b, struct ram_room *room);
/* Is there room here for what the blocks of `from` have allocated (ram_map_match has passed), part
 * of which may have come already? -ENOSPC, with a text that says what there is, and where. */
int ram_room_check(const struct ram_map *ram, const struct ram_map *from, struct errtext *err);
/* Memory for the block could not be had: sets a text that says where, and returns code. */
int ram_room_lacks(const struct ram_block *b, int code, struct errtext *err);
