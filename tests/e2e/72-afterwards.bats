#!/usr/bin/env bats
# SPDX-License-Identifier: Apache-2.0
#
# What a user does with a guest that has come by dray: nothing of dray's is needed for it.

load e2e

setup_file() {
	"$TESTBED" up
	guest after --memory 256 --fill 32 --period 2 --dirty 8 --rate 5
	guest later --memory 256 --fill 32 --period 2 --dirty 8 --rate 5
}

teardown_file() {
	"$TESTBED" destroy after
	"$TESTBED" destroy later
}

setup() {
	RX_PID=
}

teardown() {
	stop_receive
}

# moved FROM NAME [OPTIONS]: to the other host.
moved() {
	receive "$(other "$1")" --once
	migrate "$@"
	[ "$status" -eq 0 ]
	wait "$RX_PID"
	RX_PID=
	lives_on "$(other "$1")" "$2"
}

# reboot HOST: what a reboot does to guests that were saved before: /run is new, libvirtd starts.
reboot() {
	"$TESTBED" libvirtd "$1" kill
	"$TESTBED" exec "$1" rm -rf /run/dray
	"$TESTBED" libvirtd "$1" start
}

# autostarts HOST NAME
autostarts() {
	"$TESTBED" exec "$1" virsh -q dominfo "$2" | grep -qE '^Autostart: +enable'
}

@test "a managed save and a reboot of the host: it starts, and moves on; autostart goes along" {
	"$TESTBED" exec a virsh -q autostart after
	moved a after
	autostarts b after
	! "$TESTBED" exec a test -e "/run/dray/$("$TESTBED" exec b virsh -q domuuid after)" || false
	"$TESTBED" exec b virsh -q managedsave after
	reboot b
	"$TESTBED" exec b virsh -q start after
	lives_on b after
	"$TESTBED" wait-verified after 30
	moved b after --verify
	autostarts a after
}

# incoming HOST NAME FILTER: what `dray status` there says of a guest that comes.
incoming() {
	"$TESTBED" exec "$1" "$DRAY" status --json "$2" | jq -e "select(.direction == \"incoming\") | $3"
}

@test "status and cancel at the destination" {
	receive b
	DRAY_FAULT=later-round=stop migrate_start a after
	until_true 20 is_stopped "$TX_PID"
	incoming b after '.phase == "pre-copy" and .host == "10.78.0.1" and .transferred_bytes > 1e6'
	"$TESTBED" exec b "$DRAY" cancel after
	let_go "$TX_PID"
	migrate_wait
	[ "$status" -eq 3 ]
	field reason | grep -q 'cancelled by dray cancel on the destination'
	settled a after
}

@test "receive --once serves a second guest to its end, too" {
	local slow
	receive b --once
	DRAY_FAULT=later-round=stop migrate_start a later
	until_true 20 is_stopped "$TX_PID"
	slow=$TX_PID
	migrate a after
	[ "$status" -eq 0 ]
	grep -q '"result":"completed"' "$RX_LOG"
	let_go "$slow"
	wait "$slow"
	wait "$RX_PID"
	RX_PID=
	lives_on b after
	lives_on b later
}

@test "status and cancel at the destination, in post-copy" {
	receive a
	DRAY_FAULT=hand-over=stop migrate_start b after --post-copy=now
	until_true 20 is_stopped "$TX_PID"
	incoming a after '.phase == "post-copy" and .mode == "PostCopy" and .remaining_bytes > 0'
	run "$TESTBED" exec a "$DRAY" cancel after
	[ "$status" -eq 1 ]
	[[ $output == *'too late'* ]]
	let_go "$TX_PID"
	migrate_wait
	[ "$status" -eq 0 ]
	lives_on a after
}
