// SPDX-License-Identifier: Apache-2.0
// The beginning of a migration: check, connect, prepare.
#include "outgoing_setup.h"

#include <errno.h>
#include "outgoing_await.h"
#include "outgoing_guest.h"
#include "outgoing_libvirt.h"
#include "outgoing_peer.h"
#include "outgoing_place.h"
#include "outgoing_private.h"
#include "outgoing_queue.h"
#include "outgoing_round.h"
#include "outgoing_state.h"
#include "outgoing_status.h"
#include "outgoing_strain.h"

/* libvirt starting a QEMU; a large preallocated guest takes its time. */
#define PREPARE_MS 300000
#define LONG_US 2000000
/* For a dray that works on the guest already. */
#define FREE_MS 10000
#define LOOK_MS 100

int outgoing_setup_check(struct outgoing *o)
{
	int ret = o->world->check_process(&o->err);

	if (ret == 0)
		ret = outgoing_peer_parse(o);
	if (ret == 0)
		ret = outgoing_libvirt_open(o);
	if (ret == 0)
		ret = outgoing_guest_check(o);
	return ret < 0 ? outgoing_fail(o, ret, "the guest cannot be checked") : 0;
}

/* Another dray migrates it, or undoes that; or the guard of one that was killed. */
static int open_place(struct outgoing *o)
{
	uint64_t end = o->world->now_us() + FREE_MS * 1000ull;
	bool told = false;

	for (;;) {
		int ret = outgoing_place_open(o);

		if (ret != -EBUSY || o->world->now_us() >= end)
			return ret;
		o->err = (struct errtext){0};
		if (!told)
			report_event(o->report, "waiting", o->phase,
				     "another dray is still working on this guest here: waiting "
				     "for it");
		told = true;
		outgoing_await(o, outgoing_never, LOOK_MS, NULL);
		if (o->failed)
			return o->failed;
	}
}

int outgoing_setup_connect(struct outgoing *o)
{
	int ret = open_place(o);

	if (ret == 0)
		ret = steering_listen(o->steering, o->place.dir.control, &o->err);
	if (ret == 0)
		ret = outgoing_queue_here(o);
	if (ret == 0)
		ret = outgoing_peer_connect(o);
	if (ret < 0)
		return outgoing_fail(o, ret, "cannot connect to %s", o->opt->destination);
	ret = outgoing_queue_there(o);
	if (ret == 0 && o->world->now_us() - o->status.begun_us > LONG_US)
		ret = outgoing_guest_check_again(o);
	outgoing_queue_note_turn(o);
	return ret;
}

static bool is_ready(const struct outgoing *o)
{
	return o->peer.ready && o->libvirt.perform_held;
}

int outgoing_setup_prepare(struct outgoing *o)
{
	int ret = outgoing_strain_choose(o);

	if (ret == 0)
		ret = outgoing_place_hold(o);
	if (ret == 0)
		ret = outgoing_guest_add_monitor(o);
	if (ret == 0)
		ret = outgoing_libvirt_start(o);
	if (ret == 0)
		ret = outgoing_round_open_streams(o);
	if (ret < 0)
		return outgoing_fail(o, ret, "cannot prepare the migration");
	ret = outgoing_await(o, is_ready, PREPARE_MS, "libvirt to start the guest's QEMU there");
	return ret < 0 ? ret : outgoing_guest_check_locked(o);
}
