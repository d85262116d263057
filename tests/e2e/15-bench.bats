#!/usr/bin/env bats
# SPDX-License-Identifier: Apache-2.0
#
# dray bench from one host to the other.

load e2e

setup_file() {
	"$TESTBED" up
}

teardown() {
	[[ -z ${SINK-} ]] || kill "$SINK" 2>/dev/null || true
}

# between WAY...: a small bench from a to b; its result in $OUT.
between() {
	local log=$BATS_TEST_TMPDIR/sink
	OUT=$BATS_TEST_TMPDIR/out
	"$TESTBED" exec b "$DRAY" bench --listen 10.78.0.2 "$@" >"$log" 2>&1 &
	SINK=$!
	until_true 30 grep -q "waits for its source on port 7471" "$log"
	"$TESTBED" exec a "$DRAY" bench --connect 10.78.0.2 --size 32 --zero 8 --rate 8 --streams 3 --json "$@" >"$OUT"
	wait "$SINK"
	SINK=
}

@test "dray bench from host to host, plain and by TLS: equal on both ends, every figure there" {
	local way
	for way in --disable-tls --tls-dir=/etc/pki/dray; do
		between "$way"
		jq -e 'select(.event == "result") | .verified and .streams == 3 and .rounds >= 2 and .pages_sent >= 8192 and
			.pages_zero >= 2048 and .wire_bytes > .data_bytes and ([.first_round_bytes_per_s, .total_s, .stop_s,
			.source_cpu_s_per_gib, .destination_cpu_s_per_gib, .source_memory_bytes, .destination_memory_bytes,
			.bare_bytes_per_s, .bare_source_cpu_s_per_gib, .bare_destination_cpu_s_per_gib, .memcpy_bytes_per_s,
			.aes_128_gcm_bytes_per_s, .speed_ratio, .cpu_ratio] | all(. > 0))' "$OUT"
		jq -e --arg way "$way" '.tls == ($way != "--disable-tls")' "$OUT"
	done
}

@test "dray bench: two ends of which one has TLS and the other has not do not meet" {
	"$TESTBED" exec b "$DRAY" bench --listen 10.78.0.2 --disable-tls >"$BATS_TEST_TMPDIR/sink" 2>&1 &
	SINK=$!
	until_true 30 grep -q "waits for its source" "$BATS_TEST_TMPDIR/sink"
	run "$TESTBED" exec a "$DRAY" bench --connect 10.78.0.2 --size 8
	[ "$status" -eq 1 ]
	status=0
	wait "$SINK" || status=$?
	SINK=
	[ "$status" -eq 1 ]
}
