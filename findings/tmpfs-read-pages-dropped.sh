#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# Linux, tmpfs: pages that were only ever read are dropped by reclaim, without any swap, and the file's blocks go down.
#
# To read a hole of a tmpfs or memfd file through a shared mapping gives it a page, which st_blocks counts; and memory of
# a file without a backing store cannot be evicted where there is no swap. But such a page is clean, and when the kernel
# looks for memory it drops it again: the file has a hole there as before, and fewer blocks, though nobody has punched or
# truncated anything. Who takes fewer blocks for lost content is wrong. A page that was written once stays, zeroes or not.
# Seen with Linux 6.18.44, x86-64, no swap: of 8192 KiB that were read 4 KiB were left, the one page that had been written.
#
# The script runs on the kernel at hand, as root; it needs a machine without swap, and passes while this is so.

set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/packages.bash"

cat >"$WORK/read.c" <<'END'
#define _GNU_SOURCE
#include <stdio.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#define SIZE (8l << 20)

static int fd;

static void say(const char *when)
{
	struct stat st;

	fstat(fd, &st);
	printf("%s %ld\n", when, (long)st.st_blocks / 2);
}

int main(void)
{
	volatile char *map, sum = 0;

	fd = memfd_create("file", MFD_CLOEXEC);
	if (fd < 0 || ftruncate(fd, SIZE) < 0)
		return 1;
	map = mmap(NULL, SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (map == MAP_FAILED)
		return 1;
	for (long at = 0; at < SIZE; at += 4096)
		sum += map[at];
	map[0] = 1;
	say("read");
	if (madvise((void *)map, SIZE, MADV_PAGEOUT) < 0)
		return 1;
	say("reclaimed");
	printf("content %d\n", map[0]);
	return 0;
}
END
cc -O1 -o "$WORK/read" "$WORK/read.c"

(($(wc -l </proc/swaps) == 1)) || finding_die "this machine has swap: pages would go there"
"$WORK/read" >"$WORK/out"
printf 'Linux %s: %s\n' "$(uname -r)" "$(tr '\n' ' ' <"$WORK/out")"
value() { awk -v what="$1" '$1 == what { print $2 }' "$WORK/out"; }
expect "what was read has blocks: 8192 KiB" test "$(value read)" -eq 8192
expect "after reclaim less than an eighth of them is left" test "$(value reclaimed)" -lt 1024
expect "the page that was written is among those" test "$(value content)" -eq 1
