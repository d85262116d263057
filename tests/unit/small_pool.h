// SPDX-License-Identifier: Apache-2.0
// Guest RAM on a file system of its own that has little memory to give.
#pragma once

#include <criterion/criterion.h>
#include <sched.h>
#include <sys/mount.h>
#include "guest_ram.h"

/* A tmpfs, or a hugetlbfs, of so many bytes, in a mount namespace of our own. */
static inline void small_pool_mount(uint32_t page_size, uint64_t bytes)
{
	const char *type = page_size > RAM_PAGE_SIZE ? "hugetlbfs" : "tmpfs";
	char options[80];

	if (page_size > RAM_PAGE_SIZE)
		snprintf(options, sizeof(options), "pagesize=2M,size=%llu",
			 (unsigned long long)bytes);
	else
		snprintf(options, sizeof(options), "huge=never,size=%llu",
			 (unsigned long long)bytes);
	if (unshare(CLONE_NEWNS) < 0 || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0 ||
	    mount("none", "/mnt", type, 0, options) < 0)
		cr_skip_test("cannot mount a %s: %s", type, strerror(errno));
}

/* An empty block there, larger than what the file system has, as QEMU's with reserve=off. */
static inline void small_pool_add(struct ram_map *map, const char *name, uint64_t size,
				  uint32_t page_size)
{
	struct ram_block b = {.size = size, .page_size = page_size};
	struct errtext err = {0};
	char path[64];
	void *at;

	snprintf(path, sizeof(path), "/mnt/%s", name);
	snprintf(b.name, sizeof(b.name), "%s", name);
	b.fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	cr_assert_geq(b.fd, 0);
	cr_assert_eq(ftruncate(b.fd, (off_t)size), 0);
	cr_assert_eq(ram_block_map(&b, true, &err), 0, "%s", err.text);
	at = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE, b.fd, 0);
	cr_assert_neq(at, MAP_FAILED);
	b.qemu_addr = (uintptr_t)at;
	cr_assert_eq(ram_map_add(map, &b, &err), 0, "%s", err.text);
}

/* Are so many huge pages of 2 MiB free on this machine? If not the test is skipped. */
static inline void small_pool_want(uint64_t pages)
{
	FILE *f = fopen("/sys/kernel/mm/hugepages/hugepages-2048kB/free_hugepages", "re");
	unsigned long long have = 0;

	if (!f || fscanf(f, "%llu", &have) != 1 || have < pages)
		cr_skip_test("only %llu huge pages are free", have);
	fclose(f);
}
