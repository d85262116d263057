#!/usr/bin/env bats
# SPDX-License-Identifier: Apache-2.0
#
# Guests cross between the hosts and keep their memory.

load e2e

DISK=/var/tmp/dray-e2e-disk${DRAY_TESTBED:+.$DRAY_TESTBED}.img # on both hosts

setup_file() {
	"$TESTBED" up
}

setup() {
	RX_PID=
}

teardown() {
	stop_receive
}

# cross FROM NAME [OPTIONS]: one migration, judged by the guest.
cross() {
	local from=$1 name=$2 to before after
	shift 2
	to=$(other "$from")
	before=$(ram_kib "$from" "$name")
	receive "$to" --once
	migrate_start "$from" "$name" "$@"
	migrate_wait
	[ "$status" -eq 0 ]
	wait "$RX_PID"
	RX_PID=
	[ "$(field result)" = completed ]
	[ "$(field guest_on)" = destination ]
	lives_on "$to" "$name"
	no_trace "$to" "$name"
	after=$(ram_kib "$to" "$name")
	echo "downtime $(field downtime_ms) ms, RAM $before KiB before, $after KiB after" >&3
	((after <= before + before / 100 + 64))
}

downtime_below() {
	jq -e ".downtime_ms > 0 and .downtime_ms < $1" <<<"$(grep '"event":"result"' "$TX_LOG")"
}

# bats test_tags=alone
@test "1 GiB guest, three times round: memory intact, downtime under 50 ms, holes stay holes" {
	guest trip --memory 1024 --fill 256 --period 4 --dirty 64 --rate 20
	for _ in 1 2 3; do
		cross a trip
		downtime_below 50
		cross b trip
		downtime_below 50
	done
	"$TESTBED" wait-verified trip 60
}

# Slack: QEMU stamps its events, dray its marks, and on a busy host a thread waits between them.
@test "the stop as a table: all its parts, whose sum is near the downtime, and what was predicted" {
	guest parts --memory 512 --fill 64 --period 3 --dirty 16 --rate 10
	cross a parts
	jq -e '([.pause_us, .drain_us, .round_us, .last_scan_us, .last_bytes_us, .device_state_us, .verify_us, .check_us,
			.record_us, .network_us, .release_us, .load_us, .finish_us] | all(type == "number" and . >= 0)) and
		.sum_us == ([.drain_us, .round_us, .last_scan_us, .last_bytes_us, .device_state_us, .verify_us, .check_us,
			.record_us, .network_us, .release_us, .load_us, .finish_us] | add) and
		.sum_us > .downtime_us / 2 and .sum_us < .downtime_us * 2 and
		.last_scan_us > 0 and .check_us > 0 and .load_us > 0 and .finish_us > 0 and
		.predicted_us > 12000' <<<"$(grep '"event":"stop"' "$TX_LOG")"
	jq -e '.predicted_downtime_ms > 12 and .stop.sum_us > 0 and
		(.stop.downtime_us - .downtime_ms * 1000 | fabs) < 1' <<<"$(grep '"event":"result"' "$TX_LOG")"
	"$TESTBED" destroy parts
}

# bats test_tags=alone
@test "once more with --verify, without TLS: digests of all RAM equal" {
	local WAY=("${PLAIN[@]}")
	cross a trip --verify
	[[ $(field verified) =~ ^[0-9a-f]{32}$ ]]
	"$TESTBED" wait-verified trip 60
	"$TESTBED" destroy trip
}

@test "a paused guest arrives paused, and runs on when resumed" {
	guest still --memory 512 --fill 64 --period 3 --dirty 16 --rate 10
	"$TESTBED" exec a virsh -q suspend still
	receive b --once
	migrate a still --verify
	[ "$status" -eq 0 ]
	[ "$(where_is still)" = "a=absent b=paused" ]
	"$TESTBED" exec b virsh -q resume still
	"$TESTBED" wait-verified still 60
	"$TESTBED" destroy still
}

# unplugged_blocks HOST NAME: what the memory of its virtio-mem device takes, in blocks of 512 bytes.
unplugged_blocks() {
	local pid range
	pid=$("$TESTBED" qemu-pid "$1" "$2") || return
	range=$(awk '$6 ~ /memvirtiomem/ { print $1; exit }' "/proc/$pid/maps")
	stat -L -c %b "/proc/$pid/map_files/$range"
}

# bats test_tags=alone
@test "hugetlbfs guest, there and back; memory that is not plugged takes none" {
	guest huge --memory 1024 --fill 256 --period 4 --dirty 64 --rate 20 --hugepages --virtio-mem 512
	cross a huge --verify
	[ "$(unplugged_blocks b huge)" -eq 0 ]
	cross b huge
	downtime_below 50
	[ "$(unplugged_blocks a huge)" -eq 0 ]
	"$TESTBED" wait-verified huge 60
	"$TESTBED" destroy huge
}

@test "two NUMA nodes of equal size, there and back" {
	guest numa --memory 1024 --fill 256 --period 4 --dirty 64 --rate 20 --numa 2 --vcpus 2
	cross a numa --verify
	cross b numa
	"$TESTBED" wait-verified numa 60
	"$TESTBED" destroy numa
}

# is_compressed METHOD: what crossed the wire is less than half of the pages sent.
is_compressed() {
	echo "$(field wire_bytes) bytes for $(field pages_sent) pages, $(field pages_compressed) of them compressed" >&3
	[ "$(field compression)" = "$1" ]
	jq -e '.pages_compressed > .pages_sent / 2 and .bytes_uncompressed == .pages_compressed * 4096 and
		.bytes_compressed < .bytes_uncompressed / 3 and .wire_bytes < .pages_sent * 4096 / 2' \
		<<<"$(grep '"event":"result"' "$TX_LOG")"
}

@test "memory that can be compressed is: zstd by TLS, at a higher level without, auto under a cap" {
	guest text --memory 512 --fill 192 --period 4 --dirty 32 --rate 20 --repeat 16
	cross a text --compression zstd --verify
	is_compressed zstd:1
	local WAY=("${PLAIN[@]}")
	cross b text --compression zstd:3 --streams 1 --verify
	is_compressed zstd:3
	cross a text --compression auto --bandwidth 64Mi --verify
	is_compressed auto
	cross b text --compression auto --verify
	echo "without a cap $(field pages_compressed) of $(field pages_sent) pages compressed" >&3
	[ "$(field compression)" = auto ]
	cross a text
	[ "$(field compression) $(field pages_compressed)" = "none 0" ]
	"$TESTBED" wait-verified text 60
	"$TESTBED" destroy text
}

@test "compressed into huge pages, and on the way to post-copy" {
	guest text --memory 512 --fill 160 --period 4 --dirty 64 --rate 40 --repeat 16 --hugepages
	cross a text --compression zstd --verify
	is_compressed zstd:1
	cross b text --compression zstd --post-copy=now --bandwidth 64Mi --verify
	[ "$(field mode)" = PostCopy ]
	(($(field pages_compressed) > 0))
	"$TESTBED" wait-verified text 60
	"$TESTBED" destroy text
}

@test "private memory, and memory that cannot be compressed" {
	guest noise --memory 512 --fill 64 --period 3 --dirty 32 --rate 20 --private
	cross a noise --compression zstd --keep-private --verify
	[ "$(field compression)" = zstd:1 ]
	(($(field wire_bytes) > $(field pages_sent) * 4096 / 2))
	"$TESTBED" wait-verified noise 60
	"$TESTBED" destroy noise
}

@test "one stream and eight" {
	guest streams --memory 512 --fill 64 --period 3 --dirty 32 --rate 20
	cross a streams --streams 1 --verify
	cross b streams --streams 8 --verify
	"$TESTBED" wait-verified streams 60
	"$TESTBED" destroy streams
}

@test "free page reporting: pages given back become holes on both sides" {
	guest giver --memory 1024 --fill 128 --period 3 --dirty 32 --rate 10 --reporting
	cross a giver --verify
	cross b giver
	"$TESTBED" wait-verified giver 60
	"$TESTBED" destroy giver
}

@test "a disk through the page cache" {
	guest diskful --memory 512 --fill 64 --period 3 --dirty 16 --rate 10 --disk "$DISK:writeback"
	cross a diskful --verify
	"$TESTBED" wait-verified diskful 60
	"$TESTBED" destroy diskful
}

@test "a disk read past the page cache: crosses with a monitor of ours, refused where there is none to be had" {
	guest rawdisk --memory 512 --fill 64 --period 3 --dirty 16 --rate 10 --disk "$DISK:none"
	if ! adds_monitor a; then
		receive b
		migrate a rawdisk
		[ "$status" -eq 1 ]
		field reason | grep -q draymon
		stop_receive
		with_monitor rawdisk
	fi
	cross a rawdisk --verify
	until_true 10 no_monitor b rawdisk
	cross b rawdisk
	"$TESTBED" wait-verified rawdisk 60
	"$TESTBED" witness rawdisk | jq -e '.disk_reads > 0 and .corrupt == 0'
	"$TESTBED" destroy rawdisk
}

@test "SIGINT cancels: exit 3, the guest runs on at the source" {
	guest cancel --memory 512 --fill 64 --period 3 --dirty 16 --rate 10
	receive b
	DRAY_FAULT=later-round=stop migrate_start a cancel
	until_true 20 is_stopped "$TX_PID"
	kill -INT "$TX_PID"
	let_go "$TX_PID"
	migrate_wait
	[ "$status" -eq 3 ]
	[ "$(field result)" = aborted ]
	settled a cancel
	"$TESTBED" destroy cancel
}

# QEMU sends it by its own stream. At 32 MiB/s it takes 1 s, which the guest would stand still if it were not sent before.
@test "a large option ROM: sent under the cap before the stop" {
	local rom=/var/tmp/dray-e2e-rom${DRAY_TESTBED:+.$DRAY_TESTBED} device=$BATS_TEST_TMPDIR/device.xml
	guest rom --memory 256 --fill 16 --dirty 8 --rate 5
	head -c 32M /dev/urandom >"$rom"
	printf '%s' "<interface type='user'><model type='virtio'/><rom bar='on' file='$rom'/></interface>" >"$device"
	"$TESTBED" exec a virsh -q attach-device rom "$device"
	cross a rom --bandwidth 32Mi
	downtime_below 600
	"$TESTBED" destroy rom
	rm "$rom"
}
