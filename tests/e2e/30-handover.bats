#!/usr/bin/env bats
# SPDX-License-Identifier: Apache-2.0
#
# The window after the release: dray killed 0 to 50 ms into it. Whoever wins, exactly one guest runs,
# with its memory, and nothing is left paused or half-defined.

bats_require_minimum_version 1.5.0
load e2e

: "${KILLS:=11}" "${ABORTS:=8}" # moments; the soak has more

setup_file() {
	"$TESTBED" up
	guest window --memory 512 --fill 128 --period 3 --dirty 32 --rate 20
	echo a >"$BATS_FILE_TMPDIR/at"
}

teardown_file() {
	"$TESTBED" heal
	"$TESTBED" destroy window
}

setup() {
	RX_PID=
	AT=$(cat "$BATS_FILE_TMPDIR/at")
}

teardown() {
	"$TESTBED" heal
	stop_receive
	echo "$AT" >"$BATS_FILE_TMPDIR/at"
}

# Exactly one runs; AT becomes its host.
runs_once() {
	case $(where_is window) in
	'a=running b=absent') AT=a ;;
	'a=absent b=running') AT=b ;;
	*) return 1 ;;
	esac
}

# Not for a moment may both run.
never_twice() {
	[[ $(where_is window) != 'a=running b=running' ]]
}

recover() {
	"$TESTBED" exec "$1" "$DRAY" recover --wait 20 window || true
}

# tail follows by inotify: no time is lost between the line and us.
await_handover() {
	grep -q -m1 '"phase":"hand-over"' < <(timeout 30 tail -n +1 --pid="$TX_PID" -f "$TX_LOG") && return
	echo "no hand-over:" && cat "$TX_LOG"
	return 1
}

await_phase() {
	grep -q -m1 "\"phase\":\"$1\"" < <(timeout 30 tail -n +1 --pid="$TX_PID" -f "$TX_LOG")
}

# after_release PID MS: kill -9 it MS milliseconds after the hand-over began.
after_release() {
	await_handover || return
	sleep "$(printf '0.%03d' "$2")"
	kill -9 "$1" 2>/dev/null || true
}

judge() {
	never_twice
	until_true 40 runs_once
	lives_on "$AT" window
	no_trace "$AT" window
	no_job "$AT" window
	until_true 30 no_guard
}

# A guard that still tidies up holds the guest's lock.
no_guard() {
	! "$TESTBED" pgrep all '^dray guard' >/dev/null
}

@test "dray migrate killed 0 to 50 ms after the release, many times" {
	local round from delay
	for ((round = 0; round < KILLS; round++)); do
		delay=$((round * 50 / (KILLS - 1)))
		from=$AT
		receive "$(other "$from")"
		migrate_start "$from" window
		after_release "$TX_PID" "$delay"
		migrate_wait
		recover "$from"
		recover "$(other "$from")"
		judge
		echo "killed after $delay ms: guest went $from to $AT" >&3
		stop_receive
	done
	"$TESTBED" wait-verified window 60
}

@test "dray receive killed 0 to 50 ms after the release, many times" {
	local round from delay
	for ((round = 0; round < KILLS; round++)); do
		delay=$((round * 50 / (KILLS - 1)))
		from=$AT
		receive "$(other "$from")"
		migrate_start "$from" window
		after_release "$RX_PID" "$delay"
		stop_receive
		receive "$(other "$from")"
		migrate_wait
		recover "$from"
		recover "$(other "$from")"
		judge
		echo "killed after $delay ms: exit $status, guest went $from to $AT" >&3
		stop_receive
	done
	"$TESTBED" wait-verified window 60
}

# libvirt's job aborted by another client, from the moment in which QEMU may stop the guest. A virsh that is connected
# already takes no time to begin.
@test "virsh domjobabort 0 to 60 ms after the switch-over began, many times" {
	local round from delay virsh aborted=0
	for ((round = 0; round < ABORTS; round++)); do
		delay=$((round * 60 / (ABORTS - 1)))
		from=$AT
		receive "$(other "$from")"
		exec {virsh}> >("$TESTBED" exec "$from" virsh >"$BATS_TEST_TMPDIR/virsh" 2>&1 3>&-)
		migrate_start "$from" window
		await_phase switch-over
		sleep "$(printf '0.%03d' "$delay")"
		echo 'domjobabort window' >&"$virsh"
		migrate_wait
		exec {virsh}>&-
		never_twice
		case $status in
		0) AT=$(other "$from") ;;
		3) aborted=$((aborted + 1)) ;;
		*) false ;;
		esac
		judge
		echo "aborted after $delay ms: exit $status, guest on $AT" >&3
		stop_receive
	done
	((aborted > 0))
	"$TESTBED" wait-verified window 60
}

gone_from() {
	"$TESTBED" exec "$1" virsh -q destroy window || true
	"$TESTBED" exec "$1" virsh -q undefine window || true # libvirt's Finish stores it first
	[[ $(where_is window) == *"$1=absent"* ]]
}

# Killed, with their guards, at the hand-over; and the destination is as after a reboot, when nobody there knows whether it
# ran.
@test "the destination has forgotten the migration: nothing is decided for the operator" {
	local from=$AT to
	to=$(other "$from")
	receive "$to"
	DRAY_FAULT=hand-over=stop migrate_start "$from" window
	until_true 30 is_stopped "$TX_PID"
	# shellcheck disable=SC2046 # each
	kill -9 "$TX_PID" "$RX_PID" $("$TESTBED" pgrep all '^dray guard')
	stop_receive
	until_true 30 gone_from "$to"
	"$TESTBED" exec "$to" rm -rf /run/dray
	receive "$to"
	run -4 "$TESTBED" exec "$from" "$DRAY" recover --wait 1 window
	[[ $output == *'no record of that migration'*'virsh resume'* ]]
	[[ $(where_is window) == *"$from=paused"* ]]
	run -1 "$TESTBED" exec "$from" "$DRAY" migrate "${WAY[@]}" window "${MIG_IP[$to]}"
	"$TESTBED" exec "$from" virsh -q resume window # it has no disk, so its operator may
	recover "$from"
	judge
}

# Frozen for longer than the destination waits for it, before the release and after it.
@test "dray migrate is stopped (SIGSTOP) at the hand-over: the guest runs once, where dray says" {
	local point from on
	for point in last-pass hand-over; do
		from=$AT
		receive "$(other "$from")"
		DRAY_FAULT=$point=stop migrate_start "$from" window --peer-timeout 1500
		until_true 30 is_stopped "$TX_PID"
		until_true 30 grep -q '"event":"result"' "$RX_LOG"
		let_go "$TX_PID"
		migrate_wait
		on=$(field guest_on)
		judge
		[[ $status-$on == 2-source && $AT == "$from" || $status-$on == 0-destination && $AT != "$from" ]]
		stop_receive
	done
}

@test "network cut for good right after the release: nobody runs twice, recover settles it" {
	local from=$AT
	receive "$(other "$from")"
	migrate_start "$from" window --peer-timeout 3000
	await_handover
	"$TESTBED" cut mig
	until_true 60 grep -q '"event":"re' "$TX_LOG" # resolve, resumed or result
	never_twice
	"$TESTBED" heal
	migrate_wait
	recover "$from"
	recover "$(other "$from")"
	judge
	"$TESTBED" wait-verified window 60
}
