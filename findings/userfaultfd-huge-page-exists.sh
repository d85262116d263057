#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# Linux, userfaultfd: UFFDIO_COPY into a huge page says "exists" where there is no memory for it.
#
# On a shared mapping of a hugetlbfs file, when no huge page can be had (here: the mount's size is used up), UFFDIO_COPY
# fails with EEXIST: that is what it says when the page is there already, and who fills memory that way takes it for
# success. But nothing is there: the file has no more blocks than before, and reads as zeroes. ENOMEM does not come.
# Seen with Linux 6.18.44, x86-64, pages of 2 MiB.
#
# The script runs on the kernel at hand, needs root and two free huge pages, and passes while this is so.

set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/packages.bash"

cat >"$WORK/copy.c" <<'END'
#include <errno.h>
#include <fcntl.h>
#include <linux/userfaultfd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#define HUGE (2ul << 20)
#define PAGES 3

static void need(int yes, const char *what)
{
	if (!yes) {
		perror(what);
		exit(1);
	}
}

int main(int argc, char **argv)
{
	static char content[HUGE] __attribute__((aligned(4096)));
	struct uffdio_api api = {.api = UFFD_API};
	struct uffdio_register range = {.mode = UFFDIO_REGISTER_MODE_MISSING};
	int fd = open(argv[argc - 1], O_CREAT | O_RDWR, 0600);
	int uffd = syscall(SYS_userfaultfd, O_CLOEXEC);
	struct stat st;
	char byte = 1;
	char *map;

	need(fd >= 0 && ftruncate(fd, PAGES * HUGE) == 0, "file");
	map = mmap(NULL, PAGES * HUGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE, fd, 0);
	need(map != MAP_FAILED, "mmap");
	need(uffd >= 0 && ioctl(uffd, UFFDIO_API, &api) == 0, "userfaultfd");
	range.range.start = (unsigned long)map;
	range.range.len = PAGES * HUGE;
	need(ioctl(uffd, UFFDIO_REGISTER, &range) == 0, "UFFDIO_REGISTER");
	memset(content, 'x', sizeof(content));
	for (int i = 0; i < PAGES; i++) {
		struct uffdio_copy copy = {.dst = (unsigned long)map + i * HUGE,
					   .src = (unsigned long)content,
					   .len = HUGE};
		int ret = ioctl(uffd, UFFDIO_COPY, &copy);

		printf("page %d: %s\n", i, ret == 0 ? "copied" : strerrorname_np(errno));
	}
	need(fstat(fd, &st) == 0, "fstat");
	need(pread(fd, &byte, 1, 2 * HUGE) == 1, "pread");
	printf("pages in the file: %ld, page 2 reads as %d\n", (long)(st.st_blocks * 512 / HUGE), byte);
	return 0;
}
END
gcc -D_GNU_SOURCE -o "$WORK/copy" "$WORK/copy.c"

mkdir "$WORK/huge"
# shellcheck disable=SC2016 # its own arguments
unshare --mount sh -c 'mount -t hugetlbfs -o size=4M,pagesize=2M none "$1/huge" && "$1/copy" "$1/huge/file"' sh "$WORK" \
	>"$WORK/seen" || finding_die "cannot be tried: are there two free huge pages? sysctl vm.nr_hugepages=2"
uname -r
cat "$WORK/seen"
expect "two pages are copied" grep -qx 'page 1: copied' "$WORK/seen"
expect "the third, for which there is none, is said to exist" grep -qx 'page 2: EEXIST' "$WORK/seen"
expect "and it does not" grep -qx 'pages in the file: 2, page 2 reads as 0' "$WORK/seen"
