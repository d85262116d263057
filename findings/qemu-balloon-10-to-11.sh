#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# QEMU: a guest that was started with 10.0.13 cannot migrate to 11.1.3 if it has a balloon.
#
# The same device on the same versioned machine type, pc-i440fx-10.0, has virtqueues of 1024 entries in 10.0.13 and of
# 128 in 11.1.3, so that the newer QEMU refuses the older one's state: "VQ 0 vring.num 1024 exceeds allocated max 128".
# The guest need not have a driver for it. The other way round it loads. libvirt gives every guest a balloon that does not
# ask for none, so it hits guests of a Debian 13 host on their way to its backports.
#
# The script saves a guest without system with 10.0.13 and loads it with 11.1.3, with a balloon and without, and the
# other way round; it passes while this is so.

set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/packages.bash"

# Two trees, old and new, of QEMU and all that it needs.
packages_resolve trixie qemu-system-x86=1:10.0.13+ds-0+deb13u1
mv "$TREE" "$WORK/old"
packages_resolve trixie-backports qemu-system-x86=1:11.1.3+ds-1~bpo13+1
mv "$TREE" "$WORK/new"

# qemu old|new OPTIONS...: what its monitor is told comes from standard input.
qemu() {
	local root=$WORK/$1 lib
	shift
	lib=$(echo "$root"/usr/lib/*-linux-gnu)
	timeout 60 "$lib"/ld-linux-*.so.* --library-path "$lib" "$root/usr/bin/qemu-system-x86_64" \
		-L "$root/usr/share/qemu" -L "$root/usr/share/seabios" -accel tcg -nodefaults -display none -m 64 \
		-M pc-i440fx-10.0 -monitor stdio "$@" >>"$WORK/seen" 2>&1
}

# crosses FROM TO OPTIONS...: is the state that one saves loaded by the other?
crosses() {
	local from=$1 to=$2
	shift 2
	rm -f "$WORK/state" "$WORK/seen"
	printf 'migrate "exec:cat >%s"\nquit\n' "$WORK/state" | qemu "$from" "$@"
	(sleep 3 && printf 'info status\nquit\n') | qemu "$to" "$@" -incoming "exec:cat $WORK/state"
	! grep -q 'load of migration failed' "$WORK/seen" && grep -q 'VM status: running' "$WORK/seen"
}

refused() {
	! crosses "$@" && grep -q 'vring.num 1024 exceeds allocated max 128' "$WORK/seen"
}

version() {
	qemu "$1" -version </dev/null
	cat "$WORK/seen"
}

expect "QEMU 10.0.13 was tried" grep -q 'version 10\.0\.13 ' <(version old)
expect "... and 11.1.3" grep -q 'version 11\.1\.3 ' <(version new)
expect "without a balloon it crosses" crosses old new
expect "with one it is refused, for the length of a queue" refused old new -device virtio-balloon-pci
expect "the other way round it crosses" crosses new old -device virtio-balloon-pci
