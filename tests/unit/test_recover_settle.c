// SPDX-License-Identifier: Apache-2.0
// What libvirt has here, what the other host answers, and what then becomes of the guest: the table
// in recover_settle.c, a row each.
#include <criterion/criterion.h>
#include <criterion/parameterized.h>
#include "fake_recovery.h"

TestSuite(recover_settle, .timeout = 20);

/* ---- the source ---- */

enum { KEPT, RELEASED };

struct departure_row {
	enum domain_state state;
	bool released, transient, was_paused;
	enum wire_state answers[4];
	int ret;
	bool elsewhere;
	char did[64], text[64]; /* part of what is told */
};

ParameterizedTestParameters(recover_settle, departures)
{
	static struct departure_row rows[] = {
		/* running: asked once if it was handed over, as somebody may have resumed it */
		{DOMAIN_RUNNING,
		 KEPT,
		 0,
		 0,
		 {NOBODY},
		 0,
		 false,
		 "ignore_shared=off web",
		 "runs here, as before"},
		{DOMAIN_RUNNING,
		 RELEASED,
		 0,
		 0,
		 {NOBODY},
		 0,
		 false,
		 "ignore_shared=off web",
		 "runs here, as before"},
		{DOMAIN_RUNNING,
		 RELEASED,
		 0,
		 0,
		 {WIRE_STATE_ABSENT},
		 0,
		 false,
		 "ignore_shared=off web",
		 "runs here, as before"},
		{DOMAIN_RUNNING,
		 RELEASED,
		 0,
		 0,
		 {WIRE_STATE_RUNNING},
		 -EEXIST,
		 false,
		 "",
		 "lives there, and it runs here as well"},
		{DOMAIN_RUNNING,
		 RELEASED,
		 0,
		 0,
		 {WIRE_STATE_ENDED},
		 0,
		 false,
		 "ignore_shared=off web",
		 "has ended there"},
		/* paused by a migration: it never left */
		{DOMAIN_PAUSED_MIGRATION,
		 KEPT,
		 0,
		 0,
		 {NOBODY},
		 0,
		 false,
		 "resume web; ignore_shared=off web",
		 "never ran on b: it runs here again"},
		{DOMAIN_PAUSED_MIGRATION,
		 KEPT,
		 0,
		 .was_paused = true,
		 {NOBODY},
		 0,
		 false,
		 "ignore_shared=off web",
		 "never ran on b"},
		/* ... it runs there */
		{DOMAIN_PAUSED_MIGRATION,
		 RELEASED,
		 0,
		 0,
		 {WIRE_STATE_RUNNING},
		 0,
		 true,
		 "destroy web; undefine web",
		 "web runs on b: the paused one here was removed"},
		{DOMAIN_PAUSED_MIGRATION,
		 RELEASED,
		 .transient = true,
		 0,
		 {WIRE_STATE_RUNNING},
		 0,
		 true,
		 "destroy web",
		 "was removed"},
		/* ... it ran there, and has ended */
		{DOMAIN_PAUSED_MIGRATION,
		 RELEASED,
		 0,
		 0,
		 {WIRE_STATE_ENDED},
		 0,
		 false,
		 "destroy web; undefine web",
		 "ran, and has ended, on b"},
		/* ... it is incoming there: wait; then as what it becomes */
		{DOMAIN_PAUSED_MIGRATION,
		 RELEASED,
		 0,
		 0,
		 {WIRE_STATE_INCOMING, WIRE_STATE_RUNNING},
		 0,
		 true,
		 "destroy web; undefine web",
		 "runs on b"},
		{DOMAIN_PAUSED_MIGRATION,
		 RELEASED,
		 0,
		 0,
		 {WIRE_STATE_INCOMING, WIRE_STATE_ABSENT},
		 0,
		 false,
		 "resume web; ignore_shared=off web",
		 "never ran on b"},
		{DOMAIN_PAUSED_MIGRATION,
		 RELEASED,
		 0,
		 0,
		 {WIRE_STATE_INCOMING},
		 -EBUSY,
		 false,
		 "",
		 "neither starts the guest nor gives it up"},
		/* ... it is absent there */
		{DOMAIN_PAUSED_MIGRATION,
		 RELEASED,
		 0,
		 0,
		 {WIRE_STATE_ABSENT},
		 0,
		 false,
		 "resume web; ignore_shared=off web",
		 "never ran on b: it runs here again"},
		{DOMAIN_PAUSED_MIGRATION,
		 RELEASED,
		 0,
		 .was_paused = true,
		 {WIRE_STATE_ABSENT},
		 0,
		 false,
		 "ignore_shared=off web",
		 "never ran on b"},
		/* ... no answer: leave all */
		{DOMAIN_PAUSED_MIGRATION,
		 RELEASED,
		 0,
		 0,
		 {NOBODY},
		 -EHOSTUNREACH,
		 false,
		 "",
		 "nobody listens there"},
		/* paused by its user: the same, if it was handed over */
		{DOMAIN_PAUSED_USER,
		 KEPT,
		 0,
		 .was_paused = true,
		 {NOBODY},
		 0,
		 false,
		 "ignore_shared=off web",
		 "runs here, as before"},
		{DOMAIN_PAUSED_USER,
		 RELEASED,
		 0,
		 .was_paused = true,
		 {WIRE_STATE_RUNNING},
		 0,
		 true,
		 "destroy web; undefine web",
		 "was removed"},
		{DOMAIN_PAUSED_USER,
		 RELEASED,
		 0,
		 .was_paused = true,
		 {WIRE_STATE_ABSENT},
		 0,
		 false,
		 "ignore_shared=off web",
		 "never ran on b"},
		{DOMAIN_PAUSED_USER,
		 RELEASED,
		 0,
		 .was_paused = true,
		 {NOBODY},
		 -EHOSTUNREACH,
		 false,
		 "",
		 "nobody listens"},
		/* absent, or shut off: not asked */
		{DOMAIN_ABSENT, KEPT, 0, 0, {NOBODY}, 0, true, "", "has left this host"},
		{DOMAIN_ABSENT, RELEASED, 0, 0, {NOBODY}, 0, true, "", "has left this host"},
		{DOMAIN_SHUT_OFF, KEPT, 0, 0, {NOBODY}, 0, true, "", "has left this host"},
		{DOMAIN_SHUT_OFF, RELEASED, 0, 0, {NOBODY}, 0, true, "", "has left this host"},
		/* in another's migration: leave all, without asking */
		{DOMAIN_INCOMING,
		 KEPT,
		 0,
		 0,
		 {WIRE_STATE_ABSENT},
		 -EBUSY,
		 false,
		 "",
		 "nothing was changed"},
		{DOMAIN_INCOMING,
		 RELEASED,
		 0,
		 0,
		 {WIRE_STATE_RUNNING},
		 -EBUSY,
		 false,
		 "",
		 "nothing was changed"},
		{DOMAIN_PAUSED_POSTCOPY,
		 KEPT,
		 0,
		 0,
		 {WIRE_STATE_ABSENT},
		 -EBUSY,
		 false,
		 "",
		 "nothing was changed"},
		{DOMAIN_PAUSED_POSTCOPY,
		 RELEASED,
		 0,
		 0,
		 {WIRE_STATE_RUNNING},
		 -EBUSY,
		 false,
		 "",
		 "nothing was changed"},
	};

	return cr_make_param_array(struct departure_row, rows, sizeof(rows) / sizeof(*rows));
}

static int depart(const struct record *r, bool *elsewhere, struct errtext *told)
{
	const struct recover_options options = fake_recovery_options(60);
	struct host *host = NULL;
	int ret;

	cr_assert_eq(host_open("/here", &host, NULL), 0);
	ret = recover_settle_departure(&options, host, r, elsewhere, told);
	host_close(host);
	return ret;
}

static bool is_asked(const struct departure_row *row)
{
	return row->released && (row->state == DOMAIN_PAUSED_MIGRATION ||
				 row->state == DOMAIN_PAUSED_USER || row->state == DOMAIN_RUNNING);
}

ParameterizedTest(struct departure_row *row, recover_settle, departures)
{
	struct record r = fake_recovery_record();
	struct errtext told = {0};
	bool elsewhere = false;

	fake_recovery_setup(row->state);
	memcpy(fake.answers, row->answers, sizeof(fake.answers));
	fake.web->ignore_shared = true;
	fake.web->info.persistent = !row->transient;
	r.released = row->released;
	r.persistent = !row->transient;
	r.running = !row->was_paused;
	cr_assert_eq(depart(&r, &elsewhere, &told), row->ret, "%s", told.text);
	if (row->ret == 0)
		cr_assert_eq(elsewhere, row->elsewhere);
	cr_assert_str_eq(fake_libvirt_did(fake.libvirt), row->did);
	cr_assert(strstr(told.text, row->text), "%s", told.text);
	cr_assert_eq(fake.queries > 0, is_asked(row));
	fake_recovery_teardown();
}

Test(recover_settle, the_destination_is_reached_as_the_migration_was)
{
	struct record r = fake_recovery_record();
	uint8_t session[WIRE_SESSION_SIZE];
	struct errtext told = {0};
	bool elsewhere;

	fake_recovery_setup(DOMAIN_PAUSED_MIGRATION);
	fake.answers[0] = WIRE_STATE_RUNNING;
	cr_assert_eq(depart(&r, &elsewhere, &told), 0, "%s", told.text);
	cr_assert_str_eq(fake.asked.host, "b");
	cr_assert_eq(fake.asked.port, 7470);
	cr_assert_str_eq(fake.asked.socket.bind, "10.78.0.11");
	cr_assert_str_eq(fake.asked.socket.congestion, "bbr");
	cr_assert_eq(fake.asked.socket.user_timeout_ms, 6000);
	record_session_bytes(&r, session);
	cr_assert_eq(memcmp(fake.asked.session, session, sizeof(session)), 0);
	fake_recovery_teardown();
}

Test(recover_settle, a_state_that_passes_is_waited_for)
{
	struct record r = fake_recovery_record();
	struct errtext told = {0};
	bool elsewhere = true;

	fake_recovery_setup(DOMAIN_INCOMING);
	fake.web->info.job = true;
	fake_domain_then(fake.web, 2, DOMAIN_INCOMING); /* the job has ended */
	fake_domain_then(fake.web, 3, DOMAIN_RUNNING);
	cr_assert_eq(depart(&r, &elsewhere, &told), 0, "%s", told.text);
	cr_assert_not(elsewhere);
	fake_recovery_teardown();
}

struct failure_row {
	enum domain_state state;
	enum wire_state answer;
	enum fake_call call;
	char did[64];
};

/* Whatever libvirt cannot do is told, and what comes after it is left. */
ParameterizedTestParameters(recover_settle, failures)
{
	static struct failure_row rows[] = {
		{DOMAIN_PAUSED_MIGRATION, WIRE_STATE_RUNNING, FAKE_STATE, ""},
		{DOMAIN_PAUSED_MIGRATION, WIRE_STATE_RUNNING, FAKE_DESTROY, ""},
		{DOMAIN_PAUSED_MIGRATION, WIRE_STATE_RUNNING, FAKE_UNDEFINE, "destroy web"},
		{DOMAIN_PAUSED_MIGRATION, WIRE_STATE_ABSENT, FAKE_RESUME, ""},
		{DOMAIN_PAUSED_MIGRATION, WIRE_STATE_ABSENT, FAKE_GET_IGNORE_SHARED, "resume web"},
		{DOMAIN_PAUSED_MIGRATION, WIRE_STATE_ABSENT, FAKE_SET_IGNORE_SHARED, "resume web"},
		{DOMAIN_RUNNING, NOBODY, FAKE_GET_IGNORE_SHARED, ""},
	};

	return cr_make_param_array(struct failure_row, rows, sizeof(rows) / sizeof(*rows));
}

ParameterizedTest(struct failure_row *row, recover_settle, failures)
{
	struct record r = fake_recovery_record();
	struct errtext told = {0};
	bool elsewhere;

	fake_recovery_setup(row->state);
	fake.web->ignore_shared = true;
	fake.answers[0] = row->answer;
	fake_libvirt_fail(fake.libvirt, row->call, 1, -EIO);
	cr_assert_eq(depart(&r, &elsewhere, &told), -EIO, "%s", told.text);
	cr_assert(told.text[0]);
	cr_assert_str_eq(fake_libvirt_did(fake.libvirt), row->did);
	fake_recovery_teardown();
}

/* The guest was started by hand on both hosts: neither is touched. */
Test(recover_settle, it_runs_on_both_hosts_by_the_time_it_is_to_be_removed)
{
	struct record r = fake_recovery_record();
	struct errtext told = {0};
	bool elsewhere;

	fake_recovery_setup(DOMAIN_PAUSED_MIGRATION);
	fake.answers[0] = WIRE_STATE_RUNNING;
	fake_domain_then(fake.web, 2, DOMAIN_RUNNING);
	cr_assert_eq(depart(&r, &elsewhere, &told), -EEXIST);
	cr_assert(strstr(told.text, "runs on both hosts"), "%s", told.text);
	cr_assert_str_eq(fake_libvirt_did(fake.libvirt), "");
	fake_recovery_teardown();
}

/* ---- the destination ---- */

struct arrival_row {
	enum domain_state state;
	int ret;
	bool resumed; /* noted */
	char did[64], text[64];
	bool released, nobody_listens, defined_before;
};

/* What was never released cannot run: libvirt, whose client has gone, is helped to its end. */
ParameterizedTestParameters(recover_settle, arrivals)
{
	static struct arrival_row rows[] = {
		{DOMAIN_ABSENT, 0, false, "", "is not here, and never ran here"},
		/* libvirt stores the definition before the guest has come */
		{DOMAIN_SHUT_OFF, 0, false, "undefine web", "is not here, and never ran here"},
		{DOMAIN_SHUT_OFF, 0, false, "", "is not here", .defined_before = true},
		{DOMAIN_SHUT_OFF, 0, false, "", "is not here", .released = true},
		{DOMAIN_ABSENT, 0, false, "", "is not here", .released = true},
		{DOMAIN_RUNNING, 0, true, "ignore_shared=off web", "has arrived and lives here"},
		{DOMAIN_PAUSED_USER, 0, true, "ignore_shared=off web", "lives here"},
		{DOMAIN_PAUSED_POSTCOPY, 0, true, "ignore_shared=off web", "lives here"},
		{DOMAIN_PAUSED_MIGRATION, -EBUSY, false, "", "neither lets it run nor ends it",
		 .released = true},
		{DOMAIN_INCOMING, -EBUSY, false, "", "neither lets it run nor ends it",
		 .released = true},
		{DOMAIN_INCOMING, 0, false, "kill web", "is not here, and never ran here"},
		{DOMAIN_PAUSED_MIGRATION, 0, false, "kill web", "is not here"},
		{DOMAIN_INCOMING, -EBUSY, false, "", "neither lets it run nor ends it",
		 .nobody_listens = true},
	};

	return cr_make_param_array(struct arrival_row, rows, sizeof(rows) / sizeof(*rows));
}

static int arrive(struct record *r, struct errtext *told)
{
	const struct recover_options options = fake_recovery_options(60);
	struct host *host = NULL;
	int ret;

	cr_assert_eq(host_open("/here", &host, NULL), 0);
	ret = recover_settle_arrival(&options, host, &fake.dir, r, told);
	host_close(host);
	return ret;
}

static bool was_noted(void)
{
	struct record r;
	bool resumed;

	cr_assert_eq(record_read(&fake.dir, RECORD_INCOMING, &r, NULL), 0);
	resumed = r.resumed;
	record_destroy(&r);
	return resumed;
}

ParameterizedTest(struct arrival_row *row, recover_settle, arrivals)
{
	struct record r = {.domain = "web",
			   .uuid = UUID,
			   .running = true,
			   .released = row->released,
			   .defined_before = row->defined_before};
	struct errtext told = {0};

	fake_recovery_setup(row->state);
	fake.nobody_listens = row->nobody_listens;
	fake.web->info.persistent = row->state == DOMAIN_SHUT_OFF;
	fake.web->ignore_shared = true;
	fake_recovery_write(RECORD_INCOMING, &r);
	cr_assert_eq(arrive(&r, &told), row->ret, "%s", told.text);
	cr_assert(strstr(told.text, row->text), "%s", told.text);
	cr_assert_str_eq(fake_libvirt_did(fake.libvirt), row->did);
	cr_assert_eq(was_noted(), row->resumed);
	cr_assert_eq(fake.quieted, row->resumed);
	fake_recovery_teardown();
}

/* libvirt ends the guest's QEMU, or lets it run, when it is done with the migration. */
Test(recover_settle, a_guest_on_its_way_is_waited_for)
{
	struct record r = {.domain = "web", .uuid = UUID, .running = true};
	struct errtext told = {0};

	fake_recovery_setup(DOMAIN_INCOMING);
	fake_recovery_write(RECORD_INCOMING, &r);
	fake_domain_then(fake.web, 2, DOMAIN_PAUSED_MIGRATION);
	fake_domain_then(fake.web, 3, DOMAIN_RUNNING);
	cr_assert_eq(arrive(&r, &told), 0, "%s", told.text);
	cr_assert(was_noted());
	fake_recovery_teardown();
}

/* It runs, so the source's must not; but what was not tidied up must be tried again. */
Test(recover_settle, an_arrived_guest_that_cannot_be_tidied_up)
{
	struct record r = {.domain = "web", .uuid = UUID, .running = true};
	struct errtext told = {0};

	fake_recovery_setup(DOMAIN_RUNNING);
	fake_recovery_write(RECORD_INCOMING, &r);
	fake_libvirt_fail(fake.libvirt, FAKE_GET_IGNORE_SHARED, 1, -EIO);
	cr_assert_eq(arrive(&r, &told), -EIO);
	cr_assert_eq(arrive(&r, &told), 0);
	cr_assert(was_noted());
	fake_recovery_teardown();
}
