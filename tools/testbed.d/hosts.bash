# shellcheck shell=bash
# SPDX-License-Identifier: Apache-2.0
#
# The two hosts: making, mending and ending them; their libvirtd and their networks. A part of tools/testbed.

# shellcheck source=/dev/null
source "$PARTS/images.bash"
# shellcheck source=/dev/null
source "$PARTS/release.bash"

readonly ANSWER_TIMEOUT_S=30
readonly KILL_TIMEOUT_S=10
readonly LOCK=/run/lock/dray-testbed$SUFFIX # `down` takes it away

# Holds descriptor 9. The file may have been taken away while this waited for it.
lock() {
	while :; do
		exec 9>>"$LOCK"
		flock 9
		[[ ! $LOCK -ef /proc/self/fd/9 ]] || break
	done
}

on_host() {
	local host=$1
	shift
	enter "$host"
	"${ENTER[@]}" -- "$@" 9<&-
}

uri() {
	printf 'qemu+unix:///system?socket=%s/%s/run/libvirt/libvirt-sock\n' "$STATE" "$1"
}

# ---- libvirtd ----------------------------------------------------------------------------------------------

libvirtd_pid() {
	local pid
	pid=$(cat "$STATE/$1/run/libvirtd.pid" 2>/dev/null) || return 1
	# A stale file may name a number that something else has by now.
	[[ $(readlink "/proc/$pid/ns/uts") == "uts:[$(stat -Lc %i "$STATE/$1/uts")]" ]] || return 1
	[[ $(cat "/proc/$pid/comm") == libvirtd ]] || return 1
	printf '%s\n' "$pid"
}

libvirt_answers() {
	timeout 5 virsh -q -c "$1" hostname >/dev/null 2>&1
}

libvirtd_answers() {
	libvirt_answers "$(uri "$1")"
}

libvirtd_start() {
	local host=$1 deadline=$((SECONDS + ANSWER_TIMEOUT_S)) reaper
	reaper=$(realpath "$PARTS/reaper")
	rm -f "$STATE/$host/run/libvirtd.pid"
	# A clean environment and umask, as from an init system; --daemon also does what setsid does.
	(
		umask 022
		cd /
		# Whoever runs us may wait for the end of a pipe, which a daemon would hold open.
		for fd in /proc/self/fd/*; do
			fd=${fd##*/}
			((fd <= 2 || fd == 255)) || eval "exec $fd>&-"
		done
		on_host "$host" env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin \
			"$reaper" libvirtd --daemon --pid-file /run/libvirtd.pid </dev/null >/dev/null 2>&1
	) || die "host $host: libvirtd does not start; read $DATA/$host/log/libvirtd.log"
	until libvirtd_answers "$host"; do
		((SECONDS < deadline)) ||
			die "host $host: libvirtd does not answer; read $DATA/$host/log/libvirtd.log"
		sleep 0.02
	done
	say "host $host: libvirtd runs, process $(libvirtd_pid "$host")"
}

libvirtd_kill() {
	local pid
	pid=$(libvirtd_pid "$1") || return 0
	kill -KILL "$pid"
	wait_gone "$pid"
}

libvirtd_ensure() {
	if libvirtd_pid "$1" >/dev/null; then
		libvirtd_answers "$1" && return
		say "host $1: libvirtd does not answer, starting another"
		libvirtd_kill "$1"
	fi
	libvirtd_start "$1"
}

cmd_libvirtd() {
	check_host "${1-}"
	check_up
	lock
	case ${2-} in
	kill) libvirtd_kill "$1" ;;
	start) libvirtd_ensure "$1" ;;
	pid) libvirtd_pid "$1" || die "host $1: no libvirtd runs; run: tools/testbed libvirtd $1 start" ;;
	*) die "libvirtd $1 ${2:-(nothing)}: unknown action; it must be kill, start or pid" ;;
	esac
}

# The tmpfs stays below, with the files of guests that run.
cmd_memory_dir() {
	local ram=/var/lib/libvirt/qemu/ram disk=$DATA/${1-}/ram on
	check_host "${1-}"
	check_up
	lock
	on=$(on_host "$1" stat -f -c %T "$ram")
	case ${2-} in
	disk)
		mkdir -p "$disk"
		[[ $(stat -f -c %T "$disk") != tmpfs ]] || die "host $1: $disk is on tmpfs, too"
		[[ $on != tmpfs ]] || on_host "$1" mount -n --bind "$disk" "$ram"
		;;
	tmpfs) [[ $on == tmpfs ]] || on_host "$1" umount -n "$ram" ;;
	*) die "memory-dir $1 ${2:-(nothing)}: no such place; it must be disk or tmpfs" ;;
	esac
}

# ---- up ----------------------------------------------------------------------------------------------------

# Linux binds a mount namespace to a file only if its number is higher than that of the namespace around it, so that
# there are no circles. Since 6.18 each CPU gives out numbers of a batch of its own, and a new one may be too low; not
# on the CPU that gave out the number of the namespace around.
mount_namespace_make() {
	local file=$1 cpu cpus message
	cpus=$(nproc --all)
	for ((cpu = 0; cpu < cpus; cpu++)); do
		if message=$(taskset -c "$cpu" unshare --mount="$file" --propagation private true 2>&1); then
			return 0
		fi
	done
	die "$file: a mount namespace cannot be bound to it: $message"
}

namespaces_make() {
	local host=$1 directory=$STATE/$1 libvirt_cache=$CACHE/libvirt-${RELEASE[$1]}-$1$SUFFIX
	mkdir -p "$directory"/{run,etc,lib} "$DATA/$host/log" "$libvirt_cache"
	touch "$directory"/{net,mnt,uts}
	"$PARTS/host-config" "$host" "$directory" "$DATA" "$INSTANCE"
	certificate_make "$host" "$directory/pki"
	qemu_certificates_copy "$directory/pki" "$directory/etc/tls"
	unshare --net="$directory/net" --uts="$directory/uts" true 9<&- ||
		die "host $host: cannot make its namespaces (message above)"
	mount_namespace_make "$directory/mnt"
	on_host "$host" "$PARTS/host-populate" "$host" "$STATE" "$DATA" "$libvirt_cache" \
		"$(release_usr "${RELEASE[$host]}")" ||
		die "host $host: cannot be furnished (message above)"
}

# All names and addresses that the other host may call it by. The CA stays outside: $STATE/ca.
certificate_make() {
	local number=1
	[[ $1 == a ]] || number=2
	"$PARTS/../dray-pki" host --ca "$STATE/ca" --out "$2" "dray-$1" "dray-$1-mig" "10.77.0.$number" "10.78.0.$number" \
		>/dev/null
}

# The same, under the names that QEMU's own TLS wants, and for its user.
qemu_certificates_copy() {
	local pki=$1 directory=$2 role
	install -d -m 0755 "$directory"
	install -m 0644 "$pki/ca.crt" "$directory/ca-cert.pem"
	for role in server client; do
		install -m 0644 "$pki/tls.crt" "$directory/$role-cert.pem"
		install -m 0600 -o libvirt-qemu "$pki/tls.key" "$directory/$role-key.pem"
	done
}

# link_make NAME NETWORK: one veth pair between the hosts. Made inside, so the machine itself never sees it.
link_make() {
	local name=$1 network=$2 mtu=${DRAY_MTU:-1500} host address=1
	ip link add name "$name" mtu "$mtu" netns "$STATE/a/net" type veth \
		peer name "$name" mtu "$mtu" netns "$STATE/b/net"
	for host in a b; do
		nsenter --net="$STATE/$host/net" ip address add "$network.$address/24" dev "$name"
		nsenter --net="$STATE/$host/net" ip link set "$name" up
		address=$((address + 1))
	done
}

# A new link carries nothing until the kernel has noticed its carrier, which takes up to a second.
links_await() {
	local host name deadline=$((SECONDS + ANSWER_TIMEOUT_S))
	for host in a b; do
		for name in mgmt0 mig0; do
			until nsenter --net="$STATE/$host/net" ip -br link show "$name" up | grep -q ' UP '; do
				((SECONDS < deadline)) || die "host $host: link $name does not come up; run: tools/testbed down"
				sleep 0.02
			done
		done
	done
}

hosts_make() {
	local host
	mkdir -p "$STATE" "$DATA/guests"
	mount -n -t tmpfs -o mode=0755,size=100% dray-testbed "$STATE"
	mount -n --make-private "$STATE" # a mount namespace cannot be bound to a file on a shared mount
	"$PARTS/../dray-pki" ca --ca "$STATE/ca" --name "testbed CA" >/dev/null
	for host in a b; do
		say "host $host: making namespaces"
		namespaces_make "$host"
		printf '%s\n' "${RELEASE[$host]}" >"$STATE/$host/release"
	done
	link_make mgmt0 10.77.0
	link_make mig0 10.78.0
	touch "$STATE/built"
}

cmd_up() {
	local host
	lock
	releases_choose "$@"
	packages_install testbed
	images_make
	releases_make
	if [[ ! -e $STATE/built ]]; then
		hosts_end # what a broken-off `up` may have left
		hosts_make
	fi
	for host in a b; do
		libvirtd_ensure "$host"
	done
	links_await
	say "hosts a and b are up"
}

# ---- down --------------------------------------------------------------------------------------------------

# host_pids HOST: all processes inside. The network namespace tells, for libvirt gives each QEMU a mount
# namespace of its own; a process that changed the former is still found by another. A launcher has both of its own.
host_pids() {
	local net mnt uts
	net=$(stat -Lc %i "$STATE/$1/net")
	mnt=$(stat -Lc %i "$STATE/$1/mnt")
	uts=$(stat -Lc %i "$STATE/$1/uts")
	find /proc/[0-9]*/ns/{net,mnt,uts} -maxdepth 0 \
		\( -lname "net:\[$net\]" -o -lname "mnt:\[$mnt\]" -o -lname "uts:\[$uts\]" \) -printf '%h\n' 2>/dev/null |
		cut -d/ -f3 | sort -u || true # processes that end meanwhile are no error
}

wait_gone() {
	local pid deadline=$((SECONDS + KILL_TIMEOUT_S))
	for pid in "$@"; do
		while [[ -e /proc/$pid && $(process_state "$pid") != [ZX] ]]; do
			((SECONDS < deadline)) || die "process $pid does not end; look at /proc/$pid/stack"
			sleep 0.01
		done
	done
}

process_state() {
	sed 's/.*) \(.\).*/\1/' "/proc/$1/stat" 2>/dev/null || printf 'X'
}

processes_end() {
	local host=$1 deadline=$((SECONDS + KILL_TIMEOUT_S)) pid
	local -a pids
	[[ $(stat -f -c %T "$STATE/$host/net" 2>/dev/null) == nsfs ]] || return 0
	while mapfile -t pids < <(host_pids "$host") && ((${#pids[@]} > 0)); do
		((SECONDS < deadline)) || die "host $host: process ${pids[0]} does not end; look at /proc/${pids[0]}/stack"
		for pid in "${pids[@]}"; do
			kill -KILL "$pid" 2>/dev/null || true
		done
		sleep 0.02
	done
}

# ---- the machine's pool of huge pages ------------------------------------------------------------------------
#
# It is as large as it was before, and all that the instances need. Each that needs any keeps two numbers:
# $STATE/nr_hugepages, what it was before, and $STATE/hugepages, how many it needed at most.

readonly POOL=/proc/sys/vm/nr_hugepages

# Holds descriptor 8.
pool_lock() {
	exec 8<"$POOL"
	flock 8
}

# pool_before: prints how large it was before any instance needed it.
pool_before() {
	{ cat /run/dray-testbed{,.*}/nr_hugepages "$POOL" 2>/dev/null || true; } | head -n 1
}

# pool_wanted: prints the size that all instances need.
pool_wanted() {
	local pages
	pages=$(pool_before)
	{ cat /run/dray-testbed{,.*}/hugepages 2>/dev/null || true; } | awk -v pages="$pages" '{ pages += $1 } END { print pages }'
}

# Also if the instance never needed any.
pool_give_back() {
	[[ -e $STATE/nr_hugepages ]] || return 0
	pool_lock
	rm -f "$STATE/hugepages"
	pool_wanted >"$POOL"
	rm "$STATE/nr_hugepages"
	exec 8<&-
}

# ---- ending the hosts ----------------------------------------------------------------------------------------

# The limits of launchers, whose processes have ended.
cgroups_end() {
	local directory
	for directory in /sys/fs/cgroup{,/memory}/"dray-launcher$SUFFIX"-[ab]-*; do
		[[ ! -d $directory ]] || cgroup_end "$directory"
	done
}

# The kernel counts a process that has ended for a moment longer.
cgroup_end() {
	local deadline=$((SECONDS + KILL_TIMEOUT_S))
	until rmdir "$1" 2>/dev/null || [[ ! -d $1 ]]; do
		((SECONDS < deadline)) || die "$1: cannot be removed; see who is in it: cat $1/cgroup.procs"
		sleep 0.02
	done
}

# Also right for hosts made in part, or not at all.
hosts_end() {
	local host kind
	if mountpoint -q "$STATE"; then
		for host in a b; do
			processes_end "$host"
		done
		cgroups_end
		for host in a b; do
			for kind in net mnt uts; do
				umount -n -q "$STATE/$host/$kind" 2>/dev/null || true # not bound yet
			done
		done
		pool_give_back
		umount -n -R "$STATE" || die "$STATE: cannot be unmounted; see who uses it with: fuser -vm $STATE"
	fi
	rm -rf --one-file-system "$STATE" "$DATA"
}

cmd_down() {
	lock
	hosts_end
	rm -f "$LOCK"
	say "hosts a and b are down"
}

# ---- networks ----------------------------------------------------------------------------------------------

networks() {
	case $1 in
	mig | mgmt) printf '%s\n' "$1" ;;
	all) printf 'mig\nmgmt\n' ;;
	*) die "$1: no such network; it must be mig, mgmt or all" ;;
	esac
}

# Packets are dropped where they arrive, on both hosts: a rule on output would give senders an error, which a
# broken cable does not.
link_cut() {
	local host
	for host in a b; do
		nsenter --net="$STATE/$host/net" nft -f - <<-END
			table netdev dray_cut_$1
			delete table netdev dray_cut_$1
			table netdev dray_cut_$1 {
				chain ingress {
					type filter hook ingress device "${1}0" priority -500; policy drop;
				}
			}
		END
	done
}

link_heal() {
	local host
	for host in a b; do
		nsenter --net="$STATE/$host/net" nft -f - <<-END
			table netdev dray_cut_$1
			delete table netdev dray_cut_$1
		END
	done
}

cmd_cut() {
	local list network
	check_up
	list=$(networks "${1:-mig}")
	for network in $list; do
		link_cut "$network"
	done
}

cmd_heal() {
	local list network
	check_up
	list=$(networks "${1:-all}")
	for network in $list; do
		link_heal "$network"
	done
}
