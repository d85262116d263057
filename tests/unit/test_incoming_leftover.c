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
	struct incoming_leftover *l = incoming_leftover_start(&fake_world, d->socket);

	fake_capability_is_off(d);
	incoming_leftover_end(l);
	cr_assert_eq(d->off, 1);
	cr_assert_eq(d->on, 0);
	fake_destination_destroy(d);
}

static void expect_nothing(struct fake_destination *d, const char *why)
{
	struct incoming_leftover *l = incoming_leftover_start(&fake_world, d->socket);

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
	kept = running;
	strcpy(kept.daemon, FAKE_UUID);
	expect_nothing(left(&kept), "it is of another libvirt");
	d = left(&running);
	d->locked = true;
	expect_nothing(d, "somebody carries on with it");
	d = left(&running);
	d->failing = FAKE_STEP_MONITOR;
	expect_nothing(d, "its QEMU has ended");
}

static void libvirt_is_asked_thrice(void *opaque, struct fake_libvirt *l, enum fake_call call)
{
	(void)l;
	if (call == FAKE_STATE && atomic_fetch_add((atomic_uint *)opaque, 1) == 2)
		cr_expect_eq(fake_here->monitor_count, 0);
}

/* Nobody may listen to QEMU before its guest has run: its log would not be whole. */
Test(incoming_leftover, a_guest_that_may_not_run_yet_is_waited_for)
{
	static const enum domain_state before[] = {DOMAIN_INCOMING, DOMAIN_PAUSED_MIGRATION};

	for (size_t i = 0; i < sizeof(before) / sizeof(*before); i++) {
		struct record record = running;
		struct incoming_leftover *l;
		struct fake_destination *d;
		atomic_uint looks = 0;

		record.resumed = false;
		d = left(&record);
		d->libvirt->before = libvirt_is_asked_thrice;
		d->libvirt->opaque = &looks;
		fake_libvirt_fail(d->libvirt, FAKE_STATE, 1, -EIO);
		fake_domain_then(fake_libvirt_add(d->libvirt, "web", FAKE_UUID, before[i]), 3,
				 DOMAIN_RUNNING);
		l = incoming_leftover_start(&fake_world, d->socket);
		fake_capability_is_off(d);
		incoming_leftover_end(l);
		cr_expect_eq(atomic_load(&looks), 4);
		cr_expect_eq(d->off, 1);
		fake_destination_destroy(d);
	}
}
