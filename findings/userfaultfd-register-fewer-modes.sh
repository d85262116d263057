#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# Linux 7.3, userfaultfd: to register a range again for fewer modes is refused with EBUSY, also to the one who has it.
#
# UFFDIO_REGISTER of a range that the same userfaultfd has registered used to succeed also for fewer modes; with another
# userfaultfd it is EBUSY. So "is it mine?" could be asked by registering once more.
# Since 7.3 EBUSY may also mean that the range is one's own: where it is registered for write protection and the new call
# leaves that out. Seen with Debian's 6.12.117 and 7.3.4, memory of a memfd, first for missing pages and write protection:
#
#                             6.12.117      7.3.4
#     for both once more      success       success
#     for missing pages       success       EBUSY
#
# The script boots both kernels in the machine's QEMU, without KVM, and passes while this is so.

set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/packages.bash"

packages_unpack trixie linux-image-6.12.117+deb13-cloud-amd64=6.12.117-1
mv "$TREE" "$WORK/old"
packages_unpack trixie-backports linux-binary-7.3.4+deb13-cloud-amd64=7.3.4-1~bpo13+1
mv "$TREE" "$WORK/new"

# A kernel's only process.
cat >"$WORK/init.c" <<'END'
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/userfaultfd.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/reboot.h>
#include <sys/syscall.h>
#include <sys/utsname.h>
#include <unistd.h>

#ifndef UFFD_FEATURE_WP_HUGETLBFS_SHMEM
#define UFFD_FEATURE_WP_HUGETLBFS_SHMEM (1 << 12)
#endif

static int uffd;
static void *memory;

static void say(const char *what, uint64_t mode)
{
	struct uffdio_register r = {.range = {(uintptr_t)memory, 4096}, .mode = mode};

	printf("%s %s\n", what, ioctl(uffd, UFFDIO_REGISTER, &r) ? strerrorname_np(errno) : "success");
}

int main(void)
{
	struct uffdio_api api = {.api = UFFD_API,
				 .features = UFFD_FEATURE_MISSING_SHMEM | UFFD_FEATURE_PAGEFAULT_FLAG_WP |
					     UFFD_FEATURE_WP_HUGETLBFS_SHMEM};
	int fd = memfd_create("memory", MFD_CLOEXEC);
	struct utsname u;

	uname(&u);
	printf("version %s\n", u.release);
	uffd = (int)syscall(SYS_userfaultfd, O_CLOEXEC);
	if (uffd < 0 || ioctl(uffd, UFFDIO_API, &api) < 0 || fd < 0 || ftruncate(fd, 4096) < 0)
		printf("failed %s\n", strerror(errno));
	memory = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	say("first", UFFDIO_REGISTER_MODE_MISSING | UFFDIO_REGISTER_MODE_WP);
	say("again", UFFDIO_REGISTER_MODE_MISSING | UFFDIO_REGISTER_MODE_WP);
	say("fewer", UFFDIO_REGISTER_MODE_MISSING);
	fflush(stdout);
	sync();
	reboot(RB_POWER_OFF);
}
END
mkdir "$WORK/root"
cc -static -O1 -o "$WORK/root/init" "$WORK/init.c"
(cd "$WORK/root" && find . | cpio --quiet -o -H newc) >"$WORK/initramfs"

boot() {
	timeout 120 qemu-system-x86_64 -accel tcg -cpu max -m 512 -display none -no-reboot -monitor none \
		-kernel "$(find "$WORK/$1" -type f -name 'vmlinuz*')" -initrd "$WORK/initramfs" \
		-append 'console=ttyS0 quiet panic=-1' -serial "file:$WORK/$1.log"
	tr -d '\r' <"$WORK/$1.log" | tee "$WORK/$1.seen"
}

boot old
boot new

value() {
	awk -v name="$2" '$1 == name { print $2 }' "$WORK/$1.seen"
}

expect "Linux 6.12.117 was tried" test "$(value old version)" = 6.12.117+deb13-cloud-amd64
expect "... and 7.3.4" test "$(value new version)" = 7.3.4+deb13-cloud-amd64
expect "both take the range" test "$(value old first)$(value new first)" = successsuccess
expect "... and once more as it is" test "$(value old again)$(value new again)" = successsuccess
expect "for fewer modes 6.12.117 does" test "$(value old fewer)" = success
expect "... and 7.3.4 says EBUSY" test "$(value new fewer)" = EBUSY
