// SPDX-License-Identifier: Apache-2.0
// Holes of a RAM block's file.
#include "hole.h"

#include <assert.h>
#include <errno.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

int hole_look(struct hole_window *w, const struct ram_block *b, uint64_t first, uint64_t end,
	      struct errtext *err)
{
	w->block = b;
	w->first = first;
	if (!hole_possible(b) || first >= end)
		return 0;
	assert(end - first <= HOLE_WINDOW_PAGES);
	if (mincore(b->map + (first << RAM_PAGE_SHIFT), (end - first) << RAM_PAGE_SHIFT,
		    w->in_core) < 0)
		return errtext_set(err, -errno, "RAM block %s: mincore: %s", b->name,
				   strerror(errno));
	return 0;
}

/* What is not in the page cache may still have been swapped out, which SEEK_DATA knows. */
bool hole_at(const struct hole_window *w, uint64_t page)
{
	if (!hole_possible(w->block) || w->in_core[page - w->first] & 1)
		return false;
	return hole_next_data(w->block, page) != page;
}

uint64_t hole_next_data(const struct ram_block *b, uint64_t page)
{
	off_t at = lseek(b->fd, (off_t)(page << RAM_PAGE_SHIFT), SEEK_DATA);

	if (at < 0)
		return errno == ENXIO ? UINT64_MAX : page;
	return (uint64_t)at >> RAM_PAGE_SHIFT;
}
