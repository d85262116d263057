#!/usr/bin/env bats
# SPDX-License-Identifier: Apache-2.0
#
# Whatever breaks before the hand-over, the guest runs on at the source, and nothing is left.
#
# Each case stops dray at an exact point (DRAY_FAULT), breaks something, and lets it go on. One guest
# serves all: it survives each case, and the migration that then succeeds takes it to the other
# host, which is the next case's source.

load e2e

setup_file() {
	"$TESTBED" up
	guest broken --memory 512 --fill 128 --dirty 32 --rate 20 --discard
	echo a >"$BATS_FILE_TMPDIR/at"
}

teardown_file() {
	"$TESTBED" heal
	"$TESTBED" destroy broken
}

setup() {
	AT=$(cat "$BATS_FILE_TMPDIR/at")
	TO=$(other "$AT")
	RX_PID=
}

teardown() {
	"$TESTBED" up >/dev/null
	"$TESTBED" heal
	stop_receive
}

# ---- what breaks -----------------------------------------------------------------------------

receive_killed() {
	stop_receive
}

migrate_killed() {
	kill -9 "$TX_PID"
}

network_cut() {
	"$TESTBED" cut mig
}

qemu_killed() {
	kill -9 "$("$TESTBED" qemu-pid "$TO" broken)"
}

libvirtd_killed() {
	"$TESTBED" libvirtd "$TO" kill
}

# ----------------------------------------------------------------------------------------------

gone_from() {
	[[ $(where_is broken) == *"$1=absent"* ]]
}

# The next migration succeeds.
then_it_crosses() {
	stop_receive
	receive "$TO"
	migrate "$AT" broken
	[ "$status" -eq 0 ]
	lives_on "$TO" broken
	echo "$TO" >"$BATS_FILE_TMPDIR/at"
}

# break_at POINT WHAT [without_tls]
break_at() {
	local WAY=("${WAY[@]}")
	[[ ${3-} != without_tls ]] || WAY=("${PLAIN[@]}")
	receive "$TO"
	DRAY_FAULT="$1=stop" migrate_start "$AT" broken --peer-timeout 3000
	until_true 30 is_stopped "$TX_PID"
	"$2"
	let_go "$TX_PID"
	migrate_wait
	if [[ $2 == migrate_killed ]]; then
		[ "$status" -eq 137 ]
	else
		[ "$status" -eq 2 ]
		[ "$(field result)" = failed ]
		[ "$(field guest_on)" = source ]
	fi
	if [[ $2 == libvirtd_killed ]]; then
		"$TESTBED" libvirtd "$TO" start
	fi
	until_true 30 gone_from "$TO"
	settled "$AT" broken
	"$TESTBED" heal
	then_it_crosses
}

@test "attach: dray receive killed" { break_at attach receive_killed; }
@test "attach: dray migrate killed" { break_at attach migrate_killed; }
@test "attach: network cut for good" { break_at attach network_cut; }
@test "attach: destination QEMU killed" { break_at attach qemu_killed; }
@test "attach: destination libvirtd killed" { break_at attach libvirtd_killed; }

@test "first round, without TLS: dray receive killed" { break_at first-round receive_killed without_tls; }
@test "first round, without TLS: dray migrate killed" { break_at first-round migrate_killed without_tls; }
@test "first round, without TLS: network cut for good" { break_at first-round network_cut without_tls; }
@test "first round, without TLS: destination QEMU killed" { break_at first-round qemu_killed without_tls; }
@test "first round, without TLS: destination libvirtd killed" { break_at first-round libvirtd_killed without_tls; }

@test "later round: dray receive killed" { break_at later-round receive_killed; }
@test "later round: dray migrate killed" { break_at later-round migrate_killed; }
@test "later round: network cut for good" { break_at later-round network_cut; }
@test "later round: destination QEMU killed" { break_at later-round qemu_killed; }
@test "later round: destination libvirtd killed" { break_at later-round libvirtd_killed; }

@test "last pass, guest stopped: dray receive killed" { break_at last-pass receive_killed; }
@test "last pass, guest stopped: dray migrate killed" { break_at last-pass migrate_killed; }
@test "last pass, guest stopped: network cut for good" { break_at last-pass network_cut; }
@test "last pass, guest stopped: destination QEMU killed" { break_at last-pass qemu_killed; }
@test "last pass, guest stopped: destination libvirtd killed" { break_at last-pass libvirtd_killed; }

# A network cut in that moment is cut after the release, of which nobody then knows what came: 30-handover.
@test "QEMU here has completed: dray receive killed" { break_at completed receive_killed; }
@test "QEMU here has completed: dray migrate killed" { break_at completed migrate_killed; }
@test "QEMU here has completed: destination QEMU killed" { break_at completed qemu_killed; }
@test "QEMU here has completed: destination libvirtd killed" { break_at completed libvirtd_killed; }

# ---- the source's own libvirtd ---------------------------------------------------------------

precopy_goes_on() {
	grep -q '"phase":"pre-copy"' "$TX_LOG"
}

# Then nobody is there any more who would give back what was borrowed from the guest's QEMU.
has_no_record() {
	local uuid
	uuid=$("$TESTBED" exec "$AT" virsh -q domuuid broken) || return
	! "$TESTBED" exec "$AT" ls "/run/dray/$uuid/outgoing"
}

@test "pre-copy: source libvirtd killed, and started again while dray migrate rolls back, or its guard" {
	receive "$TO"
	migrate_start "$AT" broken --bandwidth 16Mi
	until_true 30 precopy_goes_on
	"$TESTBED" libvirtd "$AT" kill
	until_true 10 grep -q '"phase":"roll-back"' "$TX_LOG"
	"$TESTBED" libvirtd "$AT" start
	migrate_wait
	[ "$status" -eq 2 ]
	[[ $(field reason) == *"libvirt's daemon on this host"* ]]
	has_no_record
	settled "$AT" broken

	migrate_start "$AT" broken --bandwidth 16Mi
	until_true 30 precopy_goes_on
	"$TESTBED" libvirtd "$AT" kill
	kill -9 "$TX_PID"
	"$TESTBED" libvirtd "$AT" start
	migrate_wait
	until_true 30 has_no_record
	settled "$AT" broken
	then_it_crosses
}
