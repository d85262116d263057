#!/usr/bin/env bats
# SPDX-License-Identifier: Apache-2.0
#
# What a caller such as virt-handler relies on: caps, time-outs, limits, cancel, status, history.

bats_require_minimum_version 1.5.0
load e2e

setup_file() {
	"$TESTBED" up
	# Writes faster than any cap below lets through, but not faster than the bare network.
	guest busy --memory 512 --fill 16 --dirty 48 --rate 60
	guest calm --memory 512 --fill 160 --dirty 16 --rate 5
}

teardown_file() {
	"$TESTBED" destroy busy
	"$TESTBED" destroy calm
}

setup() {
	RX_PID=
	TX_PID=
	SAMPLER=
}

teardown() {
	[[ -z $SAMPLER ]] || kill "$SAMPLER" 2>/dev/null || true
	stop_receive
	local host
	for name in busy calm; do
		host=$(home "$name")
		[[ $host == a ]] || return_home "$name"
	done
}

home() {
	case $(where_is "$1") in
	'a=running b=absent') echo a ;;
	'a=absent b=running') echo b ;;
	*) echo "$1: $(where_is "$1")" >&2 && echo nowhere ;;
	esac
}

return_home() {
	stop_receive
	receive a
	migrate b "$1" >"$BATS_TEST_TMPDIR/return.log"
	[ "$status" -eq 0 ] || cat "$BATS_TEST_TMPDIR/return.log" "$RX_LOG"
	stop_receive
	[ "$status" -eq 0 ]
}

dray() {
	"$TESTBED" exec "$1" "$DRAY" "${@:2}"
}

# event PATTERN [SECONDS]: wait until the migration has said so.
event() {
	until_true "${2:-20}" grep -qE -- "$1" "$TX_LOG"
}

# free NAME: no vCPU is traced, none stopped.
unthrottled() {
	local pid
	pid=$("$TESTBED" qemu-pid a "$1") || return
	! grep -L '^TracerPid:[[:space:]]*0$' /proc/"$pid"/task/*/status | grep .
}

# sample HOST INTERFACE: bytes sent, every 20 ms, into $SAMPLES: "seconds bytes".
sample() {
	SAMPLES=$BATS_TEST_TMPDIR/samples
	# shellcheck disable=SC2016 # expanded there
	"$TESTBED" exec "$1" bash -c '
		exec {never}<> <(:)
		while read -r -t 0.02 -u "$never" || :; do
			echo "$EPOCHREALTIME $(<"/sys/class/net/$1/statistics/tx_bytes")"
		done' sampler "$2" >"$SAMPLES" 3>&- &
	SAMPLER=$!
}

# rates FROM TO CAP: of the samples between two times: the worst full second, the whole, and the worst 100 ms,
# each as a multiple of CAP: "low high whole burst". Where the sampler itself, which only sleeps and reads, got no
# processor for 60 ms the machine did not let dray send either: such seconds do not count as low.
rates() {
	awk -v from="$1" -v to="$2" -v cap="$3" '
		BEGIN { n = 0 }
		NF < 2 || $1 < from || $1 > to { next }
		{ t[n] = $1; b[n] = $2; n++ }
		function window(length_s, i, j, r) {
			low = 1e9; high = 0
			late = -1
			for (i = j = 0; i < n; i++) {
				while (j < n && t[j] - t[i] < length_s)
					if (++j < n && t[j] - t[j - 1] > 0.06) late = j
				if (j == n) break
				r = (b[j] - b[i]) / (t[j] - t[i]) / cap
				if (r < low && late <= i) low = r
				if (r > high) high = r
			}
		}
		END {
			window(1); lows = low; highs = high
			window(0.1)
			printf "%.3f %.3f %.3f %.3f\n", lows, highs, (b[n-1] - b[0]) / (t[n-1] - t[0]) / cap, high
		}' "$SAMPLES"
}

within() {
	awk -v x="$1" -v low="$2" -v high="$3" 'BEGIN { exit !(x >= low && x <= high) }' || {
		echo "$1 is not within $2 to $3" >&2
		return 1
	}
}

# at_rate BYTES_PER_S: so fast was what was sent, from the set-up's end to that of the roll-back.
at_rate() {
	local ms=$(($(field total_ms) - $(field setup_ms)))
	within "$(field wire_bytes)" $((ms * $1 * 85 / 100000)) $((ms * $1 * 105 / 100000))
}

# When event PATTERN was, as seconds since the epoch.
time_of() {
	date -d "$(grep -m1 -E -- "$1" "$TX_LOG" | jq -r .time)" +%s.%N
}

capped() {
	local streams=$1 low high whole burst
	receive b
	sample a mig0
	migrate_start a calm --bandwidth 32Mi --streams "$streams"
	migrate_wait
	[ "$status" -eq 0 ]
	kill "$SAMPLER"
	read -r low high whole burst < <(rates "$(time_of '"phase":"pre-copy"')" "$(time_of '"event":"decision"')" 33554432)
	echo "$streams streams: each second $low to $high, whole run $whole, 100 ms $burst times the cap" >&3
	within "$low" 0.97 1.03
	within "$high" 0.97 1.03
	within "$whole" 0.98 1.01
	within "$burst" 0 1.1
	lives_on b calm
}

# bats test_tags=alone
@test "bandwidth: one stream keeps to the cap, by the interface's counter" {
	capped 1
}

# bats test_tags=alone
@test "bandwidth: eight streams keep to it together, without TLS" {
	local WAY=("${PLAIN[@]}")
	capped 8
}

# bats test_tags=alone
@test "bandwidth, max-downtime and post-copy change while it runs; status tells" {
	local low high whole burst
	receive b
	sample a mig0
	migrate_start a calm --bandwidth 8Mi
	event '"event":"progress".*"round":1'
	run dray a status calm
	[[ $output == *calm* && $output == *pre-copy* && $output == *"TLS $( ((${#WAY[@]} > 0)) && echo no || echo yes)"* ]]
	[ "$(dray a status --json calm | jq -r .bandwidth)" = 8388608 ]
	run dray a set calm bandwidth=64MB/s
	[ "$status" -eq 1 ]
	[[ $output == *bandwidth*64MB/s*64Mi* ]]
	run dray a set calm streams=4
	[ "$status" -eq 1 ]
	[[ $output == *streams* ]]
	dray a set calm bandwidth=48Mi max-downtime=500 post-copy=yes
	event '"event":"set".*bandwidth'
	[ "$(dray a status --json calm | jq -r '"\(.bandwidth) \(.max_downtime_ms) \(.post_copy)"')" = '50331648 500 true' ]
	migrate_wait
	[ "$status" -eq 0 ]
	read -r low high whole burst < <(rates "$(time_of '"event":"set"')" "$(time_of '"event":"decision"')" 50331648)
	echo "after the change: $low to $high, whole $whole, 100 ms $burst times the new cap" >&3
	within "$whole" 0.95 1.03
	within "$burst" 0 1.1
	lives_on b calm
}

# bats test_tags=alone
@test "a guest that never converges: aborted at its completion time-out, undisturbed" {
	receive b
	migrate a busy --bandwidth 16Mi --completion-timeout-per-gib 12
	[ "$status" -eq 3 ]
	[ "$(field result)" = aborted ]
	[[ $(field reason) == *completion-timeout-per-gib\ 12* ]]
	within "$(field total_ms)" 11900 14000
	grep '"event":"decision"' "$TX_LOG"
	settled a busy
	unthrottled busy
}

@test "the same, and it may be paused: it arrives, in mode Paused" {
	receive b
	migrate a busy --bandwidth 32Mi --completion-timeout-per-gib 8 --allow-workload-disruption
	[ "$status" -eq 0 ]
	[ "$(field mode)" = Paused ]
	lives_on b busy
	"$TESTBED" wait-verified busy 60
}

# Where other guests slow it, the guest may write less than the cap.
# bats test_tags=alone
@test "auto-converge: its vCPUs are slowed until it converges, and run free afterwards" {
	receive b
	migrate a busy --bandwidth 20Mi --auto-converge
	[ "$status" -eq 0 ]
	[ "$(field mode)" = PreCopy ]
	[ "$(field throttle_percent)" -gt 0 ]
	grep -q '"event":"decision".*slow' "$TX_LOG"
	lives_on b busy
	"$TESTBED" wait-verified busy 60
}

# bats test_tags=alone,long
@test "auto-converge given up: no throttling is left behind" {
	receive b
	migrate_start a busy --bandwidth 16Mi --auto-converge
	event '"event":"decision".*slow' 60
	kill -TERM "$("$TESTBED" pgrep all "^$DRAY migrate .* busy ")"
	migrate_wait
	[ "$status" -eq 3 ]
	settled a busy
	unthrottled busy
}

# bats test_tags=alone,long
@test "auto-converge, dray killed: the kernel lets the vCPUs go" {
	receive b
	migrate_start a busy --bandwidth 16Mi --auto-converge
	event '"event":"decision".*slow' 60
	kill -9 "$("$TESTBED" pgrep all "^$DRAY migrate .* busy ")"
	migrate_wait
	until_true 5 unthrottled busy
	settled a busy
}

@test "no progress for the progress time-out: aborted" {
	receive b
	migrate a busy --bandwidth 16Mi --progress-timeout 5
	[ "$status" -eq 3 ]
	[[ $(field reason) == *progress-timeout\ 5* ]]
	settled a busy
}

@test "max-downtime: what does not fit 1 ms fits once it is raised" {
	receive b
	migrate_start a calm --max-downtime 1
	event '"event":"round".*"round":6' 30
	run ! grep -q switch-over "$TX_LOG"
	dray a set calm max-downtime=300
	migrate_wait
	[ "$status" -eq 0 ]
	lives_on b calm
}

# begun NAME BANDWIDTH EVENT: its migration, in the background, which has come to that; what it says in
# $BATS_TEST_TMPDIR/NAME.log, its process in PIDS.
begun() {
	migrate_start a "$1" --bandwidth "$2"
	PIDS[$1]=$TX_PID
	event "$3"
	mv "$TX_LOG" "$BATS_TEST_TMPDIR/$1.log"
	TX_LOG=$BATS_TEST_TMPDIR/$1.log
}

# over NAME STATUS: it ends with that.
over() {
	TX_PID=${PIDS[$1]} TX_LOG=$BATS_TEST_TMPDIR/$1.log
	migrate_wait >/dev/null
	[ "$status" -eq "$2" ]
}

@test "max-outbound: the third of three waits its turn, then goes" {
	local -A PIDS=()
	guest three --memory 256 --fill 48 --dirty 4 --rate 2
	receive b --max-inbound 9
	begun busy 1Mi '"phase":"pre-copy"'
	begun calm 1Mi '"phase":"pre-copy"'
	begun three 64Mi '"event":"queued"'
	[ "$(jq -r 'select(.event == "queued") | "\(.where) \(.ahead)"' "$TX_LOG" | head -1)" = 'source 1' ]
	[ "$(dray a status --json three | jq .queued_ahead)" = 1 ]
	[ "$(dray a status --json | jq length)" = 3 ]
	dray a cancel busy
	over busy 3
	over three 0
	lives_on b three
	"$TESTBED" destroy three
	dray a cancel calm
	over calm 3
	run ! grep -q '"queued"' "$BATS_TEST_TMPDIR"/{busy,calm}.log
	settled a busy
	settled a calm
}

@test "max-outbound: no turn within --queue-timeout; a killed dray frees its slot" {
	local first log
	receive b
	migrate_start a busy --bandwidth 1Mi --max-outbound 1
	first=$TX_PID log=$BATS_TEST_TMPDIR/first.log
	event '"phase":"pre-copy"'
	mv "$TX_LOG" "$log"
	migrate a calm --max-outbound 1 --queue-timeout 1
	[ "$status" -eq 3 ]
	[[ $(field reason) == *queue-timeout* ]]
	migrate_start a calm --max-outbound 1
	event '"event":"queued"'
	kill -9 "$("$TESTBED" pgrep all "^$DRAY migrate .* busy ")"
	wait "$first" || true
	migrate_wait
	[ "$status" -eq 0 ]
	lives_on b calm
	settled a busy
}

@test "max-inbound: the second waits its turn at the destination, then goes; without TLS" {
	local WAY=("${PLAIN[@]}")
	local first
	receive b --max-inbound 1
	migrate_start a busy --bandwidth 1Mi
	first=$TX_PID
	event '"phase":"pre-copy"'
	mv "$TX_LOG" "$BATS_TEST_TMPDIR/first.log"
	migrate_start a calm
	event '"event":"queued"'
	[ "$(jq -r 'select(.event == "queued") | "\(.where) \(.ahead)"' "$TX_LOG" | head -1)" = 'destination 1' ]
	dray a cancel busy
	wait "$first" && return 1
	migrate_wait
	[ "$status" -eq 0 ]
	lives_on b calm
	settled a busy
}

bytes_of() {
	"$TESTBED" exec a cat "/sys/class/net/$1/statistics/tx_bytes"
}

@test "bind: by that interface only" {
	local before after
	receive b
	before=$(bytes_of mgmt0)
	migrate a calm --bind mig0
	after=$(bytes_of mgmt0)
	[ "$status" -eq 0 ]
	((after - before < 65536))
	lives_on b calm
	return_home calm
	receive b --bind mig0
	migrate_start a calm --bind mgmt0
	migrate_wait
	[ "$status" -eq 1 ]
	[[ $(field reason) == *mgmt0* || $(field reason) == *10.78.0.2* ]]
	lives_on a calm
}

# ticks_on NAME: its witness counts on within a second.
ticks_within_a_second() {
	"$TESTBED" wait-tick "$1" 1 1
}

@test "cancel by dray cancel, SIGTERM, and the caller's death" {
	receive b
	migrate_start a busy --bandwidth 4Mi
	event '"phase":"pre-copy"'
	dray a cancel busy
	ticks_within_a_second busy
	migrate_wait
	[ "$status" -eq 3 ]
	[[ $(field reason) == *"dray cancel"* ]]
	settled a busy

	migrate_start a busy --bandwidth 4Mi
	event '"phase":"pre-copy"'
	kill -TERM "$("$TESTBED" pgrep all "^$DRAY migrate .* busy ")"
	ticks_within_a_second busy
	migrate_wait
	[ "$status" -eq 3 ]
	settled a busy

	TX_LOG=$BATS_TEST_TMPDIR/migrate.log
	: >"$TX_LOG"
	# A caller that is killed.
	"$TESTBED" exec a bash -c "'$DRAY' migrate ${WAY[*]} --json --die-with-parent --bandwidth 4Mi busy 10.78.0.2 & wait" \
		>"$TX_LOG" 2>&1 3>&- &
	event '"phase":"pre-copy"'
	kill -9 "$(ps -o ppid= -p "$("$TESTBED" pgrep all "^$DRAY migrate .* busy ")" | tr -d ' ')"
	event '"result":"aborted"'
	[[ $(field reason) == *die-with-parent* ]]
	settled a busy
}

@test "cancel, status and set without such a migration: exit 1, and what there is" {
	for command in 'cancel nobody' 'status nobody' 'set nobody bandwidth=1Mi'; do
		# shellcheck disable=SC2086 # its words
		run dray a $command
		[ "$status" -eq 1 ]
		[[ $output == *nobody* ]]
	done
	run dray a status
	[ "$status" -eq 0 ]
}

@test "the status socket is root's alone" {
	receive b
	migrate_start a busy --bandwidth 4Mi
	event '"phase":"pre-copy"'
	uuid=$("$TESTBED" exec a virsh domuuid busy)
	[ "$("$TESTBED" exec a stat -c '%a %U' "/run/dray/$uuid/control.sock")" = '600 root' ]
	run "$TESTBED" exec a setpriv --reuid=65534 --regid=65534 --clear-groups "$DRAY" status busy
	[ "$status" -eq 1 ]
	dray a cancel busy
	migrate_wait
	settled a busy
}

@test "history: the newest five are kept, the sixth pushes out the oldest" {
	local uuid first
	uuid=$("$TESTBED" exec a virsh domuuid calm)
	"$TESTBED" exec a rm -f "/var/lib/dray/history/$uuid.json"
	receive b
	for i in 1 2 3 4 5; do
		migrate_start a calm --bandwidth 4Mi
		event '"phase":"pre-copy"'
		dray a cancel calm
		migrate_wait >/dev/null
		[ "$status" -eq 3 ]
	done
	[ "$(dray a history --json calm | jq length)" = 5 ]
	first=$(dray a history --json calm | jq -r '.[4].start')
	migrate a calm
	[ "$status" -eq 0 ]
	[ "$(dray a history --json calm | jq length)" = 5 ]
	run ! grep -qF "$first" <(dray a history --json calm)
	[ "$(dray a history --json calm | jq -r '.[0] | "\(.result) \(.guest_on) \(.lane) \(.mode)"')" = 'completed destination direct PreCopy' ]
	[ "$(dray a history --json calm | jq -r '.[1] | "\(.result) \(.reason)"')" = 'aborted cancelled by dray cancel' ]
	run dray a history calm
	[[ $output == *completed* && $output == *aborted* ]]
	run dray a history nobody
	[ "$status" -eq 1 ]
}

@test "retries: a receiver that comes late is found by a later attempt" {
	migrate_start a calm --retries 3
	event '"event":"attempt"'
	receive b
	migrate_wait
	[ "$status" -eq 0 ]
	[ "$(grep -c '"event":"result"' "$TX_LOG")" = 1 ]
	lives_on b calm
}

@test "retries: no pause is waited out after a cancel" {
	migrate_start a calm --retries 9
	event '"event":"attempt".*"pause_s":2'
	dray a cancel calm
	migrate_wait
	[ "$status" -eq 3 ]
	lives_on a calm
}

# bats test_tags=alone
@test "configuration file and policy: the policy's cap wins over the file's, an option over both" {
	local dir=$BATS_TEST_TMPDIR
	cat >"$dir/config.yaml" <<-'YAML'
		spec:
		  liveMigrationConfig:
		    bandwidthPerMigration: 4Mi
		    completionTimeoutPerGiB: 7
		    parallelMigrationsPerCluster: 5
	YAML
	cat >"$dir/policy.yaml" <<-'YAML'
		apiVersion: migrations.kubevirt.io/v1alpha1
		kind: MigrationPolicy
		metadata: {name: slow}
		spec:
		  selectors:
		    virtualMachineInstanceSelector: {size: small}
		  bandwidthPerMigration: 2Mi
	YAML
	receive b
	migrate a busy --config "$dir/config.yaml" --policy "$dir/policy.yaml" --vmi-labels size=small
	[ "$status" -eq 3 ]
	[[ $(field reason) == *completion-timeout-per-gib\ 7* ]]
	at_rate $((2 << 20))
	migrate a busy --config "$dir/config.yaml" --policy "$dir/policy.yaml" --vmi-labels size=large --bandwidth 8Mi
	[ "$status" -eq 3 ]
	grep -q '"event":"policy"' "$TX_LOG"
	at_rate $((8 << 20))
	settled a busy
}
