# shellcheck shell=bash
# SPDX-License-Identifier: Apache-2.0
#
# rules: the rules of the house (CONTRIBUTING.md) that a program can check. Sourced by tests/run, whose check, skip,
# ROOT, RELEASE and WORK are used here.

# shellcheck source=tests/rules/arrows.bash
source tests/rules/arrows.bash
# shellcheck source=tests/rules/style.bash
source tests/rules/style.bash

readonly CLANG_FORMAT_MAJOR=14 # Debian 12's; others lay out some things differently

rules() {
	local formatter
	check "names of files, and what an #include says" check_names || true
	check "who may see whom" check_rooms || true
	check "no circle of includes or calls" check_circles || true
	circles_left
	check "shellcheck" check_shell || true
	if formatter=$(clang_tool clang-format "$CLANG_FORMAT_MAJOR"); then
		check "clang-format $CLANG_FORMAT_MAJOR" check_format "$formatter" || true
	else
		skip "clang-format: there is no version $CLANG_FORMAT_MAJOR here; try: apt-get install clang-format-$CLANG_FORMAT_MAJOR"
	fi
}
