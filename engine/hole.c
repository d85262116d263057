// SPDX-License-Identifier: Apache-2.0
// Holes of a RAM block's file.
#include "hole.h"

#include <assert.h>
#include <errno.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

/* Number of the huge page. */
static uint64_t unit_of(const struct ram_block *b, uint64_t page)
{
	return page / (b->page_size >> RAM_PAGE_SHIFT);
}

static void look_at_units(struct hole_window *w, const struct ram_block *b, uint64_t first,
			  uint64_t end)
{
	uint64_t from = unit_of(b, first), to = unit_of(b, end - 1);

	for (uint64_t unit = from; unit <= to; unit++)
		w->in_core[unit - from] = !hole_probe_is_hole(b->probe, unit);
}

int hole_look(struct hole_window *w, const struct ram_block *b, uint64_t first, uint64_t end,
	      struct errtext *err)
{
	w->block = b;
	w->first = first;
	if (!hole_possible(b) || first >= end)
		return 0;
	assert(end - first <= HOLE_WINDOW_PAGES || unit_of(b, first) == unit_of(b, end - 1));
	if (b->probe) {
		look_at_units(w, b, first, end);
		return 0;
	}
	if (mincore(b->map + (first << RAM_PAGE_SHIFT), (end - first) << RAM_PAGE_SHIFT,
		    w->in_core) < 0)
		return errtext_set(err, -errno, "RAM block %s: mincore: %s", b->name,
				   strerror(errno));
	return 0;
}

/* What is not in the page cache may still have been swapped out, which SEEK_DATA knows. */
bool hole_at(const struct hole_window *w, uint64_t page)
{
	const struct ram_block *b = w->block;

	if (!hole_possible(b))
		return false;
	if (b->probe)
		return !w->in_core[unit_of(b, page) - unit_of(b, w->first)];
	return !(w->in_core[page - w->first] & 1) && hole_next_data(b, page, page + 1) != page;
}

static uint64_t next_unit_with_data(const struct ram_block *b, uint64_t page, uint64_t end)
{
	uint64_t pages = ram_block_pages(b), first = unit_of(b, page);
	uint64_t units = unit_of(b, (end < pages ? end : pages) - 1) + 1;

	for (uint64_t unit = first; unit < units; unit++)
		if (!hole_probe_is_hole(b->probe, unit))
			return unit == first ? page : unit * (b->page_size >> RAM_PAGE_SHIFT);
	return UINT64_MAX;
}

uint64_t hole_next_data(const struct ram_block *b, uint64_t page, uint64_t end)
{
	off_t at;

	if (page >= end)
		return end;
	if (b->probe)
		return next_unit_with_data(b, page, end);
	at = lseek(b->fd, (off_t)(page << RAM_PAGE_SHIFT), SEEK_DATA);
	if (at < 0)
		return errno == ENXIO ? UINT64_MAX : page;
	return (uint64_t)at >> RAM_PAGE_SHIFT;
}
