// SPDX-License-Identifier: Apache-2.0
// host.h's functions by a host that is a fake: each reaches its row, and the fake keeps its script.
#include "host.h"

#include <criterion/criterion.h>
#include "fake_host.h"

#define UUID "6e8a4a3c-3f6a-4f52-9a35-0a8f6b4f6a10"

TestSuite(host, .timeout = 20);

static struct fake_libvirt *libvirt;
static struct fake_domain *web;
static struct host *host;

static void setup(enum domain_state state)
{
	libvirt = fake_libvirt_new("/here");
	web = fake_libvirt_add(libvirt, "web", UUID, state);
	web->info.persistent = true;
	cr_assert_eq(host_open("/here", &host, NULL), 0);
}

static void teardown(void)
{
	host_close(host);
	fake_libvirt_destroy(libvirt);
}

static enum domain_state look(void)
{
	struct domain_info info;

	cr_assert_eq(host_state(host, UUID, &info, NULL), 0);
	return info.state;
}

Test(host, facts)
{
	char confined[HOST_CONFINEMENT_SIZE];
	unsigned long lv, qemu;
	uint8_t uuid[16];
	uid_t uid;
	gid_t gid;

	setup(DOMAIN_RUNNING);
	libvirt->uid = 64055;
	libvirt->gid = 109;
	cr_assert_eq(host_uuid(host, uuid, NULL), 0);
	cr_assert_eq(memcmp(uuid, libvirt->uuid, 16), 0);
	cr_assert_eq(host_qemu_owner(host, &uid, &gid, NULL), 0);
	cr_assert(uid == 64055 && gid == 109);
	cr_assert_eq(host_confinement(host, confined, NULL), 0);
	cr_assert_str_eq(confined, "none");
	cr_assert_eq(host_versions(host, &lv, &qemu, NULL), 0);
	cr_assert(lv == 9000000 && qemu == 7002000);
	teardown();
}

Test(host, domains_are_found_by_name_and_by_uuid)
{
	struct domain_info info;
	char *xml = NULL;
	pid_t pid;

	setup(DOMAIN_RUNNING);
	web->stored_xml = "<domain/>";
	cr_assert_eq(host_find(host, "web", &info, NULL), 0);
	cr_assert_str_eq(info.uuid, UUID);
	cr_assert_eq(host_find(host, UUID, &info, NULL), 0);
	cr_assert_eq(host_find(host, "db", &info, NULL), -ENOENT);
	cr_assert_eq(host_qemu_pid(host, UUID, &pid, NULL), 0);
	cr_assert_eq(pid, web->qemu);
	cr_assert_eq(host_domain_xml(host, UUID, false, &xml, NULL), -EIO);
	cr_assert_eq(host_domain_xml(host, UUID, true, &xml, NULL), 0);
	cr_assert_str_eq(xml, "<domain/>");
	free(xml);
	teardown();
}

Test(host, what_is_done_has_its_effect_and_is_kept)
{
	bool on = false;

	setup(DOMAIN_PAUSED_MIGRATION);
	cr_assert_eq(host_set_ignore_shared(host, UUID, true, NULL), 0);
	cr_assert_eq(host_get_ignore_shared(host, UUID, &on, NULL), 0);
	cr_assert(on);
	web->info.job = true;
	cr_assert_eq(host_set_ignore_shared(host, UUID, false, NULL), -EIO, "a job closes it");
	host_abort_job(host, UUID);
	cr_assert_eq(host_resume(host, UUID, NULL), 0);
	cr_assert_eq(look(), DOMAIN_RUNNING);
	cr_assert_eq(host_suspend(host, UUID, NULL), 0);
	cr_assert_eq(look(), DOMAIN_PAUSED_USER);
	cr_assert_eq(host_destroy(host, UUID, NULL), 0);
	cr_assert_eq(look(), DOMAIN_SHUT_OFF);
	cr_assert_eq(host_undefine(host, UUID, NULL), 0);
	cr_assert_eq(look(), DOMAIN_ABSENT);
	cr_assert_eq(host_destroy(host, UUID, NULL), 0, "-ENOENT is a success");
	cr_assert_str_eq(
		fake_libvirt_did(libvirt),
		"ignore_shared=on web; abort_job web; resume web; suspend web; destroy web; "
		"undefine web");
	teardown();
}

Test(host, states_follow_their_script)
{
	setup(DOMAIN_ABSENT);
	fake_domain_then_job(web, 2, DOMAIN_INCOMING, true);
	fake_domain_then(web, 4, DOMAIN_RUNNING);
	cr_assert_eq(look(), DOMAIN_ABSENT);
	cr_assert_eq(look(), DOMAIN_INCOMING);
	cr_assert(web->info.job);
	cr_assert_eq(look(), DOMAIN_INCOMING);
	cr_assert_eq(look(), DOMAIN_RUNNING);
	cr_assert_eq(look(), DOMAIN_RUNNING);
	cr_assert_eq(fake_libvirt_calls(libvirt, FAKE_STATE), 5);
	teardown();
}

Test(host, failures_come_when_they_are_due)
{
	struct domain_info info;
	struct errtext err = {0};
	struct host *other = NULL;

	setup(DOMAIN_RUNNING);
	fake_libvirt_fail(libvirt, FAKE_STATE, 2, -EIO);
	fake_libvirt_fail(libvirt, FAKE_RESUME, 0, -EPERM);
	cr_assert_eq(host_state(host, UUID, &info, &err), 0);
	cr_assert_eq(host_state(host, UUID, &info, &err), -EIO);
	cr_assert(err.text[0]);
	cr_assert_eq(host_state(host, UUID, &info, NULL), 0);
	cr_assert_eq(host_resume(host, UUID, NULL), -EPERM);
	cr_assert_eq(host_resume(host, UUID, NULL), -EPERM);
	fake_libvirt_heal(libvirt);
	cr_assert_eq(host_resume(host, UUID, NULL), 0);
	fake_libvirt_fail(libvirt, FAKE_OPEN, 1, -EIO);
	cr_assert_eq(host_open("/here", &other, NULL), -EIO);
	cr_assert_eq(host_open("/nowhere", &other, NULL), -EIO);
	teardown();
}

struct seen {
	enum qemu_event event;
	uint64_t time_us;
	unsigned int count;
};

static void on_event(void *opaque, enum qemu_event event, uint64_t time_us)
{
	struct seen *s = opaque;

	*s = (struct seen){event, time_us, s->count + 1};
}

Test(host, events_reach_who_watches)
{
	struct seen seen = {0};

	setup(DOMAIN_RUNNING);
	cr_assert_eq(host_watch(host, UUID, on_event, &seen, NULL), 0);
	fake_libvirt_fire(libvirt, UUID, QEMU_EVENT_STOP, 17);
	cr_assert(seen.event == QEMU_EVENT_STOP && seen.time_us == 17 && seen.count == 1);
	host_unwatch(host);
	fake_libvirt_fire(libvirt, UUID, QEMU_EVENT_RESUME, 18);
	cr_assert_eq(seen.count, 1);
	cr_assert_eq(host_watch(host, UUID, on_event, &seen, NULL), 0);
	cr_assert_eq(host_reopen(host, NULL), 0);
	fake_libvirt_fire(libvirt, UUID, QEMU_EVENT_RESUME, 19);
	cr_assert_eq(seen.count, 1, "a watch is lost with its connection");
	teardown();
}

static void destroy_it(void *opaque, struct fake_libvirt *l, enum fake_call call)
{
	(void)opaque;
	if (call == FAKE_RESUME)
		l->domains[0].info.state = DOMAIN_ABSENT;
}

Test(host, something_else_happens_before_a_call)
{
	setup(DOMAIN_PAUSED_USER);
	libvirt->before = destroy_it;
	cr_assert_eq(host_resume(host, UUID, NULL), -ENOENT);
	cr_assert_str_eq(fake_libvirt_did(libvirt), "");
	teardown();
}
