// SPDX-License-Identifier: Apache-2.0
// A post-copy that another process began at the destination, and what is answered when it cannot be
// carried on.
#include "incoming.h"

#include <criterion/criterion.h>
#include <errno.h>
#include "fake_destination.h"

TestSuite(incoming_adopt, .timeout = 60);

static const struct record released = {.released = true, .post_copy = true, .running = true};

static struct fake_destination *left(const struct record *record)
{
	struct fake_destination *d = fake_destination_new();

	d->libvirt_said = d->libvirt_says = DOMAIN_RUNNING;
	fake_destination_leave(d, record);
	return d;
}

/* ---- it goes on ---- */

Test(incoming_adopt, what_is_owed_is_fetched)
{
	struct fake_destination *d = left(&released);

	cr_assert_eq(fake_destination_carry_on(d, "f.bK"), 0); /* off before the last page */
	cr_assert(d->result.prepared && d->result.arrived && d->result.post_copy);
	cr_assert(!d->result.untold);
	cr_assert_str_eq(d->result.domain, "web");
	cr_assert_str_eq(d->states, "fetching");
	cr_assert_str_eq(d->links[0].said, "OWED OWED_END COMPLETE");
	cr_assert(d->record.resumed && d->record.complete);
	cr_assert_eq(d->inside, 0);
	cr_assert_eq(d->off, 1, "the capability is forgotten");
	cr_assert_not(d->result.told.balloon_still, "nobody can know");
	cr_assert_eq(d->guard, FAKE_GUARD_DONE);
	fake_destination_destroy(d);
}

/* QEMU may hang in a page fault, and cannot be asked where it has it. */
Test(incoming_adopt, private_memory_is_found_again)
{
	struct fake_destination *d = fake_destination_new();

	d->private_before = true;
	d->libvirt_said = d->libvirt_says = DOMAIN_RUNNING;
	fake_destination_leave(d, &released);
	cr_assert_eq(fake_destination_carry_on(d, "f.bK"), 0);
	cr_assert(d->result.prepared && d->result.arrived && d->result.post_copy);
	cr_assert_str_eq(d->links[0].said, "OWED OWED_END COMPLETE");
	cr_assert_eq(d->inside, 0);
	fake_destination_destroy(d);
}

/* Libvirt may not answer while QEMU hangs in a page fault: pages do not wait for it. */
Test(incoming_adopt, libvirt_is_not_needed_for_pages)
{
	struct fake_destination *d = left(&released);

	fake_libvirt_fail(d->libvirt, FAKE_OPEN, 1, -EIO);
	cr_assert_eq(fake_destination_carry_on(d, "f..K"), 0);
	cr_assert(d->result.arrived);
	cr_assert_str_eq(d->states, "owed fetching");
	fake_destination_destroy(d);
}

Test(incoming_adopt, the_guest_ends)
{
	struct fake_destination *d = left(&released);

	d->failing = FAKE_STEP_MONITOR;
	d->libvirt_says = DOMAIN_ABSENT;
	cr_assert_eq(fake_destination_carry_on(d, "."), 0);
	cr_assert(!d->result.arrived && d->result.unknown, "it was seen to run");
	cr_assert_str_eq(d->links[0].said, "OWED OWED_END ABORT");
	cr_assert(strstr(d->links[0].why, "has ended on the destination"), "%s", d->links[0].why);
	cr_assert(!d->record.never_ran && !d->record.complete);
	cr_assert_eq(d->inside, 1);
	cr_assert_str_eq(fake_libvirt_did(d->libvirt), "");
	fake_destination_destroy(d);
}

/* Events were missed, so that it was never seen to run says nothing. */
Test(incoming_adopt, a_guest_that_may_have_run_is_not_ended)
{
	struct fake_destination *d = left(&released);

	d->failing = FAKE_STEP_MONITOR;
	d->libvirt_said = DOMAIN_INCOMING;
	d->libvirt_says = DOMAIN_ABSENT;
	cr_assert_eq(fake_destination_carry_on(d, "."), 0);
	cr_assert(!d->result.arrived);
	cr_assert_str_eq(d->states, "owed");
	cr_assert(!d->record.never_ran && !d->record.resumed);
	cr_assert_str_eq(fake_libvirt_did(d->libvirt), "");
	fake_destination_destroy(d);
}

/* ... and nobody listens to QEMU before it is known to run, or its log would not be whole. */
Test(incoming_adopt, qemus_log_stays_whole_until_the_guest_runs)
{
	struct fake_destination *d = left(&released);

	d->libvirt_said = DOMAIN_INCOMING;
	d->libvirt_says = DOMAIN_ABSENT;
	d->libvirt_hesitates = 5;
	cr_assert_eq(fake_destination_carry_on(d, "......."), 0);
	cr_assert_str_eq(d->states, "owed");
	cr_assert_eq(d->monitor_count, 0);
	fake_destination_destroy(d);
}

/* ---- it does not ---- */

static void expect(struct fake_destination *d, int result, const char *said)
{
	int ret = fake_destination_carry_on(d, "");

	cr_expect_eq(ret, result, "%d: %s", ret, strerror(-ret));
	cr_expect_str_eq(d->links[0].said, said);
	cr_expect(!d->result.prepared);
	cr_expect_str_eq(fake_libvirt_did(d->libvirt), "");
	fake_destination_destroy(d);
}

/* Another libvirt on the same host says that there is no such guest. */
Test(incoming_adopt, it_is_of_another_launcher)
{
	struct record record = released;
	struct fake_destination *d;

	strcpy(record.daemon, "6e8a4a3c-3f6a-4f52-9a35-0a8f6b4f6a10");
	d = left(&record);
	d->libvirt_said = d->libvirt_says = DOMAIN_ABSENT;
	expect(d, -EAGAIN, "");
	record.qemu_started = 1; /* another process */
	expect(left(&record), -ENOENT, "ABORT");
}

/* ... which is gone: its libvirt will never answer. */
Test(incoming_adopt, its_launcher_has_vanished)
{
	struct record record = released;
	struct fake_destination *d = fake_destination_new();

	cr_assert_eq(chown(d->path, 107, 107), 0); /* no daemon of root's */
	record_set_daemon(&record, d->socket);
	cr_assert_str_not_empty(record.daemon);
	record.qemu_started = 1;
	fake_destination_leave(d, &record);
	fake_libvirt_fail(d->libvirt, FAKE_OPEN, 1, -ECONNREFUSED);
	expect(d, -ENOENT, "ABORT");
}

/* Not known is not gone: the source keeps the memory, and comes again. */
Test(incoming_adopt, nothing_is_known)
{
	expect(fake_destination_new(), -EAGAIN, "");
}

Test(incoming_adopt, another_session_is_known)
{
	struct record record = released;

	strcpy(record.session, "00112233445566778899aabbccddeeff");
	expect(left(&record), -EAGAIN, "");
}

Test(incoming_adopt, it_was_not_released)
{
	expect(left(&(struct record){.running = true}), -EINPROGRESS, "");
}

Test(incoming_adopt, it_was_released_with_all_of_its_memory)
{
	expect(left(&(struct record){.released = true}), -EINPROGRESS, "");
}

Test(incoming_adopt, it_is_complete)
{
	struct record record = released;

	record.resumed = record.complete = true;
	expect(left(&record), -EALREADY, "COMPLETE");
}

Test(incoming_adopt, the_guest_has_ended)
{
	struct fake_destination *d = left(&released);

	d->libvirt_said = DOMAIN_ABSENT;
	expect(d, -ENOENT, "ABORT");
}

Test(incoming_adopt, qemu_is_another_process)
{
	struct record record = released;

	record.qemu_started = 1;
	expect(left(&record), -ESRCH, "");
}

/* Another process is at it: the source shall come again. */
Test(incoming_adopt, the_lock_is_taken)
{
	struct fake_destination *d = left(&released);

	d->locked = true;
	expect(d, -EBUSY, "");
}

/* The guest is here, so what is missing inside QEMU is no answer. */
Test(incoming_adopt, nothing_is_inside_qemu)
{
	struct fake_destination *d = fake_destination_new();

	d->libvirt_said = DOMAIN_RUNNING;
	d->nothing_inside = true;
	fake_destination_leave(d, &released);
	expect(d, -EAGAIN, "");
}

/* Whoever was here let go of QEMU, and died before it could write so down. */
Test(incoming_adopt, nothing_is_inside_qemu_any_more)
{
	struct fake_destination *d = fake_destination_new();

	d->libvirt_said = DOMAIN_RUNNING;
	d->nothing_inside = d->all_has_come = true;
	fake_destination_leave(d, &released);
	cr_assert_eq(fake_destination_carry_on(d, ""), -EALREADY);
	cr_assert_str_eq(d->links[0].said, "COMPLETE");
	cr_assert(d->record.complete);
	fake_destination_destroy(d);
}
