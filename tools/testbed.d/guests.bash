# shellcheck shell=bash
# SPDX-License-Identifier: Apache-2.0
#
# The guests: making, watching and ending them. A part of tools/testbed. A guest's files are in $DATA/guests/N:
#
#     domain.xml    as given to libvirt
#     serial.log    the witness' lines; QEMU appends to it, on whichever host it runs
#     hugepages     how many 2 MiB pages it needs on each host
#     disk          path of a disk image made for it, to be removed with it
#     launcher      MiB of its RAM: it lives in a launcher of its name
#     ondisk        its RAM is on disk (read by qemu-hook), in ram-dray-a and ram-dray-b

# shellcheck source=/dev/null
source "$PARTS/hosts.bash"
# shellcheck source=/dev/null
source "$PARTS/launchers.bash"

readonly KERNEL_MIB=160       # what a guest's kernel, initramfs and tables take
readonly DISK_MIB=64          # a new disk image
readonly BOOT_TIMEOUT_S=90    # until the first tick, and more for much memory
readonly FILL_MIB_PER_S=30    # slowest fill to put up with

check_name() {
	[[ ${1-} =~ ^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$ ]] ||
		die "${1:-(nothing)}: not a guest's name; use letters, digits and . _ -"
}

check_guest() {
	check_name "${1-}"
	check_up
	[[ -d $DATA/guests/$1 ]] || die "guest $1: not made by testbed guest; see: tools/testbed where $1"
}

# The daemon that has the guest on a host.
guest_uri() {
	if [[ -e $DATA/guests/$2/launcher ]]; then
		launcher_uri "$1" "$2"
	else
		uri "$1"
	fi
}

cmd_uri() {
	check_host "${1-}"
	[[ -z ${2-} ]] || check_name "$2"
	guest_uri "$1" "${2-}"
}

# on_libvirt HOST NAME CMD...
on_libvirt() {
	local address
	address=$(guest_uri "$1" "$2")
	shift 2
	virsh -q -c "$address" "$@"
}

# ---- options -----------------------------------------------------------------------------------------------

declare -A GUEST=()

options_default() {
	GUEST=([name]='' [memory]='' [fill]=64 [dirty]=16 [rate]=10 [host]=a [vcpus]=1 [numa]=0 [touch]=0 [stride]=0 [repeat]=1 [period]=8
		[disk]='' [machine]=pc [ram]=file [discard]='' [reporting]=off [balloon]=virtio [xml-only]='' [virtio-mem]=0
		[monitor]='' [launcher]='' [user]=libvirt-qemu)
}

options_read() {
	while (($# > 0)); do
		case $1 in
		--name | --memory | --fill | --dirty | --rate | --host | --vcpus | --numa | --touch | --stride | --repeat | --period | \
			--disk | --virtio-mem | --machine)
			(($# > 1)) || die "guest: $1 needs a value; see tools/testbed --help"
			GUEST[${1#--}]=$2
			shift
			;;
		--hugepages | --private | --private-hugepages | --memfd | --memfd-hugepages | --ondisk) GUEST[ram]=${1#--} ;;
		--discard) GUEST[discard]='<discard/>' ;;
		--reporting) GUEST[reporting]=on ;;
		--no-balloon) GUEST[balloon]=none ;;
		--xml-only) GUEST[xml-only]=yes ;;
		--monitor) GUEST[monitor]=yes ;;
		--launcher) GUEST[launcher]=yes GUEST[user]=$LAUNCHER_UID ;;
		*) die "guest: $1: no such option; see tools/testbed --help" ;;
		esac
		shift
	done
}

options_check() {
	local name=${GUEST[name]} option
	check_name "$name"
	check_host "${GUEST[host]}"
	for option in memory fill dirty rate vcpus numa touch stride repeat period virtio-mem; do
		[[ ${GUEST[$option]} =~ ^[0-9]{1,7}$ ]] ||
			die "guest $name: --$option ${GUEST[$option]:-is missing}: it must be a whole number"
	done
	[[ ${GUEST[machine]} =~ ^[a-z0-9][a-z0-9.+-]*$ ]] ||
		die "guest $name: --machine ${GUEST[machine]}: not a machine type; see: qemu-system-x86_64 -machine help"
	((GUEST[fill] + GUEST[dirty] + KERNEL_MIB <= GUEST[memory])) ||
		die "guest $name: --memory ${GUEST[memory]} is too little for fill, dirty and a kernel; give at least" \
			"$((GUEST[fill] + GUEST[dirty] + KERNEL_MIB))"
	((${GUEST[virtio-mem]} == 0 || GUEST[numa] > 0)) || GUEST[numa]=1 # libvirt wants a node to plug it into
	((GUEST[numa] <= 8)) || die "guest $name: --numa ${GUEST[numa]}: at most 8 nodes"
	((GUEST[vcpus] >= 1 && GUEST[vcpus] <= 64)) || die "guest $name: --vcpus ${GUEST[vcpus]}: 1 to 64"
	((GUEST[numa] <= GUEST[vcpus])) || GUEST[vcpus]=${GUEST[numa]} # a node without CPUs would be odd
	((GUEST[touch] <= GUEST[vcpus] && GUEST[touch] <= GUEST[fill])) ||
		die "guest $name: --touch ${GUEST[touch]}: at most one for each vCPU and each MiB of --fill"
	[[ ${GUEST[ram]} != *hugepages ]] || ((GUEST[memory] % (2 * (GUEST[numa] > 1 ? GUEST[numa] : 1)) == 0)) ||
		die "guest $name: --memory ${GUEST[memory]}: not a whole number of 2 MiB pages in each node"
	[[ -z ${GUEST[launcher]} || (-z ${GUEST[monitor]} && ${GUEST[ram]} != @(*hugepages|ondisk)) ]] ||
		die "guest $name: --launcher goes with no huge pages, and not with --ondisk or --monitor"
	((GUEST[repeat] == 1)) || [[ -z ${GUEST[disk]} ]] || die "guest $name: --repeat goes with no --disk, whose data never repeat"
	disk_option_read
}

# FILE[:CACHE] becomes disk and cache.
disk_option_read() {
	GUEST[cache]=none
	[[ -n ${GUEST[disk]} ]] || return 0
	if [[ ${GUEST[disk]} =~ ^(.+):(none|directsync|writeback|writethrough|unsafe|default)$ ]]; then
		GUEST[disk]=${BASH_REMATCH[1]}
		GUEST[cache]=${BASH_REMATCH[2]}
	fi
	GUEST[disk]=$(realpath -m "${GUEST[disk]}")
	case ${GUEST[disk]} in
	/run/* | /sys/* | /etc/libvirt/* | /var/*/libvirt/*)
		die "guest ${GUEST[name]}: disk ${GUEST[disk]}: each host has its own; choose a path outside"
		;;
	esac
}

# ---- XML ---------------------------------------------------------------------------------------------------

xml_memory() {
	local shared="<access mode='shared'/>${GUEST[discard]}"
	[[ ${GUEST[ram]} != private-* ]] || shared=
	case ${GUEST[ram]} in
	private) return ;;
	file | ondisk) printf "<source type='file'/>" ;;
	memfd) printf "<source type='memfd'/>" ;;
	hugepages | private-hugepages) printf "<hugepages><page size='2' unit='MiB'/></hugepages>" ;;
	memfd-hugepages) printf "<hugepages><page size='2' unit='MiB'/></hugepages><source type='memfd'/>" ;;
	esac | sed "s|.*|  <memoryBacking>&$shared</memoryBacking>|"
}

# Memory that could be plugged into node 0, and is not.
xml_virtio_mem() {
	local page=4 unit=KiB
	((${GUEST[virtio-mem]} > 0)) || return 0
	[[ ${GUEST[ram]} != *hugepages ]] || page=2 unit=MiB
	cat <<-END
		    <memory model='virtio-mem' access='shared'>
		      <source><pagesize unit='$unit'>$page</pagesize></source>
		      <target>
		        <size unit='MiB'>${GUEST[virtio-mem]}</size>
		        <node>0</node>
		        <block unit='MiB'>2</block>
		        <requested unit='MiB'>0</requested>
		      </target>
		    </memory>
	END
}

xml_max_memory() {
	((${GUEST[virtio-mem]} > 0)) || return 0
	printf "  <maxMemory slots='1' unit='MiB'>%d</maxMemory>\n" $((GUEST[memory] + ${GUEST[virtio-mem]}))
}

xml_cpu() {
	local node nodes=${GUEST[numa]} vcpus=${GUEST[vcpus]}
	printf "  <cpu mode='custom' match='exact' check='none'>\n    <model fallback='forbid'>qemu64</model>\n"
	if ((nodes > 0)); then
		printf '    <numa>\n'
		for ((node = 0; node < nodes; node++)); do
			printf "      <cell id='%d' cpus='%d-%d' memory='%d' unit='KiB'/>\n" "$node" \
				$((node * vcpus / nodes)) $(((node + 1) * vcpus / nodes - 1)) \
				$((GUEST[memory] * 1024 / nodes))
		done
		printf '    </numa>\n'
	fi
	printf '  </cpu>\n'
}

# Neither seclabel lets libvirt give the file back to root when a guest leaves, as the other host is using it. A session
# daemon gives no files away, and knows no such label.
xml_seclabel() {
	[[ -n ${GUEST[launcher]} ]] || printf "<seclabel model='dac' relabel='no'/>"
}

# The disk is read-only, which is what makes libvirt accept a migration whatever its cache mode.
xml_disk() {
	[[ -n ${GUEST[disk]} ]] || return 0
	cat <<-END
		    <disk type='file' device='disk'>
		      <driver name='qemu' type='raw' cache='${GUEST[cache]}'/>
		      <source file='${GUEST[disk]}'>$(xml_seclabel)</source>
		      <target dev='vda' bus='virtio'/>
		      <readonly/>
		    </disk>
	END
}

# libvirt gives one to every guest that does not say no.
xml_balloon() {
	local reporting=" freePageReporting='${GUEST[reporting]}'"
	[[ ${GUEST[balloon]} != none ]] || reporting=
	printf "    <memballoon model='%s'%s/>\n" "${GUEST[balloon]}" "$reporting"
}

# loglevel keeps the kernel off the witness' line unless it is dying; nowatchdog, because a guest that is stopped for long
# is nothing to report here. A panic ends the guest, on_reboot being what it is, and an NMI makes it panic: so can a test
# have it end, or boot again, from inside.
kernel_arguments() {
	printf 'console=ttyS0 loglevel=3 nowatchdog panic=-1 unknown_nmi_panic mitigations=off '
	printf 'witness.fill=%d witness.dirty=%d witness.rate=%d ' "${GUEST[fill]}" "${GUEST[dirty]}" "${GUEST[rate]}"
	printf 'witness.threads=%d witness.nodes=%d ' "${GUEST[vcpus]}" "${GUEST[numa]}"
	printf 'witness.touch=%d witness.stride=%d ' "${GUEST[touch]}" "${GUEST[stride]}"
	printf 'witness.repeat=%d witness.period=%d ' "${GUEST[repeat]}" "${GUEST[period]}"
	[[ -z ${GUEST[disk]} ]] || printf 'witness.disk=1'
}

xml_monitor() {
	[[ -n ${GUEST[monitor]} ]] || return 0
	cat <<-END
		  <qemu:commandline>
		    <qemu:arg value='-qmp'/>
		    <qemu:arg value='unix:/var/lib/libvirt/qemu/${GUEST[name]}.monitor,server=on,wait=off'/>
		  </qemu:commandline>
	END
}

xml() {
	local total=$((GUEST[memory] + ${GUEST[virtio-mem]}))
	cat <<-END
		<domain type='qemu' xmlns:qemu='http://libvirt.org/schemas/domain/qemu/1.0'>
		  <name>${GUEST[name]}</name>
		$(xml_max_memory)
		  <memory unit='MiB'>$total</memory>
		$(xml_memory)
		  <vcpu>${GUEST[vcpus]}</vcpu>
		  <os>
		    <type arch='x86_64' machine='${GUEST[machine]}'>hvm</type>
		    <kernel>$VMLINUZ</kernel>
		    <initrd>$INITRAMFS</initrd>
		    <cmdline>$(kernel_arguments)</cmdline>
		  </os>
		  <features><acpi/></features>
		$(xml_cpu)
		  <on_reboot>destroy</on_reboot>
		  <on_crash>destroy</on_crash>
		  <devices>
		    <emulator>/usr/bin/qemu-system-x86_64</emulator>
		$(xml_disk)
		    <controller type='usb' model='none'/>
		    <serial type='file'>
		      <source path='$DATA/guests/${GUEST[name]}/serial.log' append='on'>
		        $(xml_seclabel)
		      </source>
		    </serial>
		$(xml_virtio_mem)
		$(xml_balloon)
		  </devices>
		$(xml_monitor)
		</domain>
	END
}

# ---- guest -------------------------------------------------------------------------------------------------

disk_make() {
	local file=${GUEST[disk]}
	[[ -n $file ]] || return 0
	if [[ ! -e $file ]]; then
		[[ -d ${file%/*} ]] || die "guest ${GUEST[name]}: disk $file: there is no directory ${file%/*}; make it"
		printf '%s\n' "$file" >"$DATA/guests/${GUEST[name]}/disk" # first: half an image must not stay behind
		"$WITNESS" "$file" "$DISK_MIB" || die "guest ${GUEST[name]}: disk $file: cannot be made (message above)"
		chown "${GUEST[user]}" "$file"
	fi
	setpriv --reuid "${GUEST[user]}" --regid libvirt-qemu --clear-groups test -r "$file" ||
		die "guest ${GUEST[name]}: disk $file: user ${GUEST[user]} cannot read it; see: namei -l $file"
}

# Room for every guest on both hosts at once, as there is when one migrates. The pool only grows, for a pool in
# use is fast, until `down` gives back.
# shellcheck disable=SC2153 # STATE is testbed's
hugepages_reserve() {
	local name=${GUEST[name]} file pages=0
	[[ ${GUEST[ram]} == *hugepages ]] || return 0
	printf '%d\n' $((GUEST[memory] / 2)) >"$DATA/guests/$name/hugepages"
	for file in "$DATA"/guests/*/hugepages; do
		pages=$((pages + 2 * $(<"$file")))
	done
	pool_lock
	[[ -e $STATE/nr_hugepages ]] || pool_before >"$STATE/nr_hugepages"
	if [[ ! -e $STATE/hugepages ]] || (($(<"$STATE/hugepages") < pages)); then
		printf '%d\n' "$pages" >"$STATE/hugepages"
	fi
	pages=$(pool_wanted)
	(($(<"$POOL") >= pages)) || pool_grow "$pages" ||
		die "guest $name: the machine has no $pages huge pages to give, only $(<"$POOL"); free some memory"
	exec 8<&-
}

pool_grow() {
	printf '%d\n' "$1" >"$POOL"
	(($(<"$POOL") < $1)) || return 0
	printf '3\n' >/proc/sys/vm/drop_caches # page cache in the way
	printf '1\n' >/proc/sys/vm/compact_memory
	printf '%d\n' "$1" >"$POOL"
	(($(<"$POOL") >= $1))
}

guest_files_make() {
	local directory=$DATA/guests/${GUEST[name]}
	mkdir "$directory" 2>/dev/null ||
		die "guest ${GUEST[name]}: exists; run: tools/testbed destroy ${GUEST[name]}"
	install -o "${GUEST[user]}" -g libvirt-qemu -m 0644 /dev/null "$directory/serial.log"
	[[ ${GUEST[ram]} != ondisk ]] || touch "$directory/ondisk"
	[[ -z ${GUEST[launcher]} ]] || printf '%d\n' "${GUEST[memory]}" >"$directory/launcher"
	xml >"$directory/domain.xml"
}

guest_start() {
	local name=${GUEST[name]} host=${GUEST[host]}
	on_libvirt "$host" "$name" define "$DATA/guests/$name/domain.xml" >/dev/null &&
		on_libvirt "$host" "$name" start "$name" >/dev/null && return
	guest_end "$name"
	die "guest $name: libvirt on host $host does not start it (message above); its QEMU's log, if there is one," \
		"is $DATA/$host/log/qemu/$name.log"
}

guest_await() {
	local name=${GUEST[name]} host=${GUEST[host]} timeout
	timeout=$((BOOT_TIMEOUT_S + (GUEST[fill] + GUEST[dirty]) / FILL_MIB_PER_S))
	count_follow "$name" ticks 1 "$timeout" "$host" || die "guest $name: no tick within $timeout s, or its QEMU ended;" \
		"read $DATA/guests/$name/serial.log and $DATA/$host/log/qemu/$name.log"
}

cmd_guest() {
	options_default
	options_read "$@"
	options_check
	check_up
	images_make
	if [[ -n ${GUEST[xml-only]} ]]; then
		xml
		return
	fi
	lock # for the pool, and for guests made at the same time
	guest_files_make
	trap 'guest_end "${GUEST[name]}"' EXIT # nothing half made stays behind
	disk_make
	hugepages_reserve
	[[ -z ${GUEST[launcher]} ]] || cmd_launcher "${GUEST[host]}" "${GUEST[name]}" >/dev/null
	trap - EXIT
	exec 9<&-
	guest_start
	guest_await
}

# ---- watching ----------------------------------------------------------------------------------------------

# The last whole line of ticks.
last_line() {
	local file=$DATA/guests/$1/serial.log line
	line=$(tail -c 4096 "$file" | grep -a '^{"ticks":.*}$' | tail -n 1) ||
		line=$(grep -a '^{"ticks":.*}$' "$file" | tail -n 1) || return 1
	printf '%s\n' "$line"
}

cmd_witness() {
	check_guest "${1-}"
	last_line "$1" || die "guest $1: no tick yet; read $DATA/guests/$1/serial.log"
}

# count_follow NAME FIELD GOAL TIMEOUT_S [HOST]: returns 0 when a count of the guest reaches GOAL, 1 on timeout, or
# when the QEMU on HOST ends; dies on corruption. tail waits in the kernel for the file to grow.
count_follow() {
	local name=$1 goal=$3 deadline=$((SECONDS + $4 + 1)) host=${5-} file=$DATA/guests/$1/serial.log line status=1 fd
	local pattern='"corrupt":([0-9]+),' counts="\"$2\":([0-9]+)[,}]"
	exec {fd}< <(exec tail -c 4096 -f "$file" 2>/dev/null)
	local tail=$!
	while ((SECONDS < deadline)); do
		if ! IFS= read -r -t 1 -u "$fd" line; then
			[[ -z $host ]] || qemu_pid "$host" "$name" >/dev/null || break
			continue
		fi
		[[ $line =~ $pattern ]] || continue
		if ((BASH_REMATCH[1] > 0)); then
			status=2
			break
		fi
		if [[ $line =~ $counts ]] && ((BASH_REMATCH[1] >= goal)); then
			status=0
			break
		fi
	done
	kill "$tail" 2>/dev/null || true
	exec {fd}<&-
	((status != 2)) || die_corrupt "$name" "$line"
	return "$status"
}

die_corrupt() {
	local first
	first=$(grep -a -m 1 '^{"corruption"' "$DATA/guests/$1/serial.log" || true)
	die "guest $1: its memory is corrupt: $2 $first; whatever moved it last lost data"
}

# count_await NAME FIELD MORE TIMEOUT_S
count_await() {
	local name=$1 field=$2 more=$3 timeout=$4 line now=0
	check_guest "$name"
	[[ $more =~ ^[0-9]+$ && $timeout =~ ^[0-9]+$ ]] ||
		die "guest $name: $more more $field within $timeout s: these must be whole numbers"
	if line=$(last_line "$name") && [[ $line =~ \"$field\":([0-9]+) ]]; then
		now=${BASH_REMATCH[1]}
	fi
	count_follow "$name" "$field" $((now + more)) "$timeout" ||
		die "guest $name: no $more further $field within $timeout s, the last: ${line:-none};" \
			"see: tools/testbed where $name, and $DATA/guests/$name/serial.log"
}

cmd_wait_tick() {
	count_await "${1-}" ticks "${2:-3}" "${3:-30}"
}

# Two, as the pass that is under way began before now.
cmd_wait_verified() {
	count_await "${1-}" passes 2 "${2:-120}"
}

qemu_pid() {
	local pid
	if [[ -e $DATA/guests/$2/launcher ]]; then # whose pid file has the number that it has inside
		pid=$(launcher_pid "$1" "$2") && pgrep --ns "$pid" --nslist pid -of -- "-name guest=$2,"
		return
	fi
	pid=$(cat "$STATE/$1/run/libvirt/qemu/$2.pid" 2>/dev/null) || return 1
	# The number may be another process' by now.
	grep -zq "^guest=$2," "/proc/$pid/cmdline" 2>/dev/null || return 1
	[[ $(process_state "$pid") != [ZX] ]] || return 1
	printf '%s\n' "$pid"
}

cmd_qemu_pid() {
	check_host "${1-}"
	check_name "${2-}"
	check_up
	qemu_pid "$1" "$2"
}

guest_state() {
	local state
	if state=$(LC_ALL=C timeout 10 virsh -q -c "$(guest_uri "$1" "$2")" domstate "$2" 2>/dev/null); then
		printf '%s' "${state// /-}"
	elif [[ -e $DATA/guests/$2/launcher ]] && ! launcher_pid "$1" "$2" >/dev/null; then
		printf 'absent' # and so is the launcher
	elif libvirt_answers "$(guest_uri "$1" "$2")"; then
		printf 'absent'
	else
		printf 'unknown'
	fi
}

cmd_where() {
	check_name "${1-}"
	check_up
	printf 'a=%s b=%s\n' "$(guest_state a "$1")" "$(guest_state b "$1")"
}

# ---- destroy -----------------------------------------------------------------------------------------------

guest_end_on() {
	local host=$1 name=$2 pid
	on_libvirt "$host" "$name" destroy "$name" >/dev/null 2>&1 || true # not running there
	on_libvirt "$host" "$name" undefine "$name" >/dev/null 2>&1 || true # not defined there
	pid=$(qemu_pid "$host" "$name") || return 0
	kill -KILL "$pid" 2>/dev/null || true # libvirt does not know it, or does not answer
	wait_gone "$pid"
}

guest_end() {
	local host directory=$DATA/guests/$1
	for host in a b; do
		if [[ -e $directory/launcher ]]; then
			launcher_end "$host" "$1"
		else
			guest_end_on "$host" "$1"
		fi
	done
	if [[ -e $directory/disk ]]; then
		rm -f "$(<"$directory/disk")"
	fi
	rm -rf "$directory"
}

cmd_destroy() {
	check_name "${1-}"
	check_up
	guest_end "$1"
}
