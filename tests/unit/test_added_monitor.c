// SPDX-License-Identifier: Apache-2.0
// A monitor that QEMU is given while it runs.
#include "added_monitor.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <poll.h>
#include <sys/stat.h>
#include "fake_host.h"

#define UUID "6e8a4a3c-3f6a-4f52-9a35-0a8f6b4f6a10"
#define ADDED "getfd, chardev-add, object-add"

TestSuite(added_monitor, .timeout = 20);

static struct fake_libvirt *libvirt;
static struct fake_domain *web;
static struct host *host;

static void setup(bool possible)
{
	libvirt = fake_libvirt_new("/here");
	web = fake_libvirt_add(libvirt, "web", UUID, DOMAIN_RUNNING);
	web->monitors.possible = possible;
	cr_assert_eq(host_open("/here", &host, NULL), 0);
}

static void teardown(void)
{
	fake_monitors_forget(&web->monitors);
	host_close(host);
	fake_libvirt_destroy(libvirt);
}

static bool is_possible(void)
{
	struct errtext err = {0};
	bool possible = true;

	cr_assert_eq(added_monitor_is_possible(host, UUID, &possible, &err), 0, "%s", err.text);
	return possible;
}

/* QEMU 10 has no such type, and says so. */
Test(added_monitor, is_known_by_what_its_type_can)
{
	setup(true);
	cr_expect(is_possible());
	web->monitors.old_type = true;
	cr_expect_not(is_possible());
	teardown();
	setup(false);
	cr_expect_not(is_possible());
	teardown();
}

Test(added_monitor, it_cannot_be_told_while_libvirt_does_not_answer)
{
	struct errtext err = {0};
	bool possible;

	setup(true);
	fake_libvirt_fail(libvirt, FAKE_MONITOR, 1, -EIO);
	cr_expect_eq(added_monitor_is_possible(host, UUID, &possible, &err), -EIO);
	cr_expect(err.text[0]);
	web->info.job = true;
	cr_expect_lt(added_monitor_is_possible(host, UUID, &possible, NULL), 0);
	teardown();
}

static bool hung_up(const struct fake_monitors *m)
{
	struct pollfd p = {.fd = m->fd, .events = POLLIN | POLLRDHUP};

	return poll(&p, 1, 10000) == 1 && p.revents & POLLRDHUP;
}

Test(added_monitor, is_a_monitor_until_its_client_hangs_up)
{
	struct errtext err = {0};
	struct qmp *q;

	setup(true);
	cr_assert_eq(added_monitor_open(host, UUID, 5000, &q, &err), 0, "%s", err.text);
	cr_expect_str_eq(web->monitors.did, ADDED);
	qmp_close(q);
	cr_expect(hung_up(&web->monitors), "nobody but QEMU has the other end");
	teardown();
}

/* A dray was killed while it added one. */
Test(added_monitor, what_an_earlier_one_left_is_removed)
{
	struct errtext err = {0};
	struct qmp *q;

	setup(true);
	cr_assert_eq(added_monitor_open(host, UUID, 5000, &q, NULL), 0);
	qmp_close(q);
	web->monitors.did[0] = 0;
	cr_assert_eq(added_monitor_open(host, UUID, 5000, &q, &err), 0, "%s", err.text);
	cr_expect_str_eq(web->monitors.did, "object-del, chardev-remove, " ADDED);
	qmp_close(q);
	teardown();
}

Test(added_monitor, leaves_nothing_if_qemu_refuses)
{
	static const char *const commands[] = {"getfd", "chardev-add", "object-add"};

	for (size_t i = 0; i < sizeof(commands) / sizeof(*commands); i++) {
		struct errtext err = {0};
		struct qmp *q;

		setup(true);
		web->monitors.refuses = commands[i];
		cr_expect_eq(added_monitor_open(host, UUID, 5000, &q, &err), -EREMOTEIO);
		cr_expect(strstr(err.text, commands[i]), "%s", err.text);
		cr_expect(!web->monitors.fd && !web->monitors.has_chardev, "%s: %s", commands[i],
			  web->monitors.did);
		teardown();
	}
}

/* ---- a program ---- */

static int ask(const char *says, bool *possible)
{
	char path[] = "/tmp/dray-qemu-XXXXXX";
	int fd = mkstemp(path), ret;

	cr_assert_geq(fd, 0);
	cr_assert_gt(dprintf(fd, "#!/bin/sh\n[ \"$2\" = monitor-qmp,help ] && %s\n", says), 0);
	cr_assert_eq(fchmod(fd, 0700), 0);
	close(fd);
	ret = added_monitor_ask_program(path, possible, NULL);
	unlink(path);
	return ret;
}

Test(added_monitor, a_program_tells_what_its_guests_can)
{
	bool possible;

	cr_expect_eq(ask("echo '  close-action=<MonitorQMPCloseAction>'", &possible), 0);
	cr_expect(possible);
	cr_expect_eq(ask("exit 1", &possible), 0);
	cr_expect_not(possible);
	cr_expect_eq(ask("yes", &possible), 0, "no more than there is room for");
	cr_expect_not(possible);
	cr_expect_eq(added_monitor_ask_program("/nonexistent", &possible, NULL), -ENOENT);
}
