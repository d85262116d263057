// SPDX-License-Identifier: Apache-2.0
// A trial of a migration (dray check --destination), and what libvirt refuses: the guest runs on,
// and everything is undone.
#include "outgoing.h"

#include <criterion/criterion.h>
#include "fake_outgoing.h"

TestSuite(outgoing_trial, .timeout = 60);

static int try(bool trial)
{
	struct outgoing_options options;

	world_options(&options);
	options.trial = trial;
	return world_run(&options);
}

static void runs_on(void)
{
	cr_expect(world_runs_here());
	cr_expect_not(world.lives_there);
	cr_expect_not(world.recorded, "%s", world.trace);
	cr_expect(world.guard_dismissed);
	cr_expect_str_eq(world.result.guest_on, "source");
	cr_expect_not(world_did("gate open"), "%s", world.trace);
}

Test(outgoing_trial, succeeds_and_is_undone)
{
	world_setup();
	cr_expect_eq(try(true), EXIT_COMPLETED);
	runs_on();
	cr_expect(world_did("ABORT"), "%s", world.trace);
	cr_expect_eq(world.result.rounds, 0);
	world_teardown();
}

/* Whatever fails: it does not say that it would work, but for what is undone again and again until
 * it works, and for post-copy, which it does not try. */
Test(outgoing_trial, each_call_may_fail)
{
	for (unsigned int i = 1;; i++) {
		int status;

		world_setup();
		world.fail_at = i;
		status = try(true);
		cr_expect(world_runs_here());
		if (!world.failed[0]) {
			cr_expect_eq(status, EXIT_COMPLETED);
			world_teardown();
			return;
		}
		cr_expect(status == EXIT_REFUSED || status == EXIT_FAILED ||
				  world.failed_in == PHASE_ROLLBACK ||
				  strcmp(world.failed, "libvirt: monitor") == 0,
			  "%s", world.failed);
		cr_expect_not(world.recorded, "%s", world.failed);
		world_teardown();
	}
}

static void libvirt_refuses(uint64_t arg)
{
	(void)arg;
	world_job_ends(-EPERM, "unsupported machine type 'pc-i440fx-11.1'");
}

static void refuse_in_time(const char *what)
{
	if (strcmp(what, "dial RAM") == 0)
		world_at(1000, libvirt_refuses, 0);
}

/* Again would be refused again. */
static void is_refused(bool trial)
{
	world_setup();
	world.on_call = refuse_in_time;
	cr_expect_eq(try(trial), EXIT_REFUSED);
	cr_expect_not(world.may_pass);
	runs_on();
	cr_expect(strstr(world.result.reason, "web"), "%s", world.result.reason);
	cr_expect(strstr(world.result.reason, "unsupported machine type"), "%s",
		  world.result.reason);
	world_teardown();
}

Test(outgoing_trial, what_libvirt_refuses_is_refused)
{
	is_refused(false);
	is_refused(true);
}

static void there_first(const char *what)
{
	if (strcmp(what, "dial RAM") != 0 || world.given_up_there)
		return;
	world_says(WIRE_ABORT);
	world_at(2000, libvirt_refuses, 0);
}

/* The receiver sees that QEMU has ended before libvirt has told why. */
Test(outgoing_trial, libvirts_words_go_before_the_destinations)
{
	world_setup();
	world.on_call = there_first;
	cr_expect_eq(try(false), EXIT_REFUSED);
	cr_expect_not(world.may_pass);
	runs_on();
	cr_expect(strstr(world.result.reason, "unsupported machine type"), "%s",
		  world.result.reason);
	world_teardown();
}

static void libvirt_is_lost(uint64_t arg)
{
	(void)arg;
	world_job_ends(-ECONNRESET, "end of file");
}

static void lose_in_time(const char *what)
{
	if (strcmp(what, "dial RAM") == 0)
		world_at(1000, libvirt_is_lost, 0);
}

Test(outgoing_trial, a_libvirt_that_was_lost_may_come_back)
{
	world_setup();
	world.on_call = lose_in_time;
	cr_expect_eq(try(false), EXIT_FAILED);
	cr_expect(world.may_pass);
	runs_on();
	world_teardown();
}

/* Once QEMU's migration has begun, what libvirt says is no refusal. */
static void refuse_too_late(const char *what)
{
	if (strcmp(what, "source") == 0)
		world_at(1000, libvirt_refuses, 0);
}

Test(outgoing_trial, a_failure_later_is_no_refusal)
{
	world_setup();
	world.on_call = refuse_too_late;
	cr_expect_eq(try(false), EXIT_FAILED);
	cr_expect(world.may_pass);
	world_teardown();
}
