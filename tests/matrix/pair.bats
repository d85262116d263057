#!/usr/bin/env bats
# SPDX-License-Identifier: Apache-2.0
#
# One guest between two hosts that run different QEMU and libvirt: there and back, in pre-copy and post-copy; and failures
# of each kind, after which it lives where it was. Judged by its memory, and by what is left in QEMU and libvirt.
#
# MATRIX_A, MATRIX_B   releases of the hosts (tools/testbed releases)
# MATRIX_MACHINE       the guest's machine type, which both QEMUs must have (pc: host a's newest)
# MATRIX_OPTIONS       more options of `tools/testbed guest`
#
# tests/run matrix goes through all pairs (matrix.bash). Cases with the tag `core` are in `tests/run all`, for some pairs.

bats_require_minimum_version 1.5.0
GUEST=stack
load ../e2e/e2e
load ../e2e/postcopy

# QEMU's events during one migration: ten, and on a busy machine some hundred while QEMU waits a few milliseconds for its
# acknowledgement. One that waits for what never comes emits 10,000 a second and more.
EVENTS_MAX=2000
ANSWER_MAX_MS=1000

DISK=/var/tmp/dray-matrix-disk${DRAY_TESTBED:+.$DRAY_TESTBED}.img # on both hosts

# From a QEMU that takes a monitor while its guest runs the guest moves with a disk that is read past the page cache.
fresh() {
	local disk=()
	! adds_monitor a || disk=(--disk "$DISK:none")
	# shellcheck disable=SC2086 # none, or some
	guest stack --memory 256 --fill 32 --period 2 --dirty 16 --rate 20 --machine "${MATRIX_MACHINE:-pc}" \
		"${disk[@]}" ${MATRIX_OPTIONS-}
}

setup_file() {
	"$TESTBED" up --release-a "${MATRIX_A:-stock}" --release-b "${MATRIX_B:-stock}"
	fresh
}

teardown_file() {
	"$TESTBED" heal
	"$TESTBED" destroy stack
}

setup() {
	RX_PID=
	TX_PID=
	ASK_PID=
	EVENTS_PID=
	AT=$(home)
	if [[ $AT == nowhere ]]; then # a case before failed
		fresh
		AT=a
	fi
	TO=$(other "$AT")
}

teardown() {
	# shellcheck disable=SC2086 # none, or some
	kill -9 $ASK_PID $EVENTS_PID $TX_PID 2>/dev/null || true
	"$TESTBED" up >/dev/null
	"$TESTBED" heal
	stop_receive
}

# ---- watching --------------------------------------------------------------------------------

# asking: from now on, how long each host's libvirtd takes to answer.
asking() {
	ANSWERS=$BATS_TEST_TMPDIR/answers
	: >"$ANSWERS"
	while :; do
		ask a hostname
		ask b hostname
		sleep 0.1
	done 3>&- &
	ASK_PID=$!
}

# ask HOST COMMAND...: of virsh's. Those that look at domains wait while libvirtd ends a QEMU.
ask() {
	local host=$1 began=${EPOCHREALTIME/./}
	shift
	timeout 20 "$TESTBED" exec "$host" virsh -q "$@" >/dev/null 2>&1 || true
	echo "$host $(((${EPOCHREALTIME/./} - began) / 1000)) $1" >>"$ANSWERS"
}

# asked: no host took longer than a second twice running, which a busy machine may cause once; and now that all is over
# domains can be looked at as well.
asked() {
	kill "$ASK_PID"
	wait "$ASK_PID" 2>/dev/null || true
	ASK_PID=
	ask a list --all
	ask b list --all
	echo "libvirtd answered within $(sort -n -k 2 "$ANSWERS" | tail -n 1 | cut -d ' ' -f 2) ms" >&3
	if awk -v most="$ANSWER_MAX_MS" '
		{ slow[$1] = $2 > most ? slow[$1] + 1 : 0 }
		slow[$1] > 1 || $2 > 10 * most { print; bad = 1 }
		END { exit !bad }' "$ANSWERS"; then
		echo "host, how many ms its libvirtd took to answer, and what" >&2
		return 1
	fi
}

# counting: from now on, the events of the source's QEMU.
counting() {
	EVENTS=$BATS_TEST_TMPDIR/events
	"$TESTBED" exec "$AT" virsh -q qemu-monitor-event --loop stack >"$EVENTS" 2>&1 3>&- &
	EVENTS_PID=$!
}

counted() {
	local count
	kill -INT "$EVENTS_PID" # on any other signal it forgets what it has not yet written
	wait "$EVENTS_PID" 2>/dev/null || true
	EVENTS_PID=
	count=$(grep -c '^event ' "$EVENTS")
	echo "$count events of QEMU" >&3
	if ((count == 0 || count > EVENTS_MAX)); then
		cut -d ' ' -f 1,2 "$EVENTS" | sort | uniq -c >&2
		return 1
	fi
}

machine() {
	"$TESTBED" exec "$1" virsh -q dumpxml stack | sed -n "s/.* machine='\([^']*\)'.*/\1/p"
}

# ---- moving ----------------------------------------------------------------------------------

# cross OPTIONS...: to the other host, where it is as it was.
cross() {
	local before
	before=$(machine "$AT")
	counting
	receive "$TO" --once
	migrate "$AT" stack "$@"
	[ "$status" -eq 0 ]
	[ "$(field guest_on)" = destination ]
	wait "$RX_PID"
	RX_PID=
	counted
	lives_on "$TO" stack
	no_trace "$TO" stack
	no_job "$TO" stack
	until_true 10 no_monitor "$TO" stack
	[ "$(machine "$TO")" = "$before" ]
	echo "$AT to $TO: $(field mode), downtime $(field downtime_ms) ms" >&3
	AT=$TO
	TO=$(other "$AT")
}

# bats test_tags=core
@test "pre-copy there and back, with --verify" {
	cross --verify
	cross --verify
	"$TESTBED" wait-verified stack 60
}

# bats test_tags=core
@test "post-copy there and back, with --verify" {
	cross --verify --post-copy=now --bandwidth 96Mi
	cross --verify --post-copy=now --bandwidth 96Mi
	"$TESTBED" wait-verified stack 60
}

# ---- what the other host does not have ---------------------------------------------------------

# newest_machine HOST
newest_machine() {
	"$TESTBED" exec "$1" virsh -q capabilities | sed -n "s|.*canonical='\(pc-i440fx-[^']*\)'[^>]*>pc<.*|\1|p" | head -n 1
}

# bats test_tags=core
@test "a machine type that the destination lacks is refused, and dray check --destination says so before" {
	local newest
	newest=$(newest_machine a)
	[[ -n $newest ]]
	! "$TESTBED" exec b virsh -q capabilities | grep -q ">$newest</machine>" || skip "host b has $newest as well"
	"$TESTBED" guest --name late --memory 256 --xml-only | sed '/<serial/,/<\/serial>/d' >"$BATS_TEST_TMPDIR/late.xml"
	"$TESTBED" exec a virsh -q create --paused "$BATS_TEST_TMPDIR/late.xml" # it has nothing to say
	receive b
	run "$TESTBED" exec a "$DRAY" check "${WAY[@]}" --destination "${MIG_IP[b]}" late
	echo "$output"
	[ "$status" -eq 1 ]
	grep -E "^Destination +False +Refused .*$newest" <<<"$output"
	migrate a late --retries 3
	[ "$status" -eq 1 ]
	[ "$(field guest_on)" = source ]
	field reason | grep "$newest"
	[ "$(grep -c '"phase":"prepare"' "$TX_LOG")" -eq 1 ] # it was not tried again
	[ "$(where_is late)" = 'a=paused b=absent' ]
	no_trace a late
	stop_receive
	"$TESTBED" exec a virsh -q destroy late
}

# ---- failures before the hand-over -----------------------------------------------------------

# stopped_at POINT: a migration that stands there.
stopped_at() {
	asking
	receive "$TO"
	DRAY_FAULT=$1=stop migrate_start "$AT" stack --peer-timeout 3000
	until_true 30 is_stopped "$TX_PID"
}

# stayed STATUS: rolled back, with such an exit status.
stayed() {
	let_go "$TX_PID"
	migrate_wait
	[ "$status" -eq "$1" ]
	until_true 30 is_alone
	settled "$AT" stack
	until_true 20 no_guards
	until_true 10 no_monitor "$AT" stack
	asked
}

is_alone() {
	[[ $(where_is stack) == *"$TO=absent"* ]]
}

@test "cancelled in a later round" {
	stopped_at later-round
	kill -INT "$TX_PID"
	stayed 3
}

@test "cancelled in the last pass, the guest stopped" {
	stopped_at last-pass
	kill -INT "$TX_PID"
	stayed 3
}

@test "dray migrate killed in the last pass" {
	stopped_at last-pass
	kill -9 "$TX_PID"
	stayed 137
}

@test "dray receive killed in the last pass" {
	stopped_at last-pass
	kill -9 "$RX_PID"
	stayed 2
}

@test "the network cut in a later round" {
	stopped_at later-round
	"$TESTBED" cut mig
	stayed 2
}

# ---- after the release -----------------------------------------------------------------------

runs_once() {
	[[ $(home 2>/dev/null) != nowhere ]]
}

@test "dray migrate killed right after the release: one guest runs, and goes on" {
	asking
	receive "$TO"
	migrate_start "$AT" stack
	await_handover
	kill -9 "$TX_PID"
	migrate_wait
	until_true 40 runs_once
	until_true 40 no_guards
	settled "$(home)" stack
	asked
	echo "killed at $AT, runs on $(home)" >&3
	"$TESTBED" wait-verified stack 60
}
