// SPDX-License-Identifier: Apache-2.0
#include "ram_discard.h"

#include <criterion/criterion.h>
#include "fake_host.h"

#define UUID "6e8a4a3c-3f6a-4f52-9a35-0a8f6b4f6a10"

TestSuite(ram_discard, .timeout = 20);

static struct fake_libvirt *libvirt;
static struct fake_domain *web;
static struct host *host;

static void setup(void)
{
	libvirt = fake_libvirt_new("/here");
	web = fake_libvirt_add(libvirt, "web", UUID, DOMAIN_RUNNING);
	web->backends[0] = (struct fake_backend){.id = "pc.ram", .discard = true};
	web->backends[1] = (struct fake_backend){.id = "ram-node1"};
	web->backends[2] = (struct fake_backend){.id = "memdimm0", .discard = true};
	web->backends[3] = (struct fake_backend){.id = "anonymous", .no_property = true};
	cr_assert_eq(host_open("/here", &host, NULL), 0);
}

static void teardown(void)
{
	host_close(host);
	fake_libvirt_destroy(libvirt);
}

Test(ram_discard, finds_those_that_have_it_on)
{
	char ids[RAM_DISCARD_IDS_MAX];
	struct errtext err = {0};

	setup();
	cr_assert_eq(ram_discard_find(host, UUID, ids, &err), 0, "%s", err.text);
	cr_assert_str_eq(ids, "pc.ram memdimm0");
	web->backends[0].discard = web->backends[2].discard = false;
	cr_assert_eq(ram_discard_find(host, UUID, ids, NULL), 0);
	cr_assert_str_eq(ids, "");
	teardown();
}

Test(ram_discard, is_switched_off_and_on_again)
{
	setup();
	cr_assert_eq(ram_discard_set(host, UUID, "pc.ram memdimm0", false, NULL), 0);
	cr_assert_not(web->backends[0].discard || web->backends[2].discard);
	cr_assert_eq(ram_discard_set(host, UUID, "pc.ram memdimm0", true, NULL), 0);
	cr_assert(web->backends[0].discard && web->backends[2].discard);
	cr_assert_not(web->backends[1].discard);
	cr_assert_eq(ram_discard_set(host, UUID, "", false, NULL), 0);
	cr_assert(web->backends[0].discard);
	teardown();
}

Test(ram_discard, what_does_not_obey_is_named)
{
	struct errtext err = {0};

	setup();
	web->backends[2].stays = true;
	cr_assert_eq(ram_discard_set(host, UUID, "pc.ram memdimm0", false, &err), -EREMOTEIO);
	cr_assert_str_eq(err.text, "memory backend memdimm0 keeps discard-data on");
	web->backends[2] = (struct fake_backend){.id = "memdimm0", .discard = true, .fails = true};
	cr_assert_eq(ram_discard_set(host, UUID, "memdimm0", false, NULL), -EREMOTEIO);
	web->info.job = true;
	cr_assert_eq(ram_discard_set(host, UUID, "pc.ram", false, NULL), -EIO);
	teardown();
}

/* A DIMM that was unplugged has nothing to be given back; one that cannot be found does not keep
 * still either. */
Test(ram_discard, one_that_has_gone)
{
	setup();
	web->backends[2].id = NULL;
	cr_assert_eq(ram_discard_set(host, UUID, "memdimm0 pc.ram", true, NULL), 0);
	cr_assert_eq(ram_discard_set(host, UUID, "memdimm0", false, NULL), -EREMOTEIO);
	teardown();
}

Test(ram_discard, names_that_qemu_does_not_give)
{
	static const char *const names[] = {"", "a b", "a\"b", "a/b"};
	char ids[RAM_DISCARD_IDS_MAX];

	setup();
	for (unsigned int i = 0; i < sizeof(names) / sizeof(*names); i++) {
		web->backends[1].id = names[i];
		cr_expect_eq(ram_discard_find(host, UUID, ids, NULL), -EINVAL, "%s", names[i]);
	}
	teardown();
}
