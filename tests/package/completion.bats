#!/usr/bin/env bats
# SPDX-License-Identifier: Apache-2.0
#
# What bash completes for dray. Needs no package installed: tools/completion makes it from the binary.

bats_require_minimum_version 1.5.0
: "${DRAY:?path of the dray binary}"
ROOT=$(cd "$BATS_TEST_DIRNAME/../.." && pwd)

setup() {
	"$ROOT/tools/completion" "$DRAY" >"$BATS_TEST_TMPDIR/completion"
	# shellcheck source=/dev/null
	source "$BATS_TEST_TMPDIR/completion"
}

# libvirt with two guests that run.
virsh() {
	[[ $* == "-q -c qemu:///system list --name" ]] || return 1
	printf 'web\nwitness\n\n'
}

# completed WORD...: what the last one may become, a line each. As bash calls it, "=" is a word of its own.
completed() {
	COMP_WORDS=("$@") COMP_CWORD=$(($# - 1)) COMPREPLY=()
	_dray || true # there is no completion under way whose options could be set
	printf '%s\n' "${COMPREPLY[@]}"
}

@test "bash takes it for dray" {
	complete -p dray | grep -q -- '-F _dray dray'
}

@test "subcommands: all that --help lists" {
	diff <(completed dray '' | grep -v -e -- -e '^help$' | sort) <("$DRAY" --help | sed -nE 's/^  ([a-z]+) .*/\1/p' | sort)
	[ "$(completed dray mig)" = migrate ]
	[ "$(completed dray help mig)" = migrate ]
}

@test "options: all that each subcommand's --help has" {
	local name
	for name in $("$DRAY" --help | sed -nE 's/^  ([a-z]+) .*/\1/p'); do
		echo "command $name"
		diff <(completed dray "$name" - | tr -d = | sort -u) <("$DRAY" "$name" --help | grep -oE -e '--[a-z]+(-[a-z]+)*' | sort -u)
	done
	[ "$(completed dray migrate --max-down)" = --max-downtime= ]
	[ "$(completed dray migrate --auto)" = --auto-converge ]
}

@test "values that --help names, files, directories" {
	local directory=$BATS_TEST_TMPDIR/d
	mkdir -p "$directory/sub"
	touch "$directory/file"
	[ "$(completed dray migrate --post-copy = n)" = $'no\nnow' ]
	[ "$(completed dray migrate --lane = '')" = $'auto\ndirect' ]
	[ "$(completed dray migrate --lane d)" = direct ]
	[ "$(completed dray receive --allow = h)" = host-devices ]
	[ "$(completed dray migrate --config = "$directory/f")" = "$directory/file" ]
	[ "$(completed dray receive --allow-path "$directory/")" = "$directory/sub" ]
	[ "$(completed dray receive --bind = l)" = lo ]
}

@test "a guest's name where DOMAIN is expected, and only there" {
	local name
	for name in migrate check recover status cancel set history; do
		echo "command $name"
		[ "$(completed dray "$name" w)" = $'web\nwitness' ]
	done
	[ "$(completed dray migrate --max-downtime = 100 --post-copy we)" = web ]
	[ "$(completed dray migrate --max-downtime 100 we)" = web ]
	[ -z "$(completed dray migrate web w)" ]
	[ -z "$(completed dray receive w)" ]
	[ -z "$(completed dray policy w)" ]
}

@test "keys of dray set" {
	[ "$(completed dray set web '')" = $'bandwidth=\nmax-downtime=\npost-copy=' ]
	[ "$(completed dray set web bandwidth = 1Gi max)" = max-downtime= ]
}
