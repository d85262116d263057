// SPDX-License-Identifier: Apache-2.0
// Waiting for what never comes: each wait has an end, of which the text says what it was for. And
// for what takes long by right: a turn, a guest that writes too fast.
#include "outgoing_await.h"

#include <criterion/criterion.h>
#include "fake_outgoing.h"
#include "json_field.h"
#include "live.h"

TestSuite(outgoing_patience, .timeout = 60);

static struct outgoing_options options;

static void setup(void)
{
	world_setup();
	world_options(&options);
}

static void expect(int status, const char *reason)
{
	int ended = world_run(&options);

	cr_expect_eq(ended, status, "%s: %d, %s", reason, ended, world.result.reason);
	cr_expect(strstr(world.result.reason, reason), "%s: %s", reason, world.result.reason);
	world_judge(ended);
	cr_expect_not(world.recorded);
	world_teardown();
}

/* ---- never ---- */

Test(outgoing_patience, the_destination_never_accepts)
{
	setup();
	world.mute = 1u << WIRE_PREPARED;
	expect(EXIT_REFUSED, "waited 15.0 s for the destination to accept the guest");
}

/* Files are made and removed there, on this host. */
Test(outgoing_patience, the_destination_names_another_path)
{
	setup();
	world.stream_path = "/etc/shadow";
	cr_expect_eq(world_run(&options), EXIT_REFUSED);
	cr_expect(strstr(world.result.reason, "QEMU's stream would be /etc/shadow"), "%s",
		  world.result.reason);
	cr_expect_str_eq(world.trace, "record, ABORT, no record");
	cr_expect(world_runs_here());
	world_teardown();
}

Test(outgoing_patience, its_qemu_never_starts)
{
	setup();
	world.mute = 1u << WIRE_READY;
	expect(EXIT_FAILED, "waited 300.0 s for libvirt to start the guest's QEMU there");
}

/* The completion time-out is in force inside a round. */
Test(outgoing_patience, it_never_takes_a_page)
{
	setup();
	world.mute = 1u << WIRE_SYNCED;
	options.progress_s = 0;
	expect(EXIT_ABORTED, "--completion-timeout-per-gib 150");
}

Test(outgoing_patience, qemu_never_stops)
{
	setup();
	world.never_stops = true;
	expect(EXIT_FAILED, "waited 30 s for QEMU to stop the guest");
}

/* The stop lasts for --stopped-timeout at most. */
Test(outgoing_patience, qemu_never_completes)
{
	setup();
	world.never_completes = true;
	expect(EXIT_FAILED, "for QEMU here to save its devices, guest stopped");
}

/* Memory of its own, which goes before the stop, takes QEMU as long as the cap wants. But it may
 * have a display that is drawn faster than that. */
Test(outgoing_patience, qemu_does_not_stop_at_the_cap)
{
	setup();
	world.never_stops = true;
	options.limits.bandwidth = 1 << 20;
	cr_expect_eq(world_run(&options), EXIT_FAILED);
	cr_expect(strstr(world.result.reason, "waited 60 s for QEMU to stop the guest"), "%s",
		  world.result.reason);
	cr_expect(world.hastened);
	world_teardown();
}

Test(outgoing_patience, its_digest_never_comes)
{
	setup();
	options.verify = true;
	world.mute = 1u << WIRE_DIGEST;
	expect(EXIT_FAILED, "waited 60.0 s for the destination's digest");
}

Test(outgoing_patience, it_never_listens)
{
	setup();
	options.post_copy_now = true;
	world_writes_fast();
	world.mute = 1u << WIRE_LISTENING;
	expect(EXIT_FAILED, "waited 15.0 s for the destination to get ready for post-copy");
}

/* The guest stands still: there is little patience. */
Test(outgoing_patience, it_never_takes_the_last_pages)
{
	setup();
	world.mute_last = 1u << WIRE_SYNCED;
	expect(EXIT_FAILED,
	       "waited 2.0 s for the destination to take the last pages, guest stopped");
}

/* It has handed over, and hears nothing: whoever has the guest is found out by asking. */
Test(outgoing_patience, nothing_comes_after_the_release)
{
	setup();
	world.mute = 1u << WIRE_RESUMED | 1u << WIRE_FINISHED;
	cr_expect_eq(world_run(&options), EXIT_COMPLETED);
	world_judge(EXIT_COMPLETED);
	cr_expect(world_said("did not confirm that it has tidied up: run `dray recover`"));
	/* Ten seconds each, for RESUMED and for FINISHED. */
	cr_expect_geq(world.now_us, 20000000);
	world_teardown();
}

/* ---- another dray ---- */

/* That is just undoing its migration, or the guard of one that was killed. */
Test(outgoing_patience, another_dray_is_waited_for)
{
	setup();
	world.locked = 20;
	cr_expect_eq(world_run(&options), EXIT_COMPLETED);
	world_judge(EXIT_COMPLETED);
	cr_expect(world_said("\"event\":\"waiting\""), "%s", world.said);
	world_teardown();
}

Test(outgoing_patience, another_dray_does_not_leave)
{
	setup();
	world.locked = 1000;
	expect(EXIT_REFUSED, "another dray is working on this guest");
}

/* ---- a turn ---- */

static struct slot *others[3];

static void queue_up(unsigned int n)
{
	char path[64];

	snprintf(path, sizeof(path), "%s/outbound", world.dir);
	for (unsigned int i = 0; i < n; i++)
		cr_assert_eq(slot_join(path, &others[i], NULL), 0);
}

static void leave(uint64_t i)
{
	slot_leave(others[i]);
	others[i] = NULL;
}

Test(outgoing_patience, a_turn_comes)
{
	setup();
	queue_up(3);
	options.max_outbound = 2;
	world_at(1000000, leave, 0);
	world_at(1500000, leave, 1);
	cr_expect_eq(world_run(&options), EXIT_COMPLETED);
	world_judge(EXIT_COMPLETED);
	cr_expect(world_said("\"where\":\"source\",\"ahead\":2"), "%s", world.said);
	cr_expect(world_said("\"where\":\"source\",\"ahead\":1"), "%s", world.said);
	leave(2);
	world_teardown();
}

Test(outgoing_patience, a_turn_does_not_come)
{
	setup();
	queue_up(2);
	options.max_outbound = 2;
	options.queue_s = 7;
	cr_expect_eq(world_run(&options), EXIT_ABORTED);
	world_judge(EXIT_ABORTED);
	cr_expect(strstr(world.result.reason, "no turn on the source within 7 s"), "%s",
		  world.result.reason);
	leave(0);
	leave(1);
	world_teardown();
}

static void say_queued(uint64_t ahead)
{
	struct wire_message m = {.type = WIRE_QUEUED, .queued = {(uint32_t)ahead}};

	world_message(&m);
}

static void queue_there(const char *what)
{
	if (strcmp(what, "control") == 0)
		for (unsigned int i = 1; i <= 8; i++)
			world_at(i * 1000000, say_queued, 1);
}

/* Meanwhile the destination says so once a second, and PREPARED comes at last. */
Test(outgoing_patience, a_turn_there_comes)
{
	setup();
	world.mute = 1u << WIRE_PREPARED;
	world.on_call = queue_there;
	options.queue_s = 5;
	expect(EXIT_ABORTED, "no turn on the destination within 5 s");
}

static void begin_to_hear(uint64_t arg)
{
	(void)arg;
	world.mute = 0;
	world_says(WIRE_PREPARED);
}

static void queue_then_prepare(const char *what)
{
	queue_there(what);
	if (strcmp(what, "control") == 0)
		world_at(4500000, begin_to_hear, 0);
}

Test(outgoing_patience, after_a_long_wait_the_guest_is_looked_at_again)
{
	setup();
	world.mute = 1u << WIRE_PREPARED;
	world.on_call = queue_then_prepare;
	expect(EXIT_COMPLETED, "");
}

static void queue_then_restart(const char *what)
{
	queue_then_prepare(what);
	if (strcmp(what, "control") == 0)
		world.web->qemu++;
}

/* Its memory is another by now. */
Test(outgoing_patience, a_guest_that_was_restarted_meanwhile_is_not_moved)
{
	setup();
	world.mute = 1u << WIRE_PREPARED;
	world.on_call = queue_then_restart;
	expect(EXIT_FAILED, "domain web was restarted, or changed, before its");
}

/* ---- a guest that writes too fast ---- */

Test(outgoing_patience, never_converges)
{
	setup();
	world_writes_fast();
	options.completion_s_per_gib = 12;
	expect(EXIT_ABORTED, "--completion-timeout-per-gib 12");
}

Test(outgoing_patience, is_paused_to_finish)
{
	setup();
	world_writes_fast();
	options.completion_s_per_gib = 12;
	options.disruption = true;
	cr_expect_eq(world_run(&options), EXIT_COMPLETED);
	world_judge(EXIT_COMPLETED);
	cr_expect_str_eq(world.result.mode, "Paused");
	world_teardown();
}

/* ... and that takes longer than the whole migration may: a time-out like any other. */
Test(outgoing_patience, is_paused_for_too_long)
{
	setup();
	world_writes_fast();
	options.completion_s_per_gib = 12;
	options.disruption = true;
	world.mute_last = 1u << WIRE_SYNCED;
	expect(EXIT_ABORTED, "for the destination to take the last pages, guest stopped");
}

static void ask(const char *request)
{
	_cleanup_json_ json_object *o = json_tokener_parse(request), *reply = NULL;
	char path[64];

	snprintf(path, sizeof(path), "%s/control.sock", world.dir);
	cr_expect_eq(live_call(path, o, &reply, 20000, NULL), 0, "%s", request);
}

static void raise_limits(uint64_t arg)
{
	(void)arg;
	ask("{\"command\":\"set\",\"values\":{\"max-downtime\":\"2000\",\"bandwidth\":\"1Mi\"}}");
}

Test(outgoing_patience, fits_once_the_limit_is_raised)
{
	setup();
	world_writes_fast();
	world_at(3000000, raise_limits, 0);
	cr_expect_eq(world_run(&options), EXIT_COMPLETED);
	world_judge(EXIT_COMPLETED);
	cr_expect(world_said("max-downtime set to 2000"), "%s", world.said);
	/* Whoever has to carry on keeps to the cap as it was last. */
	cr_expect_eq(world.record.bandwidth, 1u << 20);
	world_teardown();
}

Test(outgoing_patience, is_slowed_until_it_converges)
{
	setup();
	world_writes_fast();
	options.auto_converge = true;
	options.completion_s_per_gib = 20;
	expect(EXIT_ABORTED, "--completion-timeout-per-gib 20");
}

Test(outgoing_patience, makes_no_progress)
{
	setup();
	options.progress_s = 5;
	world.mute = 1u << WIRE_SYNCED;
	expect(EXIT_ABORTED, "--progress-timeout 5");
}
