// SPDX-License-Identifier: Apache-2.0
// Guest RAM that is private to QEMU, copied out of the process.
#include "ram_private.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/uio.h>
#include "cleanup.h"
#include "kernel_abi.h"

#define REGIONS 512

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

/* What has a page of its own, here or in swap: not those that read as zero without one. */
static int next_regions(int pagemap, uint64_t *at, uint64_t end, uint64_t *bytes)
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
	int n = ioctl(pagemap, PAGEMAP_SCAN, &arg);

	if (n < 0 || arg.walk_end <= *at)
		return -1;
	for (int i = 0; i < n; i++)
		*bytes += regions[i].end - regions[i].start;
	*at = arg.walk_end;
	if (n && regions[n - 1].end > *at) /* see tracker_first */
		*at = regions[n - 1].end;
	return 0;
}

uint64_t ram_private_allocated(const struct ram_block *b)
{
	uint64_t at = b->qemu_addr, end = at + b->size, bytes = 0;
	_cleanup_close_ int pagemap = -1;
	char path[64];

	snprintf(path, sizeof(path), "/proc/%d/pagemap", b->private_to);
	pagemap = open(path, O_RDONLY | O_CLOEXEC);
	while (at < end)
		if (pagemap < 0 || next_regions(pagemap, &at, end, &bytes) < 0)
			return b->size;
	return bytes;
}
