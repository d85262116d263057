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

@test "a managed save and a reboot of the host: it starts, and moves on" {
	moved a after
	"$TESTBED" exec b virsh -q managedsave after
	reboot b
	"$TESTBED" exec b virsh -q start after
	lives_on b after
	"$TESTBED" wait-verified after 30
	moved b after --verify
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
