// SPDX-License-Identifier: Apache-2.0
// The source in post-copy after a crash: memory first, then libvirt, and to the end.
#include <criterion/criterion.h>
#include <criterion/parameterized.h>
#include "fake_recovery.h"

TestSuite(recover_serve, .timeout = 20);

static int serve(const struct record *r, struct errtext *told)
{
	const struct recover_options options = fake_recovery_options(60);

	fake_recovery_write(RECORD_OUTGOING, r);
	return recover_serve(&options, &fake.dir, r, told);
}

/* Memory that a process holds. */
static struct record held(struct ram_keep_block *block)
{
	struct record r = fake_recovery_record();

	*block =
		(struct ram_keep_block){.name = "pc.ram", .size = 4096, .page_size = 4096, .fd = 9};
	r.ram = (struct ram_keep){.count = 1, .blocks = block};
	r.keeper = 1;
	return r;
}

struct memory_row {
	bool kept;
	int own, keeper, qemu;
	int ret;
	bool file; /* QEMU has it open */
};

ParameterizedTestParameters(recover_serve, memory)
{
	static struct memory_row rows[] = {
		{true, 0, 0, 0, 0},	      /* our own: we are the guard */
		{true, -EBADF, 0, 0, 0},      /* the guard's, which lives */
		{true, -EBADF, -ESRCH, 0, 0}, /* that of QEMU, which stands here paused */
		{false, 0, 0, 0, 0},	      /* the same: nothing was written down */
		{true, -EBADF, -ESRCH, -ESRCH, 0, .file = true}, /* a memfd has no name */
		{true, -EBADF, -ESRCH, -ESRCH, -ENODATA},
		{false, 0, 0, -ESRCH, -ENODATA},
	};

	return cr_make_param_array(struct memory_row, rows, sizeof(rows) / sizeof(*rows));
}

ParameterizedTest(struct memory_row *row, recover_serve, memory)
{
	struct errtext told = {0};
	struct ram_keep_block block;
	struct record r = held(&block);

	fake_recovery_setup(DOMAIN_PAUSED_MIGRATION);
	fake.ram_own = row->own;
	fake.ram_keeper = row->keeper;
	fake.ram_qemu = row->qemu;
	fake.found_in_qemu = row->file;
	r.qemu = 4711;
	r.qemu_started = 17;
	fake.answers[0] = WIRE_STATE_RUNNING;
	fake.link_end = PAGE_LINK_COMPLETE;
	if (!row->kept)
		r.ram.count = 0;
	cr_assert_eq(serve(&r, &told), row->ret, "%s", told.text);
	cr_assert_eq(fake.links, row->ret == 0);
	cr_assert_eq(fake_recovery_has_record(RECORD_OUTGOING), row->ret < 0);
	if (row->ret < 0) {
		cr_assert(strstr(told.text, "only its disks are left"), "%s", told.text);
		cr_assert_str_eq(fake_libvirt_did(fake.libvirt), "", "nothing was changed");
	}
	fake_recovery_teardown();
}

/* Nothing of it is left here: its record must not stand in the way of the guest's next migration.
 * Not so as long as libvirt does not say that the guest is not here. */
Test(recover_serve, neither_memory_nor_guest)
{
	struct errtext told = {0};
	struct ram_keep_block block;
	struct record r = held(&block);

	fake_recovery_setup(DOMAIN_ABSENT);
	fake.ram_own = -EBADF;
	fake_libvirt_fail(fake.libvirt, FAKE_OPEN, 1, -EIO);
	fake_libvirt_fail(fake.libvirt, FAKE_OPEN, 2, -EIO);
	cr_assert_eq(serve(&r, &told), -ENODATA, "%s", told.text);
	cr_assert(fake_recovery_has_record(RECORD_OUTGOING));
	told = (struct errtext){0};
	cr_assert_eq(serve(&r, &told), -EBADMSG, "%s", told.text);
	cr_assert(strstr(told.text, "only its disks are left"), "%s", told.text);
	cr_assert_not(fake_recovery_has_record(RECORD_OUTGOING));
	fake_recovery_teardown();
}

Test(recover_serve, as_the_migration_did)
{
	struct ram_keep_block block;
	struct record r = held(&block);
	struct errtext told = {0};

	fake_recovery_setup(DOMAIN_ABSENT);
	fake.link_end = PAGE_LINK_COMPLETE;
	r.no_prefetch = true;
	cr_assert_eq(serve(&r, &told), 0, "%s", told.text);
	cr_assert_eq(fake.link_rate, 24 << 20, "the cap");
	cr_assert_str_eq(fake.link_peer.socket.bind, "10.78.0.11");
	cr_assert_str_eq(fake.link_peer.socket.congestion, "bbr");
	cr_assert_eq(fake.link_peer.session[1], 0x11);
	cr_assert_eq(fake.link.pushes, 3);
	cr_assert_eq(fake.link.faults, PAGE_LINK_FAULTS);
	cr_assert_eq(fake.link.silence_ms, 3000);
	cr_assert(fake.link.no_prefetch);
	fake_recovery_teardown();
}

Test(recover_serve, numbers_of_streams_out_of_range)
{
	struct ram_keep_block block;
	struct record r = held(&block);
	struct errtext told = {0};

	fake_recovery_setup(DOMAIN_ABSENT);
	fake.link_end = PAGE_LINK_COMPLETE;
	r.streams = 64;
	cr_assert_eq(serve(&r, &told), 0);
	cr_assert_eq(fake.link.pushes, PAGE_LINK_STREAMS_MAX);
	r.streams = 0;
	cr_assert_eq(serve(&r, &told), 0);
	cr_assert_eq(fake.link.pushes, 1);
	fake_recovery_teardown();
}

struct end_row {
	enum domain_state state;
	enum wire_state answer;
	enum page_link_state end; /* BROKEN: never told of an end, nobody may wait for one */
	int judgement, ret;
	bool recorded; /* the record is kept */
	char did[64], text[64];
};

ParameterizedTestParameters(recover_serve, ends)
{
	static struct end_row rows[] = {
		/* It has left, or leaves now: until the destination has all. */
		{DOMAIN_ABSENT, NOBODY, PAGE_LINK_COMPLETE, 0, 0, false, "",
		 "all of its memory has arrived"},
		{DOMAIN_SHUT_OFF, NOBODY, PAGE_LINK_COMPLETE, 0, 0, false, "", "has arrived"},
		{DOMAIN_PAUSED_MIGRATION, WIRE_STATE_RUNNING, PAGE_LINK_COMPLETE, 0, 0, false,
		 "destroy web; undefine web", "has arrived"},
		{DOMAIN_PAUSED_USER, WIRE_STATE_RUNNING, PAGE_LINK_COMPLETE, 0, 0, false,
		 "destroy web; undefine web", "has arrived"},
		{DOMAIN_ABSENT, NOBODY, PAGE_LINK_ENDED, 0, -ECONNABORTED, true, "",
		 "the guest has ended there"},
		{DOMAIN_ABSENT, NOBODY, PAGE_LINK_COMPLETE, -EBADMSG, -EBADMSG, false, "",
		 "damaged"},
		/* It did not leave, or has ended: nobody wants its memory any more. */
		{DOMAIN_RUNNING, NOBODY, PAGE_LINK_BROKEN, 0, 0, false, "", "runs here"},
		{DOMAIN_PAUSED_MIGRATION, WIRE_STATE_ABSENT, PAGE_LINK_BROKEN, 0, 0, false,
		 "resume web", "never ran on b"},
		{DOMAIN_PAUSED_MIGRATION, WIRE_STATE_ENDED, PAGE_LINK_BROKEN, 0, 0, false,
		 "destroy web; undefine web", "has ended"},
	};

	return cr_make_param_array(struct end_row, rows, sizeof(rows) / sizeof(*rows));
}

ParameterizedTest(struct end_row *row, recover_serve, ends)
{
	struct ram_keep_block block;
	struct record r = held(&block);
	struct errtext told = {0};

	fake_recovery_setup(row->state);
	fake.answers[0] = row->answer;
	fake.link_end = row->end;
	fake.judgement = row->judgement;
	cr_assert_eq(serve(&r, &told), row->ret, "%s", told.text);
	cr_assert(strstr(told.text, row->text), "%s", told.text);
	cr_assert_str_eq(fake_libvirt_did(fake.libvirt), row->did);
	cr_assert_eq(fake_recovery_has_record(RECORD_OUTGOING), row->recorded);
	fake_recovery_teardown();
}

/* ---- what does not let itself be settled ---- */

static enum domain_state settled_as;

static void pages_are_served_meanwhile(void)
{
	cr_assert_eq(fake.links, 1);
	cr_assert_eq(fake.links_destroyed, 0);
	cr_assert(fake_recovery_has_record(RECORD_OUTGOING));
}

static void settle_at_the_third_pause(void)
{
	pages_are_served_meanwhile();
	if (fake.pauses < 3)
		return;
	fake_libvirt_heal(fake.libvirt);
	fake.web->info.state = settled_as;
	fake.answers[fake.answer] = WIRE_STATE_RUNNING;
}

struct unsettled_row {
	enum domain_state state, later;
	enum fake_call fails; /* FAKE_CALL_END_: nothing */
};

ParameterizedTestParameters(recover_serve, unsettled)
{
	static struct unsettled_row rows[] = {
		{DOMAIN_PAUSED_MIGRATION, DOMAIN_PAUSED_MIGRATION, FAKE_OPEN},
		{DOMAIN_PAUSED_MIGRATION, DOMAIN_PAUSED_MIGRATION, FAKE_STATE},
		{DOMAIN_PAUSED_MIGRATION, DOMAIN_PAUSED_MIGRATION, FAKE_CALL_END_}, /* no answer */
		{DOMAIN_PAUSED_POSTCOPY, DOMAIN_ABSENT, FAKE_CALL_END_},
	};

	return cr_make_param_array(struct unsettled_row, rows, sizeof(rows) / sizeof(*rows));
}

ParameterizedTest(struct unsettled_row *row, recover_serve, unsettled)
{
	const struct recover_options options = fake_recovery_options(0);
	struct ram_keep_block block;
	struct record r = held(&block);
	struct errtext told = {0};

	fake_recovery_setup(row->state);
	settled_as = row->later;
	fake.answers[0] = NOBODY;
	fake.link_end = PAGE_LINK_COMPLETE;
	fake.on_pause = settle_at_the_third_pause;
	if (row->fails != FAKE_CALL_END_)
		fake_libvirt_fail(fake.libvirt, row->fails, 0, -EIO);
	fake_recovery_write(RECORD_OUTGOING, &r);
	cr_assert_eq(recover_serve(&options, &fake.dir, &r, &told), 0, "%s", told.text);
	cr_assert_eq(fake.pauses, 3);
	cr_assert(strstr(told.text, "has arrived"), "%s", told.text);
	cr_assert_not(fake_recovery_has_record(RECORD_OUTGOING));
	fake_recovery_teardown();
}

/* Somebody starts the guest here while its memory is wanted there: that is no reason to drop it. */
Test(recover_serve, a_guest_that_is_just_being_started)
{
	const struct recover_options options = fake_recovery_options(0);
	struct ram_keep_block block;
	struct record r = held(&block);
	struct errtext told = {0};

	fake_recovery_setup(DOMAIN_INCOMING);
	settled_as = DOMAIN_ABSENT;
	fake.link_end = PAGE_LINK_COMPLETE;
	fake.on_pause = settle_at_the_third_pause;
	fake_recovery_write(RECORD_OUTGOING, &r);
	cr_assert_eq(recover_serve(&options, &fake.dir, &r, &told), 0, "%s", told.text);
	cr_assert_geq(fake.pauses, 3);
	fake_recovery_teardown();
}

Test(recover_serve, no_link_can_be_made)
{
	struct ram_keep_block block;
	struct record r = held(&block);
	struct errtext told = {0};

	fake_recovery_setup(DOMAIN_PAUSED_MIGRATION);
	fake.link_ret = -EAGAIN;
	cr_assert_eq(serve(&r, &told), -EAGAIN);
	cr_assert_str_eq(told.text, "no link");
	cr_assert_str_eq(fake_libvirt_did(fake.libvirt), "");
	cr_assert(fake_recovery_has_record(RECORD_OUTGOING));
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

struct qemu_row {
	enum domain_state state;
	enum wire_state answer;
	enum page_link_state end;
	int ret;
	bool recorded;
	char did[64], text[64], signals[32];
};

ParameterizedTestParameters(recover_serve, qemu)
{
	static struct qemu_row rows[] = {
		/* libvirt is asked for nothing before QEMU has ended. */
		{DOMAIN_PAUSED_MIGRATION, WIRE_STATE_RUNNING, PAGE_LINK_COMPLETE, 0, false,
		 "kill web; undefine web", "has arrived", "stop kill "},
		{DOMAIN_PAUSED_USER, WIRE_STATE_RUNNING, PAGE_LINK_COMPLETE, 0, false,
		 "kill web; undefine web", "has arrived", "stop kill "},
		{DOMAIN_PAUSED_MIGRATION, WIRE_STATE_RUNNING, PAGE_LINK_ENDED, -ECONNABORTED, true,
		 "kill web; undefine web", "the guest has ended there", "stop kill "},
		{DOMAIN_PAUSED_MIGRATION, WIRE_STATE_ENDED, PAGE_LINK_BROKEN, 0, false,
		 "kill web; undefine web", "has ended, on b", "stop kill "},
		/* It never ran there. */
		{DOMAIN_PAUSED_MIGRATION, WIRE_STATE_ABSENT, PAGE_LINK_BROKEN, 0, false,
		 "resume web", "never ran on b", "stop cont "},
		/* libvirt lets it run here; or somebody has resumed it. */
		{DOMAIN_RUNNING, NOBODY, PAGE_LINK_BROKEN, 0, false, "", "runs here", ""},
		{DOMAIN_RUNNING, WIRE_STATE_RUNNING, PAGE_LINK_BROKEN, -EEXIST, true, "",
		 "it runs here as well", ""},
	};

	return cr_make_param_array(struct qemu_row, rows, sizeof(rows) / sizeof(*rows));
}

ParameterizedTest(struct qemu_row *row, recover_serve, qemu)
{
	struct ram_keep_block block;
	struct record r = in_qemu(&block);
	struct errtext told = {0};

	fake_recovery_setup(row->state);
	fake.answers[0] = row->answer;
	fake.link_end = row->end;
	cr_assert_eq(serve(&r, &told), row->ret, "%s", told.text);
	cr_assert(strstr(told.text, row->text), "%s", told.text);
	cr_assert_str_eq(fake_libvirt_did(fake.libvirt), row->did);
	cr_assert_str_eq(fake.signals, row->signals);
	cr_assert_eq(fake_recovery_has_record(RECORD_OUTGOING), row->recorded);
	fake_recovery_teardown();
}

static void let_it_answer(void)
{
	cr_assert(fake.frozen);
	cr_assert_eq(fake.links, 1, "pages are served meanwhile");
	cr_assert_str_eq(fake_libvirt_did(fake.libvirt), "");
	if (fake.pauses == 3)
		fake.answers[fake.answer] = WIRE_STATE_RUNNING;
}

Test(recover_serve, qemu_stays_stopped_until_the_destination_answers)
{
	const struct recover_options options = fake_recovery_options(0);
	struct ram_keep_block block;
	struct record r = in_qemu(&block);
	struct errtext told = {0};

	fake_recovery_setup(DOMAIN_PAUSED_MIGRATION);
	fake.answers[0] = NOBODY;
	fake.link_end = PAGE_LINK_COMPLETE;
	fake.on_pause = let_it_answer;
	fake_recovery_write(RECORD_OUTGOING, &r);
	cr_assert_eq(recover_serve(&options, &fake.dir, &r, &told), 0, "%s", told.text);
	cr_assert_str_eq(fake.signals, "stop kill ");
	fake_recovery_teardown();
}

/* The guard tells the destination why nothing comes; an operator is told here. */
Test(recover_serve, a_qemu_that_has_ended_took_the_memory_with_it)
{
	struct recover_options options = fake_recovery_options(60);
	struct ram_keep_block block;
	struct record r = in_qemu(&block);
	struct errtext told = {0};

	fake_recovery_setup(DOMAIN_ABSENT);
	fake.ram_own = fake.qemu_ret = -ESRCH;
	fake.answers[0] = WIRE_STATE_RUNNING;
	fake.link_end = PAGE_LINK_ENDED;
	options.session = SESSION;
	fake_recovery_write(RECORD_OUTGOING, &r);
	cr_assert_eq(recover_serve(&options, &fake.dir, &r, &told), -ECONNABORTED, "%s", told.text);
	cr_assert_eq(fake.reopened_ended, 1);
	cr_assert_eq(fake.links, 1);
	told = (struct errtext){0};
	cr_assert_eq(serve(&r, &told), -EBADMSG, "%s", told.text);
	cr_assert(strstr(told.text, "only its disks are left"), "%s", told.text);
	cr_assert_not(fake_recovery_has_record(RECORD_OUTGOING));
	fake_recovery_teardown();
}
