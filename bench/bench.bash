# shellcheck shell=bash
# SPDX-License-Identifier: Apache-2.0
#
# What the bench scripts share. They set $WORK, a directory of theirs, and end with bench_end.

ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
BUILD=${BUILD:-$ROOT/build/release}
DRAY=${DRAY:-$BUILD/dray}
TESTBED=$ROOT/tools/testbed
declare -gA MIG_IP=([a]=10.78.0.1 [b]=10.78.0.2)
declare -ga TLS_OPTIONS=(--disable-tls) # of both drays; none: TLS, with the testbed's certificates

# uri a|b: of that host's libvirt.
uri() {
	"$TESTBED" uri "$1"
}

die() {
	printf '%s: %s\n' "${0##*/}" "$*" >&2
	exit 1
}

# bench_build PROGRAM...: builds these, except dray where DRAY names another; configures first if nobody has.
bench_build() {
	local target
	local -a targets=()
	[[ -e $ROOT/CMakeLists.txt ]] || return 0 # installed, and built
	for target in "$@"; do
		[[ $target == dray && $DRAY != "$BUILD/dray" ]] || targets+=("$target")
	done
	if [[ ! -e $BUILD/build.ninja ]]; then
		cmake -S "$ROOT" -B "$BUILD" -G Ninja -DCMAKE_BUILD_TYPE=Release >"$WORK/build" 2>&1 ||
			die "the build cannot be configured: $(tail -n 20 "$WORK/build")"
	fi
	((${#targets[@]} > 0)) || return 0
	cmake --build "$BUILD" --target "${targets[@]}" >"$WORK/build" 2>&1 ||
		die "the build failed: $(tail -n 20 "$WORK/build")"
}

# bench_end: ends what is still running in the background, the bench's guest, and $WORK.
bench_end() {
	local pid
	for pid in $(jobs -pr); do
		kill "$pid" 2>/dev/null || true
	done
	"$TESTBED" destroy bench >/dev/null 2>&1 || true
	rm -rf "$WORK"
}

other() {
	[[ $1 == a ]] && echo b || echo a
}

# await SECONDS CMD...: for a state that nothing announces.
await() {
	local end=$((SECONDS + $1))
	shift
	until "$@" 2>/dev/null; do
		((SECONDS < end)) || return 1
		sleep 0.02
	done
}

# median FILE COLUMN: of its numbers; nan if there is none.
median() {
	[[ -s $1 ]] || {
		echo nan
		return
	}
	awk -v c="$2" '{print $c}' "$1" | sort -g | awk '{v[NR] = $1} END {print v[int((NR + 1) / 2)]}'
}

# ratio A B
ratio() {
	awk -v a="$1" -v b="$2" 'BEGIN {if (a == "nan" || b == "nan" || b == 0) print "-"; else printf "%.2f\n", a / b}'
}

# result FILTER: of the result object in a log of dray's. Libvirt's library writes warnings of its own between the lines.
result() {
	grep '^{' "$2" | jq -r "select(.event == \"result\") | $1"
}

# serve HOST PORT CMD...: a helper, in the background, that shall listen on PORT; $HELPER. An error if it ends instead.
serve() {
	local host=$1 port=$2
	shift 2
	"$TESTBED" exec "$host" "$@" &
	HELPER=$!
	until listens "$host" "$port"; do
		alive "$HELPER" || die "$1 ended on host $host instead of listening on port $port"
		sleep 0.02
	done
}

listens() {
	"$TESTBED" exec "$1" ss -Hltn "sport = :$2" | grep . >/dev/null
}

alive() {
	kill -0 "$1" 2>/dev/null
}

# receive HOST LOG: a `dray receive` for one guest, in the background; $RX, $RX_LOG.
receive() {
	RX_LOG=$2
	"$TESTBED" exec "$1" "$DRAY" receive --once "${TLS_OPTIONS[@]}" --json >"$RX_LOG" 2>&1 &
	RX=$!
	await 10 grep -q listening "$RX_LOG" || die "dray receive does not start on host $1: $(tail -n 3 "$RX_LOG")"
}

# dray_start FROM LOG OPTIONS...: the bench's guest goes to the other host, in the background; $TX, $TX_LOG.
dray_start() {
	local from=$1 log=$2
	TX_LOG=$log
	shift 2
	: >"$log"
	"$TESTBED" exec "$from" "$DRAY" migrate "${TLS_OPTIONS[@]}" --json "$@" bench "${MIG_IP[$(other "$from")]}" >"$log" 2>&1 &
	TX=$!
}

# dray_end: waits for what receive and dray_start began; an error unless both succeed.
dray_end() {
	wait "$TX" || die "dray migrate failed: $(tail -n 1 "$TX_LOG")"
	wait "$RX" || die "dray receive failed: $(tail -n 1 "$RX_LOG")"
}

# figures NAME LABEL CMD...: CMD prints a line of figures, which is appended to $WORK/NAME, and shown after LABEL. Not by
# a pipe: what CMD starts must be this shell's to end.
figures() {
	local name=$1 label=$2
	shift 2
	"$@" >"$WORK/figures"
	cat "$WORK/figures" >>"$WORK/$name"
	printf '%s: %s\n' "$label" "$(<"$WORK/figures")"
}
