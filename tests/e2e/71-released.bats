#!/usr/bin/env bats
# SPDX-License-Identifier: Apache-2.0
#
# After the release the guest belongs to the destination. In post-copy, whatever fails then:
#
#     dray migrate killed 0 to 50 ms into it; dray receive; both with their guards
#     libvirtd killed on the source, on the destination; the management network cut, the migration network cut
#     the guest's QEMU killed on the destination; the guest destroyed there by its user
#     SIGINT, dray cancel, dray recover on either host, dray migrate again, dray migrate back, all in the middle
#
# The source's guest is watched meanwhile. Once the destination's may have run it never runs again: not beside it, not
# after it. Only where libvirt ended the destination's before its first instruction may the source go on, and then
# nothing may run there later. Longer disturbances: 70-postcopy.bats, tests/soak.

bats_require_minimum_version 1.5.0
GUEST=released
load e2e
load postcopy

fresh() {
	guest released --memory 224 --fill 16 --dirty 8 --rate 10
}

setup_file() {
	"$TESTBED" up
	fresh
}

teardown_file() {
	"$TESTBED" heal
	"$TESTBED" destroy released
}

setup() {
	RX_PID=
	TX_PID=
	WATCH_PID=
	SEEN=$BATS_TEST_TMPDIR/seen
	AT=$(home)
	if [[ $AT == nowhere ]]; then # a case before failed
		fresh
		AT=a
	fi
	TO=$(other "$AT")
}

teardown() {
	# shellcheck disable=SC2086 # none, one or both
	kill -9 $WATCH_PID $TX_PID 2>/dev/null || true
	"$TESTBED" up >/dev/null
	"$TESTBED" heal
	if [[ -z ${BATS_TEST_COMPLETED-} ]]; then
		grep -v '"progress"' "$TX_LOG" || true
		uniq -c "$SEEN" || true
	fi
	stop_receive
}

# ---- watching --------------------------------------------------------------------------------

# state HOST: as libvirt there has it, at once; a daemon that is dead knows nothing.
state() {
	LC_ALL=C timeout 5 "$TESTBED" exec "$1" virsh -q domstate released 2>/dev/null || echo unknown
}

source_forgot() {
	[[ $(state "$AT") == unknown ]]
}

# Source first: what is seen to run there after the destination's was seen is no matter of the order of looking.
watch() {
	: >"$SEEN"
	while :; do
		echo "$(state "$AT") $(state "$TO")" >>"$SEEN"
		sleep 0.02
	done 3>&- &
	WATCH_PID=$!
}

# What was seen, from the release until now.
watched() {
	kill "$WATCH_PID"
	wait "$WATCH_PID" 2>/dev/null || true
	WATCH_PID=
	[[ -s $SEEN ]]
}

# The source's never ran again.
never_resumed() {
	watched
	if grep '^running' "$SEEN"; then
		echo "it ran again on the source" >&2
		return 1
	fi
}

# One of them ran from then on, and only one.
never_both() {
	watched
	if ! awk '$2 == "running" {there = 1} $1 == "running" {here = 1} here && there {exit 1}' "$SEEN"; then
		echo "it ran on both" >&2
		return 1
	fi
}

# ---- paths -----------------------------------------------------------------------------------

# Its memory takes some seconds to follow.
start() {
	receive "$TO"
	migrate_start "$AT" released --bandwidth 24Mi --post-copy --completion-timeout-per-gib 1 "$@"
	await_handover
	watch
}

in_the_middle() {
	event '"phase":"post-copy"'
}

recover() {
	"$TESTBED" exec "$1" "$DRAY" recover --wait "${2:-20}" released
}

runs_once() {
	[[ $(home 2>/dev/null) != nowhere ]]
}

# Wherever that is, and undisturbed.
lives_once() {
	until_true 40 runs_once
	until_true 40 no_guards
	never_both
	settled "$(home)" released
}

verified() {
	"$TESTBED" wait-verified released 60
}

# lost: exit 4, and nothing runs anywhere, also not after somebody asked the source to recover it.
lost() {
	migrate_wait
	[ "$status" -eq 4 ]
	[ "$(field result)" = lost ]
	recover "$AT" 2 || true
	until_true 20 no_guards
	never_resumed
	[[ $(where_is released) != *running* ]]
	stop_receive
	fresh
}

kill_guards() {
	# shellcheck disable=SC2046 # each
	kill -9 $("$TESTBED" pgrep all '^dray guard') 2>/dev/null || true
}

# At how many milliseconds after the release; `tests/run soak` has more.
: "${MIGRATE_DELAYS:=0 50}" "${RECEIVE_DELAYS:=15}"

@test "dray migrate is killed 0 to 50 ms after the release" {
	for delay in $MIGRATE_DELAYS; do
		AT=$(home) TO=$(other "$(home)")
		start
		sleep "0.0$((delay / 10))$((delay % 10))"
		kill -9 "$TX_PID"
		migrate_wait
		lives_once
		echo "killed after $delay ms: went $AT to $(home)" >&3
		stop_receive
	done
	verified
}

@test "dray receive is killed 0 to 50 ms after the release" {
	for delay in $RECEIVE_DELAYS; do
		AT=$(home) TO=$(other "$(home)")
		start
		sleep "0.0$((delay / 10))$((delay % 10))"
		kill -9 "$RX_PID"
		stop_receive
		receive "$TO"
		migrate_wait
		lives_once
		echo "killed after $delay ms: exit $status, went $AT to $(home)" >&3
		stop_receive
	done
	verified
}

@test "both are killed, and their guards, between the release and the first instruction: recover decides" {
	DRAY_FAULT=hand-over=stop start
	kill_guards
	kill -9 "$TX_PID" "$RX_PID"
	stop_receive
	receive "$TO"
	recover "$AT"
	recover "$TO" || true # nothing to do, if it never came
	lives_once
	verified
}

@test "both are killed, and their guards, in the middle: its memory is lost, and it is not resumed" {
	start
	in_the_middle
	until_true 30 source_forgot # libvirt there has let go of it
	kill_guards
	kill -9 "$TX_PID" "$RX_PID"
	stop_receive
	receive "$TO"
	run -4 recover "$AT" 2
	[[ $output == *'before all of its memory'* ]]
	never_resumed
	stop_receive
	fresh
}

@test "libvirtd is killed on the source right after the release" {
	start
	"$TESTBED" libvirtd "$AT" kill
	"$TESTBED" libvirtd "$AT" start
	migrate_wait
	lives_once
	verified
}

@test "libvirtd is killed on the destination, in the middle" {
	start
	in_the_middle
	"$TESTBED" libvirtd "$TO" kill
	"$TESTBED" libvirtd "$TO" start
	migrate_wait
	[ "$status" -eq 0 ]
	never_resumed
	arrived
}

@test "both networks are cut right at the release" {
	start --peer-timeout 1500
	"$TESTBED" cut all
	sleep 3
	"$TESTBED" heal
	migrate_wait
	lives_once
	verified
}

@test "signals, cancel, recover on both hosts, migrate again and back, in the middle: no effect" {
	local pid=$BATS_TEST_TMPDIR/back
	start
	in_the_middle
	run -1 "$TESTBED" exec "$AT" "$DRAY" cancel released
	kill -INT "$TX_PID"
	run -1 "$TESTBED" exec "$AT" "$DRAY" migrate "${WAY[@]}" released "${MIG_IP[$TO]}"
	run ! recover "$AT" 0
	run ! recover "$TO" 0
	"$TESTBED" exec "$AT" "$DRAY" receive "${WAY[@]}" --json >"$pid.log" 2>&1 3>&- &
	echo $! >"$pid"
	until_true 30 grep -q '"listening"' "$pid.log"
	run -1 "$TESTBED" exec "$TO" "$DRAY" migrate "${WAY[@]}" released "${MIG_IP[$AT]}"
	kill "$(<"$pid")"
	run ! grep -q '"event":"result"' "$TX_LOG" # all of that was in the middle
	migrate_wait
	[ "$status" -eq 0 ]
	never_resumed
	arrived
}

@test "QEMU is killed on the destination, in the middle: lost, and not resumed" {
	start
	in_the_middle
	kill -9 "$("$TESTBED" qemu-pid "$TO" released)"
	lost
}

@test "its user destroys it on the destination, in the middle: lost, and not resumed" {
	start
	in_the_middle
	"$TESTBED" exec "$TO" virsh -q destroy released
	lost
}

# Whoever empties the file of its memory: the guest waits, as it does for all that has not come, and both sides say why.
@test "its memory is emptied on the source, in the middle: lost, and never read as zeroes" {
	local fd
	start
	in_the_middle
	fd=$(find "/proc/$TX_PID/fd" -lname '*/pc.ram*' | head -n 1)
	fallocate --punch-hole --offset 0 --length 224MiB "$fd"
	migrate_wait
	[ "$status" -eq 4 ]
	[ "$(field result)" = lost ]
	[[ $(field reason) == *'was emptied on the source'* ]]
	until_true 10 grep -q 'does not come: .* was emptied on the source' "$RX_LOG"
	[[ $("$TESTBED" witness released) == *'"corrupt":0,'* ]]
	kill -9 "$("$TESTBED" qemu-pid "$TO" released)"
	until_true 20 no_guards
	never_resumed
	stop_receive
	fresh
}
