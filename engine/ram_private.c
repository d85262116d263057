// SPDX-License-Identifier: Apache-2.0
// Guest RAM that is private to QEMU, copied out of the process, and into it.
//
// Written it is by way of /proc/PID/mem, which stays the memory of the process that had the number
// when it was opened. Rejected: process_vm_writev, which is as fast (1.5 GB/s and 1.5 into memory
// that was never touched, 2 to 3 into other, on two busy cores) and goes by the number;
// UFFDIO_COPY, which is not faster and leaves a registration inside QEMU.
#include "ram_private.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/uio.h>
#include <unistd.h>
#include "cleanup.h"
#include "failure_point.h"
#include "kernel_abi.h"

#define REGIONS 512
/* Of an entry of /proc/PID/pagemap. */
#define PAGEMAP_PRESENT (1ull << 63)
#define PAGEMAP_SWAPPED (1ull << 62)
#define PAGEMAP_PROTECTED (1ull << 57) /* by a userfaultfd */
/* Of one that is swapped: the number of the swap device. The last of them stands for a marker,
 * which a write-protected page that is not there leaves in its place. */
#define PAGEMAP_SWAP_TYPE 31ull
#define SWAP_TYPE_MARKER 31ull
#define WIPE_PAGES 16u

static int failed(const struct ram_block *b, int ret, struct errtext *err)
{
	const char *why = strerror(-ret);

	if (ret == -ESRCH)
		why = "QEMU has gone";
	else if (ret == -EFAULT)
		why = "a page cannot be had: broken memory of this host, or none left to swap it "
		      "in";
	return errtext_set(err, ret, "RAM block %s: cannot read it from process %d: %s", b->name,
			   b->private_to, why);
}

/* As few pieces as there are runs of pages. Returns their number. */
static unsigned int pieces_of(const struct ram_block *b, const uint64_t *page, unsigned int n,
			      struct iovec *piece)
{
	unsigned int pieces = 0;

	for (unsigned int i = 0; i < n; i++) {
		if (i && page[i] == page[i - 1] + 1)
			piece[pieces - 1].iov_len += RAM_PAGE_SIZE;
		else
			piece[pieces++] = (struct iovec){
				(void *)(uintptr_t)(b->qemu_addr + (page[i] << RAM_PAGE_SHIFT)),
				RAM_PAGE_SIZE};
	}
	return pieces;
}

/* A short count means that the next page could not be read. */
static int copy(const struct ram_block *b, const struct iovec *piece, unsigned int pieces,
		uint8_t *out, size_t len, struct errtext *err)
{
	const struct iovec here = {out, len};
	ssize_t n = process_vm_readv(b->private_to, &here, 1, piece, pieces, 0);

	if (n < 0)
		return failed(b, -errno, err);
	return (size_t)n == len ? 0 : failed(b, -EFAULT, err);
}

int ram_private_read(const struct ram_block *b, const uint64_t *page, unsigned int n, uint8_t *out,
		     struct errtext *err)
{
	struct iovec piece[RAM_PRIVATE_PAGES_MAX];

	assert(n > 0 && n <= RAM_PRIVATE_PAGES_MAX);
	return copy(b, piece, pieces_of(b, page, n, piece), out, (size_t)n << RAM_PAGE_SHIFT, err);
}

int ram_private_read_range(const struct ram_block *b, uint64_t first, uint64_t count, uint8_t *out,
			   struct errtext *err)
{
	size_t len = count << RAM_PAGE_SHIFT;
	const struct iovec piece = {(void *)(uintptr_t)(b->qemu_addr + (first << RAM_PAGE_SHIFT)),
				    len};

	return copy(b, &piece, 1, out, len, err);
}

bool ram_private_has_ended(const struct ram_block *b)
{
	struct pollfd p = {.fd = b->fd, .events = POLLIN};

	return b->fd < 0 || poll(&p, 1, 0) > 0;
}

struct look {
	const struct ram_block *block;
	int pagemap;
	ram_private_found_fn *found;
	void *opaque;
};

static void tell(const struct look *l, uint64_t first, uint64_t count)
{
	if (count)
		l->found(l->opaque, first, count);
}

/* What has a page of its own, here or in swap: not those that read as zero without one. */
static int next_regions(const struct look *l, uint64_t *at, uint64_t end)
{
	struct page_region regions[REGIONS];
	struct pm_scan_arg arg = {
		.size = sizeof(arg),
		.start = *at,
		.end = end,
		.vec = (uintptr_t)regions,
		.vec_len = REGIONS,
		.category_inverted = PAGE_IS_PFNZERO,
		.category_mask = PAGE_IS_PFNZERO,
		.category_anyof_mask = PAGE_IS_PRESENT | PAGE_IS_SWAPPED,
		.return_mask = PAGE_IS_PRESENT,
	};
	int n = ioctl(l->pagemap, PAGEMAP_SCAN, &arg);

	if (n < 0 || arg.walk_end <= *at)
		return n < 0 ? -errno : -EIO;
	for (int i = 0; i < n; i++)
		tell(l, (regions[i].start - l->block->qemu_addr) >> RAM_PAGE_SHIFT,
		     (regions[i].end - regions[i].start) >> RAM_PAGE_SHIFT);
	*at = arg.walk_end;
	if (n && regions[n - 1].end > *at) /* see tracker_first */
		*at = regions[n - 1].end;
	return 0;
}

/* Before Linux 6.7 page by page: an entry a page (Documentation/admin-guide/mm/pagemap.rst), by
 * which one that only reads as zero is taken for one of its own. */
static int next_entries(const struct look *l, uint64_t *at, uint64_t end)
{
	uint64_t entries[REGIONS], first = (*at - l->block->qemu_addr) >> RAM_PAGE_SHIFT;
	uint64_t left = (end - *at) >> RAM_PAGE_SHIFT, n = left < REGIONS ? left : REGIONS;
	uint64_t run = 0;
	ssize_t got = pread(l->pagemap, entries, n * sizeof(*entries),
			    (off_t)((*at >> RAM_PAGE_SHIFT) * sizeof(*entries)));

	if (got != (ssize_t)(n * sizeof(*entries)))
		return got < 0 ? -errno : -EIO;
	for (uint64_t i = 0; i < n; i++) {
		bool own = entries[i] & (PAGEMAP_PRESENT | PAGEMAP_SWAPPED);

		if (!own)
			tell(l, first + i - run, run);
		run = own ? run + 1 : 0;
	}
	tell(l, first + n - run, run);
	*at += n << RAM_PAGE_SHIFT;
	return 0;
}

static int open_pagemap(const struct ram_block *b)
{
	char path[64];
	int fd;

	snprintf(path, sizeof(path), "/proc/%d/pagemap", b->private_to);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	return fd < 0 ? -errno : fd;
}

int ram_private_look(const struct ram_block *b, ram_private_found_fn *found, void *opaque)
{
	uint64_t at = b->qemu_addr, end = at + b->size;
	_cleanup_close_ int pagemap = -1;
	struct look look = {b, -1, found, opaque};
	int (*next)(const struct look *l, uint64_t *at, uint64_t end) = next_regions;
	int ret;

	look.pagemap = pagemap = open_pagemap(b);
	if (pagemap < 0)
		return pagemap;
	ret = failure_point("pagemap-scan") < 0 ? -ENOTTY : next_regions(&look, &at, end);
	if (ret == -ENOTTY) {
		next = next_entries;
		ret = 0;
	}
	while (at < end && ret == 0)
		ret = next(&look, &at, end);
	return ret;
}

static bool is_there(uint64_t entry)
{
	if (entry & PAGEMAP_SWAPPED)
		return (entry & PAGEMAP_SWAP_TYPE) != SWAP_TYPE_MARKER;
	return entry & PAGEMAP_PRESENT;
}

/* Of a huge page that is being moved, or whose memory is broken, the page map says nothing at all
 * (Linux, fs/proc/task_mmu.c: pagemap_hugetlb_range); a scan counts it as swapped, as it does the
 * marker of a page that is protected and not there. */
static bool is_out_of_sight(int pagemap, const struct ram_block *b, uint64_t page, uint64_t entry)
{
	uint64_t huge = (page << RAM_PAGE_SHIFT) / b->page_size * b->page_size;
	struct page_region region;
	struct pm_scan_arg arg = {
		.size = sizeof(arg),
		.start = b->qemu_addr + huge,
		.end = b->qemu_addr + huge + b->page_size,
		.vec = (uintptr_t)&region,
		.vec_len = 1,
		.category_mask = PAGE_IS_SWAPPED,
		.return_mask = PAGE_IS_SWAPPED,
	};

	return b->page_size > RAM_PAGE_SIZE && !(entry & PAGEMAP_PROTECTED) &&
	       ioctl(pagemap, PAGEMAP_SCAN, &arg) > 0;
}

int ram_private_has(const struct ram_block *b, uint64_t first, uint64_t count, bool *has)
{
	_cleanup_close_ int pagemap = open_pagemap(b);
	uint64_t entries[REGIONS], at = (b->qemu_addr >> RAM_PAGE_SHIFT) + first;

	if (pagemap < 0)
		return pagemap;
	for (uint64_t done = 0; done < count;) {
		uint64_t n = count - done < REGIONS ? count - done : REGIONS;
		ssize_t got = pread(pagemap, entries, n * sizeof(*entries),
				    (off_t)((at + done) * sizeof(*entries)));

		if (got != (ssize_t)(n * sizeof(*entries)))
			return got < 0 ? -errno : -EIO;
		for (uint64_t i = 0; i < n; i++)
			has[done + i] = is_there(entries[i]) ||
					is_out_of_sight(pagemap, b, first + done + i, entries[i]);
		done += n;
	}
	return 0;
}

static void add_pages(void *opaque, uint64_t first, uint64_t count)
{
	uint64_t *pages = opaque;

	(void)first;
	*pages += count;
}

uint64_t ram_private_allocated(const struct ram_block *b)
{
	uint64_t pages = 0;

	return ram_private_look(b, add_pages, &pages) < 0 ? b->size : pages << RAM_PAGE_SHIFT;
}

/* ---- writing ---- */

int ram_private_open(const struct ram_block *b, struct errtext *err)
{
	char path[64];
	int fd;

	snprintf(path, sizeof(path), "/proc/%d/mem", b->private_to);
	fd = open(path, O_RDWR | O_CLOEXEC);
	if (fd < 0)
		return errtext_set(err, -errno, "RAM block %s: %s: %s", b->name, path,
				   strerror(errno));
	if (!ram_private_has_ended(b)) /* so the number was still its own */
		return fd;
	close(fd);
	return errtext_set(err, -ESRCH, "RAM block %s: QEMU has gone", b->name);
}

static int cannot_write(const struct ram_block *b, int ret, struct errtext *err)
{
	return errtext_set(err, ret, "RAM block %s: cannot write it in process %d: %s", b->name,
			   b->private_to,
			   ret == -ESRCH ? "QEMU has gone"
					 : "there is no memory for a page, on this host or for its "
					   "QEMU's control group");
}

int ram_private_write(const struct ram_block *b, int memory, uint64_t first, uint64_t count,
		      const uint8_t *in, struct errtext *err)
{
	uint64_t at = b->qemu_addr + (first << RAM_PAGE_SHIFT);
	size_t len = count << RAM_PAGE_SHIFT;

	for (size_t done = 0; done < len;) {
		ssize_t n = pwrite(memory, in + done, len - done, (off_t)(at + done));

		if (n == 0) /* the kernel's word for memory of a process that has ended */
			return cannot_write(b, -ESRCH, err);
		if (n < 0 && errno != EINTR)
			return cannot_write(b, -ENOMEM, err);
		done += n < 0 ? 0 : (size_t)n;
	}
	return 0;
}

int ram_private_wipe(const struct ram_block *b, int memory, uint64_t first, uint64_t count,
		     struct errtext *err)
{
	static const uint8_t zeroes[WIPE_PAGES * RAM_PAGE_SIZE];
	int ret = 0;

	for (uint64_t at = first, end = first + count; at < end && ret == 0; at += WIPE_PAGES)
		ret = ram_private_write(b, memory, at,
					end - at < WIPE_PAGES ? end - at : WIPE_PAGES, zeroes, err);
	return ret;
}
