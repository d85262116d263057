# shellcheck shell=bash
# SPDX-License-Identifier: Apache-2.0
#
# What the bench scripts share. They set $WORK, a directory of theirs.

ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
BUILD=${BUILD:-$ROOT/build/release}
DRAY=${DRAY:-$BUILD/dray}
TESTBED=$ROOT/tools/testbed
declare -gA MIG_IP=([a]=10.78.0.1 [b]=10.78.0.2)

# uri a|b: of that host's libvirt.
uri() {
	"$TESTBED" uri "$1"
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

# shellcheck disable=SC2034 # RX and TX are for who sources this
# receive HOST LOG: a `dray receive` for one guest, in the background; $RX.
receive() {
	"$TESTBED" exec "$1" "$DRAY" receive --once --disable-tls --json >"$2" 2>&1 &
	RX=$!
	await 10 grep -q listening "$2"
}

# shellcheck disable=SC2034
# dray_start FROM LOG OPTIONS...: the bench's guest goes to the other host, in the background; $TX.
dray_start() {
	local from=$1 log=$2
	shift 2
	: >"$log"
	"$TESTBED" exec "$from" "$DRAY" migrate --disable-tls --json "$@" bench "${MIG_IP[$(other "$from")]}" >"$log" 2>&1 &
	TX=$!
}
