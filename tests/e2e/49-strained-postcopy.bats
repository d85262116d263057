#!/usr/bin/env bats
# SPDX-License-Identifier: Apache-2.0
#
# Post-copy of guests whose memory QEMU has to itself: the source's QEMU stands until the last page has gone, whatever
# breaks meanwhile, and never runs the guest again. And of a memfd, which outlives QEMU.

bats_require_minimum_version 1.5.0
GUEST=lonely
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
}

# start: until it runs at b, and some seconds of its memory are still to follow.
start() {
	receive b
	migrate_start a lonely --bandwidth 24Mi --post-copy --completion-timeout-per-gib 1
	event '"phase":"post-copy"'
}

# The state of the source's QEMU as a process: T stopped.
qemu_state() {
	awk '{print $3}' "/proc/$QEMU/stat"
}

is_frozen() {
	[[ $(qemu_state) == T ]]
}

qemu_gone() {
	[[ ! -e /proc/$QEMU ]] || [[ $(qemu_state) == Z ]]
}

@test "private memory, at once, with proof; and back, from the shared files that it is in then" {
	fresh
	receive b --once
	migrate a lonely --bandwidth 64Mi --post-copy=now --verify
	[ "$status" -eq 0 ]
	[ "$(field mode)" = PostCopy ]
	[ "$(field pages_differing)" -eq 0 ]
	(($(field pages_verified) >= 96 * 256))
	run ! grep 'a device of the QEMU here' "$TX_LOG"
	figures
	arrived
	AT=b
	receive a --once
	migrate b lonely --bandwidth 64Mi --post-copy=now --verify
	[ "$status" -eq 0 ]
	[ "$(field mode)" = PostCopy ]
	figures
	arrived
}

# bats test_tags=long
@test "NUMA nodes of private memory, on a stall" {
	guest lonely --memory 320 --numa 2 --fill 48 --period 2 --dirty 96 --rate 80 --private
	receive b --once
	migrate a lonely --bandwidth 24Mi --post-copy
	[ "$status" -eq 0 ]
	[ "$(field mode)" = PostCopy ]
	figures
	arrived
}

# bats test_tags=long
@test "a memfd, both ways" {
	fresh --memfd
	receive b --once
	migrate a lonely --bandwidth 64Mi --post-copy=now --verify
	[ "$status" -eq 0 ]
	[ "$(field mode)" = PostCopy ]
	figures
	arrived
	AT=b
	receive a --once
	migrate b lonely --bandwidth 64Mi --post-copy=now --verify
	[ "$status" -eq 0 ]
	arrived
}

# rewrite PID: a byte in the midst of the process's largest memory, as it is: as if a device of QEMU's had written it.
rewrite() {
	local at byte=$BATS_TEST_TMPDIR/byte
	at=$(sed -nE 's/^([0-9a-f]+)-([0-9a-f]+) rw-p .*/\1 \2/p' "/proc/$1/maps" | while read -r from to; do
		echo $((0x$to - 0x$from)) $(((0x$from + 0x$to) / 2))
	done | sort -n | awk 'END {print $2}')
	dd if="/proc/$1/mem" of="$byte" bs=1 count=1 skip="$at" status=none
	dd if="$byte" of="/proc/$1/mem" bs=1 count=1 seek="$at" conv=notrunc status=none
}

# bats test_tags=long
@test "what QEMU here writes into the guest's memory while part of it is owed is told" {
	fresh
	QEMU=$("$TESTBED" qemu-pid a lonely)
	start
	rewrite "$QEMU"
	migrate_wait
	[ "$status" -eq 0 ]
	grep 'a device of the QEMU here wrote 1 pages of guest memory after the guest had left it' "$TX_LOG"
	arrived
}

# bats test_tags=long
@test "the network is cut for five seconds; cancel and resume come too late" {
	fresh
	start
	run -1 "$TESTBED" exec a "$DRAY" cancel lonely
	"$TESTBED" cut
	sleep 5
	[ "$(LC_ALL=C "$TESTBED" exec a virsh -q domstate lonely)" = paused ]
	"$TESTBED" exec a virsh -q domjobabort lonely || true
	[ "$(LC_ALL=C "$TESTBED" exec a virsh -q domstate lonely)" = paused ]
	"$TESTBED" heal
	migrate_wait
	[ "$status" -eq 0 ]
	figures
	arrived
}

# A resume that libvirt holds back for its job would be let in as soon as libvirt sees its client go. The guard is that one.
# bats test_tags=long
@test "dray migrate is killed while somebody waits to resume the guest: its guard serves the rest" {
	local resume
	fresh
	QEMU=$("$TESTBED" qemu-pid a lonely)
	start
	"$TESTBED" exec a virsh -q resume lonely 3>&- &
	resume=$!
	sleep 1
	kill -9 "$TX_PID"
	migrate_wait
	[ "$(LC_ALL=C "$TESTBED" exec a virsh -q domstate lonely)" = paused ]
	until_true 60 no_guards
	run ! wait "$resume"
	qemu_gone
	arrived
}

# bats test_tags=long
@test "dray migrate and its guard are killed: dray recover serves the rest" {
	fresh
	QEMU=$("$TESTBED" qemu-pid a lonely)
	start
	# shellcheck disable=SC2046 # each
	kill -9 $("$TESTBED" pgrep a '^dray guard')
	kill -9 "$TX_PID"
	migrate_wait
	[ "$(LC_ALL=C "$TESTBED" exec a virsh -q domstate lonely)" = paused ]
	"$TESTBED" exec a "$DRAY" recover --wait 120 lonely
	qemu_gone
	arrived
}

@test "both are killed, and somebody resumes the guest here: dray recover says that it runs twice" {
	fresh
	start
	# shellcheck disable=SC2046 # each
	kill -9 $("$TESTBED" pgrep a '^dray guard')
	kill -9 "$TX_PID"
	migrate_wait
	until_true 20 "$TESTBED" exec a virsh -q resume lonely
	run "$TESTBED" exec a "$DRAY" recover --wait 5 lonely
	[ "$status" -ne 0 ]
	[[ $output == *'lives there, and it runs here as well'* ]]
	run "$TESTBED" exec a "$DRAY" recover --wait 5 lonely # and says so again
	[[ $output == *'it runs here as well'* ]]
	[[ $(where_is lonely) == 'a=running b=running' ]]
	"$TESTBED" exec b virsh -q destroy lonely
	"$TESTBED" exec a "$DRAY" recover --wait 5 lonely
	"$TESTBED" wait-tick lonely 5 30
}

# Before libvirt on the source has heard that the guest has left: its daemon is frozen, and killed as well.
# bats test_tags=long
@test "a memfd still in QEMU here, when all are killed: dray recover finds it there, and serves it" {
	local daemon
	fresh --memfd
	QEMU=$("$TESTBED" qemu-pid a lonely)
	receive b
	DRAY_FAULT=hand-over=stop migrate_start a lonely --bandwidth 24Mi --post-copy=now
	until_true 60 is_stopped "$TX_PID"
	daemon=$("$TESTBED" pgrep a 'libvirtd')
	# shellcheck disable=SC2086 # each
	kill -STOP $daemon
	kill -CONT "$TX_PID"
	event '"event":"resumed"'
	# shellcheck disable=SC2046 # each
	kill -9 $("$TESTBED" pgrep a '^dray guard')
	kill -9 "$TX_PID"
	migrate_wait
	"$TESTBED" libvirtd a kill
	"$TESTBED" libvirtd a start
	[ -e "/proc/$QEMU" ]
	"$TESTBED" exec a "$DRAY" recover --wait 120 lonely
	qemu_gone
	arrived
}

# bats test_tags=long
@test "libvirtd is killed on the source, and started anew" {
	fresh
	QEMU=$("$TESTBED" qemu-pid a lonely)
	start
	"$TESTBED" libvirtd a kill
	until_true 5 is_frozen
	"$TESTBED" libvirtd a start
	migrate_wait
	[ "$status" -eq 0 ]
	qemu_gone
	arrived
}

# lost: exit 4, and nothing runs at a, also not after somebody asked it to recover the guest.
lost() {
	migrate_wait
	[ "$status" -eq 4 ]
	[ "$(field result)" = lost ]
	until_true 30 no_guards_here
	"$TESTBED" exec a "$DRAY" recover --wait 2 lonely || true
	until_true 20 is_absent_here
}

is_absent_here() {
	[[ $(where_is lonely) == a=absent* ]]
}

no_guards_here() {
	! "$TESTBED" pgrep a '^dray guard' >/dev/null
}

@test "the source's QEMU is killed: exit 4, both sides say why, and nothing reads zeroes" {
	fresh
	start
	kill -9 "$("$TESTBED" qemu-pid a lonely)"
	lost
	[[ $(field reason) == *'post-copy of domain lonely cannot be finished: '*'was ended before all of it had gone'* ]]
	until_true 10 grep -q 'does not come: .*was ended before all of it had gone' "$RX_LOG"
	[[ $("$TESTBED" witness lonely) == *'"corrupt":0,'* ]]
	kill -9 "$("$TESTBED" qemu-pid b lonely)"
	until_true 20 no_guards
}

@test "its user destroys it on the destination: exit 4, and the source's is removed" {
	fresh
	QEMU=$("$TESTBED" qemu-pid a lonely)
	start
	"$TESTBED" exec b virsh -q destroy lonely
	lost
	qemu_gone
}

# bats test_tags=long
@test "dray receive is killed: its guard fetches the rest" {
	fresh
	start
	kill -9 "$("$TESTBED" pgrep all "^$DRAY receive")"
	migrate_wait
	[ "$status" -eq 0 ]
	arrived
}
