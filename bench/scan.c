// SPDX-License-Identifier: Apache-2.0
// What tracking costs: time for tracker_collect over a GiB, by kind of page and by how much is
// dirty.
//
// Usage: bench-scan [GIB]. Prints one line a case: milliseconds per GiB, median of 9 passes.
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>
#include "clock.h"
#include "tracker.h"
#include "tracking.h"

#define PASSES 9

/* One pass over everything, in granules as a migration does. Returns pages found. */
static uint64_t pass(struct tracker *t, const struct ram_block *b, bool protect)
{
	struct wire_run runs[TRACKER_RUNS_MAX];
	uint64_t pages = ram_block_pages(b), found = 0;

	for (uint64_t at = 0; at < pages; at += TRACKER_GRANULE_PAGES) {
		int n = tracker_collect(t, 0, at, TRACKER_GRANULE_PAGES, protect, runs);

		if (n < 0) {
			fprintf(stderr, "collect: %s\n", strerror(-n));
			exit(1);
		}
		for (int i = 0; i < n; i++)
			found += runs[i].count;
	}
	return found;
}

static void dirty(const struct ram_block *b, unsigned int one_in)
{
	if (one_in == 0)
		return;
	for (uint64_t page = 0; page < ram_block_pages(b); page += one_in)
		((volatile uint8_t *)b->map)[page << RAM_PAGE_SHIFT] ^= 1;
}

static int by_value(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

static void measure(struct tracker *t, const struct ram_block *b, const char *kind,
		    unsigned int one_in, bool protect)
{
	double ms[PASSES];
	uint64_t found = 0;

	for (int i = 0; i < PASSES; i++) {
		uint64_t begun;

		if (protect)
			dirty(b, one_in);
		begun = clock_monotonic_us();
		found = pass(t, b, protect);
		ms[i] = (double)(clock_monotonic_us() - begun) / 1000 /
			((double)b->size / (1 << 30));
	}
	qsort(ms, PASSES, sizeof(*ms), by_value);
	printf("%-8s %-28s %8.2f ms/GiB  (%llu pages found)\n", kind,
	       one_in ? (one_in == 1 ? "all written, protect" : "1 in 100 written, protect")
		      : (protect ? "nothing written, protect" : "nothing written, look"),
	       ms[PASSES / 2], (unsigned long long)found);
}

static void run(const char *kind, unsigned int memfd_flags, uint32_t page_size, uint64_t size)
{
	struct ram_block block = {.name = "bench", .size = size, .page_size = page_size};
	struct ram_map ram = {.count = 1, .blocks = &block};
	struct tracker *t;
	struct errtext err = {0};

	block.fd = memfd_create("bench", memfd_flags);
	if (block.fd < 0 || ftruncate(block.fd, (off_t)size) < 0)
		return;
	block.map =
		mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, block.fd, 0);
	if (block.map == MAP_FAILED) {
		printf("%-8s skipped: not enough huge pages (vm.nr_hugepages)\n", kind);
		return;
	}
	block.qemu_addr = (uintptr_t)block.map;
	memset(block.map, 1, size);
	if (tracker_new(bench_tracking_fd(), getpid(), &ram, &t, &err) < 0) {
		fprintf(stderr, "%s\n", err.text);
		exit(1);
	}
	pass(t, &block, true);
	measure(t, &block, kind, 0, false);
	measure(t, &block, kind, 0, true);
	measure(t, &block, kind, 100, true);
	measure(t, &block, kind, 1, true);
	tracker_destroy(t);
	munmap(block.map, size);
	close(block.fd);
}

int main(int argc, char **argv)
{
	uint64_t size = (argc > 1 ? strtoull(argv[1], NULL, 10) : 1) << 30;

	run("4 KiB", MFD_CLOEXEC, 4096, size);
	run("2 MiB", MFD_CLOEXEC | MFD_HUGETLB, 2u << 20, size);
	return 0;
}
