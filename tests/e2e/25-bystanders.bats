#!/usr/bin/env bats
# SPDX-License-Identifier: Apache-2.0
#
# What others do to the guest by virsh, or the guest to itself, while dray moves it.
#
# Each case stops dray at an exact point (DRAY_FAULT), does it, and lets dray go on. One guest serves all but the last.

load e2e

setup_file() {
	"$TESTBED" up
	guest meddled --memory 256 --fill 64 --dirty 16 --rate 20
	echo a >"$BATS_FILE_TMPDIR/at"
}

teardown_file() {
	"$TESTBED" destroy meddled
}

setup() {
	AT=$(cat "$BATS_FILE_TMPDIR/at")
	TO=$(other "$AT")
	RX_PID=
}

teardown() {
	stop_receive
}

virsh() {
	"$TESTBED" exec "$AT" virsh -q "$@"
}

# stopped_at POINTS [OPTIONS]: a migration that stands at the first of these points.
stopped_at() {
	local points=$1
	shift
	receive "$TO"
	DRAY_FAULT=$points migrate_start "$AT" meddled "$@"
	until_true 30 is_stopped "$TX_PID"
}

# After a failure: paused here, as it was left, and nowhere else; let go on, it is as before.
paused_at() {
	local want='a=paused b=absent'
	[[ $AT == a ]] || want='a=absent b=paused'
	until_true 20 is_where "$want"
	[ "$(capability "$AT" meddled)" = false ]
	virsh resume meddled
	settled "$AT" meddled
}

is_where() {
	[[ $(where_is meddled) == "$1" ]]
}

@test "suspended in the first round, then cancelled: it stays paused" {
	stopped_at first-round=stop
	virsh suspend meddled
	kill -TERM "$TX_PID"
	let_go "$TX_PID"
	migrate_wait
	[ "$status" -eq 3 ]
	paused_at
}

@test "suspended in the first round, and the last pass fails: it stays paused" {
	stopped_at first-round=stop,last-pass=fail
	virsh suspend meddled
	let_go "$TX_PID"
	migrate_wait
	[ "$status" -eq 2 ]
	[ "$(field guest_on)" = source ]
	paused_at
}

@test "suspended, and resumed, in the first round; the last pass fails: it runs" {
	stopped_at first-round=stop,last-pass=fail
	virsh suspend meddled
	virsh resume meddled
	let_go "$TX_PID"
	migrate_wait
	[ "$status" -eq 2 ]
	settled "$AT" meddled
}

@test "virsh domjobabort in the first round cancels it, before the guest is stopped" {
	stopped_at first-round=stop
	virsh domjobabort meddled
	let_go "$TX_PID"
	migrate_wait
	[ "$status" -eq 3 ]
	[ "$(field result)" = aborted ]
	[[ $(field reason) == *domjobabort* ]]
	! grep -q last-pass "$TX_LOG" || false
	settled "$AT" meddled
}

@test "again at once, after a failure in the last pass" {
	receive "$TO"
	DRAY_FAULT=last-pass=fail migrate "$AT" meddled
	[ "$status" -eq 2 ]
	migrate "$AT" meddled
	[ "$status" -eq 0 ]
	lives_on "$TO" meddled
	echo "$TO" >"$BATS_FILE_TMPDIR/at"
}

@test "suspended in the first round, for longer than a stop may take: it arrives, and runs there" {
	receive "$TO"
	migrate_start "$AT" meddled --bandwidth 24Mi
	until_true 30 grep -q '"phase":"pre-copy"' "$TX_LOG"
	virsh suspend meddled
	migrate_wait
	[ "$status" -eq 0 ]
	grep -q '"event":"paused"' "$TX_LOG"
	jq -e 'select(.event == "result") | .downtime_ms > 0 and .downtime_ms < 1000' "$TX_LOG"
	lives_on "$TO" meddled
	"$TESTBED" wait-verified meddled
	no_trace "$TO" meddled
	echo "$TO" >"$BATS_FILE_TMPDIR/at"
}

@test "destroyed in the first round: it has ended, at once, and nothing is left anywhere" {
	local want='a=shut-off b=absent'
	[[ $AT == a ]] || want='a=absent b=shut-off'
	receive "$TO"
	migrate_start "$AT" meddled --bandwidth 1Mi --retries 3
	until_true 30 grep -q '"phase":"pre-copy"' "$TX_LOG"
	virsh destroy meddled
	until_true 5 grep -q '"event":"result"' "$TX_LOG"
	migrate_wait
	[ "$status" -eq 2 ]
	[ "$(field guest_on)" = none ]
	[[ $(field reason) == *"has ended on this host"* ]]
	! grep -q '"event":"attempt"' "$TX_LOG" || false
	until_true 20 is_where "$want"
}
