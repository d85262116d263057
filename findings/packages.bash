# shellcheck shell=bash
# SPDX-License-Identifier: Apache-2.0
#
# For the findings: a temporary folder with pinned Debian packages unpacked in it, taken away at the end. Sourced.
#
#     packages_unpack SUITE NAME=VERSION...     into $TREE; no dependencies, nothing is installed
#     packages_resolve SUITE NAME=VERSION...    the same, with all that they depend on, libc included
#
# The machine's own package sources serve it, whatever suite the machine itself has.

WORK=$(mktemp -d)
readonly WORK TREE=$WORK/tree
trap 'rm -rf "$WORK"' EXIT

finding_die() {
	printf '%s: %s\n' "${0##*/}" "$*" >&2
	exit 1
}

# expect TEXT CMD...: one observation that must still hold.
expect() {
	local text=$1
	shift
	"$@" || finding_die "no longer so: $text"
	printf 'as seen: %s\n' "$text"
}

packages_apt() {
	apt-get -qq -o APT::Sandbox::User=root -o Dir::Etc::sourcelist="$WORK/sources.list" \
		-o Dir::Etc::sourceparts=/dev/null -o Dir::State::lists="$WORK/lists" -o Dir::Cache="$WORK" \
		-o Dir::State::status=/dev/null "$@"
}

# packages_lists SUITE: those of backports with the release that they are for.
packages_lists() {
	local suite=$1 uri each
	# shellcheck disable=SC2016 # apt's variable, not the shell's
	uri=$(apt-get indextargets --format '$(REPO_URI) $(ORIGIN) $(SUITE)' 'Created-By: Packages' 'Component: main' |
		awk '$2 == "Debian" && $3 !~ /security/ { print $1; exit }')
	[[ -n $uri ]] || finding_die "the machine has no package lists of Debian's main; run: apt-get update"
	rm -rf "$WORK/lists" "$WORK/archives"
	mkdir -p "$WORK/lists/partial" "$WORK/archives/partial" "$TREE"
	for each in "${suite%-backports}" "$suite"; do
		printf 'deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] %s %s main\n' "$uri" "$each"
	done | uniq >"$WORK/sources.list"
	packages_apt -o APT::Update::Error-Mode=any update || finding_die "the lists of $suite cannot be fetched"
}

packages_into_tree() {
	local package
	for package in "$WORK"/archives/*.deb; do
		dpkg-deb -x "$package" "$TREE"
	done
}

packages_unpack() {
	local suite=$1
	shift
	packages_lists "$suite"
	(cd "$WORK/archives" && packages_apt download "$@") || finding_die "$* cannot be fetched from $suite"
	packages_into_tree
}

packages_resolve() {
	local suite=$1
	shift
	packages_lists "$suite"
	packages_apt --yes --download-only --no-install-recommends -t "$suite" install "$@" >/dev/null ||
		finding_die "$* cannot be fetched from $suite"
	packages_into_tree
}
