// SPDX-License-Identifier: Apache-2.0
// Whether QEMU waits for an acknowledgement: by what it knows, and what its machine type sets.
#include "switchover_ack.h"

#include <criterion/criterion.h>
#include <criterion/parameterized.h>
#include "fake_host.h"

#define UUID "6e8a4a3c-3f6a-4f52-9a35-0a8f6b4f6a10"

TestSuite(switchover_ack, .timeout = 20);

struct row {
	char what[48];
	bool knows_capability, knows_legacy, set_off;
	char type[24];
	bool set, unlisted;
	int ret;
	bool awaited;
};

ParameterizedTestParameters(switchover_ack, is_awaited)
{
	static struct row rows[] = {
		{.what = "QEMU 7.2", .type = "pc-i440fx-7.2"},
		{.what = "QEMU 10.0",
		 .knows_capability = true,
		 .type = "pc-i440fx-10.0",
		 .awaited = true},
		{.what = "QEMU 10.0, older type",
		 .knows_capability = true,
		 .type = "pc-q35-7.2",
		 .awaited = true},
		{.what = "QEMU 11.1",
		 .knows_capability = true,
		 .knows_legacy = true,
		 .type = "pc-q35-11.1"},
		{.what = "QEMU 11.1, older type",
		 .knows_capability = true,
		 .knows_legacy = true,
		 .type = "pc-i440fx-10.0",
		 .set = true,
		 .awaited = true},
		{.what = "QEMU 11.1, a type that says no",
		 .knows_capability = true,
		 .knows_legacy = true,
		 .type = "pc-i440fx-10.0",
		 .set = true,
		 .set_off = true},
		{.what = "a type that QEMU does not list",
		 .knows_capability = true,
		 .knows_legacy = true,
		 .type = "pc-i440fx-own",
		 .unlisted = true,
		 .ret = -ENOENT},
	};

	return cr_make_param_array(struct row, rows, sizeof(rows) / sizeof(*rows));
}

ParameterizedTest(struct row *row, switchover_ack, is_awaited)
{
	struct fake_libvirt *libvirt = fake_libvirt_new("/here");
	struct fake_domain *web = fake_libvirt_add(libvirt, "web", UUID, DOMAIN_RUNNING);
	struct errtext err = {0};
	struct host *host;
	bool awaited = !row->awaited;

	web->switchover_ack = row->knows_capability;
	web->machine = (struct fake_machine){.type = row->type,
					     .knows_legacy = row->knows_legacy,
					     .legacy = row->set_off ? "off"
						       : row->set   ? "on"
								    : NULL,
					     .unlisted = row->unlisted};
	cr_assert_eq(host_open("/here", &host, NULL), 0);
	cr_expect_eq(switchover_ack_is_awaited(host, UUID, &awaited, &err), row->ret, "%s: %s",
		     row->what, err.text);
	cr_expect_eq(awaited, row->awaited, "%s", row->what);
	cr_expect_eq(err.text[0] != 0, row->ret < 0);
	host_close(host);
	fake_libvirt_destroy(libvirt);
}

Test(switchover_ack, a_monitor_that_does_not_answer_is_an_error)
{
	struct fake_libvirt *libvirt = fake_libvirt_new("/here");
	struct fake_domain *web = fake_libvirt_add(libvirt, "web", UUID, DOMAIN_RUNNING);
	struct host *host;
	bool awaited;

	web->switchover_ack = true;
	web->machine = (struct fake_machine){
		.type = "pc-i440fx-10.0", .knows_legacy = true, .legacy = "on"};
	cr_assert_eq(host_open("/here", &host, NULL), 0);
	for (unsigned int call = 1; call <= 3; call++) {
		fake_libvirt_fail(libvirt, FAKE_MONITOR, call, -EIO);
		cr_expect_eq(switchover_ack_is_awaited(host, UUID, &awaited, NULL), -EIO);
		cr_expect_not(awaited);
		fake_libvirt_heal(libvirt);
	}
	host_close(host);
	fake_libvirt_destroy(libvirt);
}
