# shellcheck shell=bash
# SPDX-License-Identifier: Apache-2.0
#
# Which QEMU and libvirt the hosts run: the machine's ("stock"), or those of Debian's backports, unpacked beside
# them and laid over /usr inside the hosts only. A part of tools/testbed. In $CACHE; kept by `down`.

if [[ -z ${DRAY_RELEASE-} && -e $STATE/built ]]; then
	DRAY_RELEASE=$(<"$STATE/release")
fi
readonly RELEASE=${DRAY_RELEASE:-stock}
readonly RELEASE_PACKAGES=(qemu-system-x86 libvirt-daemon-system libvirt-clients)

release_check() {
	[[ $RELEASE == stock || $RELEASE == backports ]] ||
		die "DRAY_RELEASE=$RELEASE: no such release; it must be stock or backports"
	[[ ! -e $STATE/built || $(<"$STATE/release") == "$RELEASE" ]] ||
		die "the hosts are up with release $(<"$STATE/release"), not $RELEASE; run first: tools/testbed down"
}

# Prints the directory to lay over /usr; nothing for stock.
release_directory() {
	[[ $RELEASE == stock ]] || printf '%s/release-%s/usr' "$CACHE" "$RELEASE"
}

# apt with the machine's sources and backports, its lists and packages in a directory of our own.
release_apt() {
	local work=$1
	shift
	apt-get -qq -o APT::Sandbox::User=root -o Dir::Etc::sourcelist="$work/sources.list" \
		-o Dir::Etc::sourceparts=/dev/null -o Dir::State::lists="$work/lists" -o Dir::Cache="$work" "$@"
}

release_sources() {
	local targets uri suite
	# shellcheck disable=SC2016 # apt's variables, not the shell's
	targets=$(apt-get indextargets --format '$(REPO_URI) $(RELEASE)' \
		'Created-By: Packages' 'Origin: Debian' 'Component: main')
	[[ -n $targets ]] || die "release $RELEASE: the machine has no package lists of Debian's main; run: apt-get update"
	sort -u <<<"$targets" |
		while read -r uri suite; do
			printf 'deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] %s %s main\n' "$uri" "$suite"
			[[ $suite == *-* ]] ||
				printf 'deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] %s %s-backports main\n' \
					"$uri" "$suite"
		done
}

# All that the packages need beyond what the machine has, unpacked; /lib and the like merged into /usr. Not to be called
# in a condition, where errexit is off.
release_unpack() {
	local work=$1 codename package directory
	codename=$(. /etc/os-release && printf '%s' "$VERSION_CODENAME")
	mkdir -p "$work/lists/partial" "$work/archives/partial" "$work/tree/usr"
	release_sources >"$work/sources.list"
	release_apt "$work" -o APT::Update::Error-Mode=any update ||
		die "release $RELEASE: its package lists cannot be fetched (message above)"
	release_apt "$work" --yes --download-only --no-install-recommends -t "$codename-backports" \
		install "${RELEASE_PACKAGES[@]}" >/dev/null ||
		die "release $RELEASE: its packages cannot be fetched (message above)"
	for package in "$work"/archives/*.deb; do
		dpkg-deb -x "$package" "$work/tree"
	done
	for directory in lib lib64 bin sbin; do
		[[ ! -d $work/tree/$directory ]] || cp -a "$work/tree/$directory" "$work/tree/usr/"
	done
	release_hide_plugins "$work/tree"
}

# Plug-ins of the machine's QEMU and libvirt that the newer ones would try to load, and fail. An overlay takes a
# character device 0:0 for a name that is gone.
release_hide_plugins() {
	local tree=$1 file
	for file in /usr/lib/*-linux-gnu/{libvirt/*,qemu}/*.so; do
		[[ ! -e $file || -e $tree$file ]] && continue
		mkdir -p "$tree${file%/*}"
		mknod "$tree$file" c 0 0
	done
}

release_make() {
	[[ $RELEASE != stock ]] || return 0
	cache_lock
	[[ -d $(release_directory) ]] || release_build
	cache_unlock
}

release_build() {
	local work
	say "unpacking QEMU and libvirt of $RELEASE"
	work=$(work_make)
	release_unpack "$work"
	rm -rf "$CACHE/release-$RELEASE"
	mkdir "$CACHE/release-$RELEASE"
	mv "$work/tree/usr" "$(release_directory)" # in one step: what is there is complete
	rm -rf "$work"
}
