# shellcheck shell=bash
# SPDX-License-Identifier: Apache-2.0
#
# Launchers: what KubeVirt calls virt-launcher, the compute container of a guest's pod. A part of tools/testbed,
# with hosts.bash and guests.bash.
#
# PID, mount and network namespaces of its own inside a host's, a cgroup with a memory limit, and libvirt's session
# daemon as uid 107, which the host's /etc/passwd does not know; no root inside. What a host keeps of one is in its
# /run/launchers/NAME, outside $STATE/HOST/run/launchers/NAME:
#
#     run          /run inside: libvirt's socket, configuration, the guest's RAM
#     pid          its first process, as the host has it: for `dray --launcher`
#     cgroup       the cgroup with the limit; empty: this machine has none to give
#     log          what its daemon says

readonly LAUNCHER_UID=107    # KubeVirt's
readonly LAUNCHER_MIB=260    # what KubeVirt adds to a guest's memory: its own processes, virtqemud, QEMU, video
readonly LAUNCHER_TCG_MIB=256 # QEMU's translated code, which a guest under KVM does not have

launcher_directory() {
	printf '%s/%s/run/launchers/%s\n' "$STATE" "$1" "$2"
}

launcher_uri() {
	printf 'qemu+unix:///session?socket=%s/run/libvirt/libvirt-sock\n' "$(launcher_directory "$1" "$2")"
}

# The number may be another process' by now.
launcher_pid() {
	local pid
	pid=$(cat "$(launcher_directory "$1" "$2")/pid" 2>/dev/null) || return 1
	[[ $(readlink "/proc/$pid/ns/uts") == "uts:[$(stat -Lc %i "$STATE/$1/uts")]" ]] || return 1
	grep -q '^NSpid:.*[^0-9]1$' "/proc/$pid/status" 2>/dev/null || return 1
	[[ $(process_state "$pid") != [ZX] ]] || return 1
	printf '%s\n' "$pid"
}

cgroup_limit() {
	mkdir -p "$1" 2>/dev/null && printf '%d\n' "$3" 2>/dev/null >"$1/$2"
}

# Prints its directory, of the second version's hierarchy or the first's; nothing where there is none to write.
launcher_cgroup() {
	local bytes=$(($3 * 1048576)) name=dray-launcher$SUFFIX-$1-$2 directory
	if grep -qw memory /sys/fs/cgroup/cgroup.controllers 2>/dev/null; then
		directory=/sys/fs/cgroup/$name
		cgroup_limit "$directory" memory.max "$bytes" || return 0
	elif [[ -d /sys/fs/cgroup/memory ]]; then
		directory=/sys/fs/cgroup/memory/$name
		cgroup_limit "$directory" memory.limit_in_bytes "$bytes" || return 0
	else
		return 0
	fi
	printf '%s\n' "$directory"
}

# shellcheck disable=SC2153 # CACHE, PARTS and STATE are testbed's
launcher_run() {
	local host=$1 name=$2 cgroup=$3 directory parts cache
	directory=$(launcher_directory "$host" "$name")
	parts=$(realpath "$PARTS")
	cache=$CACHE/launcher-$(<"$STATE/$host/release")-$host$SUFFIX # QEMU's capabilities: slow to find out
	mkdir -p "$cache"
	chown "$LAUNCHER_UID:$LAUNCHER_UID" "$cache"
	(
		[[ -z $cgroup ]] || printf '%d\n' "$BASHPID" >"$cgroup/cgroup.procs"
		umask 022
		cd /
		for fd in /proc/self/fd/*; do # whoever runs us may wait for the end of a pipe
			fd=${fd##*/}
			((fd <= 2 || fd == 255)) || eval "exec $fd>&-"
		done
		enter "$host"
		exec setsid "${ENTER[@]}" -- env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin \
			unshare --pid --fork --kill-child --net --mount --propagation private --mount-proc \
			"$parts/launcher-populate" "$name" "$LAUNCHER_UID" "$cache" "$parts/reaper" \
			</dev/null >"$directory/log" 2>&1
	) &
	launcher_await "$host" "$name" $!
}

launcher_await() {
	local host=$1 name=$2 outside=$3 deadline=$((SECONDS + ANSWER_TIMEOUT_S)) directory pid
	directory=$(launcher_directory "$host" "$name")
	until libvirt_answers "$(launcher_uri "$host" "$name")"; do
		if ((SECONDS >= deadline)) || [[ ! -e /proc/$outside ]]; then
			die "launcher $name on host $host: its libvirt does not answer: $(tail -n 3 "$directory/log")"
		fi
		sleep 0.05
	done
	pid=$(cat "/proc/$outside/task/$outside/children")
	printf '%d\n' "${pid%% *}" >"$directory/pid"
}

launcher_start() {
	local host=$1 name=$2 mib=$3 directory cgroup
	directory=$(launcher_directory "$host" "$name")
	launcher_end "$host" "$name"
	mkdir -p "$directory/run"
	cgroup=$(launcher_cgroup "$host" "$name" "$mib")
	printf '%s\n' "$cgroup" >"$directory/cgroup"
	[[ -n $cgroup ]] || say "launcher $name on host $host: this machine gives no cgroup: it has no memory limit"
	launcher_run "$host" "$name" "$cgroup"
}

launcher_end() {
	local directory pid cgroup
	directory=$(launcher_directory "$1" "$2")
	if pid=$(launcher_pid "$1" "$2"); then
		kill -KILL "$pid"
		wait_gone "$pid"
	fi
	cgroup=$(cat "$directory/cgroup" 2>/dev/null) || true
	[[ -z $cgroup ]] || cgroup_end "$cgroup"
	rm -rf --one-file-system "$directory"
}

# Those whose memory $DATA/guests/NAME tells, or of MIB; prints the number of the first process.
cmd_launcher() {
	local host=${1-} name=${2-} mib=${3-}
	check_host "$host"
	check_name "$name"
	check_up
	[[ -n $mib ]] || mib=$(cat "$DATA/guests/$name/launcher" 2>/dev/null) ||
		die "launcher $host $name: of what size? give MIB, or make the guest first: tools/testbed guest --launcher"
	[[ $mib =~ ^[1-9][0-9]{0,6}$ ]] || die "launcher $host $name: $mib: MIB must be a whole number"
	lock
	launcher_pid "$host" "$name" >/dev/null ||
		launcher_start "$host" "$name" $((mib + mib / 512 + LAUNCHER_MIB + LAUNCHER_TCG_MIB)) >&2
	launcher_pid "$host" "$name"
}
