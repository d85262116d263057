# shellcheck shell=bash
# SPDX-License-Identifier: Apache-2.0
#
# matrix: the pairs of hosts between which pair.bats moves its guest, and the releases on which kinds.bats does. Sourced by
# tests/run, whose functions are used here.

# Releases of host a and host b, and the guest's machine type: that of the older of both (pc: host a's newest). An upgrade
# goes down the table: a guest of an old host's type gets to newer ones, and moves on between those. `core`: in `all`, too.
# At the end, what else the guest is made with.
#
# QEMU itself does not let a guest that was started with 10.0.13 go to 11.1.3 with its balloon: the one gives it queues of
# 1024, the other of 128, and refuses them ("VQ 0 vring.num 1024 exceeds allocated max 128").
readonly MATRIX='stock stock pc -
stock debian13 pc core
stock newest pc -
debian13 stock pc-i440fx-7.2 -
debian13 debian13 pc -
debian13 newest pc - --no-balloon
newest stock pc-i440fx-7.2 -
newest debian13 pc-i440fx-10.0 core
newest newest pc-i440fx-7.2 -
newest newest pc-i440fx-10.0 -
newest newest pc -'

# matrix_on_one NUMBER BATS-OPTIONS...: pairs off the queue, on that testbed, until there are no more.
matrix_on_one() {
	local number=$1 pair
	shift
	DRAY_TESTBED=$(instance "$number")
	export DRAY_TESTBED
	while pair=$(next_item) && [[ -n $pair ]]; do
		# shellcheck disable=SC2086 # its words
		matrix_pair "$number" $pair -- "$@"
	done | sed -u "s/^/$number: /"
}

# matrix_pair NUMBER A B MACHINE CORE OPTIONS... -- BATS-OPTIONS...
matrix_pair() {
	local number=$1 a=$2 b=$3 machine=$4 options=
	shift 5
	until [[ $1 == -- ]]; do
		options+="$1 "
		shift
	done
	shift
	# The cases say by themselves that hosts are missing.
	{ "$TESTBED" down && "$TESTBED" up --release-a "$a" --release-b "$b"; } >"$WORK/testbed.$number" 2>&1 ||
		cat "$WORK/testbed.$number"
	MATRIX_A=$a MATRIX_B=$b MATRIX_MACHINE=$machine MATRIX_OPTIONS=$options CASES_OF="$a to $b, $machine: " \
		tap "$WORK/tap.$number.$a-$b-$machine" "$@" tests/matrix/pair.bats
}

# matrix PAIRS BATS-OPTIONS...: lines of the table.
matrix() {
	local count=${TESTBEDS:-2} lines
	printf '%s\n' "$1" >"$WORK/queue"
	shift
	lines=$(wc -l <"$WORK/queue")
	((count <= lines)) || count=$lines
	((TESTBEDS_USED >= count)) || TESTBEDS_USED=$count
	on_queue "$count" matrix_on_one "$@"
}

# run_matrix [A B]: every case, with all pairs or with those of these releases.
run_matrix() {
	local pairs=$MATRIX
	if (($# > 0)); then
		pairs=$(grep -E "^$1 ${2-} " <<<"$MATRIX") ||
			die "matrix $*: no such pair; see: tools/testbed releases"
	fi
	stage "hosts of different releases" matrix "$pairs"
	stage "testbeds down" testbeds_down
}

run_matrix_core() {
	stage "hosts of different releases, some pairs" matrix "$(grep ' core' <<<"$MATRIX")" --filter-tags core
	stage "testbeds down" testbeds_down
}

# kinds_on_one NUMBER: releases off the queue, on that testbed, until there are no more.
kinds_on_one() {
	local number=$1 release
	DRAY_TESTBED=$(instance "$number")
	export DRAY_TESTBED
	while release=$(next_item) && [[ -n $release ]]; do
		{ "$TESTBED" down && DRAY_RELEASE=$release "$TESTBED" up; } >"$WORK/testbed.$number" 2>&1 || cat "$WORK/testbed.$number"
		DRAY_RELEASE=$release CASES_OF="$release: " tap "$WORK/tap.$number.$release" tests/matrix/kinds.bats
	done | sed -u "s/^/$number: /"
}

# run_kinds [RELEASE...]: every kind of memory, with every kind of disk.
run_kinds() {
	local count=${TESTBEDS:-2}
	(($# > 0)) || set -- stock debian13 newest
	printf '%s\n' "$@" >"$WORK/queue"
	((count <= $#)) || count=$#
	((TESTBEDS_USED >= count)) || TESTBEDS_USED=$count
	stage "kinds of memory and of disks" on_queue "$count" kinds_on_one
	stage "testbeds down" testbeds_down
}
