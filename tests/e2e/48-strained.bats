#!/usr/bin/env bats
# SPDX-License-Identifier: Apache-2.0
#
# Guests whose memory QEMU has to itself, or in a memfd: QEMU's stream carries it, and is strained.

load e2e

setup_file() {
	"$TESTBED" up
}

setup() {
	RX_PID=
}

teardown() {
	"$TESTBED" heal
	"$TESTBED" memory-dir a tmpfs
	"$TESTBED" memory-dir b tmpfs
	stop_receive
}

# cross FROM NAME [OPTIONS]: one migration, judged by the guest.
cross() {
	local from=$1 name=$2 to
	shift 2
	to=$(other "$from")
	receive "$to" --once
	migrate "$from" "$name" "$@"
	[ "$status" -eq 0 ]
	lives_on "$to" "$name"
	no_trace "$to" "$name"
	wait "$RX_PID"
	RX_PID=
	echo "downtime $(field downtime_ms) ms, $(field pages_sent) pages, $(field pages_zero) zero" >&3
}

# reason_for HOST NAME: why the guest can take the lane.
reason_for() {
	"$TESTBED" exec "$1" "$DRAY" check --json "$2" | jq -r '.conditions[] | select(.type == "DirectLane") | .reason'
}

# permitted_downtime HOST NAME: what QEMU's own migration may take.
permitted_downtime() {
	virsh_of "$1" "$2" qemu-monitor-command "$2" '{"execute":"query-migrate-parameters"}' |
		jq '.return."downtime-limit"'
}

@test "private memory: strained at first, and in shared files from then on" {
	guest private --memory 384 --fill 64 --period 2 --dirty 48 --rate 50 --private
	[ "$(reason_for a private)" = Strained ]
	cross a private --verify
	"$TESTBED" exec b virsh -q dumpxml private | grep "<access mode='shared'/>"
	[ "$(reason_for b private)" = Ready ]
	cross b private
	cross a private
	"$TESTBED" wait-verified private 60
	"$TESTBED" destroy private
}

@test "check --xml: with what it prints the guest is ready from its start" {
	guest told --memory 256 --fill 32 --period 2 --dirty 16 --rate 10 --private
	[ "$(reason_for a told)" = Strained ]
	"$TESTBED" exec a "$DRAY" check --xml told >"$BATS_TEST_TMPDIR/backing"
	virsh_of a told dumpxml --inactive told >"$BATS_TEST_TMPDIR/xml"
	virsh_of a told destroy told
	sed -i "/<\/memory>/r $BATS_TEST_TMPDIR/backing" "$BATS_TEST_TMPDIR/xml"
	virsh_of a told define "$BATS_TEST_TMPDIR/xml"
	virsh_of a told start told
	[ "$(reason_for a told)" = Ready ]
	"$TESTBED" destroy told
}

@test "NUMA nodes of private memory, and a cap that QEMU's own pass does not know" {
	guest nodes --memory 256 --numa 2 --fill 32 --period 2 --dirty 16 --rate 10 --private
	cross a nodes --bandwidth 100Mi --verify
	[ "$(reason_for b nodes)" = Ready ]
	"$TESTBED" wait-verified nodes 60
	"$TESTBED" destroy nodes
}

@test "a memfd is strained both ways" {
	guest memfd --memory 256 --fill 64 --period 2 --dirty 32 --rate 50 --memfd
	[ "$(reason_for a memfd)" = Strained ]
	cross a memfd --verify
	[ "$(reason_for b memfd)" = Strained ]
	cross b memfd
	"$TESTBED" wait-verified memfd 60
	"$TESTBED" destroy memfd
}

# poor HOST MIB: there `dray receive` finds so little memory free.
poor() {
	local dray=$BATS_TEST_TMPDIR/poor
	printf 'MemAvailable: %d kB\nSwapFree: 0 kB\n' $(($2 * 1024)) >"$dray.meminfo"
	printf '#!/bin/sh\nexec unshare -m sh -c %s "$@"\n' \
		"'mount --bind $dray.meminfo /proc/meminfo && exec $DRAY \"\$@\"' sh" >"$dray"
	chmod +x "$dray"
	DRAY=$dray receive "$1"
}

@test "a destination without the memory refuses the guest, which runs on, and takes it in when there is" {
	local DRAY=$DRAY
	guest large --memory 256 --fill 64 --period 2 --dirty 16 --rate 10 --private
	poor b 32
	migrate a large
	[ "$status" -eq 1 ]
	reason_says 'the destination lacks memory: the guest has [0-9]+ MiB, and of this host 32 MiB are free'
	settled a large
	stop_receive
	poor b 300
	migrate a large
	[ "$status" -eq 0 ]
	lives_on b large
	"$TESTBED" destroy large
}

# breaks POINT WHAT: dray stops there, WHAT happens, and the guest runs on at a as if nothing had been.
breaks() {
	receive b
	DRAY_FAULT="$1=stop" migrate_start a frail --peer-timeout 3000
	until_true 30 is_stopped "$TX_PID"
	"$2"
	let_go "$TX_PID"
	migrate_wait
	until_true 30 is_absent b frail
	settled a frail
	[ "$(permitted_downtime a frail)" -eq "$PERMITTED" ]
	"$TESTBED" heal
	stop_receive
}

is_absent() {
	[[ $(where_is "$2") == *"$1=absent"* ]]
}

migrate_killed() {
	kill -9 "$TX_PID"
}

network_cut() {
	"$TESTBED" cut mig
}

@test "whatever breaks before the hand-over, it runs on, and QEMU has its own downtime back" {
	guest frail --memory 256 --fill 64 --period 2 --dirty 32 --rate 20 --private
	PERMITTED=$(permitted_downtime a frail)
	breaks later-round stop_receive
	breaks switch-over migrate_killed
	breaks last-pass network_cut
	breaks completed migrate_killed
	"$TESTBED" wait-verified frail 60
	"$TESTBED" destroy frail
}

# balloon HOST KIB: what the guest has left itself.
balloon() {
	[[ $(virsh_of "$1" shape dommemstat shape | awk '$1 == "actual" {print $2}') == "$2" ]]
}

# tell_balloon HOST KIB: past libvirt, which lets nobody change a guest that migrates.
tell_balloon() {
	"$TESTBED" exec "$1" timeout 10 socat - UNIX:/var/lib/libvirt/qemu/shape.monitor <<-END
		{"execute": "qmp_capabilities"}
		{"execute": "balloon", "arguments": {"value": $(($2 * 1024))}}
	END
}

# reshaped FROM KIB: its balloon is told so in the first round; it arrives with that.
reshaped() {
	local to
	to=$(other "$1")
	receive "$to" --once --allow qemu-arguments
	migrate_start "$1" shape --bandwidth 32Mi --verify
	until_true 30 grep -q '"phase":"pre-copy"' "$TX_LOG"
	tell_balloon "$1" "$2"
	migrate_wait
	[ "$status" -eq 0 ]
	lives_on "$to" shape
	until_true 20 balloon "$to" "$2"
	wait "$RX_PID"
	RX_PID=
}

# bats test_tags=long
@test "memory that it gives back while it moves, and takes again" {
	guest shape --memory 384 --fill 64 --period 2 --dirty 24 --rate 20 --private --monitor
	reshaped a 262144
	[ "$(ram_kib b shape)" -lt 270000 ]
	reshaped b 393216
	"$TESTBED" wait-verified shape 60
	"$TESTBED" destroy shape
}

runs_once() {
	case $(where_is "$1") in
	'a=running b=absent' | 'a=absent b=running') ;;
	*) return 1 ;;
	esac
}

@test "killed in the hand-over: it runs on one host" {
	guest handed --memory 256 --fill 32 --period 2 --dirty 16 --rate 10 --private
	receive b
	DRAY_FAULT=hand-over=stop migrate_start a handed
	until_true 30 is_stopped "$TX_PID"
	kill -9 "$TX_PID"
	migrate_wait
	until_true 60 runs_once handed
	"$TESTBED" wait-verified handed 60
	"$TESTBED" destroy handed
}

# is_private HOST NAME: the memory of the guest there is QEMU's own.
is_private() {
	[[ $(virsh_of "$1" "$2" dumpxml "$2") != *"access mode='shared'"* && $(reason_for "$1" "$2") == Strained ]]
}

# decided: what the latest migration said of it.
decided() {
	jq -r 'select(.event == "decision") | .message' "$TX_LOG"
}

# bats test_tags=long
@test "where memory_backing_dir is on a disk the guest stays private, there and back, ten times" {
	guest keeps --memory 256 --fill 48 --period 2 --dirty 32 --rate 50 --private
	"$TESTBED" memory-dir a disk
	"$TESTBED" memory-dir b disk
	for _ in 1 2 3 4 5; do
		cross a keeps --verify
		is_private b keeps
		cross b keeps
		is_private a keeps
	done
	[[ $(decided) == *'memory stays private: the destination'*'is not on tmpfs'* ]]
	"$TESTBED" wait-verified keeps 60
}

@test "where it is on tmpfs the guest stays private if that is asked for, and is made ready otherwise" {
	guest keeps --memory 256 --fill 64 --period 2 --dirty 32 --rate 20 --private
	cross a keeps --keep-private --verify
	is_private b keeps
	cross b keeps
	[ "$(reason_for a keeps)" = Ready ]
	"$TESTBED" wait-verified keeps 60
	"$TESTBED" destroy keeps
}

# resident HOST NAME: MiB that the guest's QEMU has.
resident() {
	awk '/^Rss:/ { print int($2 / 1024) }' "/proc/$("$TESTBED" qemu-pid "$1" "$2")/smaps_rollup"
}

@test "what the guest never used has no memory at the destination" {
	local before after
	guest thin --memory 1024 --fill 32 --period 2 --dirty 16 --rate 10 --private
	before=$(resident a thin)
	cross a thin --keep-private --verify
	after=$(resident b thin)
	echo "$before MiB there, $after MiB here" >&3
	[ "$after" -lt $((before + 100)) ]
	"$TESTBED" wait-verified thin 60
	"$TESTBED" destroy thin
}

@test "NUMA nodes stay private, with a cap" {
	guest nodes --memory 256 --numa 2 --fill 32 --period 2 --dirty 16 --rate 10 --private
	cross a nodes --keep-private --bandwidth 100Mi --verify
	is_private b nodes
	"$TESTBED" wait-verified nodes 60
	"$TESTBED" destroy nodes
}

# bats test_tags=long
@test "private huge pages: made ready by default, or private there and back" {
	guest huge --memory 256 --fill 64 --period 2 --dirty 32 --rate 50 --private-hugepages
	[ "$(reason_for a huge)" = Strained ]
	"$TESTBED" memory-dir b disk # no matter to them
	cross a huge --keep-private --verify
	is_private b huge
	cross b huge --keep-private --verify
	is_private a huge
	cross a huge --verify
	[ "$(reason_for b huge)" = Ready ]
	"$TESTBED" wait-verified huge 60
	"$TESTBED" destroy huge
}

# bats test_tags=long
@test "whatever breaks, a guest that would stay private runs on at the source" {
	guest frail --memory 256 --fill 64 --period 2 --dirty 32 --rate 20 --private
	"$TESTBED" memory-dir b disk
	PERMITTED=$(permitted_downtime a frail)
	breaks later-round stop_receive
	breaks last-pass network_cut
	breaks completed migrate_killed
	receive b --once
	migrate a frail --post-copy=now
	[ "$status" -eq 0 ]
	[ "$(field mode)" = PreCopy ]
	reason_says 'post-copy is not possible'
	is_private b frail
	"$TESTBED" wait-verified frail 60
	"$TESTBED" destroy frail
}
