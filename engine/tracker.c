// SPDX-License-Identifier: Apache-2.0
// Dirty-page tracking by userfaultfd write-protection and PAGEMAP_SCAN.
//
// category_mask == return_mask == PAGE_IS_WRITTEN and nothing else selects a path in the kernel
// (fs/proc/task_mmu.c) that takes an empty page-table entry for written. That matters: shared
// memory loses its entries under memory pressure. Two things it does not report, which the sender
// looks after: a page punched while protected (a marker stays in its place; tracker_absent finds
// those), and, on kernels before mid-2026, a range that has no page table at all.
#include "tracker.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <linux/userfaultfd.h>
#include "cleanup.h"
#include "failure_point.h"
#include "kernel_abi.h"

struct tracker {
	int uffd;		   /* owned */
	int pagemap;		   /* owned */
	const struct ram_map *ram; /* borrowed */
};

static int register_blocks(struct tracker *t, struct errtext *err)
{
	for (unsigned int i = 0; i < t->ram->count; i++) {
		const struct ram_block *b = &t->ram->blocks[i];
		struct uffdio_register reg = {
			.range = {.start = b->qemu_addr, .len = b->size},
			.mode = UFFDIO_REGISTER_MODE_WP,
		};

		if (ioctl(t->uffd, UFFDIO_REGISTER, &reg) < 0)
			return errtext_set(err, -errno,
					   "RAM block %s: cannot register with userfaultfd: %s",
					   b->name, strerror(errno));
	}
	return 0;
}

int tracker_new(int uffd, int pid, const struct ram_map *ram, struct tracker **out,
		struct errtext *err)
{
	char path[64];
	struct tracker *t = calloc(1, sizeof(*t));
	int ret;

	if (!t) {
		close(uffd);
		return errtext_set(err, -ENOMEM, "out of memory");
	}
	t->uffd = uffd;
	t->ram = ram;
	snprintf(path, sizeof(path), "/proc/%d/pagemap", pid);
	t->pagemap = open(path, O_RDONLY | O_CLOEXEC);
	if (t->pagemap < 0)
		ret = errtext_set(err, -errno, "%s: %s", path, strerror(errno));
	else
		ret = register_blocks(t, err);
	if (ret < 0) {
		tracker_destroy(t);
		return ret;
	}
	*out = t;
	return 0;
}

void tracker_destroy(struct tracker *t)
{
	if (!t)
		return;
	cleanup_close(&t->pagemap);
	cleanup_close(&t->uffd);
	free(t);
}

/* page_region is in bytes of the other process's address space; runs are pages of the block. */
static struct wire_run region_to_run(const struct ram_block *b, const struct page_region *region)
{
	return (struct wire_run){
		.first = (region->start - b->qemu_addr) >> RAM_PAGE_SHIFT,
		.count = (uint32_t)((region->end - region->start) >> RAM_PAGE_SHIFT),
	};
}

/* arg says what to look for; this where. Returns how many regions it has found. */
static int scan_into(struct tracker *t, unsigned int block, uint64_t first, uint64_t count,
		     struct pm_scan_arg *arg, struct page_region *regions, unsigned int room)
{
	const struct ram_block *b = &t->ram->blocks[block];
	int ret;

	assert(count <= TRACKER_GRANULE_PAGES || (count << RAM_PAGE_SHIFT) <= b->page_size);
	arg->size = sizeof(*arg);
	arg->flags |= PM_SCAN_CHECK_WPASYNC;
	arg->start = b->qemu_addr + (first << RAM_PAGE_SHIFT);
	arg->end = b->qemu_addr + ((first + count) << RAM_PAGE_SHIFT);
	arg->vec = (uintptr_t)regions;
	arg->vec_len = room;
	do
		ret = ioctl(t->pagemap, PAGEMAP_SCAN, arg);
	while (ret < 0 && errno == EINTR);
	if (ret < 0)
		return -errno;
	return ret;
}

static int scan(struct tracker *t, unsigned int block, uint64_t first, uint64_t count,
		struct pm_scan_arg *arg, struct wire_run runs[TRACKER_RUNS_MAX])
{
	struct page_region regions[TRACKER_RUNS_MAX];
	int n = scan_into(t, block, first, count, arg, regions, TRACKER_RUNS_MAX);

	/* The vector holds the worst case, so a short walk means the mapping has gone. */
	if (n >= 0 && arg->walk_end != arg->end)
		return -ESRCH;
	for (int i = 0; i < n; i++)
		runs[i] = region_to_run(&t->ram->blocks[block], &regions[i]);
	return n;
}

int tracker_collect(struct tracker *t, unsigned int block, uint64_t first, uint64_t count,
		    bool protect, struct wire_run runs[TRACKER_RUNS_MAX])
{
	struct pm_scan_arg arg = {
		.flags = protect ? PM_SCAN_WP_MATCHING : 0,
		.category_mask = PAGE_IS_WRITTEN,
		.return_mask = PAGE_IS_WRITTEN,
	};

	return scan(t, block, first, count, &arg, runs);
}

int tracker_absent(struct tracker *t, unsigned int block, uint64_t first, uint64_t count,
		   struct wire_run runs[TRACKER_RUNS_MAX])
{
	struct pm_scan_arg arg = {
		.category_inverted = PAGE_IS_PRESENT | PAGE_IS_WRITTEN,
		.category_mask = PAGE_IS_PRESENT | PAGE_IS_WRITTEN,
		.return_mask = PAGE_IS_PRESENT | PAGE_IS_WRITTEN,
	};

	return scan(t, block, first, count, &arg, runs);
}

/* ---- private memory ---- */

struct content_window {
	uint64_t first;
	bool has[TRACKER_GRANULE_PAGES]; /* anything but zeroes */
};

/* A page without an entry, and one mapped to the kernel's page of zeroes, has no content. What was
 * swapped out has; but where a page was protected without ever having been there, its marker looks
 * like that, too. So swap can be told from nothing only before, and in the step that protects. */
static bool had_content(const struct page_region *r)
{
	return (r->categories & PAGE_IS_SWAPPED) ||
	       ((r->categories & PAGE_IS_PRESENT) && !(r->categories & PAGE_IS_PFNZERO));
}

static void mark(struct content_window *w, const struct wire_run *run)
{
	for (uint64_t page = run->first; page < run->first + run->count; page++)
		w->has[page - w->first] = true;
}

/* One call looks at each page and protects it: page by page under the page table's lock, but where
 * there is no page table a range at once, in which a page may come to be between the look and the
 * protection (fs/proc/task_mmu.c: pagemap_scan_pte_hole). */
static int protect_all(struct tracker *t, unsigned int block, uint64_t count,
		       struct content_window *w)
{
	struct page_region regions[TRACKER_GRANULE_PAGES + 1];
	struct pm_scan_arg arg = {
		.flags = PM_SCAN_WP_MATCHING,
		.return_mask = PAGE_IS_PRESENT | PAGE_IS_SWAPPED | PAGE_IS_PFNZERO,
	};
	int n = scan_into(t, block, w->first, count, &arg, regions, TRACKER_GRANULE_PAGES + 1);

	/* All pages are in some region; walk_end says less after more than 512 of them, even where
	 * the walk has come to its end (seen with Linux 6.18). */
	if (n >= 0 && (n == 0 || regions[n - 1].end != arg.end))
		return -ESRCH;
	for (int i = 0; i < n; i++) {
		struct wire_run run = region_to_run(&t->ram->blocks[block], &regions[i]);

		if (had_content(&regions[i]))
			mark(w, &run);
	}
	return n < 0 ? n : 0;
}

static int add_present(struct tracker *t, unsigned int block, uint64_t count,
		       struct content_window *w, struct wire_run runs[TRACKER_RUNS_MAX])
{
	struct pm_scan_arg arg = {
		.category_inverted = PAGE_IS_PFNZERO,
		.category_mask = PAGE_IS_PRESENT | PAGE_IS_PFNZERO,
		.return_mask = PAGE_IS_PRESENT,
	};
	int n = scan(t, block, w->first, count, &arg, runs);

	for (int i = 0; i < n; i++)
		mark(w, &runs[i]);
	return n < 0 ? n : 0;
}

static int runs_of(const struct content_window *w, uint64_t count,
		   struct wire_run runs[TRACKER_RUNS_MAX])
{
	int n = 0;

	for (uint64_t i = 0; i < count; i++) {
		if (!w->has[i])
			continue;
		if (i && w->has[i - 1])
			runs[n - 1].count++;
		else
			runs[n++] = (struct wire_run){w->first + i, 1};
	}
	return n;
}

/* What came to be before its protection is there afterwards; what comes later counts as written.
 * Kernels before mid-2026 leave a page without an entry unprotected in the first step, and report
 * it as written for good: the second, whose answer says no more, protects it. */
int tracker_first(struct tracker *t, unsigned int block, uint64_t first, uint64_t count,
		  struct wire_run runs[TRACKER_RUNS_MAX])
{
	struct content_window w = {.first = first};
	int ret = protect_all(t, block, count, &w);

	if (ret == 0)
		ret = tracker_collect(t, block, first, count, true, runs);
	if (ret >= 0)
		ret = add_present(t, block, count, &w, runs);
	return ret < 0 ? ret : runs_of(&w, count, runs);
}

/* Kernels before mid-2026 do not report what has lost its page table, as with a huge page. */
int tracker_given_back(struct tracker *t, unsigned int block, uint64_t first, uint64_t count,
		       struct wire_run runs[TRACKER_RUNS_MAX])
{
	const unsigned long any = PAGE_IS_PRESENT | PAGE_IS_SWAPPED | PAGE_IS_WRITTEN;
	struct pm_scan_arg arg = {
		.category_inverted = any, .category_mask = any, .return_mask = any};

	return scan(t, block, first, count, &arg, runs);
}

int tracker_supported(struct errtext *err)
{
	_cleanup_close_ int fd = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);
	struct pm_scan_arg arg = {.size = sizeof(arg), .return_mask = PAGE_IS_WRITTEN};

	if (fd < 0)
		return errtext_set(err, -errno, "/proc/self/pagemap: %s", strerror(errno));
	/* An empty range is valid, so only a kernel without the call refuses. */
	if (failure_point("pagemap-scan") < 0 || ioctl(fd, PAGEMAP_SCAN, &arg) < 0)
		return errtext_set(err, -ENOTSUP,
				   "this kernel has no PAGEMAP_SCAN, which tracks the guest's "
				   "writes: run Linux 6.7 or newer on the source host");
	return 0;
}
