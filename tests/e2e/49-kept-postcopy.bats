#!/usr/bin/env bats
# SPDX-License-Identifier: Apache-2.0
#
# Post-copy into memory that stays private to QEMU: what is out of date there is dropped by QEMU itself, and comes by
# its page faults, whatever breaks meanwhile.

bats_require_minimum_version 1.5.0
GUEST=kept
load e2e
load postcopy

setup_file() {
	"$TESTBED" up
}

setup() {
	each_begins
}

teardown() {
	each_ends
	"$TESTBED" memory-dir a tmpfs
	"$TESTBED" memory-dir b tmpfs
}

# start: until it runs at b, and some seconds of its memory are still to follow.
start() {
	receive b
	migrate_start a kept --keep-private --bandwidth 24Mi --post-copy --completion-timeout-per-gib 3 "$@"
	event '"phase":"post-copy"' 60
}

# kept HOST: it arrived there, in post-copy, and its memory is private still.
kept() {
	[ "$status" -eq 0 ]
	[ "$(field mode)" = PostCopy ]
	figures
	AT=$(other "$1")
	arrived
	AT=$1
	[[ $("$TESTBED" exec "$1" virsh -q dumpxml kept) != *"access mode='shared'"* ]]
	[ "$("$TESTBED" exec "$1" "$DRAY" check --json kept | jq -r '.conditions[] | select(.type == "DirectLane") | .reason')" = Strained ]
	[ "$(registered "$1")" -eq 0 ]
}

# registered HOST: mappings of its QEMU whose missing pages somebody is told of.
registered() {
	grep -c '^VmFlags:.* um' "/proc/$("$TESTBED" qemu-pid "$1" kept)/smaps" || true
}

# resident HOST: MiB that its QEMU has.
resident() {
	awk '/^Rss:/ { print int($2 / 1024) }' "/proc/$("$TESTBED" qemu-pid "$1" kept)/smaps_rollup"
}

# proven: with --verify.
proven() {
	[ "$(field pages_differing)" -eq 0 ]
	(($(field pages_verified) >= 96 * 256))
}

@test "at once, with proof, there and back" {
	fresh
	receive b --once
	migrate a kept --keep-private --bandwidth 64Mi --post-copy=now --verify
	kept b
	proven
	receive a --once
	migrate b kept --keep-private --bandwidth 64Mi --post-copy=now --verify
	kept a
	proven
}

# Most pages are there, and out of date, when it moves.
# bats test_tags=long
@test "after rounds that never end, with proof; and back without" {
	guest kept --memory 320 --fill 64 --period 2 --dirty 96 --rate 90 --vcpus 2 --private
	receive b --once
	migrate a kept --keep-private --bandwidth 48Mi --post-copy --completion-timeout-per-gib 10 --verify
	kept b
	[ "$(field pages_differing)" -eq 0 ]
	receive a --once
	migrate b kept --keep-private --bandwidth 24Mi --post-copy --completion-timeout-per-gib 3
	kept a
}

# bats test_tags=long
@test "what the guest never used has no memory at the destination" {
	local before after
	guest kept --memory 1024 --fill 32 --period 2 --dirty 16 --rate 10 --private
	before=$(resident a)
	receive b --once
	migrate a kept --keep-private --post-copy=now --verify
	kept b
	after=$(resident b)
	echo "$before MiB there, $after MiB here" >&3
	[ "$after" -lt $((before + 100)) ]
}

# bats test_tags=long
@test "where memory_backing_dir is on a disk, NUMA nodes, there and back" {
	fresh --numa 2 --private
	"$TESTBED" memory-dir a disk
	"$TESTBED" memory-dir b disk
	receive b --once
	migrate a kept --bandwidth 64Mi --post-copy=now --verify
	kept b
	receive a --once
	migrate b kept --bandwidth 64Mi --post-copy=now --verify
	kept a
}

# bats test_tags=long
@test "huge pages, with proof, there and back" {
	fresh --private-hugepages
	receive b --once
	migrate a kept --keep-private --bandwidth 64Mi --post-copy=now --verify
	kept b
	proven
	receive a --once
	migrate b kept --keep-private --bandwidth 24Mi --post-copy --completion-timeout-per-gib 3
	kept a
}

# bats test_tags=long
@test "dray receive is killed: its guard fetches the rest" {
	fresh
	start
	kill -9 "$("$TESTBED" pgrep all "^$DRAY receive")"
	migrate_wait
	kept b
}

# bats test_tags=long
@test "dray receive and its guard are killed: the guest waits, and another dray receive carries on" {
	fresh
	start --verify
	# shellcheck disable=SC2046 # each
	kill -9 $("$TESTBED" pgrep b '^dray guard') $("$TESTBED" pgrep all "^$DRAY receive")
	event '"event":"disconnected"'
	RX_PID=
	receive b
	migrate_wait
	kept b
	[ "$(field pages_differing)" -eq 0 ]
}

# bats test_tags=long
@test "the network is cut for five seconds" {
	fresh
	start
	"$TESTBED" cut
	sleep 5
	"$TESTBED" heal
	migrate_wait
	kept b
}

# bats test_tags=long
@test "dray migrate is killed: its guard serves the rest" {
	fresh
	start
	kill -9 "$TX_PID"
	migrate_wait
	until_true 60 no_guards
	arrived
}

# Nothing of it is left in the QEMU that waits, which is ended.
# bats test_tags=long
@test "it fails before the hand-over: the guest runs on at the source" {
	fresh
	receive b --once
	DRAY_FAULT=last-pass=fail migrate a kept --keep-private --post-copy=now
	[ "$status" -eq 2 ]
	lives_on a kept
	no_trace a kept
	stop_receive
	receive b --once
	migrate a kept --keep-private --bandwidth 64Mi --post-copy=now
	kept b
}
