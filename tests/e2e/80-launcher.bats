#!/usr/bin/env bats
# SPDX-License-Identifier: Apache-2.0
#
# From launcher to launcher: guests as KubeVirt has them, in containers with a libvirt of their own, without root, below a
# memory limit; dray outside, as virt-handler is. One guest serves all cases, going there and back.

GUEST=pod
load e2e
load postcopy

setup_file() {
	"$TESTBED" up
	guest pod --launcher --memory 256 --fill 32 --period 3 --dirty 16 --rate 20
	virsh_of a pod domuuid pod | grep . >"$BATS_FILE_TMPDIR/uuid"
}

teardown_file() {
	"$TESTBED" destroy pod
}

# Of the migration before it may stand until its guard has seen that it is done.
setup() {
	RX_PID=
	AT=$(home)
	TO=$(other "$AT")
	HERE=$("$TESTBED" launcher "$AT" pod)
	THERE=$("$TESTBED" launcher "$TO" pod)
}

teardown() {
	stop_receive
}

# start OPTIONS...: the guest is about to go to the other launcher.
start() {
	receive "$TO" --launcher "$THERE"
	migrate_start "$AT" pod --launcher "$HERE" "$@"
}

# nothing_left HOST: no file of dray's but the monitor of a guest that is there, and its log; and no record of a departure.
nothing_left() {
	local launcher monitor='dray-*.monitor*'
	[[ $(home) == "$1" ]] || monitor=
	launcher=$("$TESTBED" launcher "$1" pod) &&
		! find "/proc/$launcher/root/run" -name 'dray*' ! -name "$monitor" | grep . &&
		! "$TESTBED" exec "$1" test -e "/run/dray/$(<"$BATS_FILE_TMPDIR/uuid")/outgoing"
}

# recover HOST [SECONDS]
recover() {
	"$TESTBED" exec "$1" "$DRAY" recover --wait "${2:-20}" --launcher "$("$TESTBED" launcher "$1" pod)" pod
}

@test "probe and check say what a launcher is, and what is none" {
	run "$TESTBED" exec "$AT" "$DRAY" probe --json --launcher "$HERE"
	[ "$(jq -r '.libvirt_daemon + " " + (.qemu_user | tostring)' <<<"$output")" = 'session 107' ]
	run "$TESTBED" exec "$AT" "$DRAY" check --launcher "$HERE" pod
	[ "$status" -eq 0 ]
	run "$TESTBED" exec "$AT" "$DRAY" check pod # the host's libvirt
	[ "$status" -eq 1 ]
	run "$TESTBED" exec "$AT" "$DRAY" check --launcher 999999999 pod
	[ "$status" -eq 1 ]
	[[ $output == *'there is no process 999999999'* ]]
	[ "$("$TESTBED" exec "$AT" find /run/libvirt -name '*dray*' | wc -l)" -eq 0 ]
}

@test "pre-copy, every page compared" {
	start --verify
	migrate_wait
	[ "$status" -eq 0 ]
	[ "$(field verified)" != null ]
	lives_on "$TO" pod
	no_trace "$TO" pod
	until_true 10 nothing_left "$AT"
}

@test "post-copy" {
	start --post-copy=now
	migrate_wait
	[ "$status" -eq 0 ]
	[ "$(field mode)" = PostCopy ]
	arrived
	until_true 10 nothing_left "$AT"
}

@test "cancelled in the first round: it runs on, and nothing is left" {
	DRAY_FAULT=first-round=stop start
	until_true 30 is_stopped "$TX_PID"
	kill -TERM "$TX_PID"
	let_go "$TX_PID"
	migrate_wait
	[ "$status" -eq 3 ]
	settled "$AT" pod
	until_true 10 nothing_left "$AT"
}

@test "receive killed in the last pass: it runs on" {
	DRAY_FAULT=last-pass=stop start
	until_true 30 is_stopped "$TX_PID"
	stop_receive
	let_go "$TX_PID"
	migrate_wait
	[ "$status" -eq 2 ]
	settled "$AT" pod
}

@test "migrate killed in the last pass: its guard has the guest run on" {
	DRAY_FAULT=last-pass=stop start
	until_true 30 is_stopped "$TX_PID"
	kill -9 "$TX_PID"
	settled "$AT" pod
	until_true 20 no_guards
	until_true 10 nothing_left "$AT"
}

@test "migrate killed at the hand-over: recover tells where it is, of the right launcher only" {
	start
	await_handover
	kill -9 "$TX_PID" 2>/dev/null || true
	until_true 60 no_guards
	recover "$AT"
	recover "$TO"
	run home
	lives_on "$output" pod
	no_trace "$output" pod
}

# charged HOST NAME: MiB of memory that its launcher's cgroup is charged with; nothing where the machine gives no cgroup.
charged() {
	local launcher path
	launcher=$("$TESTBED" launcher "$1" "$2")
	path=$(awk -F: '$2 ~ /(^|,)memory(,|$)/ || $2 == "" { print $3; exit }' "/proc/$launcher/cgroup")
	cat "/sys/fs/cgroup/memory$path/memory.usage_in_bytes" "/sys/fs/cgroup$path/memory.current" 2>/dev/null |
		awk '{ print int($1 / 1048576) }'
}

@test "an ordinary guest, with private memory: it stays so, and is charged to its launcher" {
	local from to mib
	"$TESTBED" destroy plain >/dev/null 2>&1 || true
	"$TESTBED" guest --name plain --launcher --private --memory 256 --fill 64 --period 2 --dirty 16 --rate 20
	from=$("$TESTBED" launcher a plain)
	to=$("$TESTBED" launcher b plain)
	run "$TESTBED" exec a "$DRAY" check --json --launcher "$from" plain
	[ "$status" -eq 0 ]
	receive b --launcher "$to" --once
	migrate a plain --launcher "$from" --keep-private --verify
	[ "$status" -eq 0 ]
	lives_on b plain
	[[ $(virsh_of b plain dumpxml plain) != *"access mode='shared'"* ]]
	mib=$(charged b plain)
	echo "charged: $mib MiB" >&3
	[[ -z $mib || $mib -gt 100 ]]
	receive a --launcher "$from" --once
	migrate b plain --launcher "$to"
	[ "$status" -eq 0 ]
	lives_on a plain
	[[ $(virsh_of a plain dumpxml plain) == *"access mode='shared'"* ]] # its directory is on tmpfs
	"$TESTBED" wait-verified plain 60
	"$TESTBED" destroy plain
}

# Nobody else is left to say that the guest has ended. It is the last case, as the guest is lost.
@test "the destination's launcher vanishes in post-copy: its receiver knows, and the guard at the source ends" {
	start --bandwidth 24Mi --post-copy --completion-timeout-per-gib 3 # so that most is still to come
	await_handover
	until_true 10 grep -q '"resumed"' "$TX_LOG"
	kill -9 "$TX_PID"
	run recover "$AT" 0
	[ "$status" -eq 4 ]
	[[ $output == *'dray here serves the memory'*"dray receive"* ]]
	kill -9 "$THERE"
	until_true 30 no_guards
	until_true 10 grep -q '"result":"failed".*has ended on the destination, before all of its memory' "$RX_LOG"
	run recover "$AT" 0
	[ "$status" -eq 4 ]
	[[ $output == *'only its disks are left'* ]]
	nothing_left "$AT"
}
