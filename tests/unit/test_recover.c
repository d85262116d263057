// SPDX-License-Identifier: Apache-2.0
// Recovery as a whole: which guest is meant, who else is at it, and which way it takes.
#include <criterion/criterion.h>
#include <criterion/parameterized.h>
#include "fake_recovery.h"
#include "process.h"

TestSuite(recover, .timeout = 20);

static int recover(const char *domain, uint32_t wait_ms, struct errtext *told)
{
	struct recover_options options = fake_recovery_options(wait_ms);

	options.domain = domain;
	*told = (struct errtext){0};
	return recover_run(&options, told);
}

Test(recover, nothing_to_do)
{
	struct errtext told;

	fake_recovery_setup(DOMAIN_RUNNING);
	cr_assert_eq(recover("web", 0, &told), 0);
	cr_assert(strstr(told.text, "no migration was broken off here"), "%s", told.text);
	fake_recovery_teardown();
}

Test(recover, nobody_knows_the_guest)
{
	struct errtext told;

	fake_recovery_setup(DOMAIN_RUNNING);
	cr_assert_eq(recover("db", 0, &told), -ENOENT);
	cr_assert(strstr(told.text, "no such domain"), "%s", told.text);
	fake_libvirt_fail(fake.libvirt, FAKE_OPEN, 1, -ECONNREFUSED);
	cr_assert_eq(recover("db", 0, &told), -ECONNREFUSED, "libvirt might know it");
	fake_recovery_teardown();
}

struct name_row {
	char name[40];
	enum domain_state state;
};

ParameterizedTestParameters(recover, names)
{
	static struct name_row rows[] = {
		{"web", DOMAIN_RUNNING}, {UUID, DOMAIN_RUNNING},
		{"web", DOMAIN_ABSENT}, /* by its record */
		{UUID, DOMAIN_ABSENT},	 {"6E8A4A3C-3F6A-4F52-9A35-0A8F6B4F6A10", DOMAIN_ABSENT},
	};

	return cr_make_param_array(struct name_row, rows, sizeof(rows) / sizeof(*rows));
}

ParameterizedTest(struct name_row *row, recover, names)
{
	struct record r = fake_recovery_record();
	struct errtext told;

	fake_recovery_setup(row->state);
	r.post_copy = false;
	fake_recovery_write(RECORD_OUTGOING, &r);
	cr_assert_eq(recover(row->name, 0, &told), 0, "%s", told.text);
	cr_assert_not(fake_recovery_has_record(RECORD_OUTGOING), "settled");
	fake_recovery_teardown();
}

/* The guard of a dray that was killed may be at it. */
Test(recover, another_dray_works_on_the_guest)
{
	struct record r = fake_recovery_record();
	struct errtext told;
	struct guest_dir other;

	fake_recovery_setup(DOMAIN_RUNNING);
	r.post_copy = false;
	fake_recovery_write(RECORD_OUTGOING, &r);
	cr_assert_eq(guest_dir_open(&other, UUID, -1, -1, NULL), 0);
	cr_assert_eq(recover("web", 1000, &told), -EBUSY);
	cr_assert_geq(fake.now_us, 1000000, "it is waited for");
	cr_assert(strstr(told.text, "another dray"), "%s", told.text);
	cr_assert(fake_recovery_has_record(RECORD_OUTGOING));
	guest_dir_close(&other);
	cr_assert_eq(recover("web", 1000, &told), 0, "%s", told.text);
	fake_recovery_teardown();
}

/* It may take for ever: what would end it is told. */
Test(recover, the_guard_serves_the_guest_that_has_left)
{
	struct record r = fake_recovery_record();
	struct errtext told;
	struct guest_dir other;

	fake_recovery_setup(DOMAIN_ABSENT);
	r.keeper = 4711;
	fake_recovery_write(RECORD_OUTGOING, &r);
	cr_assert_eq(guest_dir_open(&other, UUID, -1, -1, NULL), 0);
	cr_assert_eq(recover("web", 1000, &told), -EBUSY);
	cr_assert(strstr(told.text, "`dray receive` on b"), "%s", told.text);
	cr_assert(strstr(told.text, "process 4711"), "%s", told.text);
	guest_dir_close(&other);
	fake_recovery_teardown();
}

enum way { SETTLES, SERVES, FETCHES, WAITS_FOR_LIBVIRT };

struct way_row {
	bool outgoing, incoming; /* records */
	bool released, post_copy, complete;
	bool libvirt;
	enum way way;
};

ParameterizedTestParameters(recover, ways)
{
	static struct way_row rows[] = {
		/* outgoing, incoming; released, post-copy, complete; libvirt answers */
		{1, 0, 0, 0, 0, 1, SETTLES},
		{1, 0, 1, 0, 0, 1, SETTLES},
		{1, 0, 0, 1, 0, 1, SETTLES},
		{1, 0, 1, 1, 0, 1, SERVES},
		{1, 0, 1, 1, 0, 0, SERVES},
		{1, 0, 1, 0, 0, 0, WAITS_FOR_LIBVIRT},
		{0, 1, 1, 0, 0, 1, SETTLES},
		{0, 1, 1, 1, 0, 1, FETCHES},
		{0, 1, 1, 1, 0, 0, FETCHES},
		{0, 1, 1, 1, 1, 1, SETTLES},
		{0, 1, 0, 0, 0, 0, WAITS_FOR_LIBVIRT},
		{1, 1, 1, 1, 0, 1, SERVES},
	};

	return cr_make_param_array(struct way_row, rows, sizeof(rows) / sizeof(*rows));
}

ParameterizedTest(struct way_row *row, recover, ways)
{
	struct ram_keep_block block = {.name = "pc.ram", .size = 4096, .page_size = 4096, .fd = 9};
	struct record r = fake_recovery_record();
	struct errtext told;
	int ret;

	fake_recovery_setup(DOMAIN_RUNNING);
	r.released = row->released;
	r.post_copy = row->post_copy;
	r.complete = row->complete;
	r.ram = (struct ram_keep){.count = 1, .blocks = &block};
	if (row->outgoing)
		fake_recovery_write(RECORD_OUTGOING, &r);
	if (row->incoming)
		fake_recovery_write(RECORD_INCOMING, &r);
	fake.link_end = PAGE_LINK_COMPLETE;
	if (!row->libvirt)
		fake_libvirt_fail(fake.libvirt, FAKE_OPEN, 1, -ECONNREFUSED);
	ret = recover(UUID, 0, &told);
	cr_assert_eq(fake.links, row->way == SERVES);
	cr_assert_eq(fake.servers, row->way == FETCHES);
	cr_assert_eq(ret,
		     row->way == FETCHES	     ? -EINPROGRESS
		     : row->way == WAITS_FOR_LIBVIRT ? -ENOTCONN
						     : 0,
		     "%s", told.text);
	cr_assert(told.text[0]);
	fake_recovery_teardown();
}

/* Nobody answers: the record stays, for the next time. */
Test(recover, what_is_not_settled_is_kept)
{
	struct record r = fake_recovery_record();
	struct errtext told;

	fake_recovery_setup(DOMAIN_PAUSED_MIGRATION);
	r.post_copy = false;
	fake.answers[0] = NOBODY;
	fake_recovery_write(RECORD_OUTGOING, &r);
	cr_assert_eq(recover("web", 0, &told), -EHOSTUNREACH);
	cr_assert(fake_recovery_has_record(RECORD_OUTGOING));
	fake.answers[0] = WIRE_STATE_RUNNING;
	cr_assert_eq(recover("web", 0, &told), 0, "%s", told.text);
	cr_assert_not(fake_recovery_has_record(RECORD_OUTGOING));
	fake_recovery_teardown();
}

/* Another launcher's, on the same host: that this libvirt has no such guest is not its end. */
Test(recover, of_a_guest_of_another_libvirt)
{
	struct record r = fake_recovery_record();
	struct errtext told;

	for (enum record_kind kind = RECORD_OUTGOING; kind <= RECORD_INCOMING; kind++) {
		fake_recovery_setup(DOMAIN_ABSENT);
		r.post_copy = false;
		snprintf(r.daemon, sizeof(r.daemon), "%s", "0b2bd2ff-6b0c-4fd4-9d0a-8f2bd1d7a5a1");
		fake_recovery_write(kind, &r);
		cr_assert_eq(recover(UUID, 0, &told), -ENOTCONN, "%s", told.text);
		cr_assert(strstr(told.text, "--launcher"), "%s", told.text);
		cr_assert(fake_recovery_has_record(kind), "it is kept");
		r.daemon[0] = 0;
		fake_recovery_write(kind, &r);
		cr_assert_eq(recover(UUID, 0, &told), 0, "%s", told.text);
		fake_recovery_teardown();
	}
}

/* A launcher that was removed: its libvirt will not answer any more, and its QEMU tells enough. */
Test(recover, of_a_guest_that_ended_with_its_libvirt)
{
	struct record r = fake_recovery_record(), now;
	struct errtext told;

	for (enum record_kind kind = RECORD_OUTGOING; kind <= RECORD_INCOMING; kind++) {
		fake_recovery_setup(DOMAIN_ABSENT);
		r.post_copy = false;
		snprintf(r.daemon, sizeof(r.daemon), "%s", "0b2bd2ff-6b0c-4fd4-9d0a-8f2bd1d7a5a1");
		r.qemu = getpid();
		cr_assert_eq(process_started(r.qemu, &r.qemu_started, NULL), 0);
		fake_recovery_write(kind, &r);
		cr_assert_eq(recover(UUID, 0, &told), -ENOTCONN, "%s", told.text);
		r.qemu_started++; /* another process' number by now */
		fake_recovery_write(kind, &r);
		cr_assert_eq(recover(UUID, 0, &told), 0, "%s", told.text);
		cr_assert_eq(record_read(&fake.dir, kind, &now, NULL),
			     kind == RECORD_OUTGOING ? -ENOENT : 0);
		cr_assert(kind == RECORD_OUTGOING || now.settled);
		record_destroy(&now);
		fake_recovery_teardown();
	}
}

Test(recover, a_record_that_cannot_be_read)
{
	struct errtext told;
	char path[128];
	FILE *f;

	fake_recovery_setup(DOMAIN_PAUSED_MIGRATION);
	snprintf(path, sizeof(path), "%s/outgoing", fake.dir.path);
	f = fopen(path, "w");
	cr_assert_not_null(f);
	fclose(f);
	cr_assert_eq(recover("web", 0, &told), -EIO);
	cr_assert(strstr(told.text, path), "%s", told.text);
	cr_assert_str_eq(fake_libvirt_did(fake.libvirt), "");
	fake_recovery_teardown();
}
