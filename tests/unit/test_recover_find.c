// SPDX-License-Identifier: Apache-2.0
// Which guest a name means, of those that are here, have left, or came.
#include <criterion/criterion.h>
#include <criterion/parameterized.h>
#include <sys/time.h>
#include "fake_recovery.h"

TestSuite(recover_find, .timeout = 20);

#define OLDER "11111111-3f6a-4f52-9a35-0a8f6b4f6a10"
#define NEWER "22222222-3f6a-4f52-9a35-0a8f6b4f6a10"
#define DAEMON "33333333-3f6a-4f52-9a35-0a8f6b4f6a10"

enum history { NEVER, OPEN, SETTLED, OF_ANOTHER };

static void leave_record(const char *uuid, enum record_kind kind, enum history history,
			 time_t written_s)
{
	struct record r = fake_recovery_record();
	const struct timeval times[2] = {{.tv_sec = written_s}, {.tv_sec = written_s}};
	struct guest_dir dir;
	char path[128];

	if (history == NEVER)
		return;
	guest_dir_paths(&dir, uuid);
	mkdir(dir.path, 0711);
	snprintf(r.uuid, sizeof(r.uuid), "%s", uuid);
	r.settled = history == SETTLED;
	if (history == OF_ANOTHER)
		strcpy(r.daemon, DAEMON);
	cr_assert_eq(record_write(&dir, kind, &r, NULL), 0);
	snprintf(path, sizeof(path), "%s/%s", dir.path,
		 kind == RECORD_OUTGOING ? "outgoing" : "incoming");
	cr_assert_eq(utimes(path, times), 0);
}

struct row {
	enum history here, older, newer; /* the records, of those that came */
	bool libvirt;			 /* has one of that name */
	char found[37];			 /* "": several */
};

ParameterizedTestParameters(recover_find, names)
{
	static struct row rows[] = {
		/* here, older, newer, libvirt */
		{NEVER, NEVER, NEVER, true, UUID},
		{OPEN, OPEN, OPEN, true, UUID},
		{SETTLED, NEVER, OPEN, true, NEWER},
		{NEVER, OPEN, SETTLED, true, OLDER},
		{NEVER, SETTLED, SETTLED, true, UUID},
		{NEVER, OPEN, OPEN, true, ""},
		{NEVER, OPEN, SETTLED, false, OLDER},
		{NEVER, SETTLED, SETTLED, false, NEWER},
		{NEVER, OPEN, OPEN, false, ""},
		{OPEN, OPEN, NEVER, false, ""},
		{NEVER, OPEN, OF_ANOTHER, false, OLDER},
		{NEVER, SETTLED, OF_ANOTHER, false, NEWER},
		{NEVER, OF_ANOTHER, OF_ANOTHER, true, ""},
	};

	return cr_make_param_array(struct row, rows, sizeof(rows) / sizeof(*rows));
}

ParameterizedTest(struct row *row, recover_find, names)
{
	struct recover_options options = fake_recovery_options(0);
	struct errtext err = {0};
	struct host *host = NULL;
	char uuid[37] = "";
	int ret;

	fake_recovery_setup(row->libvirt ? DOMAIN_RUNNING : DOMAIN_ABSENT);
	options.domain = "web";
	leave_record(UUID, RECORD_INCOMING, row->here, 2000);
	leave_record(OLDER, RECORD_INCOMING, row->older, 1000);
	leave_record(NEWER, RECORD_INCOMING, row->newer, 3000);
	cr_assert_eq(host_open("/here", &host, &err), 0, "%s", err.text);
	ret = recover_find(&options, host, uuid, &err);
	host_close(host);
	cr_assert_eq(ret, row->found[0] ? 0 : -ENOTUNIQ, "%d: %s", ret, err.text);
	cr_assert(row->found[0] ? !strcmp(uuid, row->found) : strstr(err.text, OLDER) != NULL,
		  "%s: %s", uuid, err.text);
	fake_recovery_teardown();
}

/* Both are told, the newer one first, and nothing is done. */
Test(recover_find, several_are_listed)
{
	struct recover_options options = fake_recovery_options(0);
	struct errtext told = {0};
	const char *first, *second;

	fake_recovery_setup(DOMAIN_ABSENT);
	options.domain = "web";
	leave_record(OLDER, RECORD_OUTGOING, OPEN, 1000);
	leave_record(NEWER, RECORD_INCOMING, OPEN, 3000);
	cr_assert_eq(recover_run(&options, &told), -ENOTUNIQ);
	first = strstr(told.text, NEWER " (came to b, " SESSION ")");
	second = strstr(told.text, OLDER " (to b, " SESSION ")");
	cr_assert(first && second && first < second, "%s", told.text);
	cr_assert_eq(fake.queries + fake.links + fake.servers, 0);
	fake_recovery_teardown();
}

/* More than there is room for. */
Test(recover_find, many)
{
	struct recover_options options = fake_recovery_options(0);
	struct errtext told = {0};
	char uuid[37];

	fake_recovery_setup(DOMAIN_ABSENT);
	options.domain = "web";
	for (int i = 0; i < 40; i++) {
		snprintf(uuid, sizeof(uuid), "%08x-3f6a-4f52-9a35-0a8f6b4f6a10", i);
		leave_record(uuid, RECORD_OUTGOING, OPEN, 1000 + i * 7 % 40);
	}
	cr_assert_eq(recover_run(&options, &told), -ENOTUNIQ);
	fake_recovery_teardown();
}
