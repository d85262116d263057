// SPDX-License-Identifier: Apache-2.0
// Records of migrations, on a /run of the test's own.
#include "record.h"

#include <criterion/criterion.h>
#include <criterion/parameterized.h>
#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include "own_run.h"

#define UUID "6e8a4a3c-3f6a-4f52-9a35-0a8f6b4f6a10"

TestSuite(record, .timeout = 20);

static struct guest_dir open_it(void)
{
	struct errtext err = {0};
	struct guest_dir d;

	cr_assert_eq(guest_dir_open(&d, UUID, (uid_t)-1, (gid_t)-1, &err), 0, "%s", err.text);
	cr_assert_geq(d.lock, 0);
	return d;
}

static struct record sample(void)
{
	return (struct record){
		.domain = "guest \"one\" äöü",
		.uuid = UUID,
		.host = "fe80::1%eth0",
		.port = 65535,
		.bind = "10.78.0.11",
		.congestion = "bbr",
		.silence_ms = 3000,
		.bandwidth = UINT64_MAX / 2,
		.streams = 64,
		.no_prefetch = true,
		.phase = "hand-over",
		.released = true,
		.running = true,
		.resumed = true,
		.qemu = 4194303,
		.qemu_started = UINT64_MAX / 4,
		.sockets = "/run/libvirt",
		.daemon = UUID,
	};
}

static void expect_same(const struct record *a, const struct record *b)
{
	cr_assert_str_eq(a->domain, b->domain);
	cr_assert_str_eq(a->uuid, b->uuid);
	cr_assert_str_eq(a->host, b->host);
	cr_assert_str_eq(a->phase, b->phase);
	cr_assert_eq(a->port, b->port);
	cr_assert_str_eq(a->bind, b->bind);
	cr_assert_str_eq(a->congestion, b->congestion);
	cr_assert_eq(a->silence_ms, b->silence_ms);
	cr_assert_eq(a->bandwidth, b->bandwidth);
	cr_assert_eq(a->streams, b->streams);
	cr_assert_eq(a->no_prefetch, b->no_prefetch);
	cr_assert_eq(a->released, b->released);
	cr_assert_eq(a->persistent, b->persistent);
	cr_assert_eq(a->running, b->running);
	cr_assert_eq(a->defined_before, b->defined_before);
	cr_assert_eq(a->resumed, b->resumed);
	cr_assert_eq(a->qemu, b->qemu);
	cr_assert_eq(a->qemu_started, b->qemu_started);
	cr_assert_str_eq(a->sockets, b->sockets);
	cr_assert_str_eq(a->daemon, b->daemon);
}

Test(record, records_come_back_as_written)
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

Test(record, a_record_is_found_among_all_guests)
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

Test(record, records_are_replaced_and_leave_nothing_behind)
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

Test(record, a_record_that_cannot_be_written_is_an_error)
{
	struct record r = sample();
	struct errtext err = {0};
	struct guest_dir d;

	own_run();
	guest_dir_paths(&d, UUID);
	cr_assert_lt(record_write(&d, RECORD_OUTGOING, &r, &err), 0);
	cr_assert(strstr(err.text, "outgoing"), "%s", err.text);
}

static void put_file(const char *text)
{
	FILE *f = fopen("/run/dray/" UUID "/outgoing", "w");

	cr_assert_not_null(f);
	fputs(text, f);
	fclose(f);
}

/* As dray wrote it before it kept how the destination is reached. */
Test(record, one_of_an_older_dray)
{
	struct errtext err = {0};
	struct guest_dir d;
	struct record r;

	own_run();
	d = open_it();
	put_file("{\"domain\":\"web\",\"uuid\":\"" UUID "\",\"host\":\"10.78.0.2\","
		 "\"port\":7470,\"bind\":\"\",\"phase\":\"hand-over\",\"released\":true,"
		 "\"persistent\":true,\"running\":true,\"defined_before\":false,"
		 "\"resumed\":false,\"session\":\"00112233445566778899aabbccddeeff\","
		 "\"post_copy\":true,\"complete\":false,\"prove\":false,\"keeper\":4711,"
		 "\"ram\":[],\"never_ran\":false,\"qemu\":0,\"qemu_started\":0}");
	cr_assert_eq(record_read(&d, RECORD_OUTGOING, &r, &err), 0, "%s", err.text);
	cr_assert(r.released && r.post_copy && r.keeper == 4711);
	cr_assert_eq(r.bandwidth, 0, "without a cap");
	cr_assert_str_eq(r.congestion, "cubic");
	cr_assert_eq(r.silence_ms, 10000);
	cr_assert_eq(r.streams, 2);
	cr_assert_not(r.no_prefetch);
	record_destroy(&r);
	guest_dir_close(&d);
}

Test(record, session_numbers)
{
	uint8_t session[WIRE_SESSION_SIZE], back[WIRE_SESSION_SIZE];
	struct record r = {0};

	record_session_bytes(&r, back);
	for (unsigned int i = 0; i < WIRE_SESSION_SIZE; i++) {
		cr_assert_eq(back[i], 0);
		session[i] = (uint8_t)(17 * i + 3);
	}
	record_session(session, r.session);
	cr_assert_eq(strlen(r.session), 2 * WIRE_SESSION_SIZE);
	record_session_bytes(&r, back);
	cr_assert_eq(memcmp(session, back, sizeof(session)), 0);
}

struct text_row {
	char text[64];
	int expected;
};

ParameterizedTestParameters(record, odd_records)
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

ParameterizedTest(struct text_row *row, record, odd_records)
{
	struct errtext err = {0};
	struct guest_dir d;
	struct record r;

	own_run();
	d = open_it();
	put_file(row->text);
	cr_assert_eq(record_read(&d, RECORD_OUTGOING, &r, &err), row->expected, "%s: %s", row->text,
		     err.text);
	guest_dir_close(&d);
}

/* ---- what QEMU's log tells ---- */

#define GREETING "{\"QMP\": {}}\r\n{\"return\": {}}\r\n"

struct judge_row {
	const char *log; /* NULL: there is none */
	bool released, ended;
	bool resumed, never_ran; /* as judged */
};

/* A log that is not whole denies nothing: only that it was not released tells then. */
Test(record, is_judged_by_qemus_log)
{
	static const struct judge_row rows[] = {
		{GREETING, .released = true, .ended = true, .never_ran = true},
		{GREETING, .released = true},
		{GREETING "{\"event\": \"RESUME\"}\r\n", .released = true, .resumed = true},
		{"", .released = true, .ended = true},
		{"{\"QMP\": {}}\r\n", .released = true, .ended = true},
		{"{\"QMP\": {}}\r\n", .ended = true, .never_ran = true},
		{"{\"QMP\": {}}\r\n"},
		{NULL, .released = true, .ended = true},
		{NULL, .ended = true},
	};
	struct guest_dir d = {.monitor = "/run/monitor"};

	own_run();
	for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
		const struct judge_row *row = &rows[i];
		struct record r = {.released = row->released};
		FILE *f = row->log ? fopen("/run/monitor.log", "w") : NULL;

		if (f) {
			fputs(row->log, f);
			fclose(f);
		} else {
			remove("/run/monitor.log");
		}
		record_judge(&d, &r, row->ended);
		cr_expect_eq(r.resumed, row->resumed, "%zu", i);
		cr_expect_eq(r.never_ran, row->never_ran, "%zu", i);
	}
}
