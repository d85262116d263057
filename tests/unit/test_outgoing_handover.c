// SPDX-License-Identifier: Apache-2.0
// The hand-over and what follows: in every order of RESUMED, FINISHED, the job's end, a lost peer
// and a cancel the guest runs once, and the source says where.
#include "outgoing_handover.h"

#include <criterion/criterion.h>
#include "fake_outgoing.h"

TestSuite(outgoing_handover, .timeout = 60);

static int go(void)
{
	struct outgoing_options options;

	world_options(&options);
	return world_run(&options);
}

/* ---- every order ---- */

enum event {
	RUNS,	/* there, and the source hears of it unless the peer was lost */
	DONE,	/* the job, well: only after RUNS */
	FAILED, /* the job */
	LOST,	/* the control channel */
	CANCEL, /* too late */
	EVENTS,
};

static const char *const names[EVENTS] = {"runs there", "job done", "job failed", "peer lost",
					  "cancel"};

static enum event order[EVENTS];
static unsigned int count;

static void happen(uint64_t event)
{
	switch ((enum event)event) {
	case RUNS:
		world_begins_there(0);
		break;
	case DONE:
		world_job_is_done(0);
		break;
	case FAILED:
		world_job_fails(0);
		break;
	case LOST:
		world_loses_control(0);
		break;
	case CANCEL:
		cr_expect_not(steering_cancel(world.steering, "too late"));
		break;
	default:
		break;
	}
}

static void in_that_order(void)
{
	for (unsigned int i = 0; i < count; i++)
		world_at(1000 * (i + 1), happen, order[i]);
}

static void write_order(char text[128])
{
	text[0] = '\0';
	for (unsigned int i = 0; i < count; i++)
		sprintf(text + strlen(text), "%s%s", i ? ", " : "", names[order[i]]);
}

/* Whatever comes after the source has begun to ask, or after the job, changes nothing. */
static int expect(enum wire_state answer)
{
	bool heard = false, runs = false;

	for (unsigned int i = 0; i < count; i++) {
		if (order[i] == DONE && runs)
			return EXIT_COMPLETED;
		if (order[i] == RUNS)
			heard = runs = true;
		if (order[i] == FAILED || order[i] == DONE || order[i] == LOST)
			break;
	}
	if (heard || !answer)
		return -1; /* by the truth */
	return answer == WORLD_NOBODY ? EXIT_OPERATOR : -1;
}

static void try_order(enum wire_state answer)
{
	char text[128];
	int status, expected = expect(answer);

	write_order(text);
	world_setup();
	world.on_release = in_that_order;
	world.answer = answer;
	status = go();
	if (expected < 0)
		expected = world.lives_there ? EXIT_COMPLETED : EXIT_FAILED;
	cr_expect_eq(status, expected, "%s: %d instead of %d, %s: %s", text, status, expected,
		     world.result.reason, world.trace);
	world_judge(status);
	/* What nobody knows stays on record, and the guest stays paused here. */
	cr_expect_eq(world.recorded, status == EXIT_OPERATOR, "%s: %s", text, world.trace);
	if (status == EXIT_OPERATOR)
		cr_expect_eq(world.web->info.state, DOMAIN_PAUSED_MIGRATION, "%s", text);
	world_teardown();
}

/* Every order that begins with the first n. */
static void try_all(unsigned int n, unsigned int used)
{
	count = n;
	if (n) {
		try_order(0);
		try_order(WORLD_NOBODY);
	}
	for (unsigned int e = 0; n < EVENTS && e < EVENTS; e++)
		if (!(used >> e & 1)) {
			order[n] = (enum event)e;
			try_all(n + 1, used | 1u << e);
		}
}

Test(outgoing_handover, every_order_of_events)
{
	try_all(0, 0);
}

/* ---- before it: what the last look finds ---- */

static void look_finds(uint64_t pages)
{
	world_setup();
	world.pages[SOURCE_ROUND_CHECK] = pages;
}

Test(outgoing_handover, memory_that_was_written_after_the_stop_is_not_handed_over)
{
	look_finds(3);
	cr_expect_eq(go(), EXIT_FAILED);
	world_judge(EXIT_FAILED);
	cr_expect(strstr(world.result.reason,
			 "a device wrote guest memory after the guest had stopped "
			 "(3 pages"),
		  "%s", world.result.reason);
	cr_expect(world.may_pass);
	cr_expect_not(world_did("forbid"));
	world_teardown();
}

static bool cancel(void)
{
	return steering_cancel(world.steering, "at the last moment");
}

/* The mail that tells of it has not been read, and need not be. */
static void cancel_at_the_look(const char *what)
{
	if (strcmp(what, "gate forbid") == 0)
		cr_expect_not(cancel(), "it is too late");
}

Test(outgoing_handover, is_called_off_until_the_source_commits_itself)
{
	world_setup();
	world.on_call = cancel_at_the_look;
	cr_expect_eq(go(), EXIT_COMPLETED);
	world_judge(EXIT_COMPLETED);
	world_teardown();
}

/* The look ends in the same moment in which somebody calls the migration off. */
static void end_look(uint64_t arg)
{
	world_round_is_done(arg);
	cancel();
}

static bool end_look_soon(void)
{
	if (world.round_runs && world.o->stop.at_rest && !world.o->rounds.synced)
		return false;
	world_at(0, end_look, 0);
	return true;
}

Test(outgoing_handover, is_called_off_by_a_mail_that_was_not_read)
{
	world_setup();
	world.trouble_at = 18; /* the wait of the last look */
	world.trouble = end_look_soon;
	cr_expect_eq(go(), EXIT_ABORTED);
	cr_expect_eq(world.trouble_in, PHASE_LAST_PASS);
	world_judge(EXIT_ABORTED);
	cr_expect_not(world_did("forbid"), "%s", world.trace);
	world_teardown();
}

/* ---- after it: the guest that is left here ---- */

static void job_done_but_guest_stays(void)
{
	world_begins_there(0);
	world_job_ends(0, ""); /* the daemon here died before it removed the guest */
}

Test(outgoing_handover, a_guest_that_libvirt_has_left_behind_is_removed)
{
	world_setup();
	world.on_release = job_done_but_guest_stays;
	cr_expect_eq(go(), EXIT_COMPLETED);
	world_judge(EXIT_COMPLETED);
	cr_expect(world_did("destroy, undefine, no record"), "%s", world.trace);
	world_teardown();
}

static void fail_in_finish(const char *what)
{
	if (world.o && world.o->phase == PHASE_FINISH && strcmp(what, "libvirt: destroy") == 0)
		world.fail_at = world.calls + 1;
}

/* The daemon that was started anew may need a moment: it is tried again for ten seconds. */
Test(outgoing_handover, and_else_the_guard_tries_on)
{
	world_setup();
	world.on_release = job_done_but_guest_stays;
	world.on_call = fail_in_finish;
	cr_expect_eq(go(), EXIT_COMPLETED);
	world_judge(EXIT_COMPLETED);
	cr_expect(world.recorded);
	cr_expect_not(world.guard_dismissed);
	cr_expect(world_said("\"event\":\"warning\""));
	cr_expect_geq(world.now_us, 10000000);
	world_teardown();
}

/* ---- post-copy ---- */

static struct outgoing_options options;

static void setup_post_copy(void)
{
	world_setup();
	world_options(&options);
	options.post_copy_now = true;
	world.pages[SOURCE_ROUND_LIVE] = 900;
}

static void break_and_mend(uint64_t arg)
{
	(void)arg;
	world_link_changes(PAGE_LINK_BROKEN);
	world_link_changes(PAGE_LINK_RESUMED);
	world_link_changes(PAGE_LINK_WAITING);
}

static void release_then_break(void)
{
	world_is_released();
	world_at(3000, break_and_mend, 0);
}

Test(outgoing_handover, post_copy_goes_on_over_a_broken_link)
{
	setup_post_copy();
	world.on_release = release_then_break;
	cr_expect_eq(world_run(&options), EXIT_COMPLETED);
	world_judge(EXIT_COMPLETED);
	cr_expect(world_said("\"event\":\"disconnected\""));
	cr_expect(world_said("\"event\":\"reconnected\""));
	cr_expect(world_said("\"event\":\"waiting\""));
	world_teardown();
}

Test(outgoing_handover, post_copy_that_ends_early_needs_an_operator)
{
	setup_post_copy();
	world.link_end = PAGE_LINK_ENDED;
	cr_expect_eq(world_run(&options), EXIT_OPERATOR);
	world_judge(EXIT_OPERATOR);
	cr_expect_str_eq(world.result.guest_on, "unknown");
	cr_expect(strstr(world.result.reason, "post-copy of domain web cannot be finished"));
	cr_expect(world.recorded);
	world_teardown();
}

static void inflate(uint64_t arg)
{
	(void)arg;
	fake_libvirt_fire(world.libvirt, WORLD_UUID, QEMU_EVENT_BALLOON, WORLD_EPOCH_US);
}

static void inflate_in_pre_copy(const char *what)
{
	if (strcmp(what, "page link") == 0)
		world_at(0, inflate, 0);
}

/* A balloon that moves while the guest is still here: its memory may be given back. */
Test(outgoing_handover, memory_that_a_balloon_has_given_back_is_known_of)
{
	for (int moves = 0; moves < 2; moves++) {
		setup_post_copy();
		if (moves)
			world.on_call = inflate_in_pre_copy;
		cr_expect_eq(world_run(&options), EXIT_COMPLETED);
		cr_expect_eq(world.gives_back, moves, "%d: %s", moves, world.trace);
		cr_expect_eq(world.record.gives_back, moves);
		world_teardown();
	}
}

/* It runs, and must not be trusted. */
Test(outgoing_handover, memory_that_was_damaged_needs_an_operator)
{
	setup_post_copy();
	options.verify = true;
	world.judgement = -EBADMSG;
	cr_expect_eq(world_run(&options), EXIT_OPERATOR);
	world_judge(EXIT_OPERATOR);
	cr_expect_str_eq(world.result.guest_on, "destination");
	cr_expect(strstr(world.result.reason, "web on there is damaged"), "%s",
		  world.result.reason);
	cr_expect_not(world.recorded);
	world_teardown();
}

Test(outgoing_handover, a_proof_that_was_not_finished_is_told)
{
	setup_post_copy();
	options.verify = true;
	world.judgement = 1;
	cr_expect_eq(world_run(&options), EXIT_COMPLETED);
	cr_expect(world_said("could not be proven to be the same"));
	world_teardown();
}

/* Pre-copy goes on. */
Test(outgoing_handover, a_destination_may_refuse_post_copy)
{
	setup_post_copy();
	world.refusal = "no userfaultfd there";
	cr_expect_eq(world_run(&options), EXIT_COMPLETED);
	world_judge(EXIT_COMPLETED);
	cr_expect_str_eq(world.result.mode, "PreCopy");
	cr_expect(world_said("no userfaultfd there"));
	cr_expect_not(world.record.post_copy);
	world_teardown();
}

/* To give up would be to give up the guest's memory: it is asked until it is known. */
static unsigned int asked;

static void answer_the_third_time(const char *what)
{
	if (strcmp(what, "ask") == 0 && ++asked == 3)
		world.answer = 0;
}

static void lose_all(void)
{
	world_at(1000, happen, RUNS);
	world_loses_control(0);
}

Test(outgoing_handover, in_post_copy_the_destination_is_asked_until_it_answers)
{
	setup_post_copy();
	world.answer = WORLD_NOBODY;
	world.on_call = answer_the_third_time;
	world.on_release = lose_all;
	cr_expect_eq(world_run(&options), EXIT_COMPLETED);
	world_judge(EXIT_COMPLETED);
	cr_expect_eq(asked, 3);
	world_teardown();
}

/* Time does not make it know more; the guard has the memory, and asks on. */
Test(outgoing_handover, in_post_copy_a_destination_that_does_not_know_needs_an_operator)
{
	setup_post_copy();
	world.answer = WORLD_IGNORANT;
	world.on_release = lose_all;
	cr_expect_eq(world_run(&options), EXIT_OPERATOR);
	world_judge(EXIT_OPERATOR);
	cr_expect(world_said("\"message\":\"there does not know: it was shut off\""));
	cr_expect(strstr(world.result.reason, "is paused here: there does not know: it was shut "
					      "off. See whether it runs there"),
		  "%s", world.result.reason);
	cr_expect(strstr(world.result.reason, "Then run: dray recover web"), "%s",
		  world.result.reason);
	cr_expect(world.recorded && !world.guard_dismissed);
	world_teardown();
}

/* ---- verify ---- */

Test(outgoing_handover, memory_that_differs_is_not_handed_over)
{
	world_setup();
	world_options(&options);
	options.verify = true;
	world.differ = true;
	cr_expect_eq(world_run(&options), EXIT_FAILED);
	world_judge(EXIT_FAILED);
	cr_expect(strstr(world.result.reason, "RAM block pc.ram differs between the hosts"), "%s",
		  world.result.reason);
	world_teardown();
}

/* ---- post-copy is quicker than libvirt ---- */

static void all_comes_before_libvirt_is_done(void)
{
	world_at(1000, happen, RUNS);
	world_at(2000, world_link_changes, PAGE_LINK_COMPLETE);
	world_at(3000, happen, LOST);
	world_at(2000000, happen, DONE);
}

Test(outgoing_handover, a_destination_that_has_all_may_hang_up)
{
	world_setup();
	world_options(&options);
	options.post_copy_now = true;
	world.pages[SOURCE_ROUND_LIVE] = 900;
	world.on_release = all_comes_before_libvirt_is_done;
	cr_expect_eq(world_run(&options), EXIT_COMPLETED);
	cr_expect_str_eq(world.result.reason, "");
	cr_expect(world_did("job done") && !world_did("cut gate"), "%s", world.trace);
	world_teardown();
}

/* ---- the destination refuses ---- */

static void gives_up_unreleased(void)
{
	world_at(1000, world_says, WIRE_ABORT);
}

Test(outgoing_handover, who_gives_up_without_having_released_never_will)
{
	world_setup();
	world_options(&options);
	world.on_release = gives_up_unreleased;
	world.answer = WORLD_NOBODY;
	cr_expect_eq(world_run(&options), EXIT_FAILED);
	cr_expect_str_eq(world.result.reason, "the destination gave up: out of memory there");
	cr_expect(world_runs_here());
	world_judge(EXIT_FAILED);
	world_teardown();
}

static void gives_up_after_it_has_released(void)
{
	world_at(500, world_says, WIRE_RELEASED);
	world_at(1000, world_says, WIRE_ABORT);
	world_at(2000, happen, LOST);
}

Test(outgoing_handover, who_gives_up_after_that_is_asked)
{
	world_setup();
	world_options(&options);
	world.on_release = gives_up_after_it_has_released;
	world.answer = WORLD_NOBODY;
	cr_expect_eq(world_run(&options), EXIT_OPERATOR);
	cr_expect_not(world_runs_here());
	world_teardown();
}

/* ---- why not ---- */

static void its_qemu_refuses_the_stream(void)
{
	world_at(1000, happen, FAILED);
}

/* libvirt's library comes to its end, and to its words, when the guest may run here again. */
Test(outgoing_handover, libvirt_tells_why_it_came_back)
{
	world_setup();
	world_options(&options);
	world.on_release = its_qemu_refuses_the_stream;
	cr_expect_eq(world_run(&options), EXIT_FAILED);
	cr_expect_str_eq(world.result.reason, "QEMU's migration failed");
	cr_expect(world_runs_here());
	world_judge(EXIT_FAILED);
	world_teardown();
}

/* ---- memory that is in QEMU here alone ---- */

static void setup_private(void)
{
	setup_post_copy();
	world.private = true;
}

static bool comes_before(const char *first, const char *then)
{
	const char *at = strstr(world.trace, first);

	return at && strstr(at, then);
}

Test(outgoing_handover, qemu_stays_until_the_last_page_has_gone)
{
	setup_private();
	cr_expect_eq(world_run(&options), EXIT_COMPLETED);
	world_judge(EXIT_COMPLETED);
	cr_expect_str_eq(world.result.mode, "PostCopy");
	cr_expect(comes_before("forbid all, lend, record released, RELEASE", "permit, job done"),
		  "%s", world.trace);
	cr_expect_not(world_did(" QEMU"), "%s", world.trace);
	world_teardown();
}

Test(outgoing_handover, what_qemu_writes_while_pages_are_owed_is_told)
{
	setup_private();
	world.late = 2;
	cr_expect_eq(world_run(&options), EXIT_COMPLETED);
	world_judge(EXIT_COMPLETED);
	cr_expect(world_said("a device of the QEMU here wrote 2 pages of guest memory"), "%s",
		  world.said);
	world_teardown();
}

/* QEMU may have been ended. */
Test(outgoing_handover, a_look_that_fails_then_is_no_failure)
{
	setup_private();
	world.late_ret = -ESRCH;
	cr_expect_eq(world_run(&options), EXIT_COMPLETED);
	world_judge(EXIT_COMPLETED);
	cr_expect_not(world_said("a device of the QEMU here"), "%s", world.said);
	world_teardown();
}

/* Shared files outlive QEMU, which libvirt has removed by then. */
Test(outgoing_handover, memory_in_files_is_not_looked_at_again)
{
	setup_post_copy();
	world.late = 2;
	cr_expect_eq(world_run(&options), EXIT_COMPLETED);
	world_judge(EXIT_COMPLETED);
	cr_expect_not(world_said("a device of the QEMU here"), "%s", world.said);
	world_teardown();
}

/* libvirt's job goes with its daemon, or its connection. */
static void run_then_lose_libvirt(void)
{
	world_at(1000, happen, RUNS);
	world_at(2000, world_job_is_done, 0);
	world_at(3000, world_job_is_cut, 0);
}

Test(outgoing_handover, without_libvirt_qemu_is_stopped_and_in_the_end_killed)
{
	setup_private();
	world.on_release = run_then_lose_libvirt;
	cr_expect_eq(world_run(&options), EXIT_COMPLETED);
	world_judge(EXIT_COMPLETED);
	cr_expect(comes_before("job failed, stop QEMU", "kill QEMU"), "%s", world.trace);
	cr_expect(comes_before("kill QEMU", "undefine, no record"), "%s", world.trace);
	cr_expect_not(world_did("permit") || world_did("continue QEMU"), "%s", world.trace);
	world_teardown();
}

static void lose_libvirt_unstarted(void)
{
	world.given_up_there = true;
	world_at(1000, world_job_is_cut, 0);
}

Test(outgoing_handover, a_qemu_that_was_stopped_runs_on_if_it_never_ran_there)
{
	setup_private();
	world.on_release = lose_libvirt_unstarted;
	cr_expect_eq(world_run(&options), EXIT_FAILED);
	world_judge(EXIT_FAILED);
	cr_expect(comes_before("stop QEMU, cut tunnel, ask, record, continue QEMU", "resume"), "%s",
		  world.trace);
	cr_expect(world_runs_here() && !world.frozen);
	world_teardown();
}

Test(outgoing_handover, what_libvirt_holds_back_passes_if_it_never_ran_there)
{
	setup_private();
	world.on_release = its_qemu_refuses_the_stream;
	cr_expect_eq(world_run(&options), EXIT_FAILED);
	world_judge(EXIT_FAILED);
	cr_expect(world_runs_here());
	cr_expect_not(world_did("stop QEMU"), "%s", world.trace);
	world_teardown();
}

Test(outgoing_handover, qemu_is_let_go_when_post_copy_has_ended_early)
{
	setup_private();
	world.link_end = PAGE_LINK_ENDED;
	cr_expect_eq(world_run(&options), EXIT_OPERATOR);
	world_judge(EXIT_OPERATOR);
	cr_expect(world_did("permit, job done"), "%s", world.trace);
	cr_expect(world.recorded);
	world_teardown();
}

/* The guard serves on, and has libvirt's connection. */
Test(outgoing_handover, what_nobody_knows_is_left_to_the_guard_with_libvirts_job)
{
	setup_private();
	world.answer = WORLD_IGNORANT;
	world.on_release = lose_all;
	cr_expect_eq(world_run(&options), EXIT_OPERATOR);
	world_judge(EXIT_OPERATOR);
	cr_expect_not(world_did("cut gate") || world_did("kill QEMU") || world_did("permit"), "%s",
		      world.trace);
	cr_expect(world.recorded && world.record.post_copy && world.job_runs);
	world.hung_library = true; /* all else is left to the end of the process */
	world_teardown();
}

static unsigned int failing;

static void fail_what_keeps_it(const char *what)
{
	static const char *const calls[] = {"share gate", "lend to guard"};

	if (strcmp(what, calls[failing]) == 0)
		world.fail_at = world.calls + 1;
}

Test(outgoing_handover, a_guest_that_cannot_be_kept_from_running_twice_stays)
{
	for (failing = 0; failing < 2; failing++) {
		setup_private();
		world.on_call = fail_what_keeps_it;
		cr_expect_eq(world_run(&options), EXIT_FAILED);
		world_judge(EXIT_FAILED);
		cr_expect(world_runs_here());
		cr_expect_not(world_did("RELEASE"), "%s", world.trace);
		world_teardown();
	}
}

static void try_private_order(void)
{
	char text[128];
	int status;

	write_order(text);
	setup_private();
	world.on_release = in_that_order;
	status = world_run(&options);
	cr_expect_eq(status, world.lives_there ? EXIT_COMPLETED : EXIT_FAILED, "%s: %d: %s", text,
		     status, world.trace);
	world_judge(status);
	cr_expect_not(world.recorded, "%s: %s", text, world.trace);
	world_teardown();
}

/* Every order that begins with the first n; and libvirt's daemon may go at any moment. */
static void try_all_private(unsigned int n, unsigned int used)
{
	count = n;
	if (n)
		try_private_order();
	for (unsigned int e = 0; n < EVENTS && e < EVENTS; e++)
		if (!(used >> e & 1)) {
			order[n] = (enum event)e;
			try_all_private(n + 1, used | 1u << e);
		}
}

Test(outgoing_handover, every_order_of_events_with_memory_in_qemu)
{
	try_all_private(0, 0);
}
