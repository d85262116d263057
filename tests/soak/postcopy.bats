#!/usr/bin/env bats
# SPDX-License-Identifier: Apache-2.0
#
# Post-copy, disturbed at random moments: whatever happens, the guest arrives with its memory.
#
# SOAK_ROUNDS  how often the network is cut for each length of time (10); half as often each dray is killed
# SOAK_SEED    of the moments; printed, so that a run can be had again (the time of day)
#
# A moment lies between the hand-over and the time that an undisturbed post-copy of the same guest takes.

bats_require_minimum_version 1.5.0
GUEST=soak
load ../e2e/e2e
load ../e2e/postcopy

: "${SOAK_ROUNDS:=10}"
KILLS=$(((SOAK_ROUNDS + 1) / 2))
readonly MEMORY=(--memory 448 --fill 96 --dirty 80 --rate 40 --vcpus 2)
readonly SETTLE_S=240

setup_file() {
	export SOAK_SEED=${SOAK_SEED:-$(date +%s)}
	"$TESTBED" up
	guest soak "${MEMORY[@]}"
	AT=a
	echo "# SOAK_SEED=$SOAK_SEED SOAK_ROUNDS=$SOAK_ROUNDS" >&3
	measure
}

teardown_file() {
	"$TESTBED" heal
	"$TESTBED" destroy soak
}

setup() {
	RX_PID=
	TX_PID=
	RANDOM=$(((SOAK_SEED + BATS_TEST_NUMBER) % 32768))
	LENGTH_MS=$(<"$BATS_FILE_TMPDIR/length")
}

teardown() {
	"$TESTBED" heal
	stop_receive
}

# How long post-copy of this guest takes when nothing happens.
measure() {
	BATS_TEST_TMPDIR=$BATS_FILE_TMPDIR
	postcopy_start
	migrate_wait
	((status == 0))
	arrived
	field post_copy_ms >"$BATS_FILE_TMPDIR/length"
	echo "# undisturbed: post-copy of $(field post_copy_ms) ms, $(field faults) faults" >&3
	BATS_TEST_COMPLETED=1 stop_receive
}

# ---- disturbances: each returns when it is over ----

cut_for() {
	"$TESTBED" cut && sleep "$1" && "$TESTBED" heal
}

kill_them() {
	local role
	for role in "$@"; do
		# shellcheck disable=SC2046 # one or none
		kill -9 $(dray_pids "$role") 2>/dev/null || true # it may just have ended
	done
}

# ---- rounds ----

# moment: milliseconds, in $MOMENT.
moment() {
	MOMENT=$((RANDOM * LENGTH_MS / 32768))
}

# round MOMENT DISTURBANCE...: $WHEN tells the phase in which it came.
round() {
	local at=$1
	shift
	postcopy_start && after_handover "$at" || return 1
	WHEN=$(phase)
	"$@" || return 1
	until_true "$SETTLE_S" ended "$TX_PID" || return 1
	migrate_wait
	until_true "$SETTLE_S" no_guards || return 1
	case $1 in
	kill_them) [[ " $* " == *' migrate '* ]] || ((status == 0)) || return 1 ;;
	*) ((status == 0)) || return 1 ;;
	esac
	arrived
}

# What is known of a round that failed; a new guest for the next.
autopsy() {
	{
		echo "# state: $(where_is soak); guards: $("$TESTBED" pgrep all '^dray guard' | tr '\n' ' ')"
		grep -v '"progress"' "$TX_LOG" | sed 's/^/# migrate: /'
		sed 's/^/# receive: /' "$RX_LOG"
		"$TESTBED" witness soak | sed 's/^/# witness: /'
	} >&3 2>&1 || true
	"$TESTBED" heal
	BATS_TEST_COMPLETED=1 stop_receive
	guest soak "${MEMORY[@]}"
}

# rounds COUNT DISTURBANCE...: every one of them is run, whatever becomes of the others.
rounds() {
	local count=$1 i failed=0 began took result
	shift
	for ((i = 1; i <= count; i++)); do
		AT=$(home)
		moment
		status=- WHEN=- began=$SECONDS
		if round "$MOMENT" "$@"; then result=ok; else result=FAILED; fi
		took=$((SECONDS - began))
		echo "# $* ($i of $count) at +$MOMENT ms, in $WHEN: $result, exit $status, $took s," \
			"post-copy $(field post_copy_ms) ms, $(field faults) faults" >&3
		if [[ $result == FAILED ]]; then
			failed=$((failed + 1))
			autopsy
		fi
		BATS_TEST_COMPLETED=1 stop_receive
	done
	((failed == 0))
}

@test "the network is cut for a second" {
	rounds "$SOAK_ROUNDS" cut_for 1
}

@test "the network is cut for ten seconds" {
	rounds "$SOAK_ROUNDS" cut_for 10
}

@test "dray migrate is killed" {
	rounds "$KILLS" kill_them migrate
}

@test "dray receive is killed" {
	rounds "$KILLS" kill_them receive
}

@test "both are killed" {
	rounds "$KILLS" kill_them migrate receive
}

@test "the network is cut for a minute" {
	rounds "$SOAK_ROUNDS" cut_for 60
}

@test "the network is cut for five minutes" {
	rounds 1 cut_for 300
}
