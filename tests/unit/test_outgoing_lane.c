// SPDX-License-Identifier: Apache-2.0
// The walk along a lane: down its table, and up again over what has begun.
#include "outgoing_lane.h"

#include <criterion/criterion.h>
#include "fake_outgoing.h"
#include "outgoing_state.h"
#include "outgoing_status.h"

TestSuite(outgoing_lane, .timeout = 20);

static struct outgoing o;
static struct outgoing_options options;
static char walked[256]; /* "a", "b": run; "-a": undone */
static char failing;	 /* the step that does */
static bool wants_c;

static int run(char name)
{
	sprintf(walked + strlen(walked), "%c ", name);
	return name == failing ? outgoing_fail(&o, -EIO, "%c fails", name) : 0;
}

static void undo(char name)
{
	cr_expect_eq(o.phase, PHASE_ROLLBACK);
	sprintf(walked + strlen(walked), "-%c ", name);
}

#define STEP(name, letter)                                                                         \
	static int run_##name(struct outgoing *unused)                                             \
	{                                                                                          \
		(void)unused;                                                                      \
		return run(letter);                                                                \
	}                                                                                          \
	static void undo_##name(struct outgoing *unused)                                           \
	{                                                                                          \
		(void)unused;                                                                      \
		undo(letter);                                                                      \
	}

STEP(a, 'a')
STEP(b, 'b')
STEP(c, 'c')

static int run_d(struct outgoing *unused)
{
	(void)unused;
	return run('d');
}

static bool is_c_wanted(const struct outgoing *unused)
{
	(void)unused;
	return wants_c;
}

static int lose(struct outgoing *unused)
{
	(void)unused;
	outgoing_status_enter(&o, PHASE_LOST);
	return outgoing_fail(&o, -EHOSTUNREACH, "nobody knows");
}

static int finish(struct outgoing *unused)
{
	(void)unused;
	return 0;
}

static const struct outgoing_step steps[] = {
	{PHASE_CONNECT, NULL, run_a, undo_a},
	{PHASE_PREPARE, NULL, run_b, undo_b},
	{OUTGOING_SAME_PHASE, is_c_wanted, run_c, undo_c},
	{PHASE_ATTACH, NULL, run_d, NULL},
};

static void walk(const struct outgoing_step *table, size_t count)
{
	const struct outgoing_lane lane = {"test", table, count};

	outgoing_lane_walk(&o, &lane);
}

/* Phases as the source can only come to them. */
static void setup(void)
{
	world_setup();
	world_options(&options);
	world.report.json = true;
	cr_assert_eq(steering_new(false, &options.limits, &world.steering, NULL), 0);
	o = (struct outgoing){.opt = &options, .report = &world.report, .steering = world.steering};
	o.status.shown.mode = o.status.shown.lane = "";
	o.world = options.world;
	walked[0] = failing = '\0';
	wants_c = true;
}

static void check(char fails, bool wanted, const char *expected, enum phase end)
{
	FILE *standard = stdout;

	setup();
	failing = fails;
	wants_c = wanted;
	stdout = world.out;
	walk(steps, sizeof(steps) / sizeof(*steps));
	stdout = standard;
	cr_expect_str_eq(walked, expected);
	cr_expect_eq(o.phase, end, "%s", phase_name(o.phase));
	world_teardown();
}

Test(outgoing_lane, what_has_begun_is_undone_backwards)
{
	check('a', true, "a -a ", PHASE_FAILED);
	check('b', true, "a b -b -a ", PHASE_FAILED);
	check('c', true, "a b c -c -b -a ", PHASE_FAILED);
	check('d', true, "a b c d -c -b -a ", PHASE_FAILED);
}

Test(outgoing_lane, what_is_not_wanted_is_neither_run_nor_undone)
{
	check('d', false, "a b d -b -a ", PHASE_FAILED);
}

Test(outgoing_lane, a_step_without_a_phase_goes_on_in_the_one_before)
{
	FILE *standard = stdout;

	setup();
	failing = 'c';
	stdout = world.out;
	walk(steps, 3);
	stdout = standard;
	fflush(world.out);
	cr_expect_not_null(strstr(world.said, "\"phase\":\"connect\""));
	cr_expect_not_null(strstr(world.said, "\"phase\":\"prepare\""));
	cr_expect_null(strstr(world.said, "attach"));
	world_teardown();
}

Test(outgoing_lane, who_called_it_off_decides_the_end)
{
	FILE *standard = stdout;

	setup();
	failing = 'b';
	o.cancelled = true;
	stdout = world.out;
	walk(steps, 4);
	stdout = standard;
	cr_expect_eq(o.phase, PHASE_ABORTED);
	world_teardown();
}

/* A step that finds out that the guest is lost has nothing undone: both hosts may have it. */
Test(outgoing_lane, nothing_is_undone_once_it_has_ended)
{
	static const struct outgoing_step lost[] = {
		{PHASE_CONNECT, NULL, run_a, undo_a},	{PHASE_PREPARE, NULL, finish, NULL},
		{PHASE_ATTACH, NULL, finish, NULL},	{PHASE_PRECOPY, NULL, finish, NULL},
		{PHASE_SWITCHOVER, NULL, finish, NULL}, {PHASE_LAST_PASS, NULL, finish, NULL},
		{PHASE_HANDOVER, NULL, lose, NULL},	{PHASE_FINISH, NULL, run_b, NULL},
	};
	FILE *standard = stdout;

	setup();
	stdout = world.out;
	walk(lost, sizeof(lost) / sizeof(*lost));
	stdout = standard;
	cr_expect_eq(o.phase, PHASE_LOST);
	cr_expect_str_eq(walked, "a ");
	world_teardown();
}
