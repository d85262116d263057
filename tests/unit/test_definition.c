// SPDX-License-Identifier: Apache-2.0
// Which definitions another host may have started here.
#include "definition_check.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

TestSuite(definition, .timeout = 30);

#define UUID "c9574db9-a7d5-4092-ac4c-3986c4bf2acf"
#define MONITOR "/var/lib/libvirt/qemu/dray-" UUID ".monitor"

static const struct definition_policy plain = {
	.uuid = UUID, .name = "web", .monitor_path = MONITOR, .uid = 107, .gid = 107};

static int check_all(const struct definition_policy *policy, const char *domain,
		     const char *devices, struct errtext *err)
{
	char xml[8192];

	snprintf(xml, sizeof(xml),
		 "<domain type='kvm' xmlns:qemu='http://libvirt.org/schemas/domain/qemu/1.0'>"
		 "<name>web</name><uuid>" UUID "</uuid>%s<devices>%s</devices></domain>",
		 domain, devices);
	return definition_check(xml, policy, err);
}

struct definition {
	const char *domain, *devices; /* what is in <domain> and in <devices> */
	const char *said;	      /* a part of the refusal */
};

/* ---- an ordinary guest ---- */

static const struct definition ordinary[] = {
	{"", "<disk type='file'><source file='/var/lib/libvirt/images/web.qcow2'/></disk>"},
	{"", "<disk type='file'><source file='/srv/vms/web.img'/></disk>"},
	{"", "<disk type='block'><source dev='/dev/nothing-like-this/web'/></disk>"},
	{"", "<disk type='network'><source protocol='http' name='/iso/web.iso'>"
	     "<host name='h'/></source></disk>"},
	{"", "<interface type='bridge'><source bridge='br0'/><target dev='tap0'/></interface>"},
	{"", "<interface type='direct'><source dev='eth0' mode='bridge'/></interface>"},
	{"", "<rng model='virtio'><backend model='random'>/dev/urandom</backend></rng>"},
	{"", "<serial type='pty'><source path='/dev/pts/7'/></serial>"},
	{"", "<serial type='file'><source path='/var/log/libvirt/qemu/web-serial.log'/></serial>"},
	{"", "<channel type='unix'><source mode='bind' "
	     "path='/var/lib/libvirt/qemu/channel/target/domain-1-web/org.qemu.guest_agent.0'/>"
	     "</channel>"},
	{"", "<tpm model='tpm-tis'><backend type='emulator' version='2.0'/></tpm>"},
	{"", "<graphics type='vnc' port='-1' listen='127.0.0.1'/>"},
	{"<os><nvram>/var/lib/libvirt/qemu/nvram/web_VARS.fd</nvram></os>", ""},
	{"<os><cmdline>/init console=ttyS0</cmdline></os>", ""},
	{"<resource><partition>/machine</partition></resource>", ""},
	{"<metadata><x:y xmlns:x='urn:x' at='/etc/hostname'>/etc/hostname</x:y></metadata>", ""},
	{"<description>/etc/hostname</description>", ""},
	{"<sysinfo type='smbios'><bios><entry name='vendor'>/v</entry></bios></sysinfo>", ""},
	{"<seclabel type='dynamic' model='dac' relabel='yes'/>", ""},
	{"<seclabel type='static' model='dac'><label>+107:+107</label></seclabel>", ""},
	{"<qemu:commandline><qemu:arg value='-chardev'/>"
	 "<qemu:arg value='socket,id=draymon,path=" MONITOR ",server=on,wait=off,logfile=" MONITOR
	 ".log,logappend=on'/><qemu:arg value='-mon'/>"
	 "<qemu:arg value='chardev=draymon,mode=control,id=draymon'/></qemu:commandline>",
	 ""},
	{"", "<interface type='ethernet'><script path=''/></interface>"},
	{"<blkiotune><device><path>/dev/sda</path><weight>10</weight></device></blkiotune>", ""},
	{"", "<disk type='network'><source protocol='rbd' name='p/web'>"
	     "<config file='/etc/ceph/ceph.conf'/></source></disk>"},
	{"",
	 "<disk type='file' device='cdrom'><source file='/usr/share/virtio-win/a.iso'/></disk>"},
	{"<os><loader readonly='yes' type='pflash'>/usr/share/none/CODE.fd</loader>"
	 "<nvram template='/usr/share/none/VARS.fd'>/var/lib/libvirt/qemu/nvram/w.fd</nvram></os>",
	 ""},
	{"", "<disk type='volume'><source pool='p' volume='v'/></disk>"},
	{"<seclabel type='static' model='dac'><label>107</label></seclabel>", ""},
};

Test(definition, takes_what_is_ordinary)
{
	for (size_t i = 0; i < sizeof(ordinary) / sizeof(*ordinary); i++) {
		const struct definition *d = &ordinary[i];
		struct errtext err = {0};

		cr_assert_eq(check_all(&plain, d->domain, d->devices, &err), 0, "%s%s: %s",
			     d->domain, d->devices, err.text);
	}
}

/* ---- what reaches beyond ---- */

static const struct definition reaching[] = {
	{"", "<disk type='file'><source file='/etc/hostname'/></disk>",
	 "/etc/hostname is this system's own"},
	{"", "<disk type='file'><source file='relative'/></disk>", "not an absolute path"},
	{"", "<disk type='file'><source file='/srv/../etc/hostname'/></disk>",
	 "/etc/hostname, is this system's"},
	{"", "<disk><backingStore><source file='/etc/hostname'/></backingStore></disk>",
	 "system's own"},
	{"", "<disk type='dir'><source dir='/etc'/></disk>", "system's own"},
	{"", "<disk type='block'><source dev='/dev/null'/></disk>", "is a device of the host's"},
	{"",
	 "<disk type='network'><source protocol='nbd'><host transport='unix' "
	 "socket='/run/nothing'/></source></disk>",
	 "system's own"},
	{"", "<disk type='file'><new path='/srv/x'/></disk>", "stands where dray knows of no path"},
	{"", "<disk type='file'><new>/srv/x</new></disk>", "<new>"},
	{"", "<emulator>/bin/sh</emulator>", "is no emulator"},
	{"", "<emulator>/nowhere/qemu-system-x86_64</emulator>", "is not there"},
	{"", "<emulator>/bin<a/>/sh</emulator>", "<emulator>"},
	{"", "<serial type='file'><source path='/etc/nothing-there'/></serial>", "system's own"},
	{"", "<serial type='dev'><source path='/dev/mem'/></serial>", "device of the host's"},
	{"", "<serial type='pty'><source path='/dev/mem'/></serial>", "device of the host's"},
	{"", "<channel type='unix'><source mode='connect' path='/run/libvirt/nothing'/></channel>",
	 "system's own"},
	{"",
	 "<channel type='unix'><source mode='connect' path='/var/lib/libvirt/qemu/other'/>"
	 "</channel>",
	 "system's own"},
	{"",
	 "<channel type='unix'><source mode='bind' path='/var/lib/libvirt/qemu/dray-other'/>"
	 "</channel>",
	 "system's own"},
	{"", "<console type='file'><log file='/etc/nothing-there'/></console>", "system's own"},
	{"", "<rng><backend model='random'>/dev/mem</backend></rng>", "device of the host's"},
	{"", "<graphics type='vnc' socket='/etc/nothing-there'/>", "system's own"},
	{"", "<hostdev mode='subsystem' type='pci'/>", "--allow host-devices"},
	{"", "<interface type='hostdev'/>", "--allow host-devices"},
	{"", "<interface type='ethernet'><script path='/srv/x'/></interface>", "a script"},
	{"", "<filesystem type='mount'><source dir='/srv'/></filesystem>", "--allow file-systems"},
	{"", "<shmem name='x'/>", "--allow file-systems"},
	{"", "<input type='evdev'><source dev='/dev/input/event0'/></input>",
	 "--allow host-devices"},
	{"", "<tpm><backend type='passthrough'><device path='/dev/tpm0'/></backend></tpm>",
	 "--allow host-devices"},
	{"<os><kernel>/proc/kcore</kernel></os>", "", "/proc/kcore"},
	{"<seclabel type='none'/>", "", "no confinement"},
	{"<seclabel type='static' model='dac'><label>root:root</label></seclabel>", "",
	 "security label"},
	{"<seclabel type='static' model='dac'><label>+0:+0</label></seclabel>", "",
	 "security label"},
	{"<seclabel type='static' model='apparmor'><label>x</label></seclabel>", "",
	 "security label"},
	{"<seclabel type='dynamic' model='selinux'><baselabel>x</baselabel></seclabel>", "",
	 "security label"},
	{"<qemu:commandline><qemu:arg value='-s'/></qemu:commandline>", "",
	 "--allow qemu-arguments"},
	{"<qemu:commandline><qemu:env name='A' value='B'/></qemu:commandline>", "",
	 "--allow qemu-arguments"},
	/* dray's monitor, but with another log */
	{"<qemu:commandline><qemu:arg value='-chardev'/>"
	 "<qemu:arg value='socket,id=draymon,path=" MONITOR ",server=on,wait=off,logfile=/srv/x'/>"
	 "<qemu:arg value='-mon'/><qemu:arg "
	 "value='chardev=draymon,mode=control,id=draymon'/></qemu:commandline>",
	 "", "--allow qemu-arguments"},
	{"", "<x:disk xmlns:x='urn:x'/>", "another namespace"},
	{"", "<interface xmlns:x='urn:x' x:type='bridge' type='hostdev'/>", "another namespace"},
	{"<os><kernel>/etc/hostname</kernel></os>", "", "system's own"},
	{"", "<disk type='dir'><source dir='/'/></disk>", "holds this system's own"},
	{"", "<disk type='dir'><source dir='/var/lib'/></disk>", "holds this system's own"},
	{"", "<disk type='nvme'><source type='pci'/></disk>", "--allow host-devices"},
	{"", "<disk type='block' rawio='yes'/>", "--allow host-devices"},
	{"", "<smartcard mode='host'/>", "--allow host-devices"},
	{"", "<audio type='file' path='out.wav'/>", "not an absolute path"},
	{"", "<graphics type='dbus' address='unix:path=/run/none'/>", "not an absolute path"},
	{"<seclabel type='static' model='dac'><label>+107:+0</label></seclabel>", "",
	 "security label"},
	{"<seclabel type='static' model='dac'><label>nobody:nogroup</label></seclabel>", "",
	 "security label"},
	{"", "<disk type='file'><source file='/swap.img'/></disk>", "system's own"},
};

Test(definition, refuses_what_reaches_for_the_host)
{
	for (size_t i = 0; i < sizeof(reaching) / sizeof(*reaching); i++) {
		const struct definition *d = &reaching[i];
		struct errtext err = {0};

		cr_assert_eq(check_all(&plain, d->domain, d->devices, &err), -EPERM, "%s%s",
			     d->domain, d->devices);
		cr_assert(strstr(err.text, "domain web"), "%s", err.text);
		cr_assert(strstr(err.text, d->said), "%s%s: %s", d->domain, d->devices, err.text);
	}
}

/* ---- agreement, and paths ---- */

Test(definition, what_an_operator_agrees_to_is_taken)
{
	struct definition_policy p = plain;
	struct errtext err = {0};

	p.agreed = DEFINITION_QEMU_ARGUMENTS | DEFINITION_HOST_DEVICES | DEFINITION_FILE_SYSTEMS;
	cr_assert_eq(check_all(&p, "<qemu:commandline><qemu:arg value='-s'/></qemu:commandline>",
			       "<hostdev mode='subsystem' type='usb'/><filesystem><source "
			       "dir='/srv'/></filesystem>",
			       &err),
		     0, "%s", err.text);
	cr_assert_eq(check_all(&p, "", "<interface><script path='/srv/x'/></interface>", &err),
		     -EPERM);
}

/* A launcher's: its paths are not ours to judge, and all else is as before. */
Test(definition, of_a_container_paths_are_not_looked_at)
{
	struct definition_policy p = plain;
	struct errtext err = {0};

	p.contained = true;
	cr_assert_eq(
		check_all(&p, "",
			  "<emulator>/usr/libexec/own-qemu</emulator><disk type='file'><source "
			  "file='/run/kubevirt-private/vmi-disks/web/disk.img'/></disk>",
			  &err),
		0, "%s", err.text);
	cr_assert_eq(check_all(&p, "", "<hostdev mode='subsystem' type='usb'/>", &err), -EPERM);
	cr_assert_eq(check_all(&p, "<qemu:commandline><qemu:arg value='-s'/></qemu:commandline>",
			       "", &err),
		     -EPERM);
}

static const char *make_dir(void)
{
	static char dir[] = "/tmp/dray-definition-XXXXXX";

	cr_assert(mkdtemp(dir));
	return dir;
}

static int check_disk(const struct definition_policy *p, const char *dir, const char *file,
		      struct errtext *err)
{
	char devices[512];

	snprintf(devices, sizeof(devices), "<disk><source file='%s/%s'/></disk>", dir, file);
	return check_all(p, "", devices, err);
}

Test(definition, paths_are_judged_by_where_they_lead)
{
	const char *dir = make_dir();
	const char *const only[] = {dir, NULL};
	struct definition_policy narrow = plain;
	struct errtext err = {0};
	char link[512];

	narrow.paths = only;
	cr_assert_eq(check_disk(&narrow, dir, "disk", &err), 0, "%s", err.text);
	cr_assert_eq(check_disk(&narrow, "/srv", "disk", &err), -EPERM);
	cr_assert(strstr(err.text, "--allow-path"), "%s", err.text);
	snprintf(link, sizeof(link), "%s/out", dir);
	cr_assert_eq(symlink("/etc/hostname", link), 0);
	err = (struct errtext){0};
	cr_assert_eq(check_disk(&plain, dir, "out", &err), -EPERM);
	cr_assert(strstr(err.text, "leads to /etc/hostname"), "%s", err.text);
	unlink(link);
	rmdir(dir);
}

static void make_file(const char *dir, const char *name, char path[512])
{
	FILE *f;

	snprintf(path, 512, "%s/%s", dir, name);
	f = fopen(path, "w");
	cr_assert(f);
	fclose(f);
}

Test(definition, a_socket_takes_no_files_place)
{
	const char *dir = make_dir();
	struct errtext err = {0};
	char file[512], devices[1024];

	make_file(dir, "other", file);
	snprintf(devices, sizeof(devices),
		 "<channel type='unix'><source mode='bind' path='%s'/></channel>", file);
	cr_assert_eq(check_all(&plain, "", devices, &err), -EPERM);
	cr_assert(strstr(err.text, "is no socket"), "%s", err.text);
	unlink(file);
	err = (struct errtext){0};
	cr_assert_eq(check_all(&plain, "", devices, &err), 0, "%s", err.text);
	rmdir(dir);
}

/* Of the system's own a guest may have what everybody may read: the directories count, too. */
Test(definition, what_stands_in_a_closed_directory_is_not_everybodys)
{
	char dir[] = "/run/dray-definition-XXXXXX", file[512], os[1024];
	struct errtext err = {0};

	if (geteuid() != 0)
		cr_skip_test("needs root");
	cr_assert(mkdtemp(dir));
	make_file(dir, "CODE.fd", file);
	cr_assert_eq(chmod(file, 0644), 0);
	snprintf(os, sizeof(os), "<os><loader>%s</loader></os>", file);
	cr_expect_eq(check_all(&plain, os, "", &err), -EPERM);
	cr_expect(strstr(err.text, "is this system's own"), "%s", err.text);
	cr_assert_eq(chmod(dir, 0755), 0);
	err = (struct errtext){0};
	cr_expect_eq(check_all(&plain, os, "", &err), 0, "%s", err.text);
	unlink(file);
	rmdir(dir);
}

/* The list of the kernel's, as it would be. */
Test(definition, swap_space_is_no_disk_by_whatever_name)
{
	const char *dir = make_dir();
	struct errtext err = {0};
	char swap[512], alias[512], list[512];
	FILE *f;

	make_file(dir, "swap", swap);
	snprintf(alias, sizeof(alias), "%s/disk", dir);
	cr_assert_eq(link(swap, alias), 0);
	make_file(dir, "list", list);
	f = fopen(list, "w");
	fprintf(f, "Filename Type Size Used Priority\n%s file 1024 0 -2\n", swap);
	fclose(f);
	if (unshare(CLONE_NEWNS) < 0 || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0 ||
	    mount(list, "/proc/swaps", NULL, MS_BIND, NULL) < 0)
		cr_skip_test("needs a mount namespace");
	cr_expect_eq(check_disk(&plain, dir, "disk", &err), -EPERM);
	cr_expect(strstr(err.text, "swap space"), "%s", err.text);
	err = (struct errtext){0};
	cr_expect_eq(check_disk(&plain, dir, "list", &err), 0, "%s", err.text);
	unlink(alias);
	unlink(swap);
	unlink(list);
	rmdir(dir);
}

Test(definition, a_link_that_leads_nowhere_is_not_taken)
{
	const char *dir = make_dir();
	struct errtext err = {0};
	char link[512];

	snprintf(link, sizeof(link), "%s/link", dir);
	cr_assert_eq(symlink("/nowhere/at/all", link), 0);
	cr_assert_eq(check_disk(&plain, dir, "link", &err), -EPERM);
	cr_assert_eq(check_disk(&plain, dir, "link/x", &err), -EPERM);
	err = (struct errtext){0};
	cr_assert_eq(check_disk(&plain, dir, "new/x", &err), 0, "%s", err.text);
	unlink(link);
	rmdir(dir);
}

Test(definition, an_operator_may_name_a_directory_of_the_systems)
{
	static const char *const only[] = {"/var/lib/libvirt/none-like-this", NULL};
	struct definition_policy narrow = plain;
	struct errtext err = {0};

	narrow.paths = only;
	cr_assert_eq(check_disk(&narrow, only[0], "a.iso", &err), 0, "%s", err.text);
	cr_assert_eq(check_disk(&narrow, "/var/lib/libvirt/images", "a.img", NULL), -EPERM);
	cr_assert_eq(check_all(&narrow, "",
			       "<disk type='volume'><source pool='p' volume='v'/></disk>", &err),
		     -EPERM);
	cr_assert(strstr(err.text, "storage pool"), "%s", err.text);
}

/* ---- the guest ---- */

static const char *const not_the_guest[] = {
	"<domain "
	"type='kvm'><name>web</name><uuid>00000000-0000-4000-8000-000000000001</uuid></domain>",
	"<domain type='kvm'><name>other</name><uuid>" UUID "</uuid></domain>",
	"<domain type='kvm'><uuid>" UUID "</uuid></domain>",
};

Test(definition, is_that_of_the_guest_which_the_migration_is_about)
{
	for (size_t i = 0; i < sizeof(not_the_guest) / sizeof(*not_the_guest); i++) {
		struct errtext err = {0};

		cr_assert_eq(definition_check(not_the_guest[i], &plain, &err), -EPERM);
		cr_assert(strstr(err.text, "another guest"), "%s", err.text);
	}
	cr_assert_eq(definition_check("<domain type='lxc'><name>web</name><uuid>" UUID
				      "</uuid></domain>",
				      &plain, NULL),
		     -EPERM);
	cr_assert_eq(definition_check("no XML", &plain, NULL), -EINVAL);
}

Test(definition, a_cookie_may_hold_one_and_it_is_checked_too)
{
	struct errtext err = {0};

	cr_assert_eq(definition_check_cookie("<qemu-migration><name>web</name></qemu-migration>",
					     &plain, &err),
		     0, "%s", err.text);
	cr_assert_eq(definition_check_cookie("<qemu-migration><domain type='kvm'><name>web</name>"
					     "<uuid>" UUID "</uuid><devices><hostdev/></devices>"
					     "</domain></qemu-migration>",
					     &plain, &err),
		     -EPERM);
}
