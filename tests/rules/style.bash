# shellcheck shell=bash
# SPDX-License-Identifier: Apache-2.0
#
# style: how the files look. Sourced by rules.bash.

shell_files() {
	grep -rlE --exclude='*.[ch]' '^#!.*\<(bash|sh|bats)$|^# shellcheck shell=bash' tools tests bench findings .ci
}

# Sourced files are checked by themselves (SC1091). A bats case is a subshell on purpose (SC2030, SC2031), and shares
# variables with what it loads (SC2034, SC2153).
check_shell() {
	local list
	local -a scripts cases
	list=$(shell_files | sort) || return
	mapfile -t scripts < <(grep -vE '^tests/(e2e|soak|package|matrix/.*bats$)' <<<"$list")
	mapfile -t cases < <(grep -E '^tests/(e2e|soak|package|matrix/.*bats$)' <<<"$list")
	shellcheck -x -e SC1091 "${scripts[@]}" &&
		shellcheck -x -e SC1091,SC2030,SC2031,SC2034,SC2153 "${cases[@]}"
}

c_files() {
	find engine transport qemu-glue tools bench tests -name '*.[ch]' | sort
}

check_format() {
	local list
	local -a files
	list=$(c_files) || return
	mapfile -t files <<<"$list"
	"$1" --dry-run -Werror "${files[@]}"
}

# clang_tool NAME MAJOR: the command of that version, if there is one.
clang_tool() {
	local command
	for command in "$1-$2" "$1"; do
		if "$command" --version 2>/dev/null | grep -q "version $2\."; then
			printf '%s\n' "$command"
			return 0
		fi
	done
	return 1
}
