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
