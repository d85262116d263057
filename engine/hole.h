// SPDX-License-Identifier: Apache-2.0
// Holes of a RAM block's file: pages that have no memory behind them.
//
// Reading one through a shared mapping would allocate it, so they have to be known before. On
// hugetlbfs a hole is a whole huge page. Any thread, each with a window of its own.
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include "errtext.h"
#include "ram_map.h"

#define HOLE_WINDOW_PAGES 1024u

struct hole_window {
	const struct ram_block *block;
	uint64_t first;				  /* page that in_core begins with */
	unsigned char in_core[HOLE_WINDOW_PAGES]; /* a page of the file each; bit 0: it is there */
};

/* False where nothing tells them: on hugetlbfs without a probe, and in private memory. */
static inline bool hole_possible(const struct ram_block *b)
{
	return !ram_block_is_private(b) && (b->page_size == RAM_PAGE_SIZE || b->probe);
}

/* Look at the pages [first, end) for hole_at: at most HOLE_WINDOW_PAGES, or inside one huge page.
 */
int hole_look(struct hole_window *w, const struct ram_block *b, uint64_t first, uint64_t end,
	      struct errtext *err);
/* Is the page, looked at before, a hole? */
bool hole_at(const struct hole_window *w, uint64_t page);

/* First page in [page, end) that has memory behind it, or any number from `end` on if there is
 * none. Jumps over holes: they cost next to nothing on tmpfs, however large, and half a microsecond
 * a huge page. An error says `page`. */
uint64_t hole_next_data(const struct ram_block *b, uint64_t page, uint64_t end);
