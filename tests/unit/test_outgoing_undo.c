// SPDX-License-Identifier: Apache-2.0
// Roll-back: the order in which the source undoes what it has done, and what stays for the guard if
// that fails, too.
#include "outgoing_end.h"

#include <criterion/criterion.h>
#include "fake_outgoing.h"

TestSuite(outgoing_undo, .timeout = 60);

static int go(bool post_copy, bool slow)
{
	struct outgoing_options options;

	world_options(&options);
	options.post_copy_now = post_copy;
	options.auto_converge = slow;
	return world_run(&options);
}

/* ---- the order ---- */

static enum phase fails_in;
static const char *fails_at;

static void fail_now(const char *what)
{
	if (strcmp(what, fails_at) == 0 && world.o && world.o->phase == fails_in)
		world.fail_at = world.calls + 1;
}

/* In each case: the destination is told before anything else that takes time; the job ends before
 * memory is no longer tracked; only then libvirt's setting is taken back, and the record removed.
 */
Test(outgoing_undo, is_done_in_this_order)
{
	static const struct {
		const char *fails;
		enum phase in;
		bool post_copy;
		const char *trace;
	} rows[] = {
		{"start guard", PHASE_PREPARE, false, "ABORT"},
		{"gate", PHASE_PREPARE, false, "record, ABORT, no record"},
		{"start job", PHASE_PREPARE, false,
		 "record, x-ignore-shared, ABORT, x-ignore-shared, no record"},
		{"dial RAM", PHASE_PREPARE, false,
		 "record, x-ignore-shared, ABORT, cut stream, cut gate, job failed, "
		 "x-ignore-shared, no record"},
		{"source", PHASE_ATTACH, false,
		 "record, x-ignore-shared, ABORT, cut stream, cut gate, job failed, untrack, "
		 "x-ignore-shared, no record"},
		{"page link", PHASE_PRECOPY, true,
		 "record, x-ignore-shared, LISTEN, ABORT, abort round, cut stream, cut gate, "
		 "job failed, untrack, x-ignore-shared, no record, abort round"},
		/* The gate was open, so QEMU's migration is to be ended; and the guest stood still,
		 * so that nothing may wait for the other host. */
		{"gate forbid", PHASE_LAST_PASS, false,
		 "record, x-ignore-shared, gate open, forbid, ABORT, abort round, cut stream, "
		 "cut tunnel, abort job, job failed, untrack, x-ignore-shared, no record, "
		 "abort round"},
		/* Nothing connects anew for post-copy before the destination is told. */
		{"serve pages", PHASE_LAST_PASS, true,
		 "record, x-ignore-shared, LISTEN, gate open, unlink, ABORT, abort round, "
		 "cut stream, cut tunnel, abort job, job failed, untrack, x-ignore-shared, "
		 "no record, abort round"},
		/* The hold on Confirm is given up before all that. */
		{"write record", PHASE_LAST_PASS, false,
		 "record, x-ignore-shared, gate open, forbid, permit, ABORT, abort round, "
		 "cut stream, cut tunnel, abort job, job failed, untrack, x-ignore-shared, "
		 "no record, abort round"},
	};

	for (unsigned int i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
		fails_at = rows[i].fails;
		fails_in = rows[i].in;
		world_setup();
		world.on_call = fail_now;
		cr_expect_eq(go(rows[i].post_copy, false), EXIT_FAILED, "%s", fails_at);
		world_judge(EXIT_FAILED);
		cr_expect_str_eq(world.trace, rows[i].trace, "%s: %s", fails_at, world.trace);
		world_teardown();
	}
}

static void cancel(uint64_t arg)
{
	(void)arg;
	steering_cancel(world.steering, "enough");
}

static void cancel_once_slowed(const char *what)
{
	if (strcmp(what, "throttle") == 0)
		world_at(100000, cancel, 0);
}

/* The vCPUs come first: a guest that is slowed to a hundredth would feel each wait. */
Test(outgoing_undo, lets_the_vcpus_go_first)
{
	world_setup();
	world_writes_fast();
	world.on_call = cancel_once_slowed;
	cr_expect_eq(go(false, true), EXIT_ABORTED);
	world_judge(EXIT_ABORTED);
	cr_expect(world_did("throttle, unthrottle, ABORT, abort round, cut stream"), "%s",
		  world.trace);
	cr_expect_eq(world.result.throttle_percent, 20);
	world_teardown();
}

/* ---- the guest ---- */

static void stop_then_fail(const char *what)
{
	if (strcmp(what, "gate forbid") == 0)
		world.fail_at = world.calls + 1;
}

Test(outgoing_undo, resumes_a_guest_that_libvirt_has_left_paused)
{
	world_setup();
	world.deaf_libvirt = true;
	world.on_call = stop_then_fail;
	cr_expect_eq(go(false, false), EXIT_FAILED);
	world_judge(EXIT_FAILED);
	cr_expect(world_did("untrack, resume, x-ignore-shared, no record"), "%s", world.trace);
	cr_expect(world_runs_here());
	world_teardown();
}

Test(outgoing_undo, does_not_resume_a_guest_that_its_user_had_paused)
{
	world_setup();
	world.web->info.state = DOMAIN_PAUSED_USER;
	world.on_call = stop_then_fail;
	cr_expect_eq(go(false, false), EXIT_FAILED);
	world_judge(EXIT_FAILED);
	cr_expect_not(world_did("resume"));
	cr_expect_eq(world.web->info.state, DOMAIN_PAUSED_USER);
	world_teardown();
}

/* ---- undoing fails, too ---- */

static const char *also;

static void fail_also(const char *what)
{
	if (strcmp(what, "gate forbid") == 0)
		world.fail_at = world.calls + 1;
	else if (world.o && world.o->phase == PHASE_ROLLBACK && strcmp(what, also) == 0)
		world.fail_at = world.calls + 1;
}

/* Its daemon was restarted: the old connection is of no use. */
static void fail_also_until_reopened(const char *what)
{
	if (fake_libvirt_calls(world.libvirt, FAKE_REOPEN) < 3)
		fail_also(what);
	else
		world.fail_at = 0;
}

/* The guest stays, as it must; what could not be done is left to the guard, which goes by the
 * record. One that stands still is not told as one that runs on. */
Test(outgoing_undo, leaves_to_the_guard_what_cannot_be_undone)
{
	static const struct {
		const char *call;
		bool stands;
	} rows[] = {{"libvirt: state", true},
		    {"libvirt: resume", true},
		    {"libvirt: x-ignore-shared", false}};

	for (unsigned int i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
		int status = rows[i].stands ? EXIT_OPERATOR : EXIT_FAILED;

		also = rows[i].call;
		world_setup();
		world.deaf_libvirt = true;
		world.on_call = fail_also;
		cr_expect_eq(go(false, false), status, "%s", also);
		world_judge(status);
		cr_expect(world.recorded, "%s", also);
		cr_expect_not(world.guard_dismissed, "%s", also);
		cr_expect(world_said("\"event\":\"warning\""), "%s", also);
		cr_expect_str_eq(world.result.guest_on, "source");
		cr_expect_eq(rows[i].stands, !!strstr(world.result.reason, "stands still here"),
			     "%s", world.result.reason);
		cr_expect_eq(rows[i].stands, world.web->info.state == DOMAIN_PAUSED_MIGRATION);
		world_teardown();
	}
}

/* Within ten seconds all is as it was before. */
Test(outgoing_undo, connects_anew_to_a_libvirt_that_was_restarted)
{
	static const char *const calls[] = {"libvirt: state", "libvirt: resume",
					    "libvirt: x-ignore-shared"};

	for (unsigned int i = 0; i < sizeof(calls) / sizeof(*calls); i++) {
		also = calls[i];
		world_setup();
		world.deaf_libvirt = true;
		world.on_call = fail_also_until_reopened;
		cr_expect_eq(go(false, false), EXIT_FAILED, "%s", also);
		world_judge(EXIT_FAILED);
		cr_expect_not(world.recorded, "%s", also);
		cr_expect_not(world.web->ignore_shared, "%s", also);
		cr_expect(world.guard_dismissed, "%s", also);
		cr_expect_not(world_said("\"event\":\"warning\""), "%s", also);
		world_teardown();
	}
}

static void end_guest(const char *what)
{
	stop_then_fail(what);
	if (strcmp(what, "gate forbid") == 0)
		world.web->info.state = DOMAIN_SHUT_OFF;
}

Test(outgoing_undo, gives_nothing_back_to_a_guest_that_has_ended)
{
	world_setup();
	world.on_call = end_guest;
	go(false, false);
	cr_expect_not(world.recorded);
	cr_expect(world.guard_dismissed);
	cr_expect_not(world_did("untrack, x-ignore-shared"), "%s", world.trace);
	world_teardown();
}

static void lose_libvirt(const char *what)
{
	if (strcmp(what, "source") == 0)
		fake_libvirt_fire(world.libvirt, WORLD_UUID, QEMU_EVENT_UNSEEN, 0);
}

/* The destination's daemon ends its half of the migration, too: what began it is told. */
Test(outgoing_undo, names_the_libvirt_that_was_lost)
{
	world_setup();
	world.on_call = lose_libvirt;
	cr_expect_eq(go(false, false), EXIT_FAILED);
	world_judge(EXIT_FAILED);
	cr_expect(strstr(world.result.reason, "libvirt's daemon on this host"), "%s",
		  world.result.reason);
	world_teardown();
}

static unsigned int watchers(void)
{
	unsigned int count = 0;

	for (unsigned int i = 0; i < FAKE_WATCHES; i++)
		count += world.libvirt->watching[i] != NULL;
	return count;
}

static void flood(const char *what)
{
	if (strcmp(what, "source") == 0)
		fake_libvirt_fire(world.libvirt, WORLD_UUID, QEMU_EVENT_FLOOD, 0);
	if (world_did("ABORT"))
		cr_expect_eq(watchers(), 0, "libvirt still queues them");
}

/* It is not libvirt's daemon that comes to its end of too many events. */
Test(outgoing_undo, begins_when_events_come_too_fast)
{
	world_setup();
	world.on_call = flood;
	cr_expect_eq(go(false, false), EXIT_FAILED);
	world_judge(EXIT_FAILED);
	cr_expect(strstr(world.result.reason, "events a second"), "%s", world.result.reason);
	cr_expect_eq(watchers(), 0);
	world_teardown();
}

static void flood_late(const char *what)
{
	if (strncmp(what, "libvirt: ", 9) == 0 && world_did("RELEASE") && watchers())
		fake_libvirt_fire(world.libvirt, WORLD_UUID, QEMU_EVENT_FLOOD, 0);
}

Test(outgoing_undo, does_not_begin_after_the_hand_over)
{
	world_setup();
	world.on_call = flood_late;
	cr_expect_eq(go(false, false), EXIT_COMPLETED, "%s", world.result.reason);
	world_judge(EXIT_COMPLETED);
	cr_expect_eq(watchers(), 0);
	world_teardown();
}

/* A library that hangs in a dead daemon still holds our mailbox: all is left to the end of the
 * process. The guard looks at once. */
Test(outgoing_undo, leaves_all_to_a_library_that_hangs)
{
	world_setup();
	world.hung_library = true;
	world.on_call = stop_then_fail;
	cr_expect_eq(go(false, false), EXIT_FAILED);
	cr_expect_str_eq(world.result.guest_on, "source");
	cr_expect(world_did("abort job, cut tunnel, cut gate"), "%s", world.trace);
	cr_expect_gt(world.alive, 0);
	cr_expect(world.guard_begins);
	world_teardown();
}

/* ---- QEMU would empty the guest's memory when it ends ---- */

static void give_discard(bool stays)
{
	world.web->backends[0] =
		(struct fake_backend){.id = "pc.ram", .discard = true, .stays = stays};
}

static void fail_start(const char *what)
{
	if (strcmp(what, "start job") == 0) {
		cr_expect_not(world.web->backends[0].discard);
		cr_expect_str_eq(world.record.discard, "pc.ram", "the guard has to know of it");
		world.fail_at = world.calls + 1;
	}
}

Test(outgoing_undo, switches_discard_data_on_again)
{
	world_setup();
	give_discard(false);
	world.on_call = fail_start;
	cr_expect_eq(go(false, false), EXIT_FAILED);
	world_judge(EXIT_FAILED);
	cr_expect(world.web->backends[0].discard);
	world_teardown();
}

/* Also what a migration before had borrowed, and could not give back. */
Test(outgoing_undo, gives_back_what_was_borrowed_before)
{
	world_setup();
	world.web->backends[0] = (struct fake_backend){.id = "pc.ram"};
	strcpy(world.debts, "pc.ram");
	world.on_call = fail_start;
	cr_expect_eq(go(false, false), EXIT_FAILED);
	world_judge(EXIT_FAILED);
	cr_expect(world.web->backends[0].discard);
	world_teardown();
}

/* Pre-copy needs nothing of the source once it has handed over. */
Test(outgoing_undo, without_it_there_is_no_post_copy)
{
	world_setup();
	give_discard(true);
	cr_expect_eq(go(true, false), EXIT_COMPLETED);
	world_judge(EXIT_COMPLETED);
	cr_expect_not(world_did("LISTEN"), "%s", world.trace);
	cr_expect(world_said("post-copy is not possible"), "%s", world.said);
	cr_expect(world_said("memory backend pc.ram keeps discard-data on"), "%s", world.said);
	world_teardown();

	world_setup();
	give_discard(false);
	cr_expect_eq(go(true, false), EXIT_COMPLETED);
	cr_expect(world_did("LISTEN"), "%s", world.trace);
	cr_expect_not(world_said("\"event\":\"warning\""), "%s", world.said);
	world_teardown();
}
