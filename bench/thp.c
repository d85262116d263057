// SPDX-License-Identifier: Apache-2.0
// What it costs a guest that its private memory is tracked, if the kernel has put huge pages behind
// it: the first write to a protected huge page splits it, and the guest goes on with 4 KiB pages.
//
// bench-thp [MIB]     1024
//
// A line for memory with transparent huge pages, and one for memory without: writes at random
// places, in millions a second, before it is tracked, after each of its pages has been written
// once, and after the tracking has ended; and what that one write took, in nanoseconds. The kernel
// puts huge pages back in its own time (khugepaged). Without virtualisation: with nested page
// tables a split costs the guest more misses.
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

#define WRITES 20000000u
#define HUGE_SIZE (2u << 20)

static void protect(struct tracker *t, const struct ram_block *b)
{
	struct wire_run runs[TRACKER_RUNS_MAX];

	for (uint64_t at = 0; at < ram_block_pages(b); at += TRACKER_GRANULE_PAGES)
		if (tracker_collect(t, 0, at, TRACKER_GRANULE_PAGES, true, runs) < 0)
			exit(1);
}

/* Writes at random places: millions a second. */
static double rate(uint8_t *at, uint64_t size)
{
	uint64_t state = 88172645463325252u, begun = clock_monotonic_us();

	for (unsigned int i = 0; i < WRITES; i++) {
		state ^= state << 13;
		state ^= state >> 7;
		state ^= state << 17;
		((volatile uint8_t *)at)[state % size]++;
	}
	return (double)WRITES / (double)(clock_monotonic_us() - begun);
}

/* One write to each page, those of a huge page far from each other: nanoseconds a page. */
static double write_each(uint8_t *at, uint64_t size)
{
	uint64_t begun = clock_monotonic_us();

	for (uint64_t in_huge = 0; in_huge < HUGE_SIZE; in_huge += RAM_PAGE_SIZE)
		for (uint64_t huge = 0; huge < size; huge += HUGE_SIZE)
			((volatile uint8_t *)at)[huge + in_huge]++;
	return (double)(clock_monotonic_us() - begun) * 1000 / ((double)size / RAM_PAGE_SIZE);
}

static uint8_t *memory(uint64_t size, int advice)
{
	uint8_t *p = mmap(NULL, size + HUGE_SIZE, PROT_READ | PROT_WRITE,
			  MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (p == MAP_FAILED) {
		perror("mmap");
		exit(1);
	}
	p += HUGE_SIZE - (uintptr_t)p % HUGE_SIZE;
	if (madvise(p, size, advice) < 0)
		perror("madvise");
	memset(p, 1, size);
	return p;
}

static void run(const char *kind, uint64_t size, int advice)
{
	struct ram_block block = {.name = "bench",
				  .size = size,
				  .page_size = RAM_PAGE_SIZE,
				  .fd = -1,
				  .private_to = getpid()};
	struct ram_map ram = {.count = 1, .blocks = &block};
	uint8_t *at = memory(size, advice);
	double before = rate(at, size), each, meanwhile;
	struct tracker *t;
	struct errtext err = {0};

	block.qemu_addr = (uintptr_t)at;
	if (tracker_new(bench_tracking_fd(), getpid(), &ram, &t, &err) < 0) {
		fprintf(stderr, "%s\n", err.text);
		exit(1);
	}
	protect(t, &block);
	each = write_each(at, size);
	meanwhile = rate(at, size);
	tracker_destroy(t);
	printf("%-6s before %6.1f M/s, tracked %6.1f (%.2f), afterwards %6.1f; first write of a "
	       "page %6.0f ns\n",
	       kind, before, meanwhile, meanwhile / before, rate(at, size), each);
}

int main(int argc, char **argv)
{
	uint64_t size = (argc > 1 ? strtoull(argv[1], NULL, 10) : 1024) << 20;

	run("2 MiB", size, MADV_HUGEPAGE);
	run("4 KiB", size, MADV_NOHUGEPAGE);
	return 0;
}
