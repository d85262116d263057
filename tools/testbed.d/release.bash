# shellcheck shell=bash
# SPDX-License-Identifier: Apache-2.0
#
# Which QEMU and libvirt a host runs: the machine's ("stock"), or those of another Debian, unpacked beside them and
# laid over /usr inside the host only, with all that they need, libc included. A part of tools/testbed. In $CACHE,
# release-NAME-KEY; kept by `down`:
#
#     usr         to be laid over /usr
#     versions    of QEMU and libvirt that are in it, as Debian writes them
#
# Packages are resolved as for a machine on which nothing is installed: what is left out because the machine has it
# would be the machine's older version, and the machine may change.

# name | suite | QEMU | libvirt: the versions that the tests were last run with. When one of them has left the archive,
# the suite's present one takes its place.
readonly RELEASES='stock|||
debian13|trixie|1:10.0.13+ds-0+deb13u1|11.3.0-3+deb13u3
newest|trixie-backports|1:11.1.3+ds-1~bpo13+1|12.9.0-1~bpo13+1'
readonly RELEASE_PACKAGES=(qemu-system-x86 libvirt-daemon-system libvirt-clients)
readonly RELEASE_KEYRING=/usr/share/keyrings/debian-archive-keyring.gpg
declare -A RELEASE=() # of each host, after releases_choose

# ---- choosing ------------------------------------------------------------------------------------------------

# releases_choose OPTIONS...: those of `up`. They go before DRAY_RELEASE, and what is up already stays as it is.
releases_choose() {
	RELEASE=([a]=${DRAY_RELEASE-} [b]=${DRAY_RELEASE-})
	while (($# > 0)); do
		case $1 in
		--release-a | --release-b)
			(($# > 1)) || die "up: $1 needs a release; see: tools/testbed releases"
			RELEASE[${1##*-}]=$2
			;;
		*) die "up: $1: no such option; it must be --release-a NAME or --release-b NAME" ;;
		esac
		shift 2
	done
	release_settle a
	release_settle b
}

release_settle() {
	local host=$1 now=
	[[ ! -e $STATE/built || ! -e $STATE/$host/release ]] || now=$(<"$STATE/$host/release")
	: "${RELEASE[$host]:=${now:-stock}}"
	grep -qE "^${RELEASE[$host]}\|" <<<"$RELEASES" ||
		die "release ${RELEASE[$host]}: there is none of that name; see: tools/testbed releases"
	[[ -z $now || $now == "${RELEASE[$host]}" ]] ||
		die "host $host is up with release $now, not ${RELEASE[$host]}; run first: tools/testbed down"
}

# release_row NAME: sets SUITE, and the versions that are wanted, QEMU and LIBVIRT.
release_row() {
	local name
	while IFS='|' read -r name SUITE QEMU LIBVIRT; do
		[[ $name != "$1" ]] || return 0
	done <<<"$RELEASES"
}

# release_directory NAME: prints where it is or will be; nothing for stock. What is wanted and how it is put together
# decide what is in it.
release_directory() {
	local key
	[[ $1 != stock ]] || return 0
	key=$(sha256sum <"$PARTS/release.bash" | cut -c1-12)
	printf '%s/release-%s-%s' "$CACHE" "$1" "$key"
}

# release_usr NAME: prints the directory to lay over /usr; nothing for stock.
release_usr() {
	local directory
	directory=$(release_directory "$1")
	printf '%s' "${directory:+$directory/usr}"
}

# ---- fetching ------------------------------------------------------------------------------------------------

# release_apt WORK ...: apt with sources, lists and packages of its own, on a machine without any package.
release_apt() {
	local work=$1
	shift
	apt-get -qq -o APT::Sandbox::User=root -o Dir::Etc::sourcelist="$work/sources.list" \
		-o Dir::Etc::sourceparts=/dev/null -o Dir::Etc::preferences="$work/preferences" \
		-o Dir::Etc::preferencesparts=/dev/null -o Dir::State::lists="$work/lists" -o Dir::Cache="$work" \
		-o Dir::State::status=/dev/null -o Dir::State::extended_states="$work/extended_states" "$@"
}

# release_mirror: prints where the machine's own packages come from.
release_mirror() {
	# shellcheck disable=SC2016 # apt's variables, not the shell's
	apt-get indextargets --format '$(REPO_URI)' \
		'Created-By: Packages' 'Origin: Debian' 'Label: Debian' 'Component: main' | sed -n 1p
}

# release_sources SUITE MIRROR: backports stand on the release that they are for.
release_sources() {
	local suite
	for suite in "${1%-backports}" "$1"; do
		printf 'deb [signed-by=%s] %s %s main\n' "$RELEASE_KEYRING" "$2" "$suite"
	done | uniq
}

release_preferences() {
	printf 'Package: src:qemu\nPin: version %s\nPin-Priority: 1001\n\n' "$1"
	printf 'Package: src:libvirt\nPin: version %s\nPin-Priority: 1001\n' "$2"
}

# release_fetch NAME WORK: into WORK/archives.
release_fetch() {
	local name=$1 work=$2 mirror SUITE QEMU LIBVIRT
	release_row "$name"
	mirror=$(release_mirror)
	if [[ -z $mirror ]]; then
		packages_update
		mirror=$(release_mirror)
	fi
	[[ -n $mirror ]] || die "release $name: the machine has no package source of Debian's main; add one"
	mkdir -p "$work/lists/partial" "$work/archives/partial"
	release_sources "$SUITE" "$mirror" >"$work/sources.list"
	release_preferences "$QEMU" "$LIBVIRT" >"$work/preferences"
	release_apt "$work" -o APT::Update::Error-Mode=any update ||
		die "release $name: its package lists cannot be fetched from $mirror (message above)"
	release_apt "$work" --yes --download-only --no-install-recommends -t "$SUITE" \
		install "${RELEASE_PACKAGES[@]}" >/dev/null ||
		die "release $name: its packages cannot be fetched from $mirror (message above)"
}

# ---- unpacking -----------------------------------------------------------------------------------------------

# release_unpack WORK: into WORK/tree, where /lib and the like are links into /usr, as on the machine.
release_unpack() {
	local work=$1 package directory
	mkdir -p "$work"/tree/usr/{bin,sbin,lib,lib64}
	for directory in bin sbin lib lib64; do
		ln -s "usr/$directory" "$work/tree/$directory"
	done
	for package in "$work"/archives/*.deb; do
		dpkg-deb --fsys-tarfile "$package" | tar -x -C "$work/tree" --keep-directory-symlink
	done
	release_hide_plugins "$work/tree"
}

# Plug-ins of the machine's QEMU and libvirt that the newer ones would try to load, and fail. An overlay takes a
# character device 0:0 for a name that is gone.
release_hide_plugins() {
	local tree=$1 file
	for file in /usr/lib/*-linux-gnu/{libvirt/*,qemu}/*.so; do
		[[ -e $file && ! -e $tree$file ]] || continue
		mkdir -p "$tree${file%/*}"
		mknod "$tree$file" c 0 0
	done
}

# release_versions WORK: prints those that came.
release_versions() {
	local qemu libvirt
	qemu=$(dpkg-deb -f "$1"/archives/qemu-system-x86_*.deb Version)
	libvirt=$(dpkg-deb -f "$1"/archives/libvirt-daemon-system_*.deb Version)
	printf '%s %s\n' "$qemu" "$libvirt"
}

release_build() {
	local name=$1 work
	say "fetching and unpacking QEMU and libvirt of $name"
	work=$(work_make)
	release_fetch "$name" "$work"
	release_unpack "$work"
	mkdir "$work/release"
	mv "$work/tree/usr" "$work/release/"
	release_versions "$work" >"$work/release/versions"
	mv "$work/release" "$(release_directory "$name")" # last, and in one step: what is there is complete
	rm -rf "$work"
}

# Fetches what the hosts need and $CACHE does not have.
releases_make() {
	local name directory
	for name in $(printf '%s\n' "${RELEASE[@]}" | sort -u); do
		[[ $name != stock ]] || continue
		directory=$(release_directory "$name")
		cache_lock
		[[ -d $directory ]] || release_build "$name"
		cache_unlock
		release_deviation "$name"
	done
}

# ---- telling -------------------------------------------------------------------------------------------------

# release_deviation NAME: says what has left the archive; nothing of a release that is not in $CACHE.
release_deviation() {
	local name=$1 directory qemu libvirt SUITE QEMU LIBVIRT
	release_row "$name"
	directory=$(release_directory "$name")
	[[ -n $directory && -e $directory/versions ]] || return 0
	read -r qemu libvirt <"$directory/versions"
	[[ $qemu == "$QEMU" ]] || say "release $name: QEMU $QEMU has left the archive, $qemu takes its place"
	[[ $libvirt == "$LIBVIRT" ]] || say "release $name: libvirt $LIBVIRT has left the archive, $libvirt takes its place"
}

installed_version() {
	dpkg-query -W -f '${Version}' "$1" 2>/dev/null || printf 'not installed'
}

cmd_releases() {
	local name suite qemu libvirt
	while IFS='|' read -r name suite qemu libvirt; do
		if [[ $name == stock ]]; then
			suite='this machine'
			qemu=$(installed_version qemu-system-x86)
			libvirt=$(installed_version libvirt-daemon-system)
		fi
		printf '%-9s %-16s QEMU %-25s libvirt %s\n' "$name" "$suite" "$qemu" "$libvirt"
		release_deviation "$name"
	done <<<"$RELEASES"
}
