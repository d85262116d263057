#!/usr/bin/env bats
# SPDX-License-Identifier: Apache-2.0
#
# Strangers at a receiver's port while a guest comes: it arrives, and what they take of the host stays within a bound.

load e2e

# What strangers may take of the receiver, apart from the migration: a descriptor for each of the 64 that there may be
# (strangers.h) and for some that are about to go; and memory.
readonly FILES_MAX=200
readonly MEMORY_MAX_KIB=$((32 << 10))

setup_file() {
	"$TESTBED" up
	guest knocked --memory 256 --fill 64 --dirty 8 --rate 5
}

teardown_file() {
	"$TESTBED" destroy knocked
}

setup() {
	RX_PID=
	CROWD=
}

teardown() {
	end_crowd
	stop_receive
}

end_crowd() {
	[[ -z $CROWD ]] || kill "$CROWD" 2>/dev/null || true
	CROWD=
}

# crowd FROM TO: strangers, of an address of their own.
crowd() {
	CROWD_LOG=$BATS_TEST_TMPDIR/crowd
	: >"$CROWD_LOG"
	"$TESTBED" exec "$1" "$BATS_TEST_DIRNAME/strangers.bash" "$2" 7470 </dev/null >"$CROWD_LOG" 3>&- &
	CROWD=$!
}

knocked() {
	(($(tail -n 1 "$CROWD_LOG") >= $1))
}

# The most that was seen.
take_sample() {
	local files kib
	files=$(find "/proc/$RX_PID/fd" -mindepth 1 | wc -l)
	kib=$(awk '/^RssAnon:/ { print $2 }' "/proc/$RX_PID/status")
	((files <= FILES)) || FILES=$files
	((kib <= KIB)) || KIB=$kib
}

knocked_at_last() {
	take_sample
	knocked "$1"
}

is_over() {
	take_sample
	# shellcheck disable=SC2153 # it is not the receiver's
	ended "$TX_PID"
}

ended() {
	! kill -0 "$1"
}

# a_certificate_and FROM TO BYTES: one with a certificate says hello, and then this; it is hung up on.
a_certificate_and() {
	printf "DRAY\\x02\\0\\x02\\0\\0\\0\\0\\0\\0\\0\\0\\0sixteen letters.\\x01\\0\\0\\0%28s$3" '' | timeout 20 "$TESTBED" exec "$1" \
		openssl s_client -quiet -tls1_3 -connect "${MIG_IP[$2]}:7470" -CAfile /etc/pki/dray/ca.crt \
		-cert /etc/pki/dray/tls.crt -key /etc/pki/dray/tls.key >"$BATS_TEST_TMPDIR/answer" 2>/dev/null || true
	grep -q DRAY "$BATS_TEST_TMPDIR/answer"
}

# besieged FROM COUNT: a migration from there, among so many strangers.
besieged() {
	local from=$1 count=$2 to before after
	to=$(other "$from")
	FILES=0 KIB=0
	receive "$to"
	take_sample
	echo "before: $FILES descriptors, $KIB KiB" >&3
	crowd "$from" "10.77.0.$([[ $to == a ]] && echo 1 || echo 2)"
	until_true 60 knocked_at_last 100
	"$TESTBED" exec "$from" "$DRAY" check "${WAY[@]}" --json --destination "${MIG_IP[$to]}" knocked |
		jq -e '.conditions | any(.type == "Destination" and .status == "True")'
	before=$(tail -n 1 "$CROWD_LOG")
	migrate_start "$from" knocked --bandwidth 1Mi --post-copy=now
	until_true 30 grep -q '"phase":"pre-copy"' "$TX_LOG"
	until_true 60 knocked_at_last $((before + count))
	((${#WAY[@]} > 0)) || a_certificate_and "$from" "$to" '\xff\xff\xff\xff\xff\xff\xff\xff'
	"$TESTBED" exec "$from" "$DRAY" set knocked bandwidth=128Mi
	until_true 60 is_over
	after=$(tail -n 1 "$CROWD_LOG")
	end_crowd
	migrate_wait
	[ "$status" -eq 0 ]
	lives_on "$to" knocked
	echo "at most $FILES descriptors, $KIB KiB; $after strangers, $(grep -c '"refused"' "$RX_LOG") lines" >&3
	((FILES <= FILES_MAX && KIB <= MEMORY_MAX_KIB))
}

@test "a crowd of strangers: a guest arrives among them" {
	besieged a 1000
}

@test "the same without TLS" {
	local WAY=("${PLAIN[@]}")
	besieged b 200
}
