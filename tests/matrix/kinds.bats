#!/usr/bin/env bats
# SPDX-License-Identifier: Apache-2.0
#
# Each kind of memory that a guest can have, with each kind of disk: there and back in pre-copy, there and back in
# post-copy. Judged by the guest's own witness, which also reads its disk past its page cache and checks what it reads.
#
# DRAY_RELEASE   QEMU and libvirt of both hosts
#
# tests/run kinds runs it with each release.

bats_require_minimum_version 1.5.0
load ../e2e/e2e

DISK=/var/tmp/dray-kinds-disk${DRAY_TESTBED:+.$DRAY_TESTBED}.img # on both hosts

setup_file() {
	"$TESTBED" up
}

setup() {
	RX_PID=
}

teardown() {
	stop_receive
	"$TESTBED" destroy kind >/dev/null 2>&1 || true
}

# lane HOST: why the guest can take the direct lane there.
lane() {
	"$TESTBED" exec "$1" "$DRAY" check --json kind | jq -r '.conditions[] | select(.type == "DirectLane") | .reason'
}

# cross FROM REASON MODE [OPTIONS]: by that lane, in that mode.
cross() {
	local from=$1 reason=$2 mode=$3 to
	shift 3
	to=$(other "$from")
	[ "$(lane "$from")" = "$reason" ]
	receive "$to" --once
	migrate "$from" kind "$@"
	[ "$status" -eq 0 ]
	[ "$(field mode)" = "$mode" ]
	wait "$RX_PID"
	RX_PID=
	lives_on "$to" kind
	no_trace "$to" kind
	echo "$from to $to: $reason, $mode, downtime $(field downtime_ms) ms" >&3
}

# there_and_back FIRST LATER OPTIONS...: the lane of the first move, and of all that follow.
there_and_back() {
	local first=$1 later=$2
	shift 2
	fresh "$@"
	cross a "$first" PreCopy --verify
	cross b "$later" PreCopy
	cross a "$later" PostCopy --verify --post-copy=now
	cross b "$later" PostCopy --post-copy=now
	"$TESTBED" wait-verified kind 60
	"$TESTBED" witness kind | jq -e '.corrupt == 0'
	"$TESTBED" destroy kind
}

# fresh OPTIONS...: one with a disk that is read past the page cache has a monitor of dray's own where QEMU does not take one
# while its guest runs.
fresh() {
	guest kind --memory 256 --fill 48 --period 2 --dirty 24 --rate 20 "$@"
	if [[ $* == *:none ]] && ! adds_monitor a; then
		with_monitor kind
	fi
}

@test "file" {
	there_and_back Ready Ready
}

@test "file, disk through the page cache" {
	there_and_back Ready Ready --disk "$DISK:writeback"
}

@test "file, disk past the page cache" {
	there_and_back Ready Ready --disk "$DISK:none"
}

@test "huge pages" {
	there_and_back Ready Ready --hugepages
}

@test "huge pages, disk through the page cache" {
	there_and_back Ready Ready --hugepages --disk "$DISK:writeback"
}

@test "huge pages, disk past the page cache" {
	there_and_back Ready Ready --hugepages --disk "$DISK:none"
}

@test "private" {
	there_and_back Strained Ready --private
}

@test "private, disk through the page cache" {
	there_and_back Strained Ready --private --disk "$DISK:writeback"
}

@test "private, disk past the page cache" {
	there_and_back Strained Ready --private --disk "$DISK:none"
}

@test "private huge pages" {
	there_and_back Strained Ready --private-hugepages
}

@test "private huge pages, disk through the page cache" {
	there_and_back Strained Ready --private-hugepages --disk "$DISK:writeback"
}

@test "private huge pages, disk past the page cache" {
	there_and_back Strained Ready --private-hugepages --disk "$DISK:none"
}

# kept_private OPTIONS...: it stays private, and is strained each time.
kept_private() {
	fresh "$@"
	cross a Strained PreCopy --verify --keep-private
	cross b Strained PreCopy --verify --keep-private
	cross a Strained PostCopy --verify --keep-private --post-copy=now
	cross b Strained PostCopy --keep-private --post-copy=now
	"$TESTBED" wait-verified kind 60
	"$TESTBED" witness kind | jq -e '.corrupt == 0'
	"$TESTBED" destroy kind
}

@test "private, and kept so" {
	kept_private --private
}

@test "private, and kept so, disk through the page cache" {
	kept_private --private --disk "$DISK:writeback"
}

@test "private, and kept so, disk past the page cache" {
	kept_private --private --disk "$DISK:none"
}

@test "private huge pages, and kept so" {
	kept_private --private-hugepages
}

@test "memfd" {
	there_and_back Strained Strained --memfd
}

@test "memfd, disk through the page cache" {
	there_and_back Strained Strained --memfd --disk "$DISK:writeback"
}

@test "memfd, disk past the page cache" {
	there_and_back Strained Strained --memfd --disk "$DISK:none"
}

@test "memfd of huge pages" {
	there_and_back Strained Strained --memfd-hugepages
}

@test "memfd of huge pages, disk through the page cache" {
	there_and_back Strained Strained --memfd-hugepages --disk "$DISK:writeback"
}

@test "memfd of huge pages, disk past the page cache" {
	there_and_back Strained Strained --memfd-hugepages --disk "$DISK:none"
}
