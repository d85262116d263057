// SPDX-License-Identifier: Apache-2.0
// A session of the destination, without a guest.
#include "incoming.h"

#include <criterion/criterion.h>
#include "fake_destination.h"

TestSuite(incoming, .timeout = 60);

Test(incoming, a_guest_arrives)
{
	struct fake_destination *d = fake_destination_new();

	fake_destination_run(d, "REF");
	cr_assert(d->result.prepared);
	cr_assert(d->result.arrived);
	cr_assert_str_eq(d->result.domain, "web");
	cr_assert_str_eq(d->sent, "PREPARED READY RELEASED RESUMED FINISHED");
	cr_assert(d->record.released && d->record.resumed && d->record.complete);
	cr_assert_eq(d->guard, FAKE_GUARD_DONE);
	cr_assert_str_eq(fake_libvirt_did(d->libvirt), "");
	cr_assert_eq(d->on, 1);
	cr_assert_eq(d->off, 1);
	fake_destination_destroy(d);
}

Test(incoming, a_guest_is_called_off)
{
	struct fake_destination *d = fake_destination_new();

	fake_destination_run(d, "A");
	cr_assert(!d->result.arrived);
	cr_assert(!d->result.unknown);
	cr_assert_str_eq(d->result.reason, "the source gave up: enough");
	cr_assert(!d->record.released && d->record.never_ran);
	cr_assert_eq(d->guard, FAKE_GUARD_DONE);
	cr_assert_str_eq(fake_libvirt_did(d->libvirt), "destroy web");
	fake_destination_destroy(d);
}
