// SPDX-License-Identifier: Apache-2.0
// Missing pages of another process's RAM blocks.
#include "missing.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <sched.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include "ram_private.h"

/* Pages asked about in one mincore(2). */
#define LOOK_PAGES 4096u

static struct uffdio_range range_of(const struct ram_block *b, uint64_t first, uint64_t count)
{
	return (struct uffdio_range){
		.start = b->qemu_addr + (first << RAM_PAGE_SHIFT),
		.len = count << RAM_PAGE_SHIFT,
	};
}

static int failed(const struct ram_block *b, int code, const char *what, struct errtext *err)
{
	/* ENOENT: no such mapping any more. */
	if (code == -ESRCH || code == -ENOENT)
		return errtext_set(err, -ESRCH, "RAM block %s: QEMU has gone", b->name);
	return errtext_set(err, code, "RAM block %s: %s: %s", b->name, what, strerror(-code));
}

static int unregister(int uffd, const struct ram_block *b)
{
	struct uffdio_range range = range_of(b, 0, ram_block_pages(b));

	return ioctl(uffd, UFFDIO_UNREGISTER, &range) < 0 ? -errno : 0;
}

/* The protection of a page that is missing is a mark in its place, which stays when it is filled.
 */
static int protect(int uffd, struct uffdio_range range)
{
	struct uffdio_writeprotect wp = {.range = range, .mode = UFFDIO_WRITEPROTECT_MODE_WP};

	return ioctl(uffd, UFFDIO_WRITEPROTECT, &wp) < 0 ? -errno : 0;
}

int missing_protect(int uffd, uint64_t at, uint64_t len, struct errtext *err)
{
	int ret = protect(uffd, (struct uffdio_range){.start = at, .len = len});

	return ret < 0 ? errtext_set(err, ret, "cannot protect QEMU's memory: %s", strerror(-ret))
		       : 0;
}

static int register_block(int uffd, const struct ram_block *b, bool tracked)
{
	struct uffdio_register reg = {
		.range = range_of(b, 0, ram_block_pages(b)),
		.mode = UFFDIO_REGISTER_MODE_MISSING | (tracked ? UFFDIO_REGISTER_MODE_WP : 0),
	};
	int ret = ioctl(uffd, UFFDIO_REGISTER, &reg) < 0 ? -errno : 0;

	if (ret < 0 || !tracked)
		return ret;
	ret = protect(uffd, reg.range);
	if (ret < 0)
		(void)unregister(uffd, b);
	return ret;
}

int missing_register(int uffd, const struct ram_map *ram, bool tracked, struct errtext *err)
{
	for (unsigned int i = 0; i < ram->count; i++) {
		int ret = register_block(uffd, &ram->blocks[i], tracked);

		if (ret < 0) {
			failed(&ram->blocks[i], ret, "cannot register for missing pages", err);
			while (i-- > 0)
				(void)unregister(uffd, &ram->blocks[i]);
			return ret;
		}
	}
	return 0;
}

int missing_unregister(int uffd, const struct ram_map *ram, struct errtext *err)
{
	int first = 0;

	for (unsigned int i = 0; i < ram->count; i++) {
		int ret = unregister(uffd, &ram->blocks[i]);

		if (ret < 0 && first == 0)
			first = failed(&ram->blocks[i], ret, "cannot unregister", err);
	}
	return first;
}

/* A piece cut out of a huge page of tmpfs stays, as zeroes, if that cannot be split just then: the
 * guest would read those, and no fault would tell. */
static int check_missing(const struct ram_block *b, uint64_t first, uint64_t count,
			 struct errtext *err)
{
	unsigned char in_core[LOOK_PAGES];

	while (count) {
		uint64_t n = count < LOOK_PAGES ? count : LOOK_PAGES;

		if (mincore(b->map + (first << RAM_PAGE_SHIFT), n << RAM_PAGE_SHIFT, in_core) < 0)
			return failed(b, -errno, "mincore", err);
		for (uint64_t i = 0; i < n; i++)
			if (in_core[i] & 1)
				return errtext_set(err, -EBUSY,
						   "RAM block %s: page %" PRIu64
						   " cannot be made missing: post-copy needs "
						   "memory without transparent huge pages there "
						   "(mount option huge=never)",
						   b->name, first + i);
		first += n;
		count -= n;
	}
	return 0;
}

int missing_make(const struct ram_block *b, uint64_t first, uint64_t count, struct errtext *err)
{
	if (fallocate(b->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
		      (off_t)(first << RAM_PAGE_SHIFT), (off_t)(count << RAM_PAGE_SHIFT)) < 0)
		return failed(b, -errno, "cannot punch a hole", err);
	return check_missing(b, first, count, err);
}

/* UFFDIO_COPY, or UFFDIO_ZEROPAGE without content. Returns bytes done, possibly not all, or a
 * negative errno if none. */
static int64_t fill(int uffd, uint64_t at, uint64_t len, const uint8_t *content, bool tracked)
{
	struct uffdio_copy copy = {
		.dst = at,
		.src = (uintptr_t)content,
		.len = len,
		.mode = tracked ? UFFDIO_COPY_MODE_WP : 0,
	};
	struct uffdio_zeropage zero = {.range = {.start = at, .len = len}};
	int ret = content ? ioctl(uffd, UFFDIO_COPY, &copy) : ioctl(uffd, UFFDIO_ZEROPAGE, &zero);
	int64_t done = content ? copy.copy : zero.zeropage;

	if (ret == 0)
		return (int64_t)len;
	return done > 0 ? done : -errno;
}

/* A negative errno: it cannot be told. */
static int huge_page_lacks(const struct ram_block *b, uint64_t first, uint64_t unit)
{
	bool has;
	int ret;

	if (b->probe)
		return hole_probe_is_hole(b->probe, first / unit);
	if (unit == 1 || !ram_block_is_private(b))
		return 0;
	ret = ram_private_has(b, first, 1, &has);
	return ret < 0 ? ret : !has;
}

/* Newer kernels (seen: 6.18) say EEXIST, too, when there is no huge page to be had. The content
 * must not be taken for placed: it would be lost. */
static int explain_exists(int uffd, const struct ram_block *b, uint64_t first, struct errtext *err)
{
	uint64_t unit = b->page_size >> RAM_PAGE_SHIFT;
	int lacks = huge_page_lacks(b, first, unit);

	if (lacks)
		return failed(b, lacks < 0 ? lacks : -ENOMEM, "cannot fill a page", err);
	return missing_wake(uffd, b, first, unit, err);
}

static int fill_all(int uffd, const struct ram_block *b, uint64_t first, uint64_t count,
		    const uint8_t *content, bool tracked, struct errtext *err)
{
	uint64_t unit = b->page_size >> RAM_PAGE_SHIFT;

	while (count) {
		int64_t done = fill(uffd, b->qemu_addr + (first << RAM_PAGE_SHIFT),
				    count << RAM_PAGE_SHIFT, content, tracked);
		uint64_t pages = done > 0 ? (uint64_t)done >> RAM_PAGE_SHIFT : 0;
		int ret = 0;

		if (done == -EEXIST) {
			ret = explain_exists(uffd, b, first, err);
			pages = unit;
		} else if (done == -EAGAIN) { /* QEMU changes its mappings */
			sched_yield();
		} else if (done < 0) {
			ret = failed(b, (int)done, "cannot fill a page", err);
		}
		if (ret < 0)
			return ret;
		first += pages;
		count -= pages;
		content += content ? pages << RAM_PAGE_SHIFT : 0;
	}
	return 0;
}

int missing_copy(int uffd, const struct ram_block *b, uint64_t first, uint64_t count,
		 const uint8_t *content, bool tracked, struct errtext *err)
{
	return fill_all(uffd, b, first, count, content, tracked, err);
}

int missing_zero(int uffd, const struct ram_block *b, uint64_t first, uint64_t count,
		 struct errtext *err)
{
	return fill_all(uffd, b, first, count, NULL, false, err);
}

int missing_wake(int uffd, const struct ram_block *b, uint64_t first, uint64_t count,
		 struct errtext *err)
{
	struct uffdio_range range = range_of(b, first, count);

	if (ioctl(uffd, UFFDIO_WAKE, &range) < 0)
		return failed(b, -errno, "cannot wake who waits for a page", err);
	return 0;
}
