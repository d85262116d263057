#!/usr/bin/env bats
# SPDX-License-Identifier: Apache-2.0
#
# dray is killed (-9) eight times in a row before the hand-over, the receiver and the source in turn, and each time the
# next migration begins at once: nobody waits for the guards of the one before. The last migration arrives.
#
# SOAK_SERIES  how many such series (6)
# SOAK_SEED    of the moments; printed (the time of day)

bats_require_minimum_version 1.5.0
GUEST=kills
load ../e2e/e2e
load ../e2e/postcopy

: "${SOAK_SERIES:=6}"
readonly KILLS=8
readonly END_S=100 # any one migration

setup_file() {
	export SOAK_SEED=${SOAK_SEED:-$(date +%s)}
	"$TESTBED" up
	guest kills --memory 256 --fill 64 --dirty 16 --rate 20
	echo "# SOAK_SEED=$SOAK_SEED SOAK_SERIES=$SOAK_SERIES" >&3
}

teardown_file() {
	"$TESTBED" destroy kills
}

setup() {
	RX_PID=
	TX_PID=
	RANDOM=$((SOAK_SEED % 32768))
}

teardown() {
	stop_receive
	[[ -z $TX_PID ]] || kill -9 "$TX_PID" 2>/dev/null || true
}

ended() {
	! kill -0 "$1" 2>/dev/null
}

autopsy() {
	{
		echo "# $WHAT"
		echo "# state: $(where_is kills); guards: $("$TESTBED" pgrep all '^dray guard' | tr '\n' ' ')"
		grep -v '"progress"' "$TX_LOG" | sed 's/^/# migrate: /'
		sed 's/^/# receive: /' "$RX_LOG"
	} >&3 2>&1 || true
}

# A moment before the hand-over, most of the time: this guest takes 3 s to come to it. One that has moved goes back.
kill_one() {
	local ms=$((RANDOM % 2500))
	migrate_start "$AT" kills --bandwidth 24Mi
	sleep "$((ms / 1000)).$(printf '%03d' $((ms % 1000)))"
	WHAT="kill $1: $2 after $ms ms, in $(grep -o '"phase":"[a-z-]*"' "$TX_LOG" | tail -n 1)"
	if [[ $2 == migrate ]]; then
		kill -9 "$TX_PID" || true
		wait "$TX_PID" || true
	else
		kill -9 "$RX_PID"
		wait "$RX_PID" || true
		receive "$(other "$AT")" || return
		until_true "$END_S" ended "$TX_PID" || return
		migrate_wait >/dev/null
		WHAT+=", exit $status: $(field reason)"
	fi
	echo "# $WHAT" >&3
	[[ $(where_is kills) != 'a=running b=running' ]]
}

# at_home: AT is where it lives, and a receiver is on the other host.
at_home() {
	local before=$AT
	until_true 30 runs_once || return
	AT=$(home)
	[[ $AT == "$before" ]] || { stop_receive && receive "$(other "$AT")"; }
}

runs_once() {
	[[ $(home) != nowhere ]]
}

# Whatever the killed ones left is settled by their guards while the next migration begins: that one may be refused, but in
# words, and it passes.
series() {
	local i began=$SECONDS
	AT=$(home)
	receive "$(other "$AT")" || return
	for ((i = 1; i <= KILLS; i++)); do
		kill_one "$i" "$( ((i % 2)) && echo receive || echo migrate)" && at_home || return
	done
	migrate_start "$AT" kills --retries 5
	until_true "$END_S" ended "$TX_PID" || return
	migrate_wait >/dev/null
	WHAT="the last one, exit $status: $(field reason)"
	((status == 0)) && lives_on "$(other "$AT")" kills && no_trace "$(other "$AT")" kills || return
	stop_receive
	echo "# $((SECONDS - began)) s" >&3
}

@test "eight kills in a row before the hand-over, receiver and source in turn" {
	for ((s = 1; s <= SOAK_SERIES; s++)); do
		echo "# series $s" >&3
		if ! series; then
			autopsy
			return 1
		fi
	done
}
