#!/usr/bin/env bats
# SPDX-License-Identifier: Apache-2.0
#
# What a destination has its libvirt do for another host: a guest that reaches beyond itself is refused there, exit 1,
# untouched, and an operator can agree to it.

load e2e

setup_file() {
	"$TESTBED" up
	guest reach --memory 256 --fill 32 --dirty 8 --rate 5 --monitor
}

teardown_file() {
	"$TESTBED" destroy reach
}

setup() {
	RX_PID=
}

teardown() {
	stop_receive
}

# refused PATTERN...: exit 1, nothing retried, all of them in the reason; the guest is as it was.
refused() {
	[ "$status" -eq 1 ]
	reason_says "$@"
	if grep '"attempt"' "$TX_LOG"; then return 1; fi
	lives_on a reach
	no_trace a reach
	no_job a reach
}

@test "arguments of QEMU's own: refused by name, also to dray check; agreed to, it arrives and comes back" {
	receive b
	migrate a reach --retries 2
	refused 'domain reach' "QEMU's own" 'dray receive --allow qemu-arguments'
	run "$TESTBED" exec a "$DRAY" check "${WAY[@]}" --destination "${MIG_IP[b]}" reach
	[ "$status" -eq 1 ]
	grep -q -- '--allow qemu-arguments' <<<"$output"
	stop_receive
	receive b --allow qemu-arguments
	migrate a reach
	[ "$status" -eq 0 ]
	lives_on b reach
	stop_receive
	receive a --allow qemu-arguments
	migrate b reach
	[ "$status" -eq 0 ]
	lives_on a reach
}

@test "files elsewhere than beneath --allow-path" {
	receive b --allow qemu-arguments --allow-path /srv
	migrate a reach
	refused 'domain reach' 'is not beneath any --allow-path'
}
