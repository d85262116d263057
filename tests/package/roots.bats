#!/usr/bin/env bats
# SPDX-License-Identifier: Apache-2.0
#
# The package dray in fresh Debian 12 and 13 roots, under systemd-nspawn. Needs build/packages (tools/package), and the mirror of
# the machine's own packages. Bare roots are kept in $DRAY_CACHE.

bats_require_minimum_version 1.5.0
ROOT=$(cd "$BATS_TEST_DIRNAME/../.." && pwd)
CACHE=${DRAY_CACHE:-/var/cache/dray-testbed}/roots
KEYRING=/usr/share/keyrings/debian-archive-keyring.gpg
UNIT=dray-receive

setup_file() {
	local suite
	mkdir -p "$CACHE"
	for suite in bookworm trixie; do
		[[ -e $CACHE/$suite.tar ]] || bare_root "$suite" >&3
	done
}

mirror() {
	# shellcheck disable=SC2016 # apt's variables, not the shell's
	apt-get indextargets --format '$(REPO_URI)' \
		'Created-By: Packages' 'Origin: Debian' 'Label: Debian' 'Component: main' | sed -n 1p
}

bare_root() {
	echo "# making a bare root of $1"
	mmdebstrap --quiet --variant=minbase --include=systemd,systemd-sysv,dbus,iproute2 "$1" "$CACHE/part.tar" \
		"deb [signed-by=$KEYRING] $(mirror) $1 main" </dev/null
	mv "$CACHE/part.tar" "$CACHE/$1.tar"
}

setup() {
	HOST=
	TREE=$(mktemp -d /var/tmp/dray-root.XXXXXX)
	chmod 0755 "$TREE"
}

teardown() {
	[[ -z $HOST ]] || halt
	rm -rf "$TREE"
}

unpack() {
	tar -x -C "$TREE" -f "$CACHE/$1.tar"
	cp "$ROOT"/build/packages/dray_*.deb "$TREE/root/dray.deb"
	printf '127.0.0.1 localhost %s\n' "$(hostname)" >"$TREE/etc/hosts"
}

# root CMD...: in the root, while it is not booted.
root() {
	systemd-nspawn --quiet --directory "$TREE" --register=no --keep-unit --pipe --setenv=DEBIAN_FRONTEND=noninteractive \
		"$@" </dev/null
}

install_packages() {
	root apt-get -qq -o Dpkg::Use-Pty=0 --no-install-recommends --yes install "$@"
}

# ---- installed and purged ----------------------------------------------------------------------------------------

# dpkg's and apt's own notes, and caches that any package changes, are none of its.
files() {
	(cd "$TREE" && find . \( -path ./var/lib/dpkg -o -path ./var/lib/apt -o -path ./var/cache -o -path ./var/log -o -path ./root \
		-o -path ./tmp -o -path ./run -o -path ./dev -o -path ./proc -o -path ./sys \) -prune -o -print | sort)
}

dependencies() {
	dpkg-deb -f "$TREE/root/dray.deb" Depends | tr , '\n' | sed -E 's/\(.*//; s/ //g'
}

purge_leaves_nothing() {
	unpack "$1"
	root apt-get -qq update
	# shellcheck disable=SC2046 # a word each
	install_packages $(dependencies)
	files >"$BATS_TEST_TMPDIR/before"
	install_packages /root/dray.deb
	root dray --help | grep -q '^  receive '
	root dray probe | grep '^protocol '
	root dray policy | grep -E '^maxDowntimeMs +300 +default$'
	root test -s /usr/share/man/man8/dray-receive.8.gz
	root bash -c 'source /usr/share/bash-completion/completions/dray && complete -p dray'
	root sh -c 'mkdir -p /var/lib/dray/history && touch /var/lib/dray/history/web'
	root apt-get -qq -o Dpkg::Use-Pty=0 --yes purge dray
	files | diff "$BATS_TEST_TMPDIR/before" -
}

@test "Debian 12: installs, runs, and purge leaves nothing" {
	purge_leaves_nothing bookworm
}

@test "Debian 13: installs, runs, and purge leaves nothing" {
	purge_leaves_nothing trixie
}

# ---- under systemd -----------------------------------------------------------------------------------------------

boot() {
	SYSTEMD_NSPAWN_UNIFIED_HIERARCHY=1 systemd-nspawn --quiet --directory "$TREE" --register=no --keep-unit --boot --console=pipe --private-network \
		--resolv-conf=off </dev/null >"$BATS_TEST_TMPDIR/console" 2>&1 3>&- &
	HOST=$!
	until_true 60 init_found
	until_true 120 booted
}

init_found() {
	INIT=$(pgrep -P "$HOST" | head -n 1) && [[ -n $INIT ]]
}

# inside CMD...: in the root that is booted.
inside() {
	nsenter --target "$INIT" --mount --uts --ipc --net --pid --cgroup -- env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin "$@" </dev/null
}

booted() {
	[[ $(inside systemctl is-system-running) == @(running|degraded) ]]
}

halt() {
	kill -RTMIN+3 "${INIT:-$HOST}" || true
	wait "$HOST" || true
}

until_true() {
	local end=$((SECONDS + $1))
	shift
	until "$@" >/dev/null 2>&1; do
		((SECONDS < end)) || return 1
		sleep 0.2
	done
}

listens() {
	inside ss -Hltn | grep -q ':7470 '
}

main_process() {
	inside systemctl show --value -p MainPID "$UNIT"
}

# A guard as a receiver leaves it: in the unit's control group, its other end open.
leave_guard() {
	cat >"$TREE/root/guard" <<-'END'
		use Socket;
		socketpair(my $ours, my $its, AF_UNIX, SOCK_SEQPACKET, 0) or die;
		open my $group, '>', "/sys/fs/cgroup/system.slice/dray-receive.service/cgroup.procs" or die $!;
		print $group $$ or die $!;
		close $group or die $!;
		if (!fork) {
			open STDIN, '<&', $its or die;
			exec { '/usr/sbin/dray' } 'dray', 'guard', 'e4b794aa-44e4-4799-8634-cf6b23ebde33', 's', '' or die;
		}
		sleep 600;
	END
	inside perl /root/guard 3>&- &
	until_true 20 guard_lives
}

guard_lives() {
	pgrep --ns "$INIT" --nslist pid -f '^dray guard e4b794aa'
}

unit_works() {
	local before
	unpack "$1"
	root apt-get -qq update
	install_packages /root/dray.deb
	install_packages libvirt-daemon-system # after it, so that the trigger has to tell of its profile
	grep -q 'libvirt-qemu\.d' "$TREE/etc/apparmor.d/abstractions/libvirt-qemu" "$TREE/etc/apparmor.d/local/abstractions/libvirt-qemu"
	install_packages apparmor
	printf '#include <tunables/global>\nprofile q {\n#include <abstractions/libvirt-qemu>\n}\n' >"$TREE/root/profile"
	root apparmor_parser -p /root/profile | grep -F '/run/dray/*/qemu/stream.sock rw'
	root apparmor_parser -QK /root/profile
	root sh -c 'dray-pki ca --ca /root/ca && dray-pki host --ca /root/ca --out /root/pki here 127.0.0.1 && mkdir -p /etc/pki && mv /root/pki /etc/pki/dray'
	boot
	[[ $(inside systemctl is-enabled "$UNIT") == disabled ]]
	[[ $(inside systemctl is-active "$UNIT") == inactive ]]

	inside systemctl start "$UNIT"
	until_true 60 listens
	inside systemd-analyze security --no-pager "$UNIT" | tail -n 1 | tee "$BATS_TEST_TMPDIR/exposure" >&3
	grep -qE ' [0-4]\.[0-9] OK' "$BATS_TEST_TMPDIR/exposure"

	leave_guard
	before=$(main_process)
	inside systemctl restart "$UNIT"
	until_true 60 listens
	[[ $(main_process) != "$before" ]]
	guard_lives

	# An upgrade lets everything run; removal is refused as long as the guard is there.
	before=$(main_process)
	inside dpkg -i /root/dray.deb
	[[ $(main_process) == "$before" ]]
	run ! inside dpkg -r dray
	[[ $output == *"a migration is under way"* ]]
	inside test -x /usr/sbin/dray
	inside systemctl stop "$UNIT"
	guard_lives
	inside test -d /run/dray
	pkill --ns "$INIT" --nslist pid -f '^(dray guard|perl /root/guard)'
	until_true 20 eval '! guard_lives'
	inside systemctl start "$UNIT"
	until_true 60 listens
	inside dpkg -P dray
	run ! listens
	inside sh -c '! grep -rq dray /etc/apparmor.d && ! test -e /run/dray -o -e /var/lib/dray -o -e /etc/dray'
}

@test "Debian 12: AppArmor's rule, and the unit under systemd" {
	unit_works bookworm
}

@test "Debian 13: AppArmor's rule, and the unit under systemd" {
	unit_works trixie
}
