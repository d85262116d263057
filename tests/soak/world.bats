#!/usr/bin/env bats
# SPDX-License-Identifier: Apache-2.0
#
# What a user, the guest or the machine does while dray moves the guest, at random moments of every phase, in pre-copy
# and in post-copy. Whatever comes: one running guest or, where it was ended on purpose, none; its memory intact; it
# never ran twice; nothing of dray's is left in it; what dray said is what is so; and its next migration works.
#
# SOAK_RUNS    how many (100)
# SOAK_SEED    of the disturbances' order and moments; printed (the time of day)
# SOAK_ONLY    only these disturbances
# SOAK_KIND    the guest's memory: file, or what is strained each time: memfd, kept (private, and stays so) (file)

bats_require_minimum_version 1.5.0
GUEST=world
load ../e2e/e2e
load ../e2e/postcopy

: "${SOAK_RUNS:=100}"
: "${SOAK_KIND:=file}"
declare -ga MEMORY=(--memory 256 --fill 48 --dirty 16 --rate 8 --period 1 --monitor) KIND=()
case $SOAK_KIND in
file) ;;
memfd) MEMORY+=(--memfd) ;;
kept) MEMORY+=(--private) KIND=(--keep-private) ;;
*) echo "SOAK_KIND=$SOAK_KIND: it must be file, memfd or kept" >&2 && exit 1 ;;
esac
readonly MEMORY KIND
readonly PLAIN=(--bandwidth 24Mi "${KIND[@]}")
readonly POSTCOPY=(--bandwidth 24Mi --post-copy --completion-timeout-per-gib 4 "${KIND[@]}")
readonly END_S=150
readonly FAKETIME=/usr/lib/x86_64-linux-gnu/faketime/libfaketimeMT.so.1
declare -ga DISTURBANCES

setup_file() {
	export SOAK_SEED=${SOAK_SEED:-$(date +%s)}
	"$TESTBED" up
	guest world "${MEMORY[@]}"
	echo "# SOAK_SEED=$SOAK_SEED SOAK_RUNS=$SOAK_RUNS" >&3
}

teardown_file() {
	"$TESTBED" destroy world
}

setup() {
	RX_PID=
	TX_PID=
	RANDOM=$((SOAK_SEED % 32768))
	WORK=$BATS_TEST_TMPDIR
	printf "<rng model='virtio'><backend model='random'>/dev/urandom</backend></rng>\n" >"$WORK/rng.xml"
	SERIAL=$(on a virsh -q dumpxml world | sed -n "s/.*<source path='\(.*serial.log\)'.*/\1/p" | head -n 1)
}

teardown() {
	stop_receive
	[[ -z $TX_PID ]] || kill -9 "$TX_PID" 2>/dev/null || true
	quiet umount_full a
	quiet umount_full b
}

on() {
	"$TESTBED" exec "$@"
}

quiet() {
	"$@" >/dev/null 2>&1 || true
}

# a moment's virsh, which may well be refused: the definition is locked, the guest is not there yet, or no more.
virsh_on() {
	local host=$1
	shift
	quiet timeout 60 "$TESTBED" exec "$host" virsh -q "$@"
}

# ---- disturbances: before_NAME prepares the guest; NAME does it, with the host that it comes from ------------------

DISTURBANCES=(suspend suspend_resume shutdown reboot destroy kill_qemu libvirtd save plug unplug balloon full_run domjobabort
	reset clock)

suspend() {
	virsh_on "$1" suspend world
}

suspend_resume() {
	virsh_on "$1" suspend world
	sleep "0.$((RANDOM % 1000))"
	virsh_on "$1" resume world
}

# monitor HOST COMMAND: past libvirt, which allows nothing like it while a guest migrates.
monitor() {
	quiet "$TESTBED" exec "$1" timeout 5 socat - UNIX:/var/lib/libvirt/qemu/world.monitor <<-END
		{"execute":"qmp_capabilities"}
		{"execute":"$2"}
	END
}

before_shutdown() {
	on "$AT" virsh -q set-lifecycle-action world reboot destroy --live
}

# It panics, and that ends it.
shutdown() {
	monitor "$1" inject-nmi
}

before_reboot() {
	on "$AT" virsh -q set-lifecycle-action world reboot restart --live
}

# It panics, and boots anew.
reboot() {
	monitor "$1" inject-nmi
}

before_reset() {
	before_reboot
}

reset() {
	monitor "$1" system_reset
}

destroy() {
	virsh_on "$1" destroy world
}

kill_qemu() {
	local pid
	pid=$("$TESTBED" qemu-pid "$1" world) || return 0
	kill -9 "$pid"
}

libvirtd() {
	"$TESTBED" libvirtd "$1" kill
	sleep "$((RANDOM % 4)).$((RANDOM % 1000))"
	"$TESTBED" libvirtd "$1" start
}

save() {
	rm -f "$WORK/saved"
	if timeout 100 "$TESTBED" exec "$1" virsh -q save world "$WORK/saved" >"$WORK/save.log" 2>&1; then
		SAVED_ON=$1
	fi
}

plug() {
	virsh_on "$1" attach-device world "$WORK/rng.xml" --live
}

before_unplug() {
	on "$AT" virsh -q attach-device world "$WORK/rng.xml" --live
}

unplug() {
	virsh_on "$1" detach-device world "$WORK/rng.xml" --live
}

balloon() {
	virsh_on "$1" setmem world 200M --live
	sleep "0.$((RANDOM % 1000))"
	virsh_on "$1" setmem world 256M --live
}

# dray's part of /run alone: how libvirt fares without is its own affair.
before_full_run() {
	local host
	for host in a b; do
		on "$host" mkdir -p /run/dray
		on "$host" mount -t tmpfs -o size=512k,mode=0755 full "/run/dray"
	done
}

full_run() {
	on "$1" dd if=/dev/zero of=/run/dray/filler bs=4k status=none 2>/dev/null || true
}

umount_full() {
	on "$1" umount -l -t tmpfs /run/dray
}

domjobabort() {
	virsh_on "$1" domjobabort world
}

# dray's own clock only: the machine's is others' too.
clock() {
	printf '%s\n' "$(((RANDOM % 2) ? 86400 : -86400))" | sed 's/^\([0-9]\)/+\1/' >"$WORK/clock"
}

# ---- a run ---------------------------------------------------------------------------------------------------------

# ends_it: may this disturbance end the guest?
ends_it() {
	[[ $WHAT =~ ^(shutdown|destroy|kill_qemu)$ ]]
}

states() {
	STATES=$(where_is world)
}

gone() {
	states
	[[ $STATES =~ ^a=(absent|shut-off)\ b=(absent|shut-off)$ ]]
}

# alone_in STATE: in that state on one host, nowhere on the other; HERE.
alone_in() {
	states
	case $STATES in
	"a=$1 b=absent" | "a=$1 b=shut-off") HERE=a ;;
	"a=absent b=$1" | "a=shut-off b=$1") HERE=b ;;
	*) return 1 ;;
	esac
}

alone() {
	alone_in running || alone_in paused
}

wrong() {
	echo "# wrong: $*" >&3
	return 1
}

# Each line of the witness counts one more than the one before, unless the guest has booted again: a second copy
# would repeat what the first has said.
ran_once() {
	tail -n +"$((LINES_BEFORE + 1))" "$SERIAL" | grep -a '^{"ticks":' | tr -d '\0' |
		awk -F'[:,]' '{ if (NR > 1 && $2 != last + 1 && $2 != 1) { print "tick " last " is followed by " $2; bad = 1 } last = $2 }
			END { exit bad }' >&3
}

# verified FROM: since that line of its log the guest, or what has booted in its place, has checked all its memory.
verified() {
	tail -n +"$(($1 + 1))" "$SERIAL" | tr -d '\0' | awk '
		match($0, /"passes":[0-9]+/) {
			passes = substr($0, RSTART + 9, RLENGTH - 9) + 0
			if (!n++ || passes < last)
				first = passes
			last = passes
		}
		END { exit !(n > 10 && last - first > 1) }'
}

is_content() {
	until_true 90 verified "$(wc -l <"$SERIAL")" || return
	! tail -n +"$((LINES_BEFORE + 1))" "$SERIAL" | grep -a '^{"ticks":' | grep -aq '"corrupt":[1-9]'
}

# What dray said, and where the guest is.
told_the_truth() {
	local said
	said=$(field guest_on)
	case $said in
	source) [[ $HERE == "$AT" ]] ;;
	destination) [[ $HERE == "$TO" ]] ;;
	none) [[ $HERE == none ]] || return ;;
	*) false ;;
	esac && return
	# Ended on purpose, and later than dray looked, or while it could not look.
	[[ $HERE == none ]] && { ends_it || [[ -n $SAVED_ON ]]; }
}

# restore: what was saved has all of its memory.
restored() {
	on "$SAVED_ON" virsh -q restore "$WORK/saved" || return
	alone_in running || alone_in paused
}

judged() {
	local pid
	until_true "$END_S" ended "$TX_PID" || wrong "dray migrate does not end" || return
	migrate_wait >/dev/null
	TX_PID=
	CAME_TO="exit $status, guest on $(field guest_on)"
	((status == 0)) || CAME_TO+=" ($(field reason | head -c 100))"
	until_true "$END_S" no_guards || wrong "guards do not end" || return
	if alone; then :; elif gone; then HERE=none; else wrong "it is at $STATES" || return; fi
	CAME_TO+=", it was at $STATES"
	told_the_truth || wrong "dray said that the guest is on $(field guest_on), and it is at $STATES" || return
	if [[ -n $SAVED_ON ]]; then
		restored || wrong "saved on $SAVED_ON, and not restored" || return
	elif [[ $HERE == none ]]; then
		ends_it || wrong "nobody ended it, and it is gone" || return
		ran_once || wrong "it ran twice" || return
		guest world "${MEMORY[@]}"
		AT=a
		return
	fi
	if alone_in paused; then
		[[ $WHAT == suspend* ]] || wrong "nobody paused it, and it is paused on $HERE" || return
		on "$HERE" virsh -q resume world || return
	fi
	is_content || wrong "witness: $("$TESTBED" witness world)" || return
	ran_once || wrong "it ran twice" || return
	until_true 20 no_trace "$HERE" world || wrong "something of dray's is left" || return
	until_true 20 no_job "$HERE" world || wrong "a job of libvirt's is left" || return
	AT=$HERE
}

# The next migration, undisturbed.
next_works() {
	quiet umount_full a
	quiet umount_full b
	BATS_TEST_COMPLETED=1 stop_receive
	receive "$(other "$AT")" --allow qemu-arguments || return
	migrate "$AT" world "${KIND[@]}" >/dev/null
	((status == 0)) || wrong "the next migration: exit $status, $(field reason)" || return
	lives_on "$(other "$AT")" world || wrong "the next migration: it is at $(where_is world)" || return
	AT=$(other "$AT")
}

# run_one DISTURBANCE MODE SIDE MS
run_one() {
	local mode=$2 ms=$4 from
	local -n options=$mode
	WHAT=$1 TO=$(other "$AT") SAVED_ON='' WHEN=- CAME_TO=-
	LINES_BEFORE=$(wc -l <"$SERIAL")
	from=$AT
	[[ $3 == source ]] || from=$TO
	printf '+0\n' >"$WORK/clock"
	if declare -F "before_$WHAT" >/dev/null; then "before_$WHAT"; fi
	receive "$TO" --allow qemu-arguments || return
	if [[ $WHAT == clock ]]; then
		LD_PRELOAD=$FAKETIME FAKETIME_TIMESTAMP_FILE=$WORK/clock FAKETIME_NO_CACHE=1 FAKETIME_DONT_FAKE_MONOTONIC=1 \
			migrate_start "$AT" world "${options[@]}"
	else
		migrate_start "$AT" world "${options[@]}"
	fi
	sleep "$((ms / 1000)).$(printf '%03d' $((ms % 1000)))"
	WHEN=$(phase)
	"$WHAT" "$from"
	judged && next_works
}

autopsy() {
	{
		echo "# state: $(where_is world); guards: $("$TESTBED" pgrep all '^dray guard' | tr '\n' ' ')"
		grep -vE '"(progress|disconnected|reconnected)"' "$TX_LOG" | sed 's/^/# migrate: /'
		sed 's/^/# receive: /' "$RX_LOG"
		tail -n 2 "$SERIAL" | sed 's/^/# witness: /'
	} >&3 2>&1 || true
	[[ -z $TX_PID ]] || kill -9 "$TX_PID" 2>/dev/null || true
	TX_PID=
	quiet umount_full a
	quiet umount_full b
	BATS_TEST_COMPLETED=1 stop_receive
	quiet until_true 60 no_guards
	guest world "${MEMORY[@]}"
	AT=a
}

@test "disturbed by the world, at random moments" {
	local run failed=0 began mode side ms result what
	[[ -z ${SOAK_ONLY-} ]] || read -ra DISTURBANCES <<<"$SOAK_ONLY"
	AT=$(home)
	for ((run = 1; run <= SOAK_RUNS; run++)); do
		what=${DISTURBANCES[run % ${#DISTURBANCES[@]}]}
		((RANDOM % 2)) && mode=PLAIN || mode=POSTCOPY
		((RANDOM % 2)) && side=source || side=destination
		ms=$((RANDOM % 6500)) began=$SECONDS
		if run_one "$what" "$mode" "$side" "$ms"; then result=ok; else result=FAILED; fi
		echo "# $run: $what at the $side, $mode, after $ms ms, in $WHEN: $result," \
			"$CAME_TO, $((SECONDS - began)) s" >&3
		if [[ $result == FAILED ]]; then
			failed=$((failed + 1))
			autopsy
		fi
		BATS_TEST_COMPLETED=1 stop_receive
	done
	echo "# $failed of $SOAK_RUNS failed" >&3
	((failed == 0))
}
