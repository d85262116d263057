// SPDX-License-Identifier: Apache-2.0
#include "incoming_leftover.h"

#include <criterion/criterion.h>
#include "fake_destination.h"

TestSuite(incoming_leftover, .timeout = 60);

static const struct record running = {.released = true, .post_copy = true, .resumed = true};

static struct fake_destination *left(const struct record *record)
{
	struct fake_destination *d = fake_destination_new();

	fake_destination_leave(d, record);
	d->script = "";
	return d;
}

/* Not before its source comes, but at once. */
Test(incoming_leftover, the_capability_goes_off)
{
	struct fake_destination *d = left(&running);
	struct incoming_leftover *l = incoming_leftover_start(&fake_world);

	fake_capability_is_off(d);
	incoming_leftover_end(l);
	cr_assert_eq(d->off, 1);
	cr_assert_eq(d->on, 0);
	fake_destination_destroy(d);
}

static void expect_nothing(struct fake_destination *d, const char *why)
{
	struct incoming_leftover *l = incoming_leftover_start(&fake_world);

	incoming_leftover_end(l);
	cr_expect_eq(d->off, 0, "%s", why);
	cr_expect_eq(d->monitor_count, 0, "%s", why);
	fake_destination_destroy(d);
}

Test(incoming_leftover, others_are_left_alone)
{
	struct record complete = running, kept = running;
	struct fake_destination *d;

	complete.complete = true;
	expect_nothing(left(&complete), "it has a session's end behind it");
	kept.released = false;
	expect_nothing(left(&kept), "its stream is still to come");
	d = left(&running);
	d->locked = true;
	expect_nothing(d, "somebody carries on with it");
	d = left(&running);
	d->failing = FAKE_STEP_MONITOR;
	expect_nothing(d, "its QEMU has ended");
}
