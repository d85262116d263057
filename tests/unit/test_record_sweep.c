// SPDX-License-Identifier: Apache-2.0
// Old records go, on a /run of the test's own.
#include "record_sweep.h"

#include <criterion/criterion.h>
#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>
#include "own_run.h"
#include "process.h"
#include "record.h"

#define UUID "6e8a4a3c-3f6a-4f52-9a35-0a8f6b4f6a10"
#define DAY_S 86400

static const struct record_ages a_day = {DAY_S, 3600, 4};

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
	bool released, resumed, never_ran, post_copy, complete;
	pid_t qemu;
	time_t age_s;
	bool goes;
} rows[] = {
	{"arrived", RECORD_INCOMING, .released = true, .resumed = true, .age_s = 2 * DAY_S,
	 .goes = true},
	{"arrived lately", RECORD_INCOMING, .resumed = true, .age_s = 10},
	{"never ran", RECORD_INCOMING, .never_ran = true, .age_s = 2 * DAY_S, .goes = true},
	{"nobody knows", RECORD_INCOMING, .released = true, .age_s = 2 * DAY_S},
	{"never released", RECORD_INCOMING, .age_s = 2 * 3600, .goes = true},
	{"never released, lately", RECORD_INCOMING, .age_s = 1800},
	{"never released, and its QEMU is there", RECORD_INCOMING, .qemu = -1, .age_s = 2 * DAY_S},
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
		struct record r = {.released = row->released,
				   .resumed = row->resumed,
				   .never_ran = row->never_ran,
				   .post_copy = row->post_copy,
				   .complete = row->complete};

		if (row->qemu) {
			r.qemu = getpid();
			cr_assert_eq(process_started(r.qemu, &r.qemu_started, NULL), 0);
		}
		leave(row->kind, &r, row->age_s);
		record_sweep(&a_day);
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
	record_sweep(&a_day); /* with nothing there at all */
	leave(RECORD_INCOMING, &r, 2 * DAY_S);
	cr_assert_eq(guest_dir_open(&d, UUID, -1, -1, NULL), 0);
	record_sweep(&a_day);
	cr_expect(is_there());
	guest_dir_close(&d);
	record_sweep(&a_day);
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
	record_sweep(&a_day);
	cr_expect_eq(access(log, F_OK), 0, "it is new");
	cr_assert_eq(utimensat(AT_FDCWD, log, times, 0), 0);
	leave(RECORD_INCOMING, &r, 10);
	record_sweep(&a_day);
	cr_expect_eq(access(log, F_OK), 0, "there is a record");
	leave(RECORD_INCOMING, &r, 2 * DAY_S);
	record_sweep(&a_day);
	cr_expect_lt(access(log, F_OK), 0);
}

static void leave_another(unsigned int number, time_t age_s)
{
	struct timespec times[2] = {{.tv_sec = time(NULL) - age_s}, {.tv_sec = time(NULL) - age_s}};
	const struct record r = {0};
	struct guest_dir d;
	char uuid[37], path[128];

	snprintf(uuid, sizeof(uuid), "%08x%s", number, UUID + 8);
	cr_assert_eq(guest_dir_open(&d, uuid, -1, -1, NULL), 0);
	cr_assert_eq(record_write(&d, RECORD_INCOMING, &r, NULL), 0);
	snprintf(path, sizeof(path), "%s/incoming", d.path);
	cr_assert_eq(utimensat(AT_FDCWD, path, times, 0), 0);
	guest_dir_close(&d);
}

static unsigned int count(void)
{
	DIR *dir = opendir(GUEST_DIR_ROOT);
	unsigned int n = 0;

	cr_assert_not_null(dir);
	for (const struct dirent *e = readdir(dir); e; e = readdir(dir))
		n += e->d_name[0] != '.';
	closedir(dir);
	return n;
}

/* A peer may begin as many migrations as it likes, one after the other. */
Test(record_sweep, many_that_were_never_released_become_less_old)
{
	const struct record arrived = {.released = true, .resumed = true};

	own_run();
	leave(RECORD_INCOMING, &arrived, 1800);
	for (unsigned int i = 1; i <= 20; i++)
		leave_another(i, i <= 10 ? 1000 : 10);
	record_sweep(&a_day);
	cr_expect_eq(count(), 11, "those of the last minute stay: %u", count());
	cr_expect(is_there(), "it came");
}
