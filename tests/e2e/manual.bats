#!/usr/bin/env bats
# SPDX-License-Identifier: Apache-2.0
#
# The manual and --help say the same. Needs no testbed.

: "${DRAY:?path of the dray binary}"

# Those that `dray --help` lists.
commands() {
	"$DRAY" --help | sed -nE 's/^  ([a-z]+) .*/\1/p'
}

# --help and --usage are the same everywhere, and described in dray(8).
options_in_help() {
	"$DRAY" "$1" --help | grep -oE -e '--[a-z]+(-[a-z]+)*' | grep -vxE -e '--(help|usage)' | sort -u
}

options_in_manual() {
	sed -nE 's/^\.It Fl -([a-z-]+).*/--\1/p' "$(page "dray-$1")" | sort -u
}

page() {
	printf '%s/../../tools/%s.8' "$BATS_TEST_DIRNAME" "$1"
}

@test "every command has a page, which dray(8) names" {
	local name
	[ "$(commands | wc -l)" -ge 5 ]
	for name in $(commands); do
		echo "command $name"
		[ -s "$(page "dray-$name")" ]
		grep -qx "\.Nm dray-$name" "$(page "dray-$name")" # whatis takes no name with a blank
		grep -qx "\.It Cm $name" "$(page dray)"
		grep -q "^\.Xr dray-$name 8" "$(page dray)"
	done
}

@test "dray help, and dray help COMMAND" {
	diff <("$DRAY" help) <("$DRAY" --help)
	diff <("$DRAY" help migrate) <("$DRAY" migrate --help)
	run "$DRAY" help conquer
	[ "$status" -eq 1 ]
	[[ $output == *conquer* ]]
}

@test "every page belongs to a command, or to a program of its own" {
	local file name
	for file in "$BATS_TEST_DIRNAME"/../../tools/dray-*.8; do
		name=$(basename "$file" .8)
		echo "page $name"
		[ ! -x "${file%.8}" ] || continue
		commands | grep -qx "${name#dray-}"
	done
}

@test "each page has the options that --help has, and no other" {
	local name
	for name in $(commands); do
		echo "command $name; < only in --help, > only in the manual:"
		[ -n "$(options_in_help "$name")" ]
		diff <(options_in_help "$name") <(options_in_manual "$name")
	done
}

@test "dray-pki: its commands and options are those of its page" {
	local tool=$BATS_TEST_DIRNAME/../../tools/dray-pki
	diff <("$tool" --help | sed -nE 's/^    dray-pki ([a-z]+) .*/\1/p') <(sed -nE 's/^\.It Cm ([a-z]+)$/\1/p' "$tool.8")
	diff <("$tool" --help | sed -n '/^    dray-pki/p' | grep -oE -e '--[a-z]+' | sort -u) <(sed -nE 's/^\.It Fl -([a-z-]+).*/--\1/p' "$tool.8" | sort -u)
	grep -q '^\.Xr dray-pki 8' "$(page dray)"
}

@test "the pages are well-formed" {
	local file
	command -v groff >/dev/null || skip "there is no groff here"
	for file in "$BATS_TEST_DIRNAME"/../../tools/*.8; do
		echo "$file"
		[ -z "$(groff -mdoc -Tutf8 -rLL=200n -ww -z "$file" 2>&1 | tee /dev/stderr)" ]
	done
}
