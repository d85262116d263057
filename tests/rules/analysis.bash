# shellcheck shell=bash
# SPDX-License-Identifier: Apache-2.0
#
# analysis: clang-tidy and cppcheck over what dray is made of, and the benches; tests are not analysed. Sourced by
# rules.bash.

analysed_files() {
	find "${!ROOMS[@]}" bench -maxdepth 1 -name '*.c' ! -path "$NO_ROOM" | sort
}

# What is asked for, and why not more, is told in .clang-tidy. Files are handed out singly: they differ much.
check_tidy() {
	analysed_files | xargs -n 1 -P "$(nproc)" "$1" -p "$RELEASE" --quiet 2>"$WORK/tidy" && return 0
	grep -vE '^[0-9]+ warnings? (generated|treated)' "$WORK/tidy"
	return 1
}

# It sees each file without headers, ours too: of scope-exit attributes and __typeof__ it knows nothing, so that with
# cleanup.h it tells of leaks and syntax errors only.
check_cppcheck() {
	analysed_files | cppcheck --file-list=- -j "$(nproc)" --quiet --error-exitcode=1 --inline-suppr \
		--enable=warning,style,performance,portability --std=c11 -D__x86_64__ -D_GNU_SOURCE \
		--library=tests/rules/cppcheck.cfg --suppressions-list=tests/rules/cppcheck.suppressions \
		--template='{file}:{line}: {severity}: {message} [{id}]'
}
