#!/usr/bin/env bats
# SPDX-License-Identifier: Apache-2.0
#
# Guests whose disk is read straight into their memory (O_DIRECT), and slow, or hangs: dray waits for nothing that is in
# flight, and what lands late is not lost. The disk is a FUSE file system (slow_storage.c) that both hosts mount.

load e2e

SLOW=${DRAY%/*}/tests/slow_storage
STORAGE=/var/tmp/dray-e2e-slow${DRAY_TESTBED:+.$DRAY_TESTBED} # the same on both hosts
HANGS=3600000                                                 # ms

setup_file() {
	[[ -e /dev/fuse ]] || skip "this machine has no /dev/fuse"
	"$TESTBED" up
	umount_storage
	mkdir -p "$STORAGE/disk"
	printf '0\n' >"$STORAGE/delay"
	"$TESTBED" exec a true
	truncate -s 0 "$STORAGE/image"
	local host
	for host in a b; do
		mount_storage "$host"
	done
}

teardown_file() {
	"$TESTBED" destroy slow >/dev/null 2>&1 || true
	umount_storage
	rm -rf "$STORAGE"
}

setup() {
	RX_PID=
}

teardown() {
	delay 0
	stop_receive
}

delay() {
	printf '%s\n' "$1" >"$STORAGE/delay"
}

# mount_storage HOST: there, over the directory, which shows the plain file to the machine.
mount_storage() {
	"$TESTBED" exec "$1" "$SLOW" "$STORAGE/disk" "$STORAGE/delay" >"$STORAGE/$1.log" 2>&1 3>&- &
	until_true 10 "$TESTBED" exec "$1" mountpoint -q "$STORAGE/disk"
}

umount_storage() {
	local host
	for host in a b; do
		"$TESTBED" exec "$host" umount -l "$STORAGE/disk" 2>/dev/null || true
	done
}

# slow_guest: with a disk there; QEMUs that take no monitor while they run get one.
slow_guest() {
	guest slow --memory 256 --fill 32 --period 2 --dirty 16 --rate 10 --disk "$STORAGE/disk/disk:none" "$@"
	adds_monitor a || with_monitor slow
}

# on_iothread: the guest's disk is served by a thread of its own. Started anew.
on_iothread() {
	local xml=$BATS_TEST_TMPDIR/iothread.xml
	"$TESTBED" exec a virsh -q dumpxml --inactive slow >"$xml"
	sed -i "s|<vcpu |<iothreads>1</iothreads>&|; s|cache='none'|& iothread='1'|" "$xml"
	"$TESTBED" exec a virsh -q destroy slow
	"$TESTBED" exec a virsh -q define "$xml"
	"$TESTBED" exec a virsh -q start slow
	"$TESTBED" wait-tick slow 5 60
}

count() {
	"$TESTBED" witness slow | jq ".$1"
}

# more FIELD N: than before by so many, within a minute.
more() {
	local goal
	goal=$(($(count "$1") + $2))
	until_true 60 reaches "$1" "$goal"
}

reaches() {
	(($(count "$1") >= $2))
}

# Every slot that a reader has is looked at before it is read into again: 4 readers with 32 each.
disk_intact() {
	delay 0
	more disk_reads 400
	"$TESTBED" wait-verified slow 60
	[ "$(count corrupt)" -eq 0 ]
}

# cross FROM [OPTIONS]
cross() {
	local from=$1 to
	shift
	to=$(other "$from")
	receive "$to" --once
	migrate "$from" slow "$@"
	[ "$status" -eq 0 ]
	lives_on "$to" slow
	no_trace "$to" slow
	wait "$RX_PID"
	RX_PID=
	echo "total $(field total_ms) ms, downtime $(field downtime_ms) ms, rounds $(field rounds)," \
		"undrained $(field rounds_undrained), drained $(field rounds_drained), resent $(field pages_resent)" >&3
}

@test "a disk whose reads take 300 ms: no round waits for them, and what lands late is not lost" {
	slow_guest
	delay 300
	more disk_reads 8
	cross a --verify
	[ "$(field rounds_drained)" -eq 0 ]
	[ "$(field rounds_undrained)" -gt 0 ]
	[ "$(field pages_resent)" -gt 0 ]
	disk_intact
	delay 300
	more disk_reads 8
	cross b
	disk_intact
	"$TESTBED" destroy slow
}

# bats test_tags=long
@test "a disk on an I/O thread, whose reads take 300 ms, and none" {
	slow_guest
	on_iothread
	delay 300
	more disk_reads 8
	cross a --verify
	[ "$(field rounds_drained)" -eq 0 ]
	[ "$(field pages_resent)" -gt 0 ]
	disk_intact
	cross b
	jq -e 'select(.event == "round" and .disks) | .disks' "$TX_LOG" | grep -E 'idle|drained'
	disk_intact
	"$TESTBED" destroy slow
}

# bats test_tags=long
@test "private memory, its disk's reads take 300 ms" {
	slow_guest --private
	delay 300
	more disk_reads 8
	cross a --verify
	[ "$(field rounds_drained)" -eq 0 ]
	[ "$(field pages_resent)" -gt 0 ]
	disk_intact
	"$TESTBED" destroy slow
}

# bats test_tags=long
@test "post-copy, the disk's reads take 300 ms" {
	slow_guest
	delay 300
	more disk_reads 8
	cross a --post-copy=now --verify
	[ "$(field mode)" = PostCopy ]
	[ "$(field rounds_drained)" -eq 0 ]
	disk_intact
	"$TESTBED" destroy slow
}

# bats test_tags=long
@test "a quick disk: rounds wait for nothing, or not for long" {
	slow_guest
	cross a --verify
	jq -e 'select(.event == "round" and .disks) | .disks' "$TX_LOG" | grep -E 'idle|drained'
	disk_intact
	"$TESTBED" destroy slow
}

# What the other cases find they would find: the same without what dray does about it.
# bats test_tags=long
@test "with suspects given up, --verify and the guest see the damage" {
	slow_guest
	delay 300
	more disk_reads 8
	receive b
	DRAY_FAULT=undrained=fail migrate a slow --verify
	[ "$status" -eq 2 ]
	field reason | grep differs
	settled a slow
	delay 300
	more disk_reads 8
	DRAY_FAULT=undrained=fail migrate a slow
	[ "$status" -eq 0 ]
	delay 0
	until_true 60 reaches corrupt 1
	"$TESTBED" destroy slow
}

@test "a disk that hangs: the guest runs on, nothing is stopped, and the migration can be cancelled" {
	local begun
	slow_guest
	receive b
	delay "$HANGS"
	"$TESTBED" wait-tick slow 5 10
	migrate_start a slow
	until_true 20 grep -q 'none ends' "$TX_LOG"
	"$TESTBED" wait-tick slow 30 60
	[[ $(where_is slow) == a=running* ]]
	begun=$(date +%s%N)
	"$TESTBED" exec a "$DRAY" cancel slow
	migrate_wait
	echo "cancelled within $((($(date +%s%N) - begun) / 1000000)) ms" >&3
	(($(date +%s%N) - begun < 2000000000))
	[ "$status" -eq 3 ]
	settled a slow
	stop_receive
	disk_intact
	"$TESTBED" destroy slow
}

# bats test_tags=long
@test "a disk that hangs for 20 s: the migration completes when it answers" {
	slow_guest
	receive b --once
	delay "$HANGS"
	"$TESTBED" wait-tick slow 5 10
	migrate_start a slow --verify
	until_true 20 grep -q 'none ends' "$TX_LOG"
	"$TESTBED" wait-tick slow 100 60
	[[ $(where_is slow) == a=running* ]]
	[ "$(grep -c '"disks":"drained"' "$TX_LOG")" -eq 0 ]
	delay 0
	migrate_wait
	[ "$status" -eq 0 ]
	lives_on b slow
	disk_intact
	"$TESTBED" destroy slow
}
