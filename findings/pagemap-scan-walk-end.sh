#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# Linux, PAGEMAP_SCAN: walk_end says that the walk stopped early, though it has gone all the way.
#
# The ioctl collects what it finds in a buffer of 512 regions, and begins anew when that is full; walk_end is where it
# was full last. If the walk then comes to its end, walk_end is not set again: all regions of the range have been
# returned, those behind walk_end too, and there was room for more in the vector. A caller that goes on at walk_end, as
# the documentation wants it, gets regions twice, and with PM_SCAN_WP_MATCHING has protected them already; one that takes
# walk_end < end for an error has none. Up to 512 regions in a call, walk_end is the end.
# Seen with Linux 6.18.44, x86-64: 2048 pages, every other one present, a vector of 8192: 1024 regions, the last of which
# ends at page 2047, and walk_end at page 1024.
#
# The script runs on the kernel at hand (6.7 or newer), and passes while this is so.

set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/packages.bash"

cat >"$WORK/scan.c" <<'END'
#define _GNU_SOURCE
#include <fcntl.h>
#include <linux/ioctl.h>
#include <linux/types.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#define PAGES 2048ul
#define HUGE (2ul << 20)

struct region {
	__u64 start, end, categories;
};

/* As in linux/fs.h of 6.7. */
struct scan {
	__u64 size, flags, start, end, walk_end, vec, vec_len, max_pages;
	__u64 category_inverted, category_mask, category_anyof_mask, return_mask;
};

#define SCAN _IOWR('f', 16, struct scan)
#define IS_PRESENT (1 << 3)

static struct region regions[8192];

int main(void)
{
	char *map = mmap(NULL, PAGES * 4096 + HUGE, PROT_READ | PROT_WRITE,
			 MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	int fd = open("/proc/self/pagemap", O_RDONLY);

	if (map == MAP_FAILED || fd < 0)
		return 1;
	map = (char *)(((uintptr_t)map + HUGE - 1) & ~(HUGE - 1));
	madvise(map, PAGES * 4096, MADV_NOHUGEPAGE);
	for (unsigned long page = 0; page < PAGES; page += 2)
		map[page * 4096] = 1;
	for (unsigned long pages = PAGES / 2; pages <= PAGES; pages *= 2) {
		struct scan scan = {
			.size = sizeof(scan),
			.start = (uintptr_t)map,
			.end = (uintptr_t)map + pages * 4096,
			.vec = (uintptr_t)regions,
			.vec_len = sizeof(regions) / sizeof(*regions),
			.category_mask = IS_PRESENT,
			.return_mask = IS_PRESENT,
		};
		int n = ioctl(fd, SCAN, &scan);

		if (n <= 0)
			return 2;
		printf("%lu %d %llu %llu\n", pages, n, (scan.walk_end - scan.start) / 4096,
		       (regions[n - 1].end - scan.start) / 4096);
	}
	return 0;
}
END
cc -O1 -o "$WORK/scan" "$WORK/scan.c"

"$WORK/scan" >"$WORK/out" || finding_die "this kernel has no PAGEMAP_SCAN"
printf 'Linux %s:\n' "$(uname -r)"
awk '{ print "  of " $1 " pages: " $2 " regions, walk_end at page " $3 ", the last region ends at " $4 }' "$WORK/out"
expect "512 regions: walk_end is the end" grep -qx '1024 512 1024 1023' "$WORK/out"
expect "1024 regions are returned, to the end, and walk_end is in the middle" grep -qx '2048 1024 1024 2047' "$WORK/out"
