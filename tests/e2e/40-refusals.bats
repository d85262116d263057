#!/usr/bin/env bats
# SPDX-License-Identifier: Apache-2.0
#
# Bad input: exit 1, nothing touched, and a message that names the object and the way out.

load e2e

setup_file() {
	"$TESTBED" up
	guest calm --memory 512 --fill 64 --dirty 16 --rate 10
}

teardown_file() {
	"$TESTBED" destroy calm
}

setup() {
	RX_PID=
}

teardown() {
	stop_receive
}

# refused PATTERN...: the last migrate exited 1 with all of them in its reason.
refused() {
	[ "$status" -eq 1 ]
	reason_says "$@"
}

untouched() {
	lives_on a "$1"
	no_trace a "$1"
	no_job a "$1"
}

# unfit NAME GUEST-OPTIONS PATTERN...: a guest that the direct lane cannot take.
unfit() {
	local name=$1 option=$2
	shift 2
	# shellcheck disable=SC2086 # several
	guest "$name" --memory 256 --fill 16 --dirty 8 --rate 5 $option
	receive b
	migrate a "$name"
	refused "$name" "$@"
	untouched "$name"
	run "$TESTBED" exec a "$DRAY" check "$name"
	[ "$status" -eq 1 ]
	"$TESTBED" destroy "$name"
}

@test "no such domain" {
	migrate a nobody-here
	refused 'nobody-here' 'virsh list --all'
}

@test "domain shut off" {
	"$TESTBED" guest --name off --memory 256 --xml-only >"$BATS_TEST_TMPDIR/off.xml"
	"$TESTBED" exec a virsh -q define "$BATS_TEST_TMPDIR/off.xml"
	migrate a off
	"$TESTBED" exec a virsh -q undefine off
	refused 'NotRunning' 'domain off is shut off' 'virsh start off'
}

@test "private RAM and virtio-mem: the XML to add is shown" {
	unfit private '--private --virtio-mem 128' 'MemoryNotShared' '<memoryBacking>' "<access mode='shared'/>"
}

@test "RAM on a disk file system" {
	unfit ondisk --ondisk 'MemoryOnDisk' 'tmpfs' 'memory_backing_dir|hugepages'
}

@test "destination without a receiver" {
	migrate a calm
	refused '10\.78\.0\.2:7470' 'dray receive'
	untouched calm
}

@test "the same host on both ends" {
	receive a
	TX_LOG=$BATS_TEST_TMPDIR/migrate.log
	status=0
	"$TESTBED" exec a "$DRAY" migrate "${WAY[@]}" --json calm 10.78.0.1 >"$TX_LOG" 2>&1 || status=$?
	refused '10\.78\.0\.1' 'this very host'
	untouched calm
}

@test "a receiver of another protocol version" {
	local WAY=("${PLAIN[@]}") # the other side is not dray
	local reply=$BATS_TEST_TMPDIR/reply
	# magic, version 0 (refused), speaks 9 to 9, no text
	printf 'DRAY\0\0\x09\0\x09\0\0\0' >"$reply"
	head -c 52 /dev/zero >>"$reply"
	"$TESTBED" exec b socat TCP-LISTEN:7471,reuseaddr "SYSTEM:cat '$reply'; cat >/dev/null" 3>&- &
	RX_PID=$!
	until_true 5 "$TESTBED" exec b sh -c 'ss -ltn | grep -q :7471'
	TX_LOG=$BATS_TEST_TMPDIR/migrate.log
	status=0
	"$TESTBED" exec a "$DRAY" migrate "${WAY[@]}" --json calm 10.78.0.2:7471 >"$TX_LOG" 2>&1 || status=$?
	refused 'protocol versions 9 to 9' 'same dray on both hosts'
	untouched calm
}

@test "a source of another protocol version is told so" {
	local WAY=("${PLAIN[@]}") # the other side is not dray
	receive b
	{
		printf 'DRAY\x09\0\x09\0'
		head -c 8 /dev/zero
		printf '0123456789abcdef\x01\0\0\0'
		head -c 28 /dev/zero
	} >"$BATS_TEST_TMPDIR/hello"
	"$TESTBED" exec a socat -t 5 - TCP:10.78.0.2:7470 <"$BATS_TEST_TMPDIR/hello" >"$BATS_TEST_TMPDIR/answer"
	grep -aq 'protocol versions 2 to 2, you 9 to 9' "$BATS_TEST_TMPDIR/answer"
}

@test "something else than a receiver" {
	"$TESTBED" exec b socat TCP-LISTEN:7472,reuseaddr SYSTEM:'echo SSH-2.0-hello-there-this-is-not-the-service-you-are-looking-for-at-all' 3>&- &
	RX_PID=$!
	until_true 5 "$TESTBED" exec b sh -c 'ss -ltn | grep -q :7472'
	TX_LOG=$BATS_TEST_TMPDIR/migrate.log
	status=0
	"$TESTBED" exec a "$DRAY" migrate "${WAY[@]}" --json calm 10.78.0.2:7472 >"$TX_LOG" 2>&1 || status=$?
	refused '10\.78\.0\.2:7472'
	untouched calm
}

@test "not root" {
	TX_LOG=$BATS_TEST_TMPDIR/migrate.log
	status=0
	install -m 755 "$DRAY" "$BATS_TEST_TMPDIR/dray"
	chmod 755 "$BATS_RUN_TMPDIR" "$BATS_RUN_TMPDIR"/test "$BATS_TEST_TMPDIR"
	"$TESTBED" exec a setpriv --reuid nobody --clear-groups "$BATS_TEST_TMPDIR/dray" \
		migrate "${WAY[@]}" --json calm 10.78.0.2 >"$TX_LOG" 2>&1 || status=$?
	refused 'root'
	untouched calm
}

@test "kernel without PAGEMAP_SCAN" {
	receive b
	DRAY_FAULT=pagemap-scan=fail migrate_start a calm
	migrate_wait
	refused 'PAGEMAP_SCAN' 'Linux 6\.7'
	untouched calm
}

@test "the guest is active on the destination already" {
	receive b
	"$TESTBED" exec a virsh -q dumpxml --inactive calm >"$BATS_TEST_TMPDIR/twin.xml"
	"$TESTBED" exec b virsh -q create --paused "$BATS_TEST_TMPDIR/twin.xml"
	migrate a calm
	"$TESTBED" exec b virsh -q destroy calm
	refused 'already active on the destination'
	untouched calm
}

@test "a disk format that QEMU does not migrate, and a snapshot: check knows" {
	local disk=/var/tmp/dray-e2e-check${DRAY_TESTBED:+.$DRAY_TESTBED}.vmdk
	guest stuck --memory 256 --fill 16 --dirty 8 --rate 5
	truncate -s 1M "$disk.flat"
	cat >"$disk" <<-END
		# Disk DescriptorFile
		version=1
		CID=12345678
		parentCID=ffffffff
		createType="monolithicFlat"
		RW 2048 FLAT "${disk##*/}.flat" 0
	END
	chmod 0644 "$disk" "$disk.flat"
	cat >"$BATS_TEST_TMPDIR/disk.xml" <<-END
		<disk type='file' device='disk'><driver name='qemu' type='vmdk'/>
		<source file='$disk'><seclabel model='dac' relabel='no'/></source><target dev='vdb' bus='virtio'/><readonly/></disk>
	END
	cat >"$BATS_TEST_TMPDIR/snapshot.xml" <<-END
		<domainsnapshot><name>s</name><state>shutoff</state><memory snapshot='no'/>
		<creationTime>1</creationTime>$("$TESTBED" exec a virsh -q dumpxml stuck)</domainsnapshot>
	END
	"$TESTBED" exec a virsh -q attach-device stuck "$BATS_TEST_TMPDIR/disk.xml"
	"$TESTBED" exec a virsh -q snapshot-create stuck "$BATS_TEST_TMPDIR/snapshot.xml" --redefine
	run "$TESTBED" exec a "$DRAY" check --json stuck
	local checked=$status
	migrate a stuck --retries 2
	"$TESTBED" exec a virsh -q snapshot-delete stuck s --metadata # or it cannot be undefined
	[ "$checked" -eq 1 ]
	jq -e '([.conditions[] | select(.status == "False").reason] | sort
		== ["MigrationBlocked", "SnapshotsNotLiveMigratable"]) and ([.conditions[].message] | any(contains("vmdk")))' \
		<<<"$output"
	refused 'SnapshotsNotLiveMigratable' 'virsh snapshot-list stuck'
	! grep -q '"event":"attempt"' "$TX_LOG" || false
	untouched stuck
	"$TESTBED" destroy stuck
	rm -f "$disk" "$disk.flat"
}

@test "another guest has the name on the destination" {
	receive b
	"$TESTBED" guest --name calm --memory 256 --xml-only | sed '/<uuid>/d' >"$BATS_TEST_TMPDIR/other.xml"
	"$TESTBED" exec b virsh -q define "$BATS_TEST_TMPDIR/other.xml"
	migrate a calm --retries 2
	"$TESTBED" exec b virsh -q undefine calm
	! grep -q '"event":"attempt"' "$TX_LOG" || false
	refused 'another domain of the name calm' 'virsh domrename'
	untouched calm
}

# asked: of calm's condition Destination, status and reason.
asked() {
	run "$TESTBED" exec a "$DRAY" check "${WAY[@]}" --json --destination 10.78.0.2 calm
	jq -r '.conditions[] | select(.type == "Destination") | .status, .reason' <<<"$output" | paste -sd' '
}

@test "check asks the destination: it would work, and the guest runs on" {
	[ "$(asked)" = 'Unknown CheckFailed' ] # nobody is there
	receive b
	[ "$(asked)" = 'True Accepted' ]
	untouched calm
	[ "$("$TESTBED" where calm)" = 'a=running b=absent' ]
}

@test "the destination has not the guest's bridge: check knows, and it is a refusal" {
	"$TESTBED" exec a ip link add draybridge type bridge
	cat >"$BATS_TEST_TMPDIR/nic.xml" <<-END
		<interface type='bridge'><mac address='52:54:00:64:72:79'/><source bridge='draybridge'/></interface>
	END
	"$TESTBED" exec a virsh -q attach-device calm "$BATS_TEST_TMPDIR/nic.xml"
	receive b
	local asked
	asked=$(asked)
	migrate a calm --retries 2
	"$TESTBED" exec a virsh -q detach-device calm "$BATS_TEST_TMPDIR/nic.xml"
	"$TESTBED" exec a ip link delete draybridge
	[ "$asked" = 'False Refused' ]
	refused calm draybridge
	! grep -q '"event":"attempt"' "$TX_LOG" || false
	untouched calm
}

@test "io_uring is forbidden" {
	DRAY_FAULT=io-uring=fail migrate_start a calm
	migrate_wait
	refused 'io_uring_disabled' 'seccomp'
	untouched calm
	run env DRAY_FAULT=io-uring=fail "$TESTBED" exec a "$DRAY" check calm
	[ "$status" -eq 1 ]
	grep -qE '^DirectLane +False +IoUringForbidden ' <<<"$output"
	run env DRAY_FAULT=io-uring=fail "$TESTBED" exec b "$DRAY" receive --disable-tls
	[ "$status" -eq 1 ]
	[[ $output == *io_uring_disabled* ]]
}

@test "without certificates and --disable-tls: refused, and says what to do" {
	run "$TESTBED" exec a "$DRAY" migrate --tls-dir /nowhere calm 10.78.0.2
	[ "$status" -eq 1 ]
	[[ $output == */nowhere/ca.crt*dray-pki*--disable-tls* ]]
	run "$TESTBED" exec b "$DRAY" receive --once --tls-dir /nowhere
	[ "$status" -eq 1 ]
	[[ $output == */nowhere/ca.crt*dray-pki*--disable-tls* ]]
}

@test "bad options: exit 1, naming the option" {
	run "$TESTBED" exec a "$DRAY" migrate "${WAY[@]}" --streams 0 calm 10.78.0.2
	[ "$status" -eq 1 ]
	[[ $output == *--streams* ]]
	run "$TESTBED" exec a "$DRAY" migrate "${WAY[@]}" --max-downtime -5 calm 10.78.0.2
	[ "$status" -eq 1 ]
	run "$TESTBED" exec a "$DRAY" migrate "${WAY[@]}" calm
	[ "$status" -eq 1 ]
	run "$TESTBED" exec a "$DRAY" migrate "${WAY[@]}" --bogus calm 10.78.0.2
	[ "$status" -eq 1 ]
	run "$TESTBED" exec a "$DRAY" conquer
	[ "$status" -eq 1 ]
}

@test "check and probe tell, in text and JSON" {
	run "$TESTBED" exec a "$DRAY" check calm
	[ "$status" -eq 0 ]
	[[ $output == *pc.ram* ]]
	grep -qE '^LiveMigratable +True +Migratable ' <<<"$output"
	grep -qE '^DirectLane +True +Ready ' <<<"$output"
	"$TESTBED" exec a "$DRAY" check "$("$TESTBED" exec a virsh -q domid calm)"
	"$TESTBED" exec a "$DRAY" probe --libvirt-socket /nowhere | grep -qE '^libvirt +not known$'
	"$TESTBED" exec a "$DRAY" check --json calm | jq -e '.migratable and .lane == "direct"'
	"$TESTBED" exec a "$DRAY" check --json calm | jq -e '[.conditions[] | .status] == ["True", "True"]'
	"$TESTBED" exec a "$DRAY" probe --json | jq -e '.pagemap_scan and .userfaultfd_wp_async
		and .role_source and .role_destination and .qemu_confined_by == "none"
		and .tls and (.tls_until | fromdate) > now'
	untouched calm
}

@test "check: a read-only file that only this host may have is Unknown, and refuses nothing" {
	guest filed --memory 256 --fill 16 --dirty 8 --rate 5 \
		--disk "/var/tmp/dray-e2e-check${DRAY_TESTBED:+.$DRAY_TESTBED}.img:writeback"
	run "$TESTBED" exec a "$DRAY" check --json filed
	"$TESTBED" destroy filed
	[ "$status" -eq 0 ]
	jq -e '.migratable and (.conditions[0] | .type == "LiveMigratable" and .status == "Unknown"
		and .reason == "DisksNotLiveMigratable")' <<<"$output"
}

@test "check: a guest that is shut off has no lane yet" {
	"$TESTBED" guest --name off --memory 256 --xml-only >"$BATS_TEST_TMPDIR/off.xml"
	"$TESTBED" exec a virsh -q define "$BATS_TEST_TMPDIR/off.xml"
	run "$TESTBED" exec a "$DRAY" check off
	"$TESTBED" exec a virsh -q undefine off
	[ "$status" -eq 1 ]
	grep -qE '^LiveMigratable +False +NotRunning ' <<<"$output"
	grep -qE '^DirectLane +Unknown +NotChecked ' <<<"$output"
}
