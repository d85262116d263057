#!/usr/bin/env bats
# SPDX-License-Identifier: Apache-2.0
#
# /etc/dray/dray.yaml as it is packaged, and read.

bats_require_minimum_version 1.5.0
: "${DRAY:?path of the dray binary}"
ROOT=$(cd "$BATS_TEST_DIRNAME/../.." && pwd)
YAML=$ROOT/tools/package.d/dray.yaml

# with_yaml FILE CMD...: FILE is /etc/dray/dray.yaml for it.
with_yaml() {
	local file=$1 etc=$BATS_TEST_TMPDIR/etc
	shift
	mkdir -p "$etc/dray"
	[ -z "$file" ] || cp "$file" "$etc/dray/dray.yaml"
	# shellcheck disable=SC2016 # for the inner shell
	unshare --mount sh -c 'mount --bind "$0" /etc && exec "$@"' "$etc" "$@"
}

@test "every setting stands there as a comment, with its default" {
	diff <(sed -nE 's/^#([a-zA-Z]+): "?([^"]*)"?$/\1 \2/p' "$YAML" | sort) \
		<("$DRAY" policy --json | jq -r '.settings[] | "\(.name) \(.given)"' | sort)
}

@test "as it is it changes nothing; with all comments taken off neither" {
	run -0 with_yaml "$YAML" "$DRAY" policy
	diff <(echo "$output") <(with_yaml '' "$DRAY" policy)
	sed -E 's/^#([a-zA-Z]+: )/\1/' "$YAML" >"$BATS_TEST_TMPDIR/all.yaml"
	run -0 with_yaml "$BATS_TEST_TMPDIR/all.yaml" "$DRAY" policy --json
	diff <(jq -c '.settings[] | [.name, .given]' <<<"$output") \
		<(with_yaml '' "$DRAY" policy --json | jq -c '.settings[] | [.name, .given]')
}

@test "what it says holds, unless --config or an option is given" {
	local file=$BATS_TEST_TMPDIR/some.yaml
	printf 'maxDowntimeMs: 50\nprogressTimeout: 7\n' >"$file"
	printf 'maxDowntimeMs: 60\n' >"$BATS_TEST_TMPDIR/other.yaml"
	run -0 with_yaml "$file" "$DRAY" policy --progress-timeout 8
	[[ $output =~ maxDowntimeMs\ +50\ +config\ /etc/dray/dray.yaml ]]
	[[ $output =~ progressTimeout\ +8\ +option ]]
	run -0 with_yaml "$file" "$DRAY" policy --config "$BATS_TEST_TMPDIR/other.yaml"
	[[ $output =~ maxDowntimeMs\ +60\ +config && $output =~ progressTimeout\ +150\ +default ]]
}

@test "dray receive reads it, too" {
	printf 'maxDowntime: 50\n' >"$BATS_TEST_TMPDIR/wrong.yaml"
	run -1 with_yaml "$BATS_TEST_TMPDIR/wrong.yaml" "$DRAY" receive --once
	[[ $output == *"/etc/dray/dray.yaml:1"*maxDowntime* ]]
}
