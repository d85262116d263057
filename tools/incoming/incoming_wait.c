// SPDX-License-Identifier: Apache-2.0
// Waiting until it is decided what becomes of the guest.
//
// In post-copy QEMU's monitor is no witness: QEMU may hang in a page fault, and who carries on
// another's session has missed events. Libvirt is asked instead, which knows without QEMU.
#include "incoming_private.h"

#include <errno.h>
#include "clock.h"

#define FOREVER_US (3600ull * 1000000)
#define LOOK_US 200000

/* What no event told. */
static void look_after(struct incoming *in)
{
	enum domain_state state = DOMAIN_INCOMING;

	if (incoming_settle_look(in, &state) < 0)
		return;
	if (incoming_settle_has_run(state) && !in->resumed) {
		incoming_mail_take(in, LOOK_US); /* its event is more exact */
		incoming_release_note_resumed(in, clock_realtime_us());
	}
	if (incoming_settle_has_ended(state)) {
		in->gone = true;
		in->err = (struct errtext){0}; /* what broke before was mended */
		errtext_set(&in->err, -ECONNRESET,
			    "the guest has ended on the destination, before all of its memory had "
			    "come");
	}
}

/* A guest that runs still has a FINISH to come, unless the source has gone; in post-copy it has its
 * pages to come, and the source may go and come back. */
static bool is_decided(const struct incoming *in)
{
	if (!in->joined.released || !in->postcopy.owed)
		return in->finished || in->aborted || in->control_lost;
	if (incoming_prove_is_due(in))
		return false;
	return in->gone || (in->postcopy.complete && in->resumed) ||
	       (in->control_lost && !in->resumed);
}

/* Does an event not suffice? */
static bool must_look(const struct incoming *in)
{
	return in->postcopy.owed && in->joined.released &&
	       (!in->monitor.qmp || in->monitor.lost || !in->resumed);
}

static void wait_until_decided(struct incoming *in)
{
	while (!is_decided(in)) {
		uint64_t pause_us = must_look(in) ? LOOK_US : FOREVER_US;

		if (incoming_prove_is_due(in)) {
			incoming_prove(in);
			continue;
		}
		if (incoming_mail_take(in, pause_us) || !must_look(in))
			continue;
		incoming_monitor_reach_again(in);
		look_after(in);
	}
}

void incoming_wait(struct incoming *in)
{
	for (;;) {
		wait_until_decided(in);
		if (!in->postcopy.owed || !in->joined.released || in->gone || in->resumed)
			return;
		/* The source is lost: did libvirt's Finish come through before? */
		if (incoming_settle_arrived(in))
			incoming_release_note_resumed(in, clock_realtime_us());
		while (incoming_mail_take(in, 0))
			;
		if (!in->resumed)
			return;
	}
}
