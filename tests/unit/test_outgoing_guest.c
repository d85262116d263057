// SPDX-License-Identifier: Apache-2.0
// What its user does with a guest while it is being moved.
#include "outgoing_guest.h"

#include <criterion/criterion.h>
#include "fake_outgoing.h"

TestSuite(outgoing_guest, .timeout = 60);

#define LONG_US 5000000 /* longer than a guest may stand still */

static struct outgoing_options options;
static const char *fails_at;

static void setup(void)
{
	world_setup();
	world_options(&options);
	fails_at = "";
}

static void be_quick(uint64_t arg)
{
	(void)arg;
	world.round_us = 1000;
}

/* In the first round, which is a long one, it is paused. */
static void pause_it(const char *what)
{
	if (strcmp(what, "source") == 0) {
		world_at(1000, world_is_paused, 0);
		world_at(2000, be_quick, 0);
	}
	if (strcmp(what, fails_at) == 0)
		world.fail_at = world.calls + 1;
}

static void pause_it_for_a_while(const char *what)
{
	pause_it(what);
	if (strcmp(what, "source") == 0)
		world_at(3000, world_goes_on, 0);
}

static void let_it_go_on(const char *what)
{
	if (strcmp(what, "source") == 0)
		world_at(1000, world_goes_on, 0);
	if (strcmp(what, fails_at) == 0)
		world.fail_at = world.calls + 1;
}

static void end_it_then_fail(const char *what)
{
	if (strcmp(what, "gate forbid") == 0) {
		world_ends_here(0);
		world.fail_at = world.calls + 1;
	}
}

static int go(void (*user)(const char *what))
{
	int status;

	world.round_us = user == let_it_go_on || user == end_it_then_fail ? 5000 : LONG_US;
	world.on_call = user;
	status = world_run(&options);
	world_judge(status);
	return status;
}

/* It writes nothing any more, and its user waits: it arrives, and only our part of the stop
 * counts. libvirt's Finish lets it run there. */
Test(outgoing_guest, paused_by_its_user_it_arrives)
{
	setup();
	cr_expect_eq(go(pause_it), EXIT_COMPLETED, "%s", world.result.reason);
	cr_expect_lt(world.result.downtime_ms, 10, "%f", world.result.downtime_ms);
	cr_expect_gt(world.result.downtime_ms, 0);
	cr_expect(world_said("\"event\":\"paused\""), "%s", world.said);
	world_teardown();
}

Test(outgoing_guest, paused_by_its_user_it_needs_no_post_copy)
{
	setup();
	options.post_copy_now = true;
	cr_expect_eq(go(pause_it), EXIT_COMPLETED, "%s", world.result.reason);
	cr_expect_not(world_did("LISTEN"), "%s", world.trace);
	world_teardown();
}

static void cancel(uint64_t arg)
{
	(void)arg;
	steering_cancel(world.steering, "enough");
}

static void pause_it_and_cancel(const char *what)
{
	pause_it(what);
	if (strcmp(what, "source") == 0)
		world_at(4000, cancel, 0);
}

/* QEMU's migration had not begun, so libvirt leaves it as it is. */
Test(outgoing_guest, paused_by_its_user_it_stays_so_when_cancelled)
{
	setup();
	cr_expect_eq(go(pause_it_and_cancel), EXIT_ABORTED);
	cr_expect_not(world_runs_here());
	cr_expect_not(world_did("resume"), "%s", world.trace);
	cr_expect_not(world.record.running);
	cr_expect_not(world.recorded);
	world_teardown();
}

/* libvirt, which saw it run when the migration began, lets it run. */
Test(outgoing_guest, paused_by_its_user_it_is_paused_again_after_a_failure)
{
	setup();
	fails_at = "gate forbid";
	cr_expect_eq(go(pause_it), EXIT_FAILED);
	cr_expect_eq(world.web->info.state, DOMAIN_PAUSED_USER);
	cr_expect(world_did("job failed, untrack, suspend"), "%s", world.trace);
	world_teardown();
}

Test(outgoing_guest, let_go_on_in_between_it_runs_after_a_failure)
{
	setup();
	fails_at = "gate forbid";
	cr_expect_eq(go(pause_it_for_a_while), EXIT_FAILED);
	cr_expect(world_runs_here());
	cr_expect(world.record.running);
	cr_expect_not(world_did("suspend"), "%s", world.trace);
	world_teardown();
}

Test(outgoing_guest, let_go_on_in_between_it_is_stopped_by_us)
{
	setup();
	cr_expect_eq(go(pause_it_for_a_while), EXIT_COMPLETED);
	cr_expect_lt(world.result.downtime_ms, 10, "%f", world.result.downtime_ms);
	world_teardown();
}

/* libvirt thinks that it was paused, and does not let it run. */
Test(outgoing_guest, paused_at_first_and_let_go_on_it_runs_after_a_failure)
{
	setup();
	world.web->info.state = DOMAIN_PAUSED_USER;
	world.deaf_libvirt = true;
	fails_at = "gate forbid";
	cr_expect_eq(go(let_it_go_on), EXIT_FAILED);
	cr_expect(world_runs_here());
	world_teardown();
}

/* ---- it ends ---- */

static void end_it(const char *what)
{
	if (strcmp(what, "source") == 0)
		world_at(1000, world_ends_here, 0);
}

/* At once: not a page more of a dead guest's memory. There is nothing to try again, nothing to be
 * resumed, and no setting to take back. */
Test(outgoing_guest, has_ended)
{
	setup();
	world.mute = 1u << WIRE_SYNCED;
	cr_expect_eq(go(end_it), EXIT_FAILED);
	cr_expect_lt(world.now_us, 2000000);
	cr_expect(strstr(world.result.reason, "domain web has ended on this host"), "%s",
		  world.result.reason);
	cr_expect_str_eq(world.result.guest_on, "none");
	cr_expect_not(world.may_pass);
	cr_expect(world_did("ABORT"), "%s", world.trace);
	cr_expect_not(world_did("resume"), "%s", world.trace);
	cr_expect_not(world.recorded);
	world_teardown();
}

/* What fails of it may be noticed first. */
Test(outgoing_guest, has_ended_and_something_fails_of_that)
{
	setup();
	cr_expect_eq(go(end_it_then_fail), EXIT_FAILED);
	cr_expect(strstr(world.result.reason, "domain web has ended on this host"), "%s",
		  world.result.reason);
	cr_expect_not(world.may_pass);
	cr_expect_not(world.recorded);
	world_teardown();
}

Test(outgoing_guest, is_not_known_here)
{
	setup();
	options.domain = "nosuch";
	cr_expect_eq(go(NULL), EXIT_REFUSED);
	cr_expect_str_eq(world.result.guest_on, "unknown");
	world_teardown();
}

/* ---- its migration is called off by libvirt's own means ---- */

/* Which libvirt tells when Perform is called, and not before. */
Test(outgoing_guest, domjobabort_is_a_cancel)
{
	setup();
	world.domjobabort = true;
	cr_expect_eq(go(NULL), EXIT_ABORTED);
	cr_expect(strstr(world.result.reason, "domjobabort"), "%s", world.result.reason);
	cr_expect_not(world_did("abort job"), "%s", world.trace);
	cr_expect(world_runs_here());
	world_teardown();
}

/* ---- what is plugged in while the migration begins ---- */

/* A memory device of the same name and size, in another file: what is mapped is not the guest's. */
Test(outgoing_guest, memory_unplugged_and_plugged_again_before_libvirts_job)
{
	setup();
	world.replugged = true;
	cr_expect_eq(world_run(&options), EXIT_FAILED);
	world_judge(EXIT_FAILED);
	cr_expect(strstr(world.result.reason, "or changed, before"), "%s", world.result.reason);
	world_teardown();
}

Test(outgoing_guest, a_disk_plugged_in_before_libvirts_job)
{
	setup();
	world.plugged_in = 1;
	cr_expect_eq(world_run(&options), EXIT_FAILED);
	cr_expect_not_null(strstr(world.result.reason, "changed, before its migration had begun"));
	cr_expect_not(world_did("gate open"));
	world_judge(EXIT_FAILED);
	world_teardown();
}

Test(outgoing_guest, somebody_maps_its_memory_meanwhile)
{
	setup();
	world.mapper = 4711;
	cr_expect_eq(world_run(&options), EXIT_FAILED);
	cr_expect_not_null(strstr(world.result.reason, "process 4711 has mapped the memory"));
	cr_expect_not(world_did("gate open"));
	world_judge(EXIT_FAILED);
	world_teardown();
}

/* ---- a monitor of our own, for disks that are read straight into its memory ---- */

static int move_with(bool adds, bool private, const char *failing)
{
	int status;

	setup();
	world.direct_disks = 1;
	world.adds_monitor = adds;
	world.private_monitor = private;
	fails_at = failing;
	world.on_call = let_it_go_on;
	world.round_us = 5000;
	status = world_run(&options);
	world_judge(status);
	return status;
}

Test(outgoing_guest, whose_qemu_takes_a_monitor_gets_one)
{
	cr_expect_eq(move_with(true, false, ""), EXIT_COMPLETED, "%s", world.result.reason);
	cr_expect_str_eq(world.monitor, "added");
	world_teardown();
	cr_expect_eq(move_with(true, true, ""), EXIT_COMPLETED, "%s", world.result.reason);
	cr_expect_str_eq(world.monitor, "added", "the private one may have been dropped");
	world_teardown();
}

Test(outgoing_guest, of_an_older_qemu_needs_its_private_monitor)
{
	cr_expect_eq(move_with(false, true, ""), EXIT_COMPLETED, "%s", world.result.reason);
	cr_expect_str_eq(world.monitor, "private");
	world_teardown();
	cr_expect_eq(move_with(false, true, "open monitor"), EXIT_REFUSED);
	world_teardown();
}

Test(outgoing_guest, whose_qemu_takes_none_after_all_falls_back)
{
	cr_expect_eq(move_with(true, true, "add monitor"), EXIT_COMPLETED, "%s",
		     world.result.reason);
	cr_expect_str_eq(world.monitor, "private");
	world_teardown();
	cr_expect_eq(move_with(true, false, "add monitor"), EXIT_FAILED);
	cr_expect(strstr(world.result.reason, "does not take a monitor of dray's"), "%s",
		  world.result.reason);
	world_teardown();
}

Test(outgoing_guest, without_such_disks_needs_none)
{
	setup();
	world.adds_monitor = true;
	cr_expect_eq(go(let_it_go_on), EXIT_COMPLETED, "%s", world.result.reason);
	cr_expect_null(world.monitor);
	world_teardown();
}
