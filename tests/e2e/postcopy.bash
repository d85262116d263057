# shellcheck shell=bash
# SPDX-License-Identifier: Apache-2.0
#
# Shared by the tests of post-copy.
#
# GUEST     the guest that a file's cases share
# AT        where it lives as a case begins

: "${GUEST:?name of the guest}"

home() {
	case $(where_is "$GUEST") in
	'a=running b=absent') echo a ;;
	'a=absent b=running') echo b ;;
	*) echo "$GUEST: $(where_is "$GUEST")" >&2 && echo nowhere ;;
	esac
}

event() {
	until_true "${2:-30}" grep -qE -- "$1" "$TX_LOG"
}

# tail follows by inotify: no time is lost between the line and us.
await_handover() {
	grep -q -m1 '"phase":"hand-over"' < <(timeout 30 tail -n +1 --pid="$TX_PID" -f "$TX_LOG") && return
	echo "no hand-over:" && cat "$TX_LOG"
	return 1
}

# after_handover MS: so much later.
after_handover() {
	await_handover && sleep "$(($1 / 1000)).$(printf '%03d' $(($1 % 1000)))"
}

# postcopy_start: from where it is, before most of its memory has moved; the rest takes seconds to follow.
postcopy_start() {
	receive "$(other "$AT")" || return
	migrate_start "$AT" "$GUEST" --bandwidth 24Mi --post-copy --completion-timeout-per-gib 3 "$@"
}

# arrived: it lives on the other host, in mode PostCopy, with all of its memory intact.
arrived() {
	local to
	to=$(other "$AT")
	lives_on "$to" "$GUEST" && no_trace "$to" "$GUEST" && no_job "$to" "$GUEST" &&
		"$TESTBED" wait-verified "$GUEST" 120
}

figures() {
	grep '"event":"result"' "$TX_LOG" | jq -r '"downtime \(.downtime_ms) ms, post-copy \(.post_copy_ms) ms, \(.faults) faults, p50 \(.fault_p50_us) p99 \(.fault_p99_us) max \(.fault_max_us) us, pages by fault \(.pages_by_fault) push \(.pages_by_push) prefetch \(.pages_by_prefetch)"' >&3
}

# dray_pids migrate|receive: of the testbed's.
dray_pids() {
	"$TESTBED" pgrep all "^$DRAY $1 "
}

no_guards() {
	! "$TESTBED" pgrep all '^dray guard' >/dev/null
}

# ended PID: a job of ours, which need not have been waited for.
ended() {
	! kill -0 "$1" 2>/dev/null
}

# Of what the source said last.
phase() {
	grep -o '"phase":"[a-z-]*"' "$TX_LOG" | tail -n 1 | cut -d'"' -f4
}

# ---- for files whose cases have a guest each, $GUEST ----

# each_begins: it is going to move from a to b.
# shellcheck disable=SC2034 # used by e2e.bash, and by the cases
each_begins() {
	RX_PID=
	TX_PID=
	TX_LOG=/dev/null
	AT=a
	TO=b
}

# each_ends: what a failed case leaves is told, and nothing is left.
each_ends() {
	# shellcheck disable=SC2086 # none, one or both
	kill -9 $TX_PID 2>/dev/null || true
	"$TESTBED" up >/dev/null
	"$TESTBED" heal
	if [[ -z ${BATS_TEST_COMPLETED-} ]]; then
		grep -v '"progress"' "$TX_LOG" || true
		where_is "$GUEST" || true
	fi
	stop_receive
	"$TESTBED" destroy "$GUEST"
}

# fresh [OPTIONS]: at a.
fresh() {
	guest "$GUEST" --memory 320 --fill 96 --period 3 --dirty 32 --rate 20 --vcpus 2 "${@:---private}"
}
