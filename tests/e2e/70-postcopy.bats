#!/usr/bin/env bats
# SPDX-License-Identifier: Apache-2.0
#
# Post-copy: the guest runs on the destination while its memory follows, whatever happens to the network or to dray.

bats_require_minimum_version 1.5.0
GUEST=hot
load e2e
load postcopy

setup_file() {
	"$TESTBED" up
	# Rewrites its dirty set much faster than the caps below let through. Its QEMU, told to end, would empty its memory.
	guest hot --memory 512 --fill 96 --period 3 --dirty 160 --rate 80 --vcpus 2 --discard
}

teardown_file() {
	"$TESTBED" heal
	"$TESTBED" destroy hot
}

setup() {
	RX_PID=
	TX_PID=
	BOUND=
	AT=$(home)
}

teardown() {
	"$TESTBED" heal
	[[ -z ${FULL-} ]] || ram_room "$FULL" 100%
	[[ -z $BOUND ]] || "$TESTBED" exec "$AT" ip address del "$BOUND/24" dev mig0
	if [[ -z ${BATS_TEST_COMPLETED-} ]]; then
		grep -v '"progress"' "$TX_LOG" || true
	fi
	stop_receive
}

# proven MEMORY FILL: every page is accounted for, and the fill, which the guest never writes, is among those proven
# equal. In MiB.
proven() {
	local equal written given
	equal=$(field pages_verified) written=$(field pages_written_since) given=$(field pages_given_back)
	echo "pages proven equal: $equal; written since: $written; given back: $given" >&3
	((equal + written + given == $1 * 256 && equal >= $2 * 256 && $(field pages_differing) == 0))
}

# bats test_tags=long
@test "at once, after one round, without TLS: intact, nothing left in QEMU" {
	local WAY=("${PLAIN[@]}")
	receive "$(other "$AT")"
	migrate "$AT" hot --bandwidth 64Mi --post-copy=now
	[ "$status" -eq 0 ]
	[ "$(field mode)" = PostCopy ]
	[ "$(field guest_on)" = destination ]
	figures
	arrived
}

@test "on a stall, when allowed" {
	receive "$(other "$AT")"
	migrate "$AT" hot --bandwidth 32Mi --post-copy
	[ "$status" -eq 0 ]
	[ "$(field mode)" = PostCopy ]
	figures
	arrived
}

@test "at the completion time-out, inside the first round" {
	receive "$(other "$AT")"
	migrate "$AT" hot --bandwidth 16Mi --post-copy --completion-timeout-per-gib 4
	[ "$status" -eq 0 ]
	[ "$(field mode)" = PostCopy ]
	figures
	arrived
}

# For other times, and at other moments: tests/soak.
@test "the network is cut for ten seconds" {
	postcopy_start
	event '"phase":"post-copy"'
	"$TESTBED" cut
	sleep 10
	"$TESTBED" heal
	migrate_wait
	[ "$status" -eq 0 ]
	figures
	arrived
}

@test "dray migrate is killed: its guard serves the rest" {
	postcopy_start
	event '"phase":"post-copy"'
	kill -9 "$("$TESTBED" pgrep all "^$DRAY migrate .* hot ")"
	migrate_wait
	"$TESTBED" exec "$AT" "$DRAY" recover --wait 120 hot || true
	until_true 60 no_guards
	arrived
}

# established [FROM]: connections from AT, or from that address of it, to a receiver.
established() {
	"$TESTBED" exec "$AT" ss -Htn state established ${1:+src "$1"} dst "${MIG_IP[$(other "$AT")]}:7470" | wc -l
}

# Enough for faults and pushes: the guard's are up.
serves_from() {
	(($(established "$1") > 8))
}

sent_bytes() {
	"$TESTBED" exec "$AT" ip -j -s link show mig0 | jq '.[0].stats64.tx.bytes'
}

# What the guest reads by itself is less than the cap, so all that goes there waits for it. The cap is judged as last set,
# and as pacer.h promises: within 3 % in a second.
# bats test_tags=long
@test "dray migrate is killed: its guard keeps to the cap and to the bound address" {
	local begun before sent ms
	guest calm --memory 320 --fill 96 --period 12 --dirty 4 --rate 2
	GUEST=calm
	AT=a
	BOUND=${MIG_IP[$AT]}1
	"$TESTBED" exec "$AT" ip address add "$BOUND/24" dev mig0
	receive "$(other "$AT")"
	migrate_start "$AT" calm --bandwidth 24Mi --bind "$BOUND" --post-copy --completion-timeout-per-gib 1
	event '"phase":"post-copy"'
	"$TESTBED" exec "$AT" "$DRAY" set calm bandwidth=12Mi
	kill -9 "$("$TESTBED" pgrep all "^$DRAY migrate .* calm ")"
	migrate_wait
	until_true 10 serves_from "$BOUND"
	[ "$(established)" -eq "$(established "$BOUND")" ]
	before=$(sent_bytes) begun=${EPOCHREALTIME/./}
	sleep 3
	sent=$(($(sent_bytes) - before)) ms=$(((${EPOCHREALTIME/./} - begun) / 1000))
	echo "sent $((sent * 1000 / ms >> 10)) KiB/s under a cap of 12288" >&3
	[ "$(established)" -eq "$(established "$BOUND")" ]
	((sent * 1000 / ms <= (12 << 20) * 103 / 100 && sent * 1000 / ms >= 6 << 20))
	until_true 60 no_guards
	arrived
	"$TESTBED" destroy calm
}

# bats test_tags=long
@test "dray receive is killed: its guard fetches the rest, without TLS" {
	local WAY=("${PLAIN[@]}")
	postcopy_start
	event '"phase":"post-copy"'
	kill -9 "$("$TESTBED" pgrep all "^$DRAY receive")"
	migrate_wait
	[ "$status" -eq 0 ]
	arrived
}

@test "dray receive is killed, and started again" {
	postcopy_start
	event '"phase":"post-copy"'
	# shellcheck disable=SC2046 # each guard
	kill -9 "$("$TESTBED" pgrep all "^$DRAY receive")" $("$TESTBED" pgrep all "^dray guard")
	stop_receive
	receive "$(other "$AT")"
	migrate_wait
	[ "$status" -eq 0 ]
	arrived
}

# The destination's QEMU reads what it still lacks, and its end is that of a guest whose memory has all come.
@test "the guest is saved by its user in the middle: complete" {
	local to file=/var/lib/libvirt/hot.save
	to=$(other "$AT")
	postcopy_start
	event '"phase":"post-copy"'
	[ "$(capability "$to" hot)" = false ]
	"$TESTBED" exec "$to" virsh -q save hot "$file"
	migrate_wait
	[ "$status" -eq 0 ]
	"$TESTBED" exec "$to" virsh -q restore "$file"
	"$TESTBED" exec "$to" rm "$file"
	arrived
}

@test "both are killed" {
	postcopy_start
	event '"phase":"post-copy"'
	kill -9 "$("$TESTBED" pgrep all "^$DRAY migrate .* hot ")" "$("$TESTBED" pgrep all "^$DRAY receive")"
	migrate_wait
	until_true 60 no_guards
	arrived
}

@test "the guest is destroyed by its user in the middle: exit 4, and it does not run here again" {
	guest brief --memory 512 --fill 128 --period 3 --dirty 64 --rate 40
	receive b
	migrate_start a brief --bandwidth 8Mi --post-copy --completion-timeout-per-gib 4
	event '"phase":"post-copy"'
	"$TESTBED" exec b virsh -q destroy brief
	migrate_wait
	[ "$status" -eq 4 ]
	[ "$(field result)" = lost ]
	[[ $(field reason) == *brief* ]]
	[[ $(where_is brief) != *running* ]]
	"$TESTBED" destroy brief
}

# tests/run --full has 2 GiB.
# bats test_tags=long
@test "half of its memory rewritten at twice what the network carries: only post-copy brings it across" {
	local mib=${LARGE_MIB:-1024}
	guest large --memory "$mib" --fill 128 --period 3 --dirty $((mib / 2)) --rate 128 --vcpus 2
	receive b
	migrate a large --bandwidth 64Mi --completion-timeout-per-gib 5
	[ "$status" -eq 3 ]
	settled a large
	migrate a large --bandwidth 64Mi --completion-timeout-per-gib 10 --post-copy --verify
	[ "$status" -eq 0 ]
	[ "$(field mode)" = PostCopy ]
	figures
	proven "$mib" 128
	lives_on b large
	no_trace b large
	"$TESTBED" wait-verified large 180
	"$TESTBED" destroy large
}

# ram_room HOST SIZE: of the file system of its guests' RAM. What is used must fit.
ram_room() {
	"$TESTBED" exec "$1" mount -o "remount,size=$2" /var/lib/libvirt/qemu/ram
}

no_ram_room() {
	local used
	used=$("$TESTBED" exec "$1" df --output=used /var/lib/libvirt/qemu/ram | tail -n 1) && ram_room "$1" $((used + 1024))k
}

@test "no room for a page: the guest waits, both sides say so, and it goes on when there is room" {
	FULL=$(other "$AT")
	ram_room "$FULL" 100m
	receive "$FULL" --once
	migrate "$AT" hot
	[ "$status" -eq 2 ]
	field reason | grep -q 'lacks memory: .* MiB of the guest.s RAM are to come, and of /var/lib/libvirt/qemu/ram/'
	stop_receive

	ram_room "$FULL" 600m
	postcopy_start
	await_handover
	until_true 10 no_ram_room "$FULL"
	event '"waiting".*there is no memory for it: of /var/lib/libvirt/qemu/ram/.* 0 MiB are free'
	until_true 10 grep -q '"waiting".*hot waits: ' "$RX_LOG"
	run ! grep disconnected "$TX_LOG"
	ram_room "$FULL" 600m
	migrate_wait
	[ "$status" -eq 0 ]
	arrived
}

@test "huge pages: intact, nothing left in QEMU" {
	guest huge --memory 320 --fill 64 --period 3 --dirty 32 --rate 40 --hugepages
	GUEST=huge
	AT=a
	postcopy_start --verify
	migrate_wait
	[ "$status" -eq 0 ]
	[ "$(field mode)" = PostCopy ]
	[ "$(field faults)" -gt 0 ]
	figures
	proven 320 64
	arrived
	"$TESTBED" destroy huge
}

@test "--verify: what the guest has not written since is proven equal, also when dray receive was killed" {
	receive "$(other "$AT")"
	migrate "$AT" hot --bandwidth 96Mi --post-copy=now --verify
	[ "$status" -eq 0 ]
	[ "$(field mode)" = PostCopy ]
	proven 512 96
	arrived
	stop_receive

	AT=$(home)
	receive "$(other "$AT")"
	migrate_start "$AT" hot --bandwidth 24Mi --post-copy --completion-timeout-per-gib 3 --verify
	event '"phase":"post-copy"'
	kill -9 "$("$TESTBED" pgrep all "^$DRAY receive")"
	migrate_wait
	[ "$status" -eq 0 ]
	proven 512 96
	arrived
}
