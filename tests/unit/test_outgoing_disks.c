// SPDX-License-Identifier: Apache-2.0
// Whether a round waits for disk reads in flight, by what QEMU tells of them.
#include "outgoing_disks.h"

#include <criterion/criterion.h>
#include <criterion/parameterized.h>
#include <errno.h>
#include "fake_outgoing.h"

TestSuite(outgoing_disks, .timeout = 60);

static struct outgoing_options options;

static void setup(void)
{
	world_setup();
	world_options(&options);
	world.direct_disks = world.disks_told = 1;
	world.adds_monitor = true;
	world.suspects = 100;
}

static int go(void)
{
	int status = world_run(&options);

	world_judge(status);
	return status;
}

struct way {
	struct disk_flight_view looks[WORLD_LOOKS];
	unsigned int looked; /* in the first round */
	unsigned int drains; /* ... and in each */
	char said[48];	     /* of it */
};

ParameterizedTestParameters(outgoing_disks, ways)
{
	/* clang-format off */
	static struct way rows[] = {
		{{{DISK_FLIGHT_NONE, 300000}}, 1, 0, "\"disks\":\"idle\""},
		{{{DISK_FLIGHT_QUICK, 200}, {DISK_FLIGHT_QUICK, 200}}, 1, 1, "\"disks\":\"drained\""},
		{{{DISK_FLIGHT_UNKNOWN, 0}}, 1, 1, "\"disks\":\"drained\""},
		{{{DISK_FLIGHT_SLOW, 300000}, {DISK_FLIGHT_SLOW, 300000}}, 1, 0, "\"disks\":\"undrained\""},
		{{{DISK_FLIGHT_STILL, 0}, {DISK_FLIGHT_STILL, 0}, {DISK_FLIGHT_QUICK, 10},
		  {DISK_FLIGHT_QUICK, 10}}, 3, 1, "\"disks\":\"drained\""},
		{{{DISK_FLIGHT_STILL, 0}, {DISK_FLIGHT_NONE, 0}}, 2, 0, "\"disks\":\"idle\""},
	};
	/* clang-format on */

	return cr_make_param_array(struct way, rows, sizeof(rows) / sizeof(*rows));
}

ParameterizedTest(struct way *way, outgoing_disks, ways)
{
	setup();
	memcpy(world.disks, way->looks, sizeof(world.disks));
	for (unsigned int i = way->looked; i < WORLD_LOOKS; i++)
		world.disks[i] = way->looks[way->looked - 1];
	cr_expect_eq(go(), EXIT_COMPLETED, "%s", world.result.reason);
	cr_expect(world_said(way->said), "%s", world.said);
	cr_expect_geq(world.looks, way->looked);
	cr_expect_eq(world.drains > 0, way->drains > 0);
	cr_expect_eq(world.result.rounds_drained, world.drains);
	world_teardown();
}

/* It is not waited for longer than quick requests need to show. */
Test(outgoing_disks, that_hang_are_left)
{
	setup();
	for (int i = 0; i < WORLD_LOOKS; i++)
		world.disks[i].state = DISK_FLIGHT_STILL;
	cr_expect_eq(go(), EXIT_COMPLETED, "%s", world.result.reason);
	cr_expect_eq(world.drains, 0);
	cr_expect_gt(world.looks, 5);
	cr_expect_eq(world.result.rounds_drained, 0);
	cr_expect_gt(world.result.rounds_undrained, 1);
	world_teardown();
}

/* A whole guest that is suspect costs more than one wait. */
static unsigned int drains_of(const struct disk_flight_view *view, uint64_t suspects)
{
	unsigned int drains;

	setup();
	world.suspects = suspects;
	for (int i = 0; i < WORLD_LOOKS; i++)
		world.disks[i] = *view;
	options.completion_s_per_gib = 5;
	go();
	drains = world.drains;
	world_teardown();
	return drains;
}

Test(outgoing_disks, that_are_slow_are_drained_once_it_pays)
{
	static const struct disk_flight_view slow = {.state = DISK_FLIGHT_SLOW, .mean_us = 300000};
	static const struct disk_flight_view deep = {
		.state = DISK_FLIGHT_STILL, .mean_us = 300000, .still_us = 90000};
	static const struct disk_flight_view slower = {.state = DISK_FLIGHT_SLOW,
						       .mean_us = 600000};
	static const struct disk_flight_view hanging = {
		.state = DISK_FLIGHT_STILL, .mean_us = 300000, .still_us = 700000};

	cr_expect_gt(drains_of(&slow, 1u << 20), 0);
	cr_expect_eq(drains_of(&slow, 1u << 18), 0);
	cr_expect_gt(drains_of(&deep, 1u << 20), 0, "none ends while it is watched, but one has");
	cr_expect_eq(drains_of(&slower, 1u << 20), 0, "it would not be waited for so long");
	cr_expect_eq(drains_of(&hanging, 1u << 20), 0);
}

/* ... and is part of what the stop takes. */
Test(outgoing_disks, suspects_are_part_of_the_prediction)
{
	setup();
	world.suspects = 1u << 20;
	for (int i = 0; i < WORLD_LOOKS; i++)
		world.disks[i] = (struct disk_flight_view){DISK_FLIGHT_SLOW, 5000000, 0};
	options.completion_s_per_gib = 5;
	cr_expect_eq(go(), EXIT_ABORTED);
	cr_expect(strstr(world.result.reason, "predicted downtime"), "%s", world.result.reason);
	world_teardown();
}

Test(outgoing_disks, whose_drain_takes_too_long_are_not_asked_again)
{
	setup();
	world.disks[0].state = world.disks[WORLD_LOOKS - 1].state = DISK_FLIGHT_QUICK;
	world.drain_result = -ETIMEDOUT;
	cr_expect_eq(go(), EXIT_COMPLETED, "%s", world.result.reason);
	cr_expect_eq(world.drains, 1);
	cr_expect_eq(world.looks, 1);
	cr_expect(world_said("did not say in time"), "%s", world.said);
	cr_expect_gt(world.result.rounds_undrained, 0);
	world_teardown();
}

Test(outgoing_disks, of_a_qemu_that_does_not_answer)
{
	setup();
	world.look_result = -ETIMEDOUT;
	cr_expect_eq(go(), EXIT_COMPLETED, "%s", world.result.reason);
	cr_expect_eq(world.drains, 0);
	cr_expect_leq(world.looks, 3);
	world_teardown();
}

/* QEMU would answer when it has stopped the guest, and its disks have been waited for. */
static unsigned int looks_before;

static void note_looks(const char *what)
{
	if (strcmp(what, "other mappers") == 0)
		looks_before = world.looks;
}

Test(outgoing_disks, are_not_asked_about_once_qemu_may_stop_the_guest)
{
	setup();
	world.on_call = note_looks;
	cr_expect_eq(go(), EXIT_COMPLETED, "%s", world.result.reason);
	cr_expect_gt(looks_before, 0);
	cr_expect_eq(world.looks, looks_before);
	cr_expect_gt(world.result.rounds_undrained, 0);
	world_teardown();
}

/* Nothing in flight on those that QEMU tells of, says nothing of the others. */
Test(outgoing_disks, of_which_qemu_does_not_tell_are_drained)
{
	setup();
	world.direct_disks = 2;
	cr_expect_eq(go(), EXIT_COMPLETED, "%s", world.result.reason);
	cr_expect_gt(world.drains, 0);
	world_teardown();
}

/* ---- storage that does not answer ---- */

static void hang(void)
{
	for (int i = 0; i < WORLD_LOOKS; i++)
		world.disks[i] =
			(struct disk_flight_view){.state = DISK_FLIGHT_STILL, .still_us = 20000000};
}

static void heal(uint64_t arg)
{
	(void)arg;
	memset(world.disks, 0, sizeof(world.disks));
}

static uint64_t opened_us;

static void heal_later(const char *what)
{
	if (strcmp(what, "source") == 0)
		world_at(5000000, heal, 0);
	if (strcmp(what, "other mappers") == 0)
		opened_us = world.now_us;
}

/* QEMU would stop it, and then wait for its disks. */
Test(outgoing_disks, that_hang_keep_the_guest_from_being_stopped)
{
	setup();
	hang();
	world.on_call = heal_later;
	cr_expect_eq(go(), EXIT_COMPLETED, "%s", world.result.reason);
	cr_expect_gt(opened_us, 5000000);
	cr_expect_eq(world.drains, 0);
	cr_expect(world_said("of which none ends"), "%s", world.said);
	cr_expect_lt(world.result.rounds, 100);
	world_teardown();
}

static void fall_silent(uint64_t arg)
{
	(void)arg;
	world.look_result = -ETIMEDOUT;
}

static void speak_and_heal(uint64_t arg)
{
	world.look_result = 0;
	heal(arg);
}

static void fall_silent_then_heal(const char *what)
{
	if (strcmp(what, "source") == 0) {
		world_at(2000000, fall_silent, 0);
		world_at(5000000, speak_and_heal, 0);
	}
	if (strcmp(what, "other mappers") == 0)
		opened_us = world.now_us;
}

/* That does not mean that they have answered. */
Test(outgoing_disks, that_hang_while_qemu_does_not_say_anything)
{
	setup();
	hang();
	world.on_call = fall_silent_then_heal;
	cr_expect_eq(go(), EXIT_COMPLETED, "%s", world.result.reason);
	cr_expect_gt(opened_us, 5000000);
	cr_expect_eq(world.drains, 0);
	world_teardown();
}

/* Rounds are cut short from then on, and do not ask. */
Test(outgoing_disks, that_hang_when_time_is_up_and_answer_later)
{
	setup();
	hang();
	world.on_call = heal_later;
	world.round_us = 700000;
	options.completion_s_per_gib = 2;
	options.limits.post_copy = true;
	cr_expect_eq(go(), EXIT_COMPLETED, "%s", world.result.reason);
	cr_expect(world.hurried);
	cr_expect_str_eq(world.result.mode, "PostCopy");
	cr_expect_lt(world.now_us, 20000000);
	world_teardown();
}

static void cancel(uint64_t arg)
{
	(void)arg;
	steering_cancel(world.steering, "enough");
}

static void cancel_later(const char *what)
{
	if (strcmp(what, "source") == 0)
		world_at(5000000, cancel, 0);
}

Test(outgoing_disks, that_hang_leave_it_to_be_cancelled)
{
	setup();
	hang();
	world.on_call = cancel_later;
	cr_expect_eq(go(), EXIT_ABORTED);
	cr_expect_lt(world.now_us, 7000000);
	cr_expect_not(world_did("gate open"), "%s", world.trace);
	world_teardown();
}
