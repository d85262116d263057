#!/usr/bin/env bats
# SPDX-License-Identifier: Apache-2.0
#
# dray is killed (-9) eight times in a row before the hand-over, the receiver and the source in turn, and each time the
# next migration begins at once: nobody waits for the guards of the one before. The last migration arrives.
# Nothing is waited for: neither that the one that was interrupted ends, nor that the new receiver says that it listens.
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

autopsy() {
	{
		echo "# $WHAT"
		echo "# last: $WHAT"
		echo "# state: $(where_is kills); guards: $("$TESTBED" pgrep all '^dray guard' | tr '\n' ' ')"
		grep -v '"progress"' "$TX_LOG" | sed 's/^/# migrate: /'
		sed 's/^/# receive: /' "$RX_LOG"
	} >&3 2>&1 || true
}

# Not waited for until it listens; whoever comes meanwhile is not refused.
receiver() {
	RX_LOG=$BATS_TEST_TMPDIR/receive.log
	"$TESTBED" exec "$(other "$AT")" "$DRAY" receive "${WAY[@]}" --json >>"$RX_LOG" 2>&1 3>&- &
	RX_PID=$!
}

# A moment before the hand-over, most of the time: this guest takes 3 s to come to it.
kill_one() {
	local ms=$((RANDOM % 2500))
	migrate_start "$AT" kills --bandwidth 24Mi
	SOURCES+=("$TX_PID")
	sleep "$((ms / 1000)).$(printf '%03d' $((ms % 1000)))"
	WHAT="kill $1: $2 after $ms ms, in $(grep -o '"phase":"[a-z-]*"' "$TX_LOG" | tail -n 1)"
	if [[ $2 == migrate ]]; then
		kill -9 "$TX_PID" || true # it may have been refused: the one before still tidies up
	else
		kill -9 "$RX_PID"
		receiver
	fi
	echo "# $WHAT" >&3
	[[ $(where_is kills) != 'a=running b=running' ]]
}

runs_once() {
	[[ $(home) != nowhere ]]
}

# Ends all that has been started, and none of it by force.
all_end() {
	local pid
	for pid in "${SOURCES[@]}"; do
		WHAT="source $pid"
		until_true "$END_S" ended "$pid" || return
		wait "$pid" || true
	done
	SOURCES=()
	WHAT="guards"
	until_true "$END_S" no_guards && until_true 30 runs_once
}

# The last migration is begun while the guards of those before may be at it: it waits, or works.
series() {
	local i began=$SECONDS
	AT=$(home) SOURCES=()
	receiver
	for ((i = 1; i <= KILLS; i++)); do
		kill_one "$i" "$( ((i % 2)) && echo receive || echo migrate)" || return
	done
	migrate_start "$AT" kills --retries 9
	until_true "$END_S" ended "$TX_PID" || return
	migrate_wait >/dev/null
	WHAT="the last one, exit $status: $(field reason)"
	echo "# $WHAT" >&3
	all_end || return
	if ((status == 0)); then
		lives_on "$(other "$AT")" kills && no_trace "$(other "$AT")" kills || return
	else
		[[ $(home) == "$(other "$AT")" ]] || return # one of those before has taken it there
	fi
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
