// SPDX-License-Identifier: Apache-2.0
// A guest's RAM inside the test's own process: each block is a memory file mapped twice, once as
// the guest (tracked) and once as dray.
#pragma once

#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>
#include "kernel_abi.h"
#include "ram_map.h"
#include "tracker.h"

#define GUEST_HUGE_SIZE (2u << 20)
/* Ends inside a granule. */
#define GUEST_ODD_SIZE ((4u << 20) + (12u << 10))

static inline void *guest_ram_mmap(int fd, uint64_t size)
{
	void *p = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);

	if (p == MAP_FAILED)
		cr_skip_test("cannot map %llu bytes of guest memory (is there a pool of huge "
			     "pages?): %s",
			     (unsigned long long)size, strerror(errno));
	return p;
}

static inline struct ram_block *guest_ram_find(const struct ram_map *map, const char *name)
{
	for (unsigned int i = 0; i < map->count; i++)
		if (!strcmp(map->blocks[i].name, name))
			return &map->blocks[i];
	cr_assert_fail("no block %s", name);
}

/* An empty block. Huge pages that cannot be had skip the test. */
static inline void guest_ram_add(struct ram_map *map, const char *name, uint64_t size,
				 uint32_t page_size)
{
	struct ram_block b = {.size = size, .page_size = page_size};
	struct errtext err = {0};

	snprintf(b.name, sizeof(b.name), "%s", name);
	b.fd = memfd_create(name, MFD_CLOEXEC | (page_size > RAM_PAGE_SIZE ? MFD_HUGETLB : 0));
	if (b.fd < 0)
		cr_skip_test("cannot create a memory file: %s", strerror(errno));
	cr_assert_eq(ftruncate(b.fd, (off_t)size), 0);
	b.map = guest_ram_mmap(b.fd, size);
	if (page_size > RAM_PAGE_SIZE)
		cr_assert_eq(hole_probe_new(b.fd, size, page_size, &b.probe), 0);
	b.qemu_addr = (uintptr_t)guest_ram_mmap(b.fd, size);
	cr_assert_eq(ram_map_add(map, &b, &err), 0, "%s", err.text);
}

/* An empty block of memory private to this process, in pages of that size; huge ones are not
 * reserved. */
static inline void guest_ram_add_private_pages(struct ram_map *map, const char *name, uint64_t size,
					       uint32_t page_size)
{
	struct ram_block b = {.size = size,
			      .page_size = page_size,
			      .fd = (int)syscall(SYS_pidfd_open, getpid(), 0),
			      .private_to = getpid()};
	struct errtext err = {0};
	int huge = page_size > RAM_PAGE_SIZE ? MAP_HUGETLB | MAP_NORESERVE : 0;
	void *at =
		mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | huge, -1, 0);

	if (at == MAP_FAILED && huge)
		cr_skip_test("no huge pages: %s", strerror(errno));
	cr_assert_neq(at, MAP_FAILED);
	snprintf(b.name, sizeof(b.name), "%s", name);
	b.qemu_addr = (uintptr_t)at;
	cr_assert_eq(ram_map_add(map, &b, &err), 0, "%s", err.text);
}

static inline void guest_ram_add_private(struct ram_map *map, const char *name, uint64_t size)
{
	guest_ram_add_private_pages(map, name, size, RAM_PAGE_SIZE);
}

static inline void guest_ram_destroy(struct ram_map *map)
{
	for (unsigned int i = 0; i < map->count; i++)
		munmap((void *)(uintptr_t)map->blocks[i].qemu_addr, map->blocks[i].size);
	ram_map_destroy(map);
}

/* A page as the guest sees it. */
static inline uint8_t *guest_page(const struct ram_block *b, uint64_t page)
{
	return (uint8_t *)(uintptr_t)b->qemu_addr + (page << RAM_PAGE_SHIFT);
}

static inline uint64_t guest_random(uint64_t *state)
{
	*state ^= *state << 13;
	*state ^= *state >> 7;
	*state ^= *state << 17;
	return *state;
}

/* Incompressible, never zero, and another for each seed. */
static inline void guest_fill(uint8_t *page, uint64_t seed)
{
	uint64_t state = seed * 0x9e3779b97f4a7c15u + 1;

	for (unsigned int i = 0; i < RAM_PAGE_SIZE / 8; i++) {
		uint64_t word = guest_random(&state);

		memcpy(page + i * 8, &word, sizeof(word));
	}
}

/* Compressible, never zero, and another for each seed. */
static inline void guest_fill_text(uint8_t *page, uint64_t seed)
{
	uint64_t state = seed * 0x9e3779b97f4a7c15u + 1;

	for (unsigned int i = 0; i < RAM_PAGE_SIZE / 8; i++) {
		uint64_t word = i % 8 ? state : guest_random(&state);

		memcpy(page + i * 8, &word, sizeof(word));
	}
}

static inline void guest_write_text(const struct ram_block *b, uint64_t page, uint64_t seed)
{
	guest_fill_text(guest_page(b, page), seed);
}

static inline void guest_write(const struct ram_block *b, uint64_t page, uint64_t seed)
{
	guest_fill(guest_page(b, page), seed);
}

static inline void guest_punch(const struct ram_block *b, uint64_t first, uint64_t count)
{
	cr_assert_eq(fallocate(b->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
			       (off_t)(first << RAM_PAGE_SHIFT), (off_t)(count << RAM_PAGE_SHIFT)),
		     0);
}

#ifndef UFFDIO_POISON /* Linux 6.6 */
struct uffdio_poison {
	struct uffdio_range range;
	__u64 mode;
	__s64 updated;
};
#define UFFDIO_POISON _IOWR(0xAA, 0x08, struct uffdio_poison)
#endif

/* From now on the page cannot be read through our mapping, which is registered with this
 * userfaultfd, as if it lay in broken memory. Others read the block meanwhile. */
static inline void guest_poison(int uffd, const struct ram_block *b, uint64_t page)
{
	uint8_t *at = b->map + (page << RAM_PAGE_SHIFT);

	for (;;) {
		struct uffdio_poison poison = {.range = {(uintptr_t)at, RAM_PAGE_SIZE}};

		cr_assert_eq(madvise(at, RAM_PAGE_SIZE, MADV_DONTNEED), 0);
		if (ioctl(uffd, UFFDIO_POISON, &poison) == 0)
			return;
		if (errno == EINVAL || errno == ENOTTY)
			cr_skip_test("UFFDIO_POISON: %s", strerror(errno));
		cr_assert_eq(errno, EEXIST, "%s", strerror(errno)); /* it was read just then */
	}
}

/* Pages that have memory behind them. */
static inline uint64_t guest_allocated(const struct ram_block *b)
{
	struct stat st;

	cr_assert_eq(fstat(b->fd, &st), 0);
	return (uint64_t)st.st_blocks * 512 / RAM_PAGE_SIZE;
}

/* A descriptor of the calling process, or a negative errno. */
static inline int guest_userfaultfd(void)
{
	struct uffdio_api api = {
		.api = UFFD_API,
		.features = UFFD_FEATURE_WP_ASYNC | UFFD_FEATURE_WP_UNPOPULATED |
			    UFFD_FEATURE_WP_HUGETLBFS_SHMEM,
	};
	int fd = (int)syscall(SYS_userfaultfd, O_CLOEXEC | O_NONBLOCK | UFFD_USER_MODE_ONLY);

	if (fd < 0)
		return -errno;
	if (ioctl(fd, UFFDIO_API, &api) < 0) {
		int ret = -errno;

		close(fd);
		return ret;
	}
	return fd;
}

static inline struct tracker *guest_track(const struct ram_map *map)
{
	int fd = guest_userfaultfd();
	struct errtext err = {0};
	struct tracker *t;

	if (fd < 0)
		cr_skip_test("no userfaultfd with asynchronous write-protection: %s",
			     strerror(-fd));
	if (tracker_supported(&err) < 0)
		cr_skip_test("%s", err.text);
	cr_assert_eq(tracker_new(fd, getpid(), map, &t, &err), 0, "%s", err.text);
	return t;
}
