// SPDX-License-Identifier: Apache-2.0
// Guest RAM as dray sees it: the RAM blocks of one QEMU process.
//
// qemu-glue finds the blocks. Most are shared files: the engine reads or fills them through its own
// MAP_SHARED mapping, which outlives QEMU. On the source a block may also be private to QEMU
// (ram_private.h). The two hosts' blocks are matched by name, never by size or order.
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>
#include "errtext.h"
#include "hole_probe.h"

#define RAM_PAGE_SIZE 4096u /* the unit of tracking and of the wire, whatever backs the block */
#define RAM_PAGE_SHIFT 12
#define RAM_BLOCK_NAME_MAX 128 /* with the terminating NUL */
#define RAM_BLOCKS_MAX 256
#define RAM_BLOCK_SIZE_MAX (1ull << 46)

struct ram_block {
	char name[RAM_BLOCK_NAME_MAX]; /* QEMU's memory backend: pc.ram, ram-node0, ... */
	uint64_t size;		       /* bytes, a multiple of page_size */
	uint32_t page_size;	       /* bytes: 4096, or the huge page size on hugetlbfs */
	uint64_t allocated;	       /* bytes that had memory when it was mapped, at most size */
	/* Local side only; not on the wire. */
	uint64_t qemu_addr;	  /* where QEMU has it mapped */
	pid_t private_to;	  /* the process whose private memory it is: then it has neither
				   * file nor mapping, and fd is the pidfd; 0: none */
	bool sent_by_qemu;	  /* x-ignore-shared does not make QEMU leave it out of its own
				   * migration: private memory, or a memfd */
	int fd;			  /* the file, or -1; owned */
	uint8_t *map;		  /* our mapping, or NULL; owned */
	uint64_t kept;		  /* 512-byte blocks of its file at the hand-over (ram_kept.h); 0:
				   * not known */
	uint64_t sentinel;	  /* a page that had content then, plus one; 0: none is known */
	struct hole_probe *probe; /* knows the holes of hugetlbfs, or NULL; owned */
};

struct ram_map {
	unsigned int count;
	struct ram_block *blocks; /* owned; sorted by name, names unique */
};

/* Append a copy of *block (fd, map and probe change owner). -ENOMEM, -E2BIG past RAM_BLOCKS_MAX,
 * -EEXIST for a name that is there already, -EINVAL for an empty or unterminated name, a
 * size that is 0, too large or no multiple of page_size, a page_size that is no power of two
 * >= 4096, or more allocated than its size; on failure the caller
 * keeps fd, map and probe. Keeps the order by name. */
int ram_map_add(struct ram_map *map, const struct ram_block *block, struct errtext *err);
/* Map the file of a block whose name, size, page_size and fd are set: whole, shared, read-only or
 * writable, and with a probe if its pages are huge. On failure nothing is mapped. */
int ram_block_map(struct ram_block *block, bool writable, struct errtext *err);
void ram_block_unmap(struct ram_block *block);
/* Bytes of its file that have memory now; all of them if that cannot be told. */
uint64_t ram_block_allocated(const struct ram_block *block);
/* Unmap, close and free everything; the map is empty afterwards. */
void ram_map_destroy(struct ram_map *map);
/* Has it a block that is private? One that is sent_by_qemu? */
bool ram_map_has_private(const struct ram_map *map);
bool ram_map_is_strained(const struct ram_map *map);
/* Total bytes, and the same in pages. */
uint64_t ram_map_bytes(const struct ram_map *map);
static inline bool ram_block_is_private(const struct ram_block *b)
{
	return b->private_to > 0;
}

static inline uint64_t ram_block_pages(const struct ram_block *b)
{
	return b->size >> RAM_PAGE_SHIFT;
}

/* Both sides must hold the same blocks: names and sizes equal (page sizes may differ: all
 * traffic is in 4 KiB pages). As both are sorted, index i means the same block on both sides
 * afterwards. -EINVAL with a text that names the first block that differs. */
int ram_map_match(const struct ram_map *local, const struct ram_map *remote, struct errtext *err);
