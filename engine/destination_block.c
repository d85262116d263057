// SPDX-License-Identifier: Apache-2.0
// The memory behind one RAM block at the destination, before the guest runs there.
//
// A block that is not preallocated begins empty and `filled` records what has been written: a zero
// page that was never filled needs no work, and one that was goes back to being a hole. On
// hugetlbfs whole huge pages are filled, and become holes.
//
// Private memory cannot be emptied from outside. What the fresh QEMU has written of it (firmware, a
// kernel of -kernel) counts as filled at first, and what is filled and shall be zero is written
// with zeroes, and has memory from then on. In post-copy QEMU is made to drop pages (dropper.h): a
// write to one that is missing would wait for it, so zeroes are written only into what is filled.
#include "destination_block.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include "cleanup.h"
#include "hole.h"
#include "missing.h"
#include "ram_access.h"
#include "ram_private.h"
#include "ram_room.h"
#include "tracker.h"
#include "zero.h"

/* Below this, one fault per page costs less than the call that avoids them. */
#define POPULATE_PAGES_MIN 8

static int punch(const struct ram_block *b, uint64_t first, uint64_t count)
{
	if (fallocate(b->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
		      (off_t)(first << RAM_PAGE_SHIFT), (off_t)(count << RAM_PAGE_SHIFT)) < 0)
		return -errno;
	return 0;
}

static void note_filled(void *opaque, uint64_t first, uint64_t count)
{
	struct destination_block *d = opaque;

	bitmap_set(&d->filled, first, count);
}

static int init_private(struct destination_block *d, struct errtext *err)
{
	int ret = bitmap_init(&d->filled, ram_block_pages(d->ram));

	if (ret < 0)
		return errtext_set(err, ret, "out of memory");
	d->sparse = true;
	d->memory = ram_private_open(d->ram, err);
	if (d->memory < 0)
		return d->memory;
	if (ram_private_look(d->ram, note_filled, d) < 0)
		bitmap_set(&d->filled, 0, ram_block_pages(d->ram));
	return 0;
}

/* A file that already has all its memory was preallocated, by libvirt or for hugetlbfs, so that
 * it can never be short of it later: keep it so. */
int destination_block_init(struct destination_block *d, const struct ram_block *b,
			   struct errtext *err)
{
	struct stat st;
	int ret;

	*d = (struct destination_block){.ram = b, .memory = -1};
	if (ram_block_is_private(b))
		return init_private(d, err);
	if (fstat(b->fd, &st) < 0)
		return errtext_set(err, -errno, "RAM block %s: %s", b->name, strerror(errno));
	d->sparse = (uint64_t)st.st_blocks * 512 < b->size;
	if (!d->sparse)
		return 0;
	ret = punch(b, 0, ram_block_pages(b));
	if (ret < 0)
		return errtext_set(err, ret, "RAM block %s: cannot empty its memory file: %s",
				   b->name, strerror(-ret));
	return bitmap_init(&d->filled, ram_block_pages(b));
}

void destination_block_destroy(struct destination_block *d)
{
	bitmap_destroy(&d->filled);
	if (d->ram)
		cleanup_close(&d->memory);
}

static uint64_t unit_pages(const struct ram_block *b)
{
	return b->page_size >> RAM_PAGE_SHIFT;
}

/* Pages [first, end) of a block. */
struct stretch {
	const struct ram_block *block;
	uint64_t first, end;
};

static void wipe(void *arg)
{
	const struct stretch *s = arg;

	for (uint64_t page = s->first; page < s->end; page++) {
		uint8_t *at = s->block->map + (page << RAM_PAGE_SHIFT);

		if (!zero_page(at))
			memset(at, 0, RAM_PAGE_SIZE);
	}
}

/* Make pages zero where they are. To touch a huge page that has no memory would give it some. */
static int clear_dense(const struct ram_block *b, uint64_t first, uint64_t end, struct errtext *err)
{
	uint64_t unit = unit_pages(b);
	struct stretch s = {b, first, end};
	int ret = 0;

	if (!b->probe)
		return ram_access(b, wipe, &s, err);
	while (ret == 0 && (s.first = hole_next_data(b, s.first, end)) < end) {
		s.end = (s.first / unit + 1) * unit;
		s.end = s.end < end ? s.end : end;
		ret = ram_access(b, wipe, &s, err);
		s.first = s.end;
	}
	return ret;
}

static struct dropper *dropper_of(const struct destination_block *d)
{
	return atomic_load_explicit(&d->dropper, memory_order_acquire);
}

/* Before post-copy it keeps its memory. */
static int empty_private(struct destination_block *d, const struct stretch *s, struct errtext *err)
{
	uint64_t unit = unit_pages(s->block), from = (s->first + unit - 1) / unit * unit;
	uint64_t to = s->end / unit * unit;
	int ret;

	bitmap_clear(&d->filled, s->first, s->end - s->first);
	if (from >= to || !dropper_of(d))
		return ram_private_wipe(s->block, d->memory, s->first, s->end - s->first, err);
	ret = ram_private_wipe(s->block, d->memory, s->first, from - s->first, err);
	if (ret == 0)
		ret = ram_private_wipe(s->block, d->memory, to, s->end - to, err);
	return ret < 0 ? ret : dropper_add(dropper_of(d), s->block, from, to - from, err);
}

/* What is filled and now zero: whole huge pages become holes. */
static int empty(struct destination_block *d, uint64_t first, uint64_t end, struct errtext *err)
{
	const struct ram_block *b = d->ram;
	uint64_t unit = unit_pages(b), from = (first + unit - 1) / unit * unit;
	uint64_t to = end / unit * unit;
	int ret;

	if (ram_block_is_private(b))
		return empty_private(d, &(struct stretch){b, first, end}, err);
	if (from >= to)
		return clear_dense(b, first, end, err);
	ret = punch(b, from, to - from);
	if (ret < 0)
		return errtext_set(err, ret, "RAM block %s: cannot punch a hole: %s", b->name,
				   strerror(-ret));
	bitmap_clear(&d->filled, from, to - from);
	ret = clear_dense(b, first, from, err);
	return ret < 0 ? ret : clear_dense(b, to, end, err);
}

/* Empty each stretch of the run that has memory behind it. */
static int clear_sparse(struct destination_block *d, const struct wire_run *run,
			struct errtext *err)
{
	uint64_t end = run->first + run->count;

	for (uint64_t at = run->first;;) {
		uint64_t from = bitmap_next_set(&d->filled, at, end);
		int ret;

		if (from == end)
			return 0;
		at = bitmap_next_clear(&d->filled, from, end);
		ret = empty(d, from, at, err);
		if (ret < 0)
			return ret;
	}
}

int destination_block_clear(struct destination_block *d, const struct wire_run *run,
			    struct errtext *err)
{
	if (d->sparse)
		return clear_sparse(d, run, err);
	return clear_dense(d->ram, run->first, run->first + run->count, err);
}

int destination_block_write(struct destination_block *d, const struct wire_run *run,
			    const uint8_t *in, struct errtext *err)
{
	bitmap_set(&d->filled, run->first, run->count);
	return ram_private_write(d->ram, d->memory, run->first, run->count, in, err);
}

int destination_block_fill(struct destination_block *d, const struct wire_run *run,
			   struct errtext *err)
{
	const struct ram_block *b = d->ram;
	uint64_t unit = unit_pages(b), first = run->first / unit * unit;
	uint64_t end = (run->first + run->count + unit - 1) / unit * unit;

	if (!d->sparse)
		return 0;
	/* EFAULT: to touch it would be a SIGBUS. */
	if ((run->count >= POPULATE_PAGES_MIN || unit > 1) &&
	    bitmap_next_clear(&d->filled, first, end) < end &&
	    madvise(b->map + (first << RAM_PAGE_SHIFT), (end - first) << RAM_PAGE_SHIFT,
		    MADV_POPULATE_WRITE) < 0 &&
	    (errno == EFAULT || errno == ENOMEM))
		return ram_room_lacks(b, -ENOMEM, err);
	bitmap_set(&d->filled, first, end - first);
	return 0;
}

/* What has no memory stays as it is. Not past a granule, behind which pages are another stream's.
 */
bool destination_block_bridges(const struct destination_block *d, uint64_t end, uint64_t first)
{
	if (first < end)
		return false;
	if (first == end)
		return true;
	return d->sparse && end / TRACKER_GRANULE_PAGES == first / TRACKER_GRANULE_PAGES &&
	       bitmap_next_set(&d->filled, end, first) == first;
}

void destination_block_expect_loss(struct destination_block *d, struct dropper *dropper)
{
	const struct ram_block *b = d->ram;

	if (!b)
		return;
	/* A huge page that comes to be over a missing one would fill it. Kernels without huge pages
	 * refuse, rightly. Of private memory that is registered the kernel makes none. */
	if (!ram_block_is_private(b))
		(void)madvise(b->map, b->size, MADV_NOHUGEPAGE);
	atomic_store_explicit(&d->dropper, dropper, memory_order_release);
}

int destination_block_lose(struct destination_block *d, uint64_t first, uint64_t end,
			   struct errtext *err)
{
	if (d->sparse)
		bitmap_clear(&d->filled, first, end - first);
	if (ram_block_is_private(d->ram))
		return dropper_add(dropper_of(d), d->ram, first, end - first, err);
	return missing_make(d->ram, first, end - first, err);
}
