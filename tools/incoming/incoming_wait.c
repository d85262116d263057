// SPDX-License-Identifier: Apache-2.0
// Waiting until it is decided what becomes of the guest.
//
// In post-copy QEMU's monitor is not enough to tell: QEMU may hang in a page fault, and a session
// that another process began has missed events. libvirt is asked instead, which knows without QEMU.
#include "incoming_private.h"

#include <errno.h>
#include "clock.h"

#define FOREVER_US (3600ull * 1000000)
#define LOOK_US 200000

/* ---- post-copy ---- */

/* Must libvirt be looked at, because no event would tell, or it may have been missed? */
static bool must_look(const struct incoming *in)
{
	return !in->monitor.qmp || in->monitor.lost || in->state == INCOMING_OWED;
}

static void note_ended(struct incoming *in)
{
	in->err = (struct errtext){0}; /* what broke before was mended */
	errtext_set(&in->err, -ECONNRESET,
		    "the guest has ended on the destination, before all of its memory had come");
	incoming_move(in, INCOMING_GONE);
}

/* What libvirt knows, and no event told. */
static void look_after(struct incoming *in)
{
	enum domain_state state = DOMAIN_INCOMING;

	if (incoming_settle_look(in, &state) < 0)
		return;
	if (incoming_settle_has_run(state) && in->state == INCOMING_OWED) {
		incoming_mail_take(in, LOOK_US); /* QEMU's event has the more exact time */
		incoming_release_note_resumed(in, clock_realtime_us());
	}
	if (incoming_settle_has_ended(state))
		note_ended(in);
}

static void await_pages(struct incoming *in)
{
	bool look = must_look(in);

	if (incoming_mail_take(in, look ? LOOK_US : FOREVER_US) || !look)
		return;
	/* Before it runs, QEMU's log must tell whether it does, and no other client may come to the
	 * monitor (monitor_log.h). */
	if (in->state != INCOMING_OWED)
		incoming_monitor_reach_again(in);
	look_after(in);
}

/* ---- settling ---- */

/* Mail that has come meanwhile counts, too: libvirt may be slower than QEMU's event. */
static void settle_postcopy(struct incoming *in, bool runs)
{
	if (runs)
		incoming_release_note_resumed(in, clock_realtime_us());
	while (incoming_mail_take(in, 0))
		;
	if (in->state == INCOMING_SETTLING)
		incoming_move(in, INCOMING_UNDOING);
}

static void settle(struct incoming *in)
{
	bool runs = incoming_settle_arrived(in);

	if (in->place.record.post_copy)
		settle_postcopy(in, runs);
	else
		incoming_move(in, runs ? INCOMING_ARRIVED : INCOMING_UNDOING);
}

static void step(struct incoming *in)
{
	switch (in->state) {
	case INCOMING_OWED:
	case INCOMING_FETCHING:
		await_pages(in);
		break;
	case INCOMING_PROVING:
		incoming_prove(in);
		break;
	case INCOMING_SETTLING:
		settle(in);
		break;
	default:
		incoming_mail_take(in, FOREVER_US);
	}
}

void incoming_wait(struct incoming *in)
{
	while (!incoming_state_is_decided(in->state))
		step(in);
}
