// SPDX-License-Identifier: Apache-2.0
// Can a guest be migrated: facts from a fake libvirt, and from a process that has mapped what QEMU
// has.
#include "guest_check.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>
#include "fake_host.h"
#include "tracker.h"

#define UUID "6e8a4a3c-3f6a-4f52-9a35-0a8f6b4f6a10"
#define SIZE (4u << 20)
#define XML(inside)                                                                                \
	"<domain type='kvm'><name>web</name><memory unit='MiB'>4</memory>"                         \
	"<memoryBacking><source type='file'/><access mode='shared'/></memoryBacking>" inside       \
	"</domain>"

TestSuite(guest_check, .timeout = 20);

static struct fake_libvirt *libvirt;
static struct fake_domain *web;
static struct host *host;
static char dir[64];

static void setup(enum domain_state state)
{
	struct errtext err = {0};

	if (geteuid() != 0)
		cr_skip_test("needs root");
	if (tracker_supported(&err) < 0)
		cr_skip_test("%s", err.text);
	libvirt = fake_libvirt_new("/here");
	web = fake_libvirt_add(libvirt, "web", UUID, state);
	web->xml = XML("");
	cr_assert_eq(host_open("/here", &host, NULL), 0);
	strcpy(dir, "/dev/shm/dray-check-XXXXXX");
	cr_assert_not_null(mkdtemp(dir));
}

static void teardown(struct guest_facts *facts)
{
	char path[96];

	guest_facts_destroy(facts);
	host_close(host);
	fake_libvirt_destroy(libvirt);
	snprintf(path, sizeof(path), "%s/pc.ram", dir);
	unlink(path);
	rmdir(dir);
}

/* A process that has the guest's RAM file mapped, or nothing. */
static pid_t start_mapper(bool mapped)
{
	char path[96], byte;
	int ends[2];
	pid_t pid;

	snprintf(path, sizeof(path), "%s/pc.ram", dir);
	cr_assert_eq(pipe(ends), 0);
	pid = fork();
	cr_assert_geq(pid, 0);
	if (pid == 0) {
		int fd = open(path, O_RDWR | O_CREAT, 0600);

		prctl(PR_SET_PDEATHSIG, SIGKILL);
		if (fd < 0 || ftruncate(fd, SIZE) < 0 ||
		    (mapped &&
		     mmap(NULL, SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0) == MAP_FAILED) ||
		    write(ends[1], "x", 1) != 1)
			_exit(1);
		for (;;)
			pause();
	}
	cr_assert_eq(read(ends[0], &byte, 1), 1);
	close(ends[0]);
	close(ends[1]);
	return pid;
}

static void end_mapper(pid_t pid)
{
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
}

static bool has_reason(const struct guest_facts *facts, const char *reason)
{
	for (unsigned int i = 0; i < facts->conditions.count; i++)
		if (strcmp(facts->conditions.list[i].reason, reason) == 0)
			return true;
	return false;
}

Test(guest_check, one_that_is_ready)
{
	struct errtext err = {0};
	struct guest_facts facts;

	setup(DOMAIN_RUNNING);
	web->qemu = start_mapper(true);
	cr_assert_eq(guest_check(host, "web", &facts, &err), 0, "%s", err.text);
	cr_assert_eq(facts.qemu, web->qemu);
	cr_assert_eq(facts.ram.count, 1);
	cr_assert_str_eq(facts.ram.blocks[0].name, "pc.ram");
	cr_assert_str_eq(facts.info.uuid, UUID);
	cr_assert_str_eq(facts.monitor_path, "");
	cr_assert(has_reason(&facts, "Migratable") && has_reason(&facts, "Ready"));
	cr_assert_str_eq(fake_libvirt_did(libvirt), "", "nothing was touched");
	end_mapper(web->qemu);
	teardown(&facts);
}

/* What it has on disk and in devices is judged all the same; its memory cannot be looked at. */
Test(guest_check, one_that_is_shut_off)
{
	struct errtext err = {0};
	struct guest_facts facts;

	setup(DOMAIN_SHUT_OFF);
	cr_assert_eq(guest_check(host, "web", &facts, &err), -ENOTSUP);
	cr_assert(strstr(err.text, "NotRunning"), "%s", err.text);
	cr_assert_eq(fake_libvirt_calls(libvirt, FAKE_QEMU_PID), 0);
	cr_assert_eq(facts.ram.count, 0);
	cr_assert_gt(facts.conditions.count, 1);
	teardown(&facts);
}

Test(guest_check, one_that_a_job_has)
{
	struct errtext err = {0};
	struct guest_facts facts;

	setup(DOMAIN_RUNNING);
	web->info.job = true;
	cr_assert_eq(guest_check(host, "web", &facts, &err), -ENOTSUP);
	cr_assert(strstr(err.text, "JobActive"), "%s", err.text);
	cr_assert_eq(fake_libvirt_calls(libvirt, FAKE_QEMU_PID), 0, "libvirt's monitor is closed");
	teardown(&facts);
}

/* libvirt's migration job has begun, and closes the monitor: all else is looked at once more. */
Test(guest_check, one_that_its_own_migration_has)
{
	struct errtext err = {0};
	struct guest_facts facts;

	static const struct ram_backends none;

	setup(DOMAIN_RUNNING);
	web->qemu = start_mapper(true);
	web->info.job = true;
	cr_assert_eq(guest_check_locked(host, UUID, web->qemu, false, &none, &facts, &err), 0, "%s",
		     err.text);
	cr_assert_eq(facts.qemu, web->qemu);
	cr_assert_eq(facts.ram.count, 1);
	cr_assert_eq(fake_libvirt_calls(libvirt, FAKE_QEMU_PID), 0);
	guest_facts_destroy(&facts);
	web->xml = XML("<devices><interface type='vhostuser'/></devices>");
	cr_assert_eq(guest_check_locked(host, UUID, web->qemu, false, &none, &facts, &err),
		     -ENOTSUP);
	end_mapper(web->qemu);
	teardown(&facts);
}

Test(guest_check, one_with_private_memory_and_more)
{
	struct errtext err = {0};
	struct guest_facts facts;

	setup(DOMAIN_RUNNING);
	web->xml = XML("<devices><hostdev mode='subsystem' type='pci'><alias name='hostdev0'/>"
		       "</hostdev></devices>");
	web->qemu = start_mapper(false);
	cr_assert_eq(guest_check(host, "web", &facts, &err), -ENOTSUP);
	cr_assert(has_reason(&facts, "MemoryNotShared"), "%s", err.text);
	cr_assert(has_reason(&facts, "HostDeviceNotLiveMigratable"));
	cr_assert(strstr(err.text, "more: dray check web"), "%s", err.text);
	end_mapper(web->qemu);
	teardown(&facts);
}

Test(guest_check, one_that_libvirt_and_qemu_would_refuse)
{
	struct errtext err = {0};
	struct guest_facts facts;

	setup(DOMAIN_RUNNING);
	web->qemu = start_mapper(true);
	web->blockers = (struct domain_blockers){2, true, 1, {"The vmdk format does not do that"}};
	cr_assert_eq(guest_check(host, "web", &facts, &err), -ENOTSUP);
	cr_assert(has_reason(&facts, "SnapshotsNotLiveMigratable"), "%s", err.text);
	cr_assert(has_reason(&facts, "MigrationBlocked"));
	cr_assert(has_reason(&facts, "StreamNotDescribed"));
	cr_assert(strstr(facts.conditions.list[2].message, "The vmdk format does not do that"));
	cr_assert_not(has_reason(&facts, "Migratable"));
	end_mapper(web->qemu);
	teardown(&facts);
}

Test(guest_check, a_host_that_forbids_io_uring)
{
	struct errtext err = {0};
	struct guest_facts facts;

	setup(DOMAIN_RUNNING);
	web->qemu = start_mapper(true);
	setenv("DRAY_FAULT", "io-uring=fail", 1);
	cr_assert_eq(guest_check(host, "web", &facts, &err), -ENOTSUP);
	cr_assert(has_reason(&facts, "IoUringForbidden"), "%s", err.text);
	cr_assert_eq(guest_check_process(&err), -ENOTSUP);
	end_mapper(web->qemu);
	teardown(&facts);
}

Test(guest_check, one_whose_memory_another_process_may_write)
{
	struct errtext err = {0};
	struct guest_facts facts;
	pid_t other;

	setup(DOMAIN_RUNNING);
	web->qemu = start_mapper(true);
	other = start_mapper(true);
	cr_assert_eq(guest_check(host, "web", &facts, &err), -ENOTSUP);
	cr_assert(has_reason(&facts, "OtherMapper"), "%s", err.text);
	end_mapper(other);
	end_mapper(web->qemu);
	teardown(&facts);
}

Test(guest_check, its_private_monitor_is_found)
{
	struct errtext err = {0};
	struct guest_facts facts;

	setup(DOMAIN_SHUT_OFF);
	web->xml = "<domain type='kvm' xmlns:qemu='http://libvirt.org/schemas/domain/qemu/1.0'>"
		   "<name>web</name><memory unit='MiB'>4</memory><qemu:commandline>"
		   "<qemu:arg value='-chardev'/>"
		   "<qemu:arg value='socket,id=draymon,path=/run/dray/m.sock,server=on,wait=off'/>"
		   "<qemu:arg value='-mon'/><qemu:arg value='chardev=draymon,mode=control'/>"
		   "</qemu:commandline></domain>";
	cr_assert_eq(guest_check(host, "web", &facts, &err), -ENOTSUP);
	cr_assert_str_eq(facts.monitor_path, "/run/dray/m.sock");
	teardown(&facts);
}

/* The user of a daemon of its own, who writes that XML, cannot lead dray elsewhere. */
Test(guest_check, a_monitor_outside_its_users_directory_is_none)
{
	static const struct {
		const char *directory;
		bool found;
	} rows[] = {
		{"/run/dray", true}, {"/run/dra", false}, {"/run", false}, {"/run/libvirt", false}};

	setup(DOMAIN_SHUT_OFF);
	web->xml = "<domain type='kvm' xmlns:qemu='http://libvirt.org/schemas/domain/qemu/1.0'>"
		   "<name>web</name><memory unit='MiB'>4</memory><qemu:commandline>"
		   "<qemu:arg value='-chardev'/>"
		   "<qemu:arg value='socket,id=draymon,path=/run/dray/m.sock,server=on,wait=off'/>"
		   "<qemu:arg value='-mon'/><qemu:arg value='chardev=draymon,mode=control'/>"
		   "</qemu:commandline></domain>";
	for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
		struct errtext err = {0};
		struct guest_facts facts;

		strcpy(libvirt->qemu_sockets, rows[i].directory);
		cr_assert_eq(guest_check(host, "web", &facts, &err), -ENOTSUP);
		cr_assert_eq(facts.monitor_path[0] != 0, rows[i].found, "%s", rows[i].directory);
		cr_assert_eq(facts.xml.monitor, rows[i].found, "%s", rows[i].directory);
		guest_facts_destroy(&facts);
	}
	teardown(&(struct guest_facts){0});
}

/* A disk with cache='none' needs a monitor of ours: one that QEMU takes while it runs is enough. */
Test(guest_check, a_monitor_that_qemu_takes_is_one)
{
	struct errtext err = {0};
	struct guest_facts facts;

	setup(DOMAIN_RUNNING);
	web->qemu = start_mapper(true);
	web->xml = XML("<devices><disk type='network'><driver name='qemu' cache='none'/>"
		       "<target dev='vda'/></disk></devices>");
	cr_assert_eq(guest_check(host, "web", &facts, &err), -ENOTSUP);
	cr_assert(has_reason(&facts, "DiskNeedsMonitor"), "%s", err.text);
	guest_facts_destroy(&facts);
	web->monitors.possible = true;
	err = (struct errtext){0};
	cr_assert_eq(guest_check(host, "web", &facts, &err), 0, "%s", err.text);
	cr_assert(facts.adds_monitor);
	cr_assert(strstr(conditions_first(&facts.conditions, "DirectLane", CONDITION_TRUE)->message,
			 "vda (cache='none')"));
	cr_assert_str_eq(fake_libvirt_did(libvirt), "", "nothing was touched");
	cr_assert_str_eq(web->monitors.did, "");
	guest_facts_destroy(&facts);
	web->info.job = true; /* that of its migration: libvirt's monitor is closed */
	cr_assert_eq(guest_check_locked(host, UUID, web->qemu, true, &(struct ram_backends){0},
					&facts, &err),
		     0, "%s", err.text);
	end_mapper(web->qemu);
	teardown(&facts);
}

/* It could not be found out: no verdict. */
Test(guest_check, what_libvirt_does_not_tell)
{
	static const enum fake_call calls[] = {FAKE_FIND, FAKE_DOMAIN_XML, FAKE_QEMU_PID};

	for (size_t i = 0; i < sizeof(calls) / sizeof(*calls); i++) {
		struct errtext err = {0};
		struct guest_facts facts;

		setup(DOMAIN_RUNNING);
		fake_libvirt_fail(libvirt, calls[i], 1, -EIO);
		cr_assert_eq(guest_check(host, "web", &facts, &err), -EIO, "%zu", i);
		cr_assert(err.text[0]);
		teardown(&facts);
	}
}

Test(guest_check, one_that_nobody_knows)
{
	struct errtext err = {0};
	struct guest_facts facts;

	setup(DOMAIN_RUNNING);
	cr_assert_eq(guest_check(host, "db", &facts, &err), -ENOENT);
	cr_assert_eq(facts.conditions.count, 0);
	teardown(&facts);
}

Test(guest_check, xml_that_is_none)
{
	struct errtext err = {0};
	struct guest_facts facts;

	setup(DOMAIN_RUNNING);
	web->xml = "no XML";
	cr_assert_eq(guest_check(host, "web", &facts, &err), -EINVAL);
	teardown(&facts);
}

Test(guest_check, the_process_itself)
{
	struct errtext err = {0};

	setup(DOMAIN_RUNNING);
	cr_assert_eq(guest_check_process(&err), 0, "%s", err.text);
	cr_assert_eq(seteuid(65534), 0);
	cr_assert_eq(guest_check_process(&err), -EPERM);
	cr_assert(strstr(err.text, "try sudo"), "%s", err.text);
	cr_assert_eq(seteuid(0), 0);
	teardown(&(struct guest_facts){0});
}
