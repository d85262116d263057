# shellcheck shell=bash
# SPDX-License-Identifier: Apache-2.0
#
# Shared by the end-to-end tests: real guests on the testbed, judged by their own memory witness.
#
# DRAY      the binary under test (tests/run sets it)
# TESTBED   tools/testbed
# DRAY_TLS  no: all without TLS, but 45-tls.bats. By default all goes by TLS, with the testbed's certificates, and those cases
#           go without that say `local WAY=("${PLAIN[@]}")`

: "${DRAY:?path of the dray binary}"
ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
: "${TESTBED:=$ROOT/tools/testbed}"

PLAIN=(--disable-tls)
WAY=()
[[ ${DRAY_TLS-} != no ]] || WAY=("${PLAIN[@]}")

declare -gA MIG_IP=([a]=10.78.0.1 [b]=10.78.0.2)

other() {
	[[ $1 == a ]] && echo b || echo a
}

# until_true SECONDS CMD...: wait for a state that nothing announces. CMD is a condition, so errexit is off inside: each of
# its steps must be able to make it fail by itself. That holds for all functions below that judge.
until_true() {
	local end=$((SECONDS + $1))
	shift
	until "$@" 2>/dev/null; do
		if ((SECONDS > end)); then
			echo "waited in vain for: $*" >&2
			return 1
		fi
		sleep 0.02
	done
}

# guest NAME OPTIONS...: a fresh one, whatever an earlier run left.
guest() {
	local name=$1
	shift
	"$TESTBED" destroy "$name" >/dev/null 2>&1 || true
	"$TESTBED" guest --name "$name" "$@"
}

# reason_says PATTERN...: all of them are in what the last migrate said.
reason_says() {
	local pattern
	for pattern in "$@"; do
		if ! grep -qE -- "$pattern" "$TX_LOG"; then
			echo "no '$pattern' in the message" >&2
			return 1
		fi
	done
}

# ---- the receiver ----------------------------------------------------------------------------

# receive HOST [OPTIONS]: starts `dray receive` there; RX_PID, and its output in $RX_LOG. libvirtd answers nobody while it
# ends a QEMU, and one that hangs in a page fault, because the receiver before was killed, it gives 10 s before SIGKILL.
receive() {
	local host=$1
	shift
	RX_LOG=$BATS_TEST_TMPDIR/receive.$host.log
	: >"$RX_LOG" # an earlier receiver's would say that this one listens
	"$TESTBED" exec "$host" "$DRAY" receive "${WAY[@]}" --json "$@" >"$RX_LOG" 2>&1 3>&- &
	RX_PID=$!
	until_true 30 grep -q '"listening"' "$RX_LOG"
}

# One that outlives a test file's cases. stop_receive ends it.
stop_receive() {
	[[ -n ${BATS_TEST_COMPLETED-} || ! -s ${RX_LOG-} ]] || sed 's/^/receive: /' "$RX_LOG"
	if [[ -n ${RX_PID-} ]]; then
		kill -9 "$RX_PID" 2>/dev/null || true
		wait "$RX_PID" 2>/dev/null || true
		RX_PID=
	fi
}

# ---- migrating -------------------------------------------------------------------------------

# migrate_start FROM NAME [OPTIONS]: in the background; TX_PID, output in $TX_LOG.
migrate_start() {
	local from=$1 name=$2
	shift 2
	TX_LOG=$BATS_TEST_TMPDIR/migrate.log
	: >"$TX_LOG" # a reader may be there before the background job is
	"$TESTBED" exec "$from" "$DRAY" migrate "${WAY[@]}" --json "$@" "$name" \
		"${MIG_IP[$(other "$from")]}" >"$TX_LOG" 2>&1 3>&- &
	TX_PID=$!
}

# Exit status in $status, as bats' run has it.
# shellcheck disable=SC2034 # read by the tests
migrate_wait() {
	status=0
	wait "$TX_PID" || status=$?
	grep -vE '"(progress|round)"' "$TX_LOG" || true
}

# is_stopped PID: at a failure point.
is_stopped() {
	grep -q '^State:.*stopped' "/proc/$1/status"
}

# let_go PID: it goes on to its end. It may come by its failure point again before it has learnt what was done to it.
let_go() {
	until_true 120 has_ended "$1"
}

has_ended() {
	! kill -CONT "$1"
}

migrate() {
	migrate_start "$@"
	migrate_wait
}

# field KEY: of the result object.
field() {
	grep '"event":"result"' "$TX_LOG" | jq -r ".$1"
}

# ---- judging ---------------------------------------------------------------------------------

where_is() {
	"$TESTBED" where "$1"
}

# lives_on HOST NAME: runs there, is not on the other host at all, and its witness is content.
lives_on() {
	local host=$1 name=$2 want
	if [[ $host == a ]]; then want='a=running b=absent'; else want='a=absent b=running'; fi
	if [[ $(where_is "$name") != "$want" ]]; then
		echo "$name: $(where_is "$name"), expected $want" >&2
		return 1
	fi
	"$TESTBED" wait-tick "$name" 5 30
}

# virsh_of HOST NAME ARGS...: to the daemon that has the guest there, or would have it.
virsh_of() {
	local uri
	uri=$("$TESTBED" uri "$1" "$2") || return
	shift 2
	command virsh -q -c "$uri" "$@" # some files have a virsh of their own
}

# no_trace HOST NAME: nothing of dray is left in the guest's QEMU.
no_trace() {
	local host=$1 name=$2 pid
	pid=$("$TESTBED" qemu-pid "$host" "$name") || return
	if grep -E '^VmFlags:.* (uw|um|ui)( |$)' "/proc/$pid/smaps"; then
		echo "QEMU $pid of $name: memory is still registered with userfaultfd" >&2
		return 1
	fi
	if find "/proc/$pid/fd" -lname '*userfaultfd*' | grep .; then
		echo "QEMU $pid of $name: holds a userfaultfd" >&2
		return 1
	fi
	if grep -H '^State:.*(tracing stop|stopped)' /proc/"$pid"/task/*/status; then
		echo "QEMU $pid of $name: a thread is stopped" >&2
		return 1
	fi
	[[ $(capability "$host" "$name") == false ]] && discards "$host" "$name"
}

# adds_monitor HOST: its QEMU takes a monitor while its guest runs.
adds_monitor() {
	"$TESTBED" exec "$1" "$DRAY" probe --json | jq -e .qemu_adds_monitor >/dev/null
}

# with_monitor NAME: restart the guest with a monitor of dray's own, as the refusal tells.
with_monitor() {
	local xml=$BATS_TEST_TMPDIR/$1.xml
	"$TESTBED" exec a virsh -q dumpxml --inactive "$1" >"$xml"
	sed -i "s|<domain type='qemu'|& xmlns:qemu='http://libvirt.org/schemas/domain/qemu/1.0'|
		s|</domain>|<qemu:commandline><qemu:arg value='-chardev'/><qemu:arg value='socket,id=draymon,path=/var/lib/libvirt/qemu/$1.dray,server=on,wait=off'/><qemu:arg value='-mon'/><qemu:arg value='chardev=draymon,mode=control'/></qemu:commandline></domain>|" "$xml"
	"$TESTBED" exec a virsh -q destroy "$1"
	"$TESTBED" exec a virsh -q define "$xml"
	"$TESTBED" exec a virsh -q start "$1"
	"$TESTBED" wait-tick "$1" 5 60
}

# no_monitor HOST NAME: nothing is left of the private monitor by which the guest came, if its QEMU can drop it.
no_monitor() {
	local uuid
	adds_monitor "$1" || return 0
	uuid=$("$TESTBED" exec "$1" virsh -q domuuid "$2") &&
		[[ -z $("$TESTBED" exec "$1" find /var/lib/libvirt/qemu -name "dray-$uuid*") ]] &&
		! "$TESTBED" exec "$1" virsh -q qemu-monitor-command "$2" '{"execute":"query-chardev"}' | grep dray
}

# discards HOST NAME: if it has <discard/>, its QEMU empties its RAM's file when it ends.
discards() {
	virsh_of "$1" "$2" dumpxml "$2" | grep -q '<discard/>' || return 0
	virsh_of "$1" "$2" qemu-monitor-command "$2" \
		'{"execute":"qom-get","arguments":{"path":"/objects/pc.ram","property":"discard-data"}}' |
		jq -e .return >/dev/null
}

# capability HOST NAME: is x-ignore-shared set in its QEMU?
capability() {
	virsh_of "$1" "$2" qemu-monitor-command "$2" \
		'{"execute":"query-migrate-capabilities"}' |
		jq '.return[] | select(.capability == "x-ignore-shared") | .state'
}

no_job() {
	[[ $(virsh_of "$1" "$2" domjobinfo "$2" | awk '/Job type/ {print $3}') == None ]]
}

# settled HOST NAME: runs there undisturbed, as if nobody had tried to migrate it.
settled() {
	until_true 30 lives_on "$1" "$2" && until_true 20 no_job "$1" "$2" &&
		until_true 20 no_trace "$1" "$2"
}

# ram_kib HOST NAME: memory that the guest's RAM files take.
ram_kib() {
	local pid
	pid=$("$TESTBED" qemu-pid "$1" "$2") || return
	# du through the process's own map_files needs no path; tmpfs counts 512-byte blocks.
	awk '$2 ~ /^rw-s/ && $6 ~ /ram/ {print $1}' "/proc/$pid/maps" | while read -r range; do
		stat -L -c '%i %b' "/proc/$pid/map_files/$range"
	done | sort -u | awk '{s += $2} END {print int(s / 2)}'
}
