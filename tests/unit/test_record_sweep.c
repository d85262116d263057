// SPDX-License-Identifier: Apache-2.0
// Old records go, on a /run of the test's own.
#include "record_sweep.h"

#include <criterion/criterion.h>
#include <fcntl.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>
#include "own_run.h"
#include "record.h"

#define UUID "6e8a4a3c-3f6a-4f52-9a35-0a8f6b4f6a10"
#define DAY_S 86400

TestSuite(record_sweep, .timeout = 20);

static void leave(enum record_kind kind, const struct record *r, time_t age_s)
{
	const char *name = kind == RECORD_INCOMING ? "incoming" : "outgoing";
	struct timespec times[2] = {{.tv_sec = time(NULL) - age_s}, {.tv_sec = time(NULL) - age_s}};
	struct guest_dir d;
	char path[128];

	cr_assert_eq(guest_dir_open(&d, UUID, -1, -1, NULL), 0);
	cr_assert_eq(record_write(&d, kind, r, NULL), 0);
	snprintf(path, sizeof(path), "%s/%s", d.path, name);
	cr_assert_eq(utimensat(AT_FDCWD, path, times, 0), 0);
	guest_dir_close(&d);
}

static bool is_there(void)
{
	return access(GUEST_DIR_ROOT "/" UUID, F_OK) == 0;
}

static const struct row {
	const char *name;
	enum record_kind kind;
	bool resumed, never_ran, post_copy, complete;
	time_t age_s;
	bool goes;
} rows[] = {
	{"arrived", RECORD_INCOMING, .resumed = true, .age_s = 2 * DAY_S, .goes = true},
	{"arrived lately", RECORD_INCOMING, .resumed = true, .age_s = 10},
	{"never ran", RECORD_INCOMING, .never_ran = true, .age_s = 2 * DAY_S, .goes = true},
	{"nobody knows", RECORD_INCOMING, .age_s = 2 * DAY_S},
	{"lacks pages", RECORD_INCOMING, .resumed = true, .post_copy = true, .age_s = 2 * DAY_S},
	{"had all pages", RECORD_INCOMING, .resumed = true, .post_copy = true, .complete = true,
	 .age_s = 2 * DAY_S, .goes = true},
	{"left", RECORD_OUTGOING, .resumed = true, .age_s = 2 * DAY_S},
};

Test(record_sweep, what_goes)
{
	own_run();
	for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
		const struct row *row = &rows[i];
		struct record r = {.resumed = row->resumed,
				   .never_ran = row->never_ran,
				   .post_copy = row->post_copy,
				   .complete = row->complete};

		leave(row->kind, &r, row->age_s);
		record_sweep(DAY_S);
		cr_expect_eq(is_there(), !row->goes, "%s", row->name);
		unlink(GUEST_DIR_ROOT "/" UUID "/incoming");
		unlink(GUEST_DIR_ROOT "/" UUID "/outgoing");
		guest_dir_tidy(UUID);
	}
}

Test(record_sweep, one_that_is_worked_on_stays)
{
	const struct record r = {.resumed = true};
	struct guest_dir d;

	own_run();
	record_sweep(DAY_S); /* with nothing there at all */
	leave(RECORD_INCOMING, &r, 2 * DAY_S);
	cr_assert_eq(guest_dir_open(&d, UUID, -1, -1, NULL), 0);
	record_sweep(DAY_S);
	cr_expect(is_there());
	guest_dir_close(&d);
	record_sweep(DAY_S);
	cr_expect(!is_there());
}

Test(record_sweep, logs_without_a_record)
{
	static const char log[] = GUEST_DIR_MONITORS "/dray-" UUID ".monitor.log";
	const struct record r = {.resumed = true};
	struct timespec times[2] = {{.tv_sec = time(NULL) - 2 * DAY_S},
				    {.tv_sec = time(NULL) - 2 * DAY_S}};

	own_run();
	if (mount("none", GUEST_DIR_MONITORS, "tmpfs", 0, NULL) < 0)
		cr_skip_test("libvirt's directory is not there");
	cr_assert_eq(close(open(log, O_CREAT | O_WRONLY, 0600)), 0);
	record_sweep(DAY_S);
	cr_expect_eq(access(log, F_OK), 0, "it is new");
	cr_assert_eq(utimensat(AT_FDCWD, log, times, 0), 0);
	leave(RECORD_INCOMING, &r, 10);
	record_sweep(DAY_S);
	cr_expect_eq(access(log, F_OK), 0, "there is a record");
	leave(RECORD_INCOMING, &r, 2 * DAY_S);
	record_sweep(DAY_S);
	cr_expect_lt(access(log, F_OK), 0);
}
