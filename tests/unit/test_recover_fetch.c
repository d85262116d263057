// SPDX-License-Identifier: Apache-2.0
// The destination in post-copy after a crash: a receiver first, then we are one.
#include <criterion/criterion.h>
#include <criterion/parameterized.h>
#include "fake_recovery.h"

TestSuite(recover_fetch, .timeout = 20);

static struct record sample(void)
{
	return (struct record){.domain = "web",
			       .uuid = UUID,
			       .host = "10.78.0.2",
			       .port = 7471,
			       .session = SESSION,
			       .released = true,
			       .running = true,
			       .post_copy = true};
}

static void complete_it(void)
{
	struct record r = sample();

	r.resumed = r.complete = true;
	fake_recovery_write(RECORD_INCOMING, &r);
}

static void complete_at_the_second_pause(void)
{
	if (fake.pauses == 2)
		complete_it();
}

/* With the guest's lock, as recover_run has it. */
static int fetch(struct record *r, bool with_libvirt, struct errtext *told)
{
	const struct recover_options options = fake_recovery_options(200);
	struct guest_dir dir;
	struct host *host = NULL;
	int ret;

	fake_recovery_write(RECORD_INCOMING, r);
	cr_assert_eq(guest_dir_open(&dir, UUID, -1, -1, NULL), 0);
	if (with_libvirt)
		cr_assert_eq(host_open("/here", &host, NULL), 0);
	ret = recover_fetch(&options, host, &dir, r, told);
	cr_assert_eq(dir.lock, -1, "whoever fetches takes it");
	guest_dir_close(&dir);
	host_close(host);
	return ret;
}

Test(recover_fetch, a_receiver_that_was_started_again_does_it)
{
	struct record r = sample();
	struct errtext told = {0};

	fake_recovery_setup(DOMAIN_RUNNING);
	fake.on_pause = complete_at_the_second_pause;
	cr_assert_eq(fetch(&r, true, &told), 0, "%s", told.text);
	cr_assert(strstr(told.text, "all of its memory has come"), "%s", told.text);
	cr_assert_eq(fake.servers, 0);
	fake_recovery_teardown();
}

Test(recover_fetch, nobody_does_so_we_do)
{
	struct record r = sample();
	struct errtext told = {0};

	fake_recovery_setup(DOMAIN_RUNNING);
	fake.on_server = complete_it;
	cr_assert_eq(fetch(&r, true, &told), 0, "%s", told.text);
	cr_assert_eq(fake.servers, 1);
	cr_assert_geq(fake.now_us, 3000000, "not before a supervisor could have started one");
	cr_assert_eq(fake.server.port, 7471);
	cr_assert_str_eq(fake.server.socket.bind, "10.78.0.2");
	cr_assert_str_eq(fake.server_session, SESSION);
	cr_assert(fake.server.once && fake.server.stop_fd == -1);
	fake_recovery_teardown();
}

/* A launcher that was removed, and the guest's libvirt with it. */
Test(recover_fetch, its_launcher_has_vanished)
{
	struct record r = sample();
	struct errtext told = {0};

	fake_recovery_setup(DOMAIN_RUNNING);
	strcpy(r.daemon, UUID);
	r.qemu = getpid();
	r.qemu_started = 1; /* another process's */
	cr_assert_eq(fetch(&r, false, &told), 0, "%s", told.text);
	cr_assert(strstr(told.text, "has ended, before all of its memory"), "%s", told.text);
	cr_assert_eq(fake.servers, 0);
	fake_recovery_teardown();
}

static void take_the_port(void)
{
	fake.on_pause = complete_at_the_second_pause;
	fake.pauses = 0;
}

Test(recover_fetch, who_has_the_port_may_be_a_receiver)
{
	struct record r = sample();
	struct errtext told = {0};

	fake_recovery_setup(DOMAIN_RUNNING);
	fake.server_ret = -EADDRINUSE;
	fake.on_server = take_the_port;
	cr_assert_eq(fetch(&r, true, &told), 0, "%s", told.text);
	fake_recovery_teardown();
}

struct open_row {
	int server_ret;
	char why[32];
};

ParameterizedTestParameters(recover_fetch, open_ends)
{
	static struct open_row rows[] = {
		{-EADDRINUSE, "the port is taken"}, {-EIO, "the port is taken"}, {2, "went away"}};

	return cr_make_param_array(struct open_row, rows, sizeof(rows) / sizeof(*rows));
}

ParameterizedTest(struct open_row *row, recover_fetch, open_ends)
{
	struct record r = sample();
	struct errtext told = {0};

	fake_recovery_setup(DOMAIN_RUNNING);
	fake.server_ret = row->server_ret;
	cr_assert_eq(fetch(&r, true, &told), -EINPROGRESS);
	cr_assert(strstr(told.text, row->why), "%s", told.text);
	cr_assert(strstr(told.text, "carries on"), "%s", told.text);
	fake_recovery_teardown();
}

Test(recover_fetch, a_guest_that_has_ended_before)
{
	struct record r = sample();
	struct errtext told = {0};

	fake_recovery_setup(DOMAIN_SHUT_OFF);
	cr_assert_eq(fetch(&r, true, &told), 0);
	cr_assert(strstr(told.text, "has ended"), "%s", told.text);
	cr_assert_eq(fake.servers, 0);
	fake_recovery_teardown();
}

static void end_it(void)
{
	fake.web->info.state = DOMAIN_ABSENT;
}

Test(recover_fetch, a_guest_that_ends_meanwhile)
{
	struct record r = sample();
	struct errtext told = {0};

	fake_recovery_setup(DOMAIN_RUNNING);
	fake.on_server = end_it;
	cr_assert_eq(fetch(&r, true, &told), 0);
	cr_assert(strstr(told.text, "has ended"), "%s", told.text);
	fake_recovery_teardown();
}

/* Pages do not wait for libvirt's daemon. */
Test(recover_fetch, without_libvirt)
{
	struct record r = sample();
	struct errtext told = {0};

	fake_recovery_setup(DOMAIN_RUNNING);
	fake.on_server = complete_it;
	cr_assert_eq(fetch(&r, false, &told), 0, "%s", told.text);
	cr_assert_not(r.resumed);
	fake_recovery_teardown();
}

struct resumed_row {
	enum domain_state state;
	bool resumed;
};

/* That it has run here must be known before the source asks. */
ParameterizedTestParameters(recover_fetch, resumed)
{
	static struct resumed_row rows[] = {
		{DOMAIN_ABSENT, false},		  {DOMAIN_SHUT_OFF, false},
		{DOMAIN_RUNNING, true},		  {DOMAIN_PAUSED_USER, true},
		{DOMAIN_PAUSED_MIGRATION, false}, {DOMAIN_INCOMING, false},
		{DOMAIN_PAUSED_POSTCOPY, true},
	};

	_Static_assert(sizeof(rows) / sizeof(*rows) == DOMAIN_STATE_END_, "each state is listed");
	return cr_make_param_array(struct resumed_row, rows, sizeof(rows) / sizeof(*rows));
}

static bool seen_resumed;

static void look_at_the_record(void)
{
	struct record r;

	cr_assert_eq(record_read(&fake.dir, RECORD_INCOMING, &r, NULL), 0);
	seen_resumed = r.resumed;
	record_destroy(&r);
}

ParameterizedTest(struct resumed_row *row, recover_fetch, resumed)
{
	struct record r = sample();
	struct errtext told = {0};

	fake_recovery_setup(row->state);
	fake.on_server = look_at_the_record;
	fetch(&r, true, &told);
	cr_assert_eq(r.resumed, row->resumed);
	cr_assert_eq(seen_resumed, row->resumed && fake.servers);
	fake_recovery_teardown();
}
