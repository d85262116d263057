# shellcheck shell=bash
# SPDX-License-Identifier: Apache-2.0
#
# rules: the rules of the house (CONTRIBUTING.md) that a program can check. Sourced by tests/run, whose check, skip,
# ROOT, RELEASE and WORK are used here.

# shellcheck source=tests/rules/arrows.bash
source tests/rules/arrows.bash
# shellcheck source=tests/rules/style.bash
source tests/rules/style.bash
# shellcheck source=tests/rules/analysis.bash
source tests/rules/analysis.bash

readonly CLANG_MAJOR=14 # Debian 12's; other versions lay out some things differently, and find other things

# with_clang NAME FUNCTION: a check by one of clang's tools; skipped where there are only other versions of it.
with_clang() {
	local tool
	if tool=$(clang_tool "$1" "$CLANG_MAJOR"); then
		check "$1 $CLANG_MAJOR" "$2" "$tool" || true
	else
		skip "$1: there is no version $CLANG_MAJOR here; try: apt-get install $1-$CLANG_MAJOR"
	fi
}

rules() {
	check "names of files, and what an #include says" check_names || true
	check "who may see whom" check_rooms || true
	check "no circle of includes or calls" check_circles || true
	check "what those two are made for" check_itself || true
	check "shellcheck" check_shell || true
	with_clang clang-format check_format
	with_clang clang-tidy check_tidy
	check "cppcheck" check_cppcheck || true
}
