// SPDX-License-Identifier: Apache-2.0
// The guard gives up only when nobody needs it, or the guest has ended.
#include "recover_guard.h"

#include <criterion/criterion.h>
#include <criterion/parameterized.h>
#include <sys/socket.h>
#include "fake_recovery.h"

TestSuite(recover_guard, .timeout = 20);

static int guard(void)
{
	struct recover_options options = fake_recovery_options(0);

	options.session = SESSION; /* a guard minds one migration */
	return recover_guard(&options, -1);
}

static struct record held(struct ram_keep_block *block)
{
	struct record r = fake_recovery_record();

	*block =
		(struct ram_keep_block){.name = "pc.ram", .size = 4096, .page_size = 4096, .fd = 9};
	r.ram = (struct ram_keep){.count = 1, .blocks = block};
	return r;
}

Test(recover_guard, ends_when_all_is_settled)
{
	struct record r = fake_recovery_record();

	fake_recovery_setup(DOMAIN_RUNNING);
	cr_assert_eq(guard(), 0, "nothing to do");
	r.post_copy = false;
	fake_recovery_write(RECORD_OUTGOING, &r);
	cr_assert_eq(guard(), 0);
	cr_assert_eq(fake.pauses, 0);
	fake_recovery_teardown();
}

static void the_destination_answers_at_the_third_pause(void)
{
	if (fake.pauses == 3)
		fake.answers[0] = WIRE_STATE_ABSENT;
}

/* The destination may come back: until then nobody but an operator could decide. */
Test(recover_guard, goes_on_asking_who_has_the_guest)
{
	struct record r = fake_recovery_record();

	fake_recovery_setup(DOMAIN_PAUSED_MIGRATION);
	fake.answers[0] = NOBODY;
	fake.on_pause = the_destination_answers_at_the_third_pause;
	r.post_copy = false;
	fake_recovery_write(RECORD_OUTGOING, &r);
	cr_assert_eq(guard(), 0);
	cr_assert_eq(fake.pauses, 3);
	cr_assert_str_eq(fake_libvirt_did(fake.libvirt), "resume web");
	fake_recovery_teardown();
}

/* Another one has taken the place of the migration that it minds, and has a guard of its own. */
Test(recover_guard, minds_its_own_migration)
{
	static const enum record_kind kinds[] = {RECORD_OUTGOING, RECORD_INCOMING};

	for (int i = 0; i < 2; i++) {
		struct recover_options options = fake_recovery_options(0);
		struct record r = fake_recovery_record();

		fake_recovery_setup(DOMAIN_PAUSED_MIGRATION);
		fake_recovery_write(kinds[i], &r);
		options.session = "ffeeddccbbaa99887766554433221100";
		cr_expect_eq(recover_guard(&options, -1), 0);
		cr_expect(fake.queries == 0 && fake.pauses == 0 && fake.servers == 0);
		cr_expect(fake_recovery_has_record(kinds[i]));
		cr_expect_str_eq(fake_libvirt_did(fake.libvirt), "");
		fake_recovery_teardown();
	}
}

Test(recover_guard, ends_when_the_guest_has_ended)
{
	struct ram_keep_block block;
	struct record r = held(&block);

	fake_recovery_setup(DOMAIN_ABSENT);
	fake.link_end = PAGE_LINK_ENDED;
	fake_recovery_write(RECORD_OUTGOING, &r);
	cr_assert_eq(guard(), -ECONNABORTED);
	cr_assert_eq(fake.pauses, 0);
	fake_recovery_teardown();
}

static void memory_is_found_at_the_third_pause(void)
{
	cr_assert(fake_recovery_has_record(RECORD_OUTGOING));
	if (fake.pauses == 3)
		fake.ram_own = 0;
}

Test(recover_guard, does_not_give_up_memory_that_may_be_here)
{
	struct ram_keep_block block;
	struct record r = held(&block);

	fake_recovery_setup(DOMAIN_ABSENT);
	fake.ram_own = -EBADF;
	fake.link_end = PAGE_LINK_COMPLETE;
	fake.on_pause = memory_is_found_at_the_third_pause;
	fake_recovery_write(RECORD_OUTGOING, &r);
	cr_assert_eq(guard(), 0);
	cr_assert_eq(fake.pauses, 3);
	cr_assert_not(fake_recovery_has_record(RECORD_OUTGOING));
	fake_recovery_teardown();
}

static void somebody_else_settles_it(void)
{
	record_remove(&fake.dir, RECORD_OUTGOING);
}

Test(recover_guard, ends_when_another_has_settled_it)
{
	struct ram_keep_block block;
	struct record r = held(&block);

	fake_recovery_setup(DOMAIN_ABSENT);
	fake.ram_own = -EBADF;
	fake.on_pause = somebody_else_settles_it;
	fake_recovery_write(RECORD_OUTGOING, &r);
	cr_assert_eq(guard(), 0);
	cr_assert_eq(fake.pauses, 1);
	fake_recovery_teardown();
}

static void complete_it(void)
{
	struct record r = fake_recovery_record();

	if (fake.servers < 4)
		return;
	r.resumed = r.complete = true;
	fake_recovery_write(RECORD_INCOMING, &r);
}

Test(recover_guard, does_not_give_up_memory_that_is_to_come)
{
	struct record r = fake_recovery_record();

	fake_recovery_setup(DOMAIN_RUNNING);
	fake.server_ret = -EADDRINUSE;
	fake.on_server = complete_it;
	fake_recovery_write(RECORD_INCOMING, &r);
	cr_assert_eq(guard(), 0);
	cr_assert_eq(fake.servers, 4);
	fake_recovery_teardown();
}

static void libvirt_answers_at_the_third_pause(void)
{
	if (fake.pauses == 3)
		fake_libvirt_heal(fake.libvirt);
}

/* Whatever of it fails, the capability goes off, and the record with it. */
Test(recover_guard, gives_back_what_was_borrowed_once_libvirt_answers)
{
	static const enum fake_call calls[] = {FAKE_OPEN, FAKE_STATE, FAKE_GET_IGNORE_SHARED,
					       FAKE_SET_IGNORE_SHARED};

	for (unsigned int i = 0; i < sizeof(calls) / sizeof(*calls); i++) {
		struct record r = fake_recovery_record();

		fake_recovery_setup(DOMAIN_RUNNING);
		r.released = r.post_copy = false;
		fake.web->ignore_shared = true;
		fake.on_pause = libvirt_answers_at_the_third_pause;
		fake_libvirt_fail(fake.libvirt, calls[i], 0, -EIO);
		fake_recovery_write(RECORD_OUTGOING, &r);
		cr_expect_eq(guard(), 0, "%d", calls[i]);
		cr_expect_eq(fake.pauses, 3, "%d", calls[i]);
		cr_expect_not(fake.web->ignore_shared, "%d", calls[i]);
		cr_expect_not(fake_recovery_has_record(RECORD_OUTGOING), "%d", calls[i]);
		fake_recovery_teardown();
	}
}

/* Also one that was handed over, of which nothing else is held here. */
Test(recover_guard, waits_for_libvirt_to_answer)
{
	struct record r = fake_recovery_record();

	fake_recovery_setup(DOMAIN_RUNNING);
	r.post_copy = false;
	fake.web->ignore_shared = true;
	fake.on_pause = libvirt_answers_at_the_third_pause;
	fake_libvirt_fail(fake.libvirt, FAKE_OPEN, 0, -EIO);
	fake_recovery_write(RECORD_OUTGOING, &r);
	cr_assert_eq(guard(), 0);
	cr_assert_eq(fake.pauses, 3);
	cr_assert_not(fake.web->ignore_shared);
	fake_recovery_teardown();
}

/* The destination's, too, whatever is known of the guest by then. */
Test(recover_guard, goes_on_until_a_guest_that_came_is_settled)
{
	static const int codes[] = {-EREMOTEIO, -EBUSY, -EIO};
	static const struct record facts[] = {
		{.released = false},
		{.released = true},
		{.released = true, .resumed = true},
		{.released = true, .resumed = true, .post_copy = true, .complete = true},
	};

	for (size_t i = 0; i < sizeof(facts) / sizeof(*facts); i++) {
		int code = codes[i % (sizeof(codes) / sizeof(*codes))];
		struct record r = fake_recovery_record();

		fake_recovery_setup(DOMAIN_RUNNING);
		r.released = facts[i].released;
		r.resumed = facts[i].resumed;
		r.post_copy = facts[i].post_copy;
		r.complete = facts[i].complete;
		fake.web->ignore_shared = true;
		fake.on_pause = libvirt_answers_at_the_third_pause;
		fake_libvirt_fail(fake.libvirt, FAKE_SET_IGNORE_SHARED, 0, code);
		fake_recovery_write(RECORD_INCOMING, &r);
		cr_expect_eq(guard(), 0, "%zu", i);
		cr_expect_eq(fake.pauses, 3, "%zu: %u", i, fake.pauses);
		cr_expect_not(fake.web->ignore_shared, "%zu", i);
		fake_recovery_teardown();
	}
}

static void another_begins_at_the_third_pause(void)
{
	struct record r = fake_recovery_record();

	strcpy(r.session, "ffeeddccbbaa99887766554433221100");
	if (fake.pauses == 3)
		fake_recovery_write(RECORD_INCOMING, &r);
}

/* ... or another migration has taken its place; the pauses grow. */
Test(recover_guard, and_no_longer)
{
	struct recover_options options = fake_recovery_options(0);
	struct record r = fake_recovery_record();
	uint64_t begun;

	fake_recovery_setup(DOMAIN_RUNNING);
	r.released = r.post_copy = false;
	options.session = r.session;
	fake.on_pause = another_begins_at_the_third_pause;
	fake_libvirt_fail(fake.libvirt, FAKE_GET_IGNORE_SHARED, 0, -EREMOTEIO);
	fake_recovery_write(RECORD_INCOMING, &r);
	begun = fake.now_us;
	cr_expect_eq(recover_guard(&options, -1), 0);
	cr_expect_eq(fake.pauses, 3);
	cr_expect_eq(fake.now_us - begun, 1000000 + 2000000 + 4000000);
	fake_recovery_teardown();
}

/* There is no QEMU to give anything back to. */
Test(recover_guard, ends_when_the_guest_that_it_was_borrowed_from_has)
{
	struct record r = fake_recovery_record();

	fake_recovery_setup(DOMAIN_SHUT_OFF);
	r.released = r.post_copy = false;
	fake_recovery_write(RECORD_OUTGOING, &r);
	cr_assert_eq(guard(), 0);
	cr_assert_eq(fake.pauses, 0);
	cr_assert_not(fake_recovery_has_record(RECORD_OUTGOING));
	fake_recovery_teardown();
}

/* ---- memory that is in QEMU here alone ---- */

static struct record in_qemu(struct ram_keep_block *block)
{
	struct record r = held(block);

	block->private_to = 4711;
	block->started = 17;
	block->fd = -1;
	return r;
}

static int guard_on(int connection, struct record *r)
{
	struct recover_options options = fake_recovery_options(0);

	options.session = SESSION;
	fake.answers[0] = WIRE_STATE_RUNNING;
	fake.link_end = PAGE_LINK_COMPLETE;
	fake_recovery_write(RECORD_OUTGOING, r);
	return recover_guard(&options, connection);
}

static int the_daemon;

static void still_a_client(void)
{
	char byte;

	cr_assert_eq(recv(the_daemon, &byte, 1, MSG_DONTWAIT), -1);
	cr_assert_eq(fake.links, 1, "pages are served meanwhile");
	if (fake.pauses == 3)
		fake.answers[0] = WIRE_STATE_RUNNING;
}

Test(recover_guard, stays_libvirts_client_until_qemu_has_ended)
{
	struct ram_keep_block block;
	struct record r = in_qemu(&block);
	int ends[2];
	char byte;

	fake_recovery_setup(DOMAIN_PAUSED_MIGRATION);
	cr_assert_eq(socketpair(AF_UNIX, SOCK_STREAM, 0, ends), 0);
	the_daemon = ends[0];
	fake.has_job = true;
	fake.on_pause = still_a_client;
	cr_assert_eq(guard_on(ends[1], &r), 0);
	cr_assert_str_eq(fake.signals, "kill ");
	cr_assert_str_eq(fake_libvirt_did(fake.libvirt), "kill web; undefine web");
	cr_assert_eq(read(the_daemon, &byte, 1), 0);
	close(the_daemon);
	fake_recovery_teardown();
}

Test(recover_guard, stops_a_qemu_that_libvirt_would_let_run)
{
	struct ram_keep_block block;
	struct record r = in_qemu(&block);

	fake_recovery_setup(DOMAIN_PAUSED_MIGRATION);
	cr_assert_eq(guard_on(-1, &r), 0);
	cr_assert_str_eq(fake.signals, "stop kill ");
	cr_assert_not(fake_recovery_has_record(RECORD_OUTGOING));
	fake_recovery_teardown();
}

static void answer_once_it_is_stopped(void)
{
	while (!fake.frozen)
		usleep(1000);
	fake.answers[0] = WIRE_STATE_RUNNING;
}

Test(recover_guard, stops_qemu_when_libvirts_daemon_goes)
{
	struct recover_options options = fake_recovery_options(0);
	struct ram_keep_block block;
	struct record r = in_qemu(&block);
	int ends[2];

	fake_recovery_setup(DOMAIN_PAUSED_MIGRATION);
	cr_assert_eq(socketpair(AF_UNIX, SOCK_STREAM, 0, ends), 0);
	close(ends[0]);
	options.session = SESSION;
	fake.answers[0] = NOBODY;
	fake.link_end = PAGE_LINK_COMPLETE;
	fake.on_pause = answer_once_it_is_stopped;
	fake_recovery_write(RECORD_OUTGOING, &r);
	cr_assert_eq(recover_guard(&options, ends[1]), 0);
	cr_assert_str_eq(fake.signals, "stop kill ");
	fake_recovery_teardown();
}

/* Of any other guest libvirt sees its client go at once. */
Test(recover_guard, is_no_client_of_another_guest)
{
	struct ram_keep_block block;
	struct record r = held(&block);
	int ends[2];
	char byte;

	fake_recovery_setup(DOMAIN_PAUSED_MIGRATION);
	cr_assert_eq(socketpair(AF_UNIX, SOCK_STREAM, 0, ends), 0);
	cr_assert_eq(guard_on(ends[1], &r), 0);
	cr_assert_eq(read(ends[0], &byte, 1), 0);
	cr_assert_str_eq(fake.signals, "");
	close(ends[0]);
	fake_recovery_teardown();
}
