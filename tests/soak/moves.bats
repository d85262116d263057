#!/usr/bin/env bats
# SPDX-License-Identifier: Apache-2.0
#
# One guest, moved many times between hosts of two releases: it stays as it was, and so do the hosts. What would grow with
# each move, be it memory, a descriptor, a file or a line of the domain's XML, shows.
#
# SOAK_MOVES   how many (100)

bats_require_minimum_version 1.5.0
load ../e2e/e2e

: "${SOAK_MOVES:=100}"

setup_file() {
	"$TESTBED" up --release-a stock --release-b debian13
}

setup() {
	RX_PID=
}

teardown() {
	stop_receive
	"$TESTBED" destroy moved >/dev/null 2>&1 || true
}

# traces HOST: what stands of the guest and of dray's there, a line each; the same after each move to that host.
traces() {
	local pid
	pid=$("$TESTBED" qemu-pid "$1" moved) || return
	"$TESTBED" exec "$1" virsh -q dumpxml --inactive moved | sed 's/^/xml /'
	find "/proc/$pid/fd" -mindepth 1 | wc -l | sed 's/^/descriptors /'
	"$TESTBED" exec "$1" find /run/dray /var/lib/libvirt/qemu -mindepth 1 -printf '%P\n' |
		sed -E "s,(domain-|/)[0-9]+-,\1N-,; s/[0-9a-f]{32}/SESSION/" | sort | sed 's/^/file /'
}

# rss_kib HOST: memory that QEMU has.
rss_kib() {
	awk '/^VmRSS:/ {print $2}' "/proc/$("$TESTBED" qemu-pid "$1" moved)/status"
}

# move FROM OPTIONS...
move() {
	local from=$1 to
	shift
	to=$(other "$from")
	receive "$to" --once
	migrate "$from" moved "$@" >"$BATS_TEST_TMPDIR/said"
	if [[ $status -ne 0 ]]; then
		cat "$BATS_TEST_TMPDIR/said"
		return 1
	fi
	lives_on "$to" moved
	wait "$RX_PID"
	RX_PID=
}

# moves OPTIONS...: of the guest, there and back, with these; each in a mode of its own; compared with the third pair.
moves() {
	local count at=a mode
	for ((count = 1; count <= SOAK_MOVES; count++)); do
		mode=("$@")
		((count % 4 < 2)) || mode+=(--post-copy=now)
		((count % 10)) || mode+=(--verify)
		move "$at" "${mode[@]}"
		at=$(other "$at")
		if ((count == 5 || count == 6)); then
			traces "$at" >"$BATS_TEST_TMPDIR/traces.$at"
			RSS=$(rss_kib "$at")
		elif ((count > 6)); then
			diff "$BATS_TEST_TMPDIR/traces.$at" <(traces "$at")
		fi
	done
	"$TESTBED" wait-verified moved 60
	"$TESTBED" witness moved | jq -e '.corrupt == 0'
	echo "QEMU has $(rss_kib "$at") KiB; it had $RSS after six moves" >&3
	(($(rss_kib "$at") < RSS * 11 / 10 + 16384))
}

@test "private memory" {
	guest moved --memory 256 --fill 48 --period 2 --dirty 24 --rate 20 --machine pc-i440fx-7.2 --private
	moves
}

@test "a memfd, strained each time" {
	guest moved --memory 256 --fill 48 --period 2 --dirty 24 --rate 20 --machine pc-i440fx-7.2 --memfd
	moves
}

@test "private memory that stays so" {
	guest moved --memory 256 --fill 48 --period 2 --dirty 24 --rate 20 --machine pc-i440fx-7.2 --private
	moves --keep-private
}
