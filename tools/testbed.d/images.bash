# shellcheck shell=bash
# SPDX-License-Identifier: Apache-2.0
#
# What must be on the machine before a guest can boot, besides the packages: a kernel (unpacked, not installed),
# and an initramfs with the witness. A part of tools/testbed. All in $CACHE; kept by `down`.

# shellcheck source=/dev/null
source "$PARTS/../packages"

readonly KERNEL_META=linux-image-cloud-amd64
readonly MODULES=(virtio_pci virtio_blk virtio_balloon)
readonly WITNESS_SOURCE=$PARTS/../witness.c
readonly WITNESS_ENGINE=$PARTS/../../engine
readonly WITNESS_PARTS=("$WITNESS_ENGINE/histogram.c" "$WITNESS_ENGINE/histogram.h")

# ---- kernel ------------------------------------------------------------------------------------------------

# The newest complete kernel: a directory with vmlinuz and modules/.
kernel_directory() {
	local -a found
	mapfile -t found < <(find "$CACHE/kernel" -mindepth 2 -maxdepth 2 -name complete -printf '%h\n' 2>/dev/null | sort -V)
	((${#found[@]} > 0)) || return 1
	printf '%s\n' "${found[-1]}"
}

# Prints its name; nothing if the package lists do not have it.
kernel_package() {
	{ LC_ALL=C apt-cache depends --important "$KERNEL_META" 2>/dev/null || true; } |
		awk '/Depends: linux-image-[0-9]/ && !name { name = $2 } END { if (name) print name }'
}

kernel_unpack() {
	local package=$1 work=$2 version=${1#linux-image-}
	(cd "$work" && apt-get -qq -o APT::Sandbox::User=root download "$package") ||
		die "$package: cannot be downloaded; the machine's package sources must work"
	dpkg-deb -x "$work"/*.deb "$work/tree"
	depmod -b "$work/tree" "$version"
	mkdir -p "$work/kernel"
	mv "$work/tree/boot/vmlinuz-$version" "$work/kernel/vmlinuz"
	mv "$work/tree/lib" "$work/kernel/lib"
	touch "$work/kernel/complete"
	rm -rf "$CACHE/kernel/$version"
	mkdir -p "$CACHE/kernel"
	mv "$work/kernel" "$CACHE/kernel/$version"
}

kernel_make() {
	local package work
	kernel_directory >/dev/null && return
	package=$(kernel_package)
	if [[ -z $package ]]; then
		packages_update
		package=$(kernel_package)
	fi
	[[ -n $package ]] || die "$KERNEL_META: not in the machine's package sources; add Debian's main"
	say "unpacking $package"
	work=$(work_make)
	kernel_unpack "$package" "$work"
	rm -rf "$work"
}

# ---- initramfs ---------------------------------------------------------------------------------------------

# Files in dependency order, each once.
module_files() {
	local kernel=$1
	modprobe -d "$kernel" -S "${kernel##*/}" --all --show-depends "${MODULES[@]}" |
		awk '$1 == "insmod" && !seen[$2]++ { print $2 }'
}

# The witness' text, the kernel and how they are put together decide what the image holds.
images_key() {
	local kernel
	kernel=$(kernel_directory) || return 1
	{
		cat "$WITNESS_SOURCE" "${WITNESS_PARTS[@]}" "$PARTS/images.bash"
		printf '%s' "$kernel"
	} | sha256sum | cut -c1-16
}

initramfs_build() {
	local work=$1 kernel files file number=10
	kernel=$(kernel_directory)
	files=$(module_files "$kernel")
	mkdir -p "$work/root/modules"
	gcc -static -O2 -std=gnu11 -Wall -Wextra -Werror -pthread -s -iquote "$WITNESS_ENGINE" \
		-o "$work/witness" "$WITNESS_SOURCE" "${WITNESS_PARTS[0]}" ||
		die "$WITNESS_SOURCE: does not compile (message above)"
	cp "$work/witness" "$work/root/init"
	while read -r file; do
		cp "$file" "$work/root/modules/$number-${file##*/}"
		number=$((number + 1))
	done <<<"$files"
	(cd "$work/root" && find . | cpio --quiet -o -H newc -R 0:0) >"$work/initramfs"
}

# Holds descriptor 8 until cache_unlock, for there may be other instances.
cache_lock() {
	mkdir -p "$CACHE"
	exec 8<"$CACHE"
	flock 8
}

cache_unlock() {
	exec 8<&-
}

# Prints an empty directory to build in; what a broken-off build left goes away. To be called under cache_lock.
work_make() {
	rm -rf "$CACHE"/work.*
	mktemp -d "$CACHE/work.XXXXXX"
}

# Sets VMLINUZ, INITRAMFS and WITNESS; builds them first if they are not there.
# shellcheck disable=SC2034 # used by guests.bash
images_make() {
	local key
	cache_lock
	kernel_make
	key=$(images_key)
	VMLINUZ=$(kernel_directory)/vmlinuz
	INITRAMFS=$CACHE/initramfs-$key
	WITNESS=$CACHE/witness-$key
	[[ -e $INITRAMFS ]] || initramfs_make
	cache_unlock
}

initramfs_make() {
	local work
	say "building the witness and its initramfs"
	work=$(work_make)
	initramfs_build "$work"
	chmod 0644 "$work/initramfs"
	mv "$work/witness" "$WITNESS"
	mv "$work/initramfs" "$INITRAMFS" # last, and in one step: who finds it finds all of it
	rm -rf "$work"
}
