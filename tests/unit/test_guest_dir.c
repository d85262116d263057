// SPDX-License-Identifier: Apache-2.0
// A guest's directory and records, on a /run of the test's own.
#include "guest_dir.h"

#include <criterion/criterion.h>
#include <criterion/parameterized.h>
#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include "own_run.h"

#define UUID "6e8a4a3c-3f6a-4f52-9a35-0a8f6b4f6a10"

TestSuite(guest_dir, .timeout = 20);

static struct guest_dir open_it(void)
{
	struct errtext err = {0};
	struct guest_dir d;

	cr_assert_eq(guest_dir_open(&d, UUID, (uid_t)-1, (gid_t)-1, &err), 0, "%s", err.text);
	cr_assert_geq(d.lock, 0);
	return d;
}

static mode_t mode_of(const char *path)
{
	struct stat st;

	cr_assert_eq(stat(path, &st), 0, "%s: %s", path, strerror(errno));
	return st.st_mode & 07777;
}

Test(guest_dir, paths_touch_nothing)
{
	struct guest_dir d;

	own_run();
	guest_dir_paths(&d, UUID);
	cr_assert_str_eq(d.path, "/run/dray/" UUID);
	cr_assert_str_eq(d.gate, "/run/dray/" UUID "/gate.sock");
	cr_assert_str_eq(d.tunnel, "/run/dray/" UUID "/tunnel.sock");
	cr_assert_str_eq(d.control, "/run/dray/" UUID "/control.sock");
	cr_assert_str_eq(d.stream, "/run/dray/" UUID "/qemu/stream.sock");
	cr_assert_str_eq(d.monitor, "/run/dray/" UUID "/qemu/monitor.sock");
	cr_assert_eq(d.lock, -1);
	cr_assert_lt(access("/run/dray", F_OK), 0);
}

Test(guest_dir, others_may_pass_but_not_look)
{
	struct errtext err = {0};
	struct guest_dir d;
	struct stat st;

	own_run();
	cr_assert_eq(guest_dir_open(&d, UUID, 1234, 4321, &err), 0, "%s", err.text);
	cr_assert_eq(mode_of("/run/dray"), 0711);
	cr_assert_eq(mode_of(d.path), 0711);
	cr_assert_eq(mode_of("/run/dray/" UUID "/qemu"), 0700);
	cr_assert_eq(mode_of("/run/dray/" UUID "/lock"), 0600);
	cr_assert_eq(stat("/run/dray/" UUID "/qemu", &st), 0);
	cr_assert_eq(st.st_uid, 1234);
	cr_assert_eq(st.st_gid, 4321);
	guest_dir_close(&d);
}

Test(guest_dir, one_dray_a_guest)
{
	struct errtext err = {0};
	struct guest_dir first, second;

	own_run();
	first = open_it();
	cr_assert_eq(guest_dir_open(&second, UUID, (uid_t)-1, (gid_t)-1, &err), -EBUSY);
	cr_assert(strstr(err.text, "another dray"), "%s", err.text);
	guest_dir_close(&second); /* holds nothing: the first keeps its lock */
	cr_assert_eq(guest_dir_open(&second, UUID, (uid_t)-1, (gid_t)-1, NULL), -EBUSY);
	guest_dir_close(&first);
	cr_assert_eq(first.lock, -1);
	second = open_it();
	guest_dir_close(&second);
}

Test(guest_dir, what_is_in_the_way_is_named)
{
	struct errtext err = {0};
	struct guest_dir d;
	FILE *f;

	own_run();
	f = fopen("/run/dray", "w");
	cr_assert_not_null(f);
	fclose(f);
	cr_assert_eq(guest_dir_open(&d, UUID, (uid_t)-1, (gid_t)-1, &err), -ENOTDIR);
	cr_assert(strstr(err.text, "/run/dray/" UUID), "%s", err.text);
}

/* ---- records ---- */

static struct record sample(void)
{
	return (struct record){
		.domain = "guest \"one\" äöü",
		.uuid = UUID,
		.host = "fe80::1%eth0",
		.port = 65535,
		.phase = "hand-over",
		.released = true,
		.running = true,
		.resumed = true,
		.qemu = 4194303,
		.qemu_started = UINT64_MAX / 4,
	};
}

static void expect_same(const struct record *a, const struct record *b)
{
	cr_assert_str_eq(a->domain, b->domain);
	cr_assert_str_eq(a->uuid, b->uuid);
	cr_assert_str_eq(a->host, b->host);
	cr_assert_str_eq(a->phase, b->phase);
	cr_assert_eq(a->port, b->port);
	cr_assert_eq(a->released, b->released);
	cr_assert_eq(a->persistent, b->persistent);
	cr_assert_eq(a->running, b->running);
	cr_assert_eq(a->defined_before, b->defined_before);
	cr_assert_eq(a->resumed, b->resumed);
	cr_assert_eq(a->qemu, b->qemu);
	cr_assert_eq(a->qemu_started, b->qemu_started);
}

Test(guest_dir, records_come_back_as_written)
{
	struct record in = sample(), out;
	struct errtext err = {0};
	struct guest_dir d;

	own_run();
	d = open_it();
	cr_assert_eq(record_read(&d, RECORD_OUTGOING, &out, &err), -ENOENT);
	cr_assert_eq(record_write(&d, RECORD_OUTGOING, &in, &err), 0, "%s", err.text);
	cr_assert_eq(record_read(&d, RECORD_INCOMING, &out, &err), -ENOENT, "the other kind");
	cr_assert_eq(record_read(&d, RECORD_OUTGOING, &out, &err), 0, "%s", err.text);
	expect_same(&in, &out);
	in = (struct record){.domain = "x", .persistent = true, .defined_before = true};
	cr_assert_eq(record_write(&d, RECORD_OUTGOING, &in, &err), 0, "%s", err.text);
	cr_assert_eq(record_read(&d, RECORD_OUTGOING, &out, &err), 0, "%s", err.text);
	expect_same(&in, &out);
	record_remove(&d, RECORD_OUTGOING);
	cr_assert_eq(record_read(&d, RECORD_OUTGOING, &out, &err), -ENOENT);
	record_remove(&d, RECORD_OUTGOING);
	guest_dir_close(&d);
}

static bool is_named(const struct record *r, const void *name)
{
	return strcmp(r->domain, name) == 0;
}

Test(guest_dir, a_record_is_found_among_all_guests)
{
	struct record in = sample(), out;
	struct guest_dir d, found;
	FILE *f;

	own_run();
	cr_assert_eq(record_find(RECORD_OUTGOING, is_named, "x", &found, &out, NULL), -ENOENT);
	d = open_it();
	cr_assert_eq(record_write(&d, RECORD_OUTGOING, &in, NULL), 0);
	cr_assert_eq(record_find(RECORD_OUTGOING, is_named, in.domain, &found, &out, NULL), 0);
	expect_same(&in, &out);
	cr_assert_str_eq(found.path, d.path);
	cr_assert_eq(found.lock, -1);
	record_destroy(&out);
	cr_assert_eq(record_find(RECORD_OUTGOING, is_named, "x", &found, &out, NULL), -ENOENT);
	cr_assert_eq(record_find(RECORD_INCOMING, is_named, in.domain, &found, &out, NULL),
		     -ENOENT);
	f = fopen("/run/dray/" UUID "/incoming", "w");
	cr_assert_not_null(f);
	fclose(f);
	cr_assert_eq(record_find(RECORD_INCOMING, is_named, in.domain, &found, &out, NULL), -EIO,
		     "an unreadable one may be the one");
	guest_dir_close(&d);
}

Test(guest_dir, records_are_replaced_and_leave_nothing_behind)
{
	struct record r = sample();
	const struct dirent *entry;
	struct guest_dir d;
	unsigned int files = 0;
	DIR *dir;

	own_run();
	d = open_it();
	for (int i = 0; i < 3; i++)
		cr_assert_eq(record_write(&d, RECORD_INCOMING, &r, NULL), 0);
	dir = opendir(d.path);
	cr_assert_not_null(dir);
	while ((entry = readdir(dir)))
		files += entry->d_name[0] != '.';
	closedir(dir);
	cr_assert_eq(files, 3, "lock, qemu, incoming");
	guest_dir_close(&d);
}

Test(guest_dir, a_record_that_cannot_be_written_is_an_error)
{
	struct record r = sample();
	struct errtext err = {0};
	struct guest_dir d;

	own_run();
	guest_dir_paths(&d, UUID);
	cr_assert_lt(record_write(&d, RECORD_OUTGOING, &r, &err), 0);
	cr_assert(strstr(err.text, "outgoing"), "%s", err.text);
}

struct text_row {
	char text[64];
	int expected;
};

ParameterizedTestParameters(guest_dir, odd_records)
{
	static struct text_row rows[] = {
		{"", -EIO},
		{"{", -EIO},
		{"{\"domain\":\"cut", -EIO},
		{"{}", 0},
		{"[]", 0},
		{"null", -EIO},
		{"{\"domain\": null, \"port\": \"x\"}", 0},
		{"{\"domain\": {\"a\": [1]}, \"released\": \"yes\"}", 0},
	};

	return cr_make_param_array(struct text_row, rows, sizeof(rows) / sizeof(rows[0]));
}

ParameterizedTest(struct text_row *row, guest_dir, odd_records)
{
	struct errtext err = {0};
	struct guest_dir d;
	struct record r;
	FILE *f;

	own_run();
	d = open_it();
	f = fopen("/run/dray/" UUID "/outgoing", "w");
	cr_assert_not_null(f);
	fputs(row->text, f);
	fclose(f);
	cr_assert_eq(record_read(&d, RECORD_OUTGOING, &r, &err), row->expected, "%s: %s", row->text,
		     err.text);
	guest_dir_close(&d);
}
