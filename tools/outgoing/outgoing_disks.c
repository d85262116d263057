// SPDX-License-Identifier: Apache-2.0
// The guest's disks that are read straight into its memory: may a round wait for what is in flight?
//
// The wait is a drain in QEMU, under its big lock: the guest stands still for its slowest request,
// and for good where storage hangs. So QEMU is first asked what is in flight (disk_flight.h), which
// costs it nothing:
//
//   nothing                                   no need to wait
//   requests that end within milliseconds     drain
//   not known (a SATA disk, idle or hanging)  drain; if that takes too long, never again
//   slow ones, or none that ends              leave it: the round's pages are suspect (source.c),
//                                             and are looked at again in the stop
//
// A slow disk is drained all the same, if its requests do end, when there are so many suspects that
// to look at them in the stop takes longer than the drain: of a large guest, whose first round made
// all of its memory suspect, that is once.
//
// QEMU waits for all requests itself when it stops the guest. So where none ends any more, pre-copy
// goes on until one does: the guest runs meanwhile.
//
// From the opening of the gate on QEMU is not asked: it stops the guest at any moment, drains by
// itself, and answers only when that is over, in the midst of the downtime.
#include "outgoing_disks.h"

#include <errno.h>
#include "disk_flight.h"
#include "failure_point.h"
#include "outgoing_private.h"
#include "source.h"

/* QEMU's main loop answers in less than a millisecond, unless something blocks it. */
#define LOOK_MS 300
#define UNANSWERED_MAX 3
/* Requests that are quick show that soon. */
#define WATCH_US 20000
#define WATCH_STEP_US 2000
/* A cancelled migration waits for so long at most. */
#define DRAIN_MS 1000
/* To read a page and hash it, each stream. One processor hashes 5 GB/s of shared memory that no
 * cache holds; but private memory is copied first, and streams may be more than processors. */
#define SETTLE_BYTES_PER_US 2000u
/* A disk on which nothing ends for so long, and for twice as long as its requests take, hangs. */
#define HANG_US 100000u
#define HANG_PAUSE_MS 100

int outgoing_disks_new(struct outgoing *o)
{
	return o->guest.direct_disks ? disk_flight_new(&o->disks.flight) : 0;
}

void outgoing_disks_release(struct outgoing *o)
{
	disk_flight_destroy(o->disks.flight);
	o->disks.flight = NULL;
}

uint64_t outgoing_disks_settle_us(const struct outgoing *o)
{
	return o->disks.suspects * RAM_PAGE_SIZE / SETTLE_BYTES_PER_US / o->opt->streams;
}

/* ---- by a worker ---- */

static int drain(struct outgoing *o, bool *settled, struct errtext *err)
{
	int ret = o->world->disks.drain(o->guest.monitor, DRAIN_MS, err);

	if (ret == -ETIMEDOUT) {
		o->disks.forsaken = true;
		return 0;
	}
	*settled = ret == 0;
	if (ret == 0)
		o->disks.way = OUTGOING_DISKS_DRAINED;
	return ret;
}

/* Nothing ends any more, as far as can be seen. */
static bool hangs(const struct outgoing *o)
{
	const struct disk_flight_view *seen = &o->disks.seen;

	return o->disks.way == OUTGOING_DISKS_UNDRAINED && !o->disks.forsaken &&
	       seen->state == DISK_FLIGHT_STILL && seen->still_us > HANG_US &&
	       seen->still_us > 2 * seen->mean_us;
}

/* Of slow requests: the drain costs no more than what it saves in the stop. */
static bool pays(const struct outgoing *o, const struct disk_flight_view *view)
{
	uint64_t drain_us = 2 * view->mean_us;

	return drain_us && drain_us < DRAIN_MS * 1000u && !hangs(o) &&
	       drain_us < outgoing_disks_settle_us(o);
}

/* A look that is not answered is no reason to fail, nor to ask for more; nor to believe that a disk
 * has answered which was seen to hang. */
static int look(struct outgoing *o, bool watch, struct disk_flight_view *view, struct errtext *err)
{
	int ret =
		o->world->disks.look(o->disks.flight, o->guest.monitor, watch, LOOK_MS, view, err);

	if (ret != -ETIMEDOUT) {
		o->disks.unanswered = 0;
		/* libvirt knows of more. */
		if (view->disks < o->guest.direct_disks && view->state < DISK_FLIGHT_UNKNOWN)
			view->state = DISK_FLIGHT_UNKNOWN;
		if (ret == 0)
			o->disks.seen = *view;
		return ret;
	}
	if (++o->disks.unanswered >= UNANSWERED_MAX && !hangs(o))
		o->disks.forsaken = true;
	*view = (struct disk_flight_view){DISK_FLIGHT_SLOW, .mean_us = LOOK_MS * 1000};
	return 0;
}

static int ask(struct outgoing *o, bool *settled, struct errtext *err)
{
	uint64_t end = o->world->now_us() + WATCH_US;
	struct disk_flight_view view;
	bool watch = true;

	for (;;) {
		int ret = look(o, watch, &view, err);

		if (ret < 0)
			return ret;
		if (view.state == DISK_FLIGHT_NONE) {
			o->disks.way = OUTGOING_DISKS_IDLE;
			*settled = true;
			return 0;
		}
		if (view.state == DISK_FLIGHT_QUICK || view.state == DISK_FLIGHT_UNKNOWN)
			return drain(o, settled, err);
		if (view.state == DISK_FLIGHT_SLOW || o->world->now_us() >= end)
			return pays(o, &view) ? drain(o, settled, err) : 0;
		o->world->pause(WATCH_STEP_US);
		watch = false;
	}
}

int outgoing_disks_quiesce(void *opaque, bool *settled, struct errtext *err)
{
	struct outgoing *o = opaque;
	int ret = 0;

	o->disks.way = OUTGOING_DISKS_UNDRAINED;
	if (!o->disks.forsaken && !o->libvirt.gate_opened)
		ret = ask(o, settled, err);
	/* What becomes of a guest whose suspects nobody minds. */
	if (ret == 0 && !*settled && failure_point("undrained") < 0)
		*settled = true;
	return ret;
}

void outgoing_disks_note_round(struct outgoing *o, const struct source_round *round)
{
	o->disks.suspects = round->suspects;
	if (!round->live || !o->disks.flight)
		o->disks.way = OUTGOING_DISKS_NONE;
	else if (round->suspect)
		o->disks.way = OUTGOING_DISKS_UNDRAINED;
}

/* ---- by the driving thread ---- */

const char *outgoing_disks_account(struct outgoing *o)
{
	static const char *const names[] = {
		[OUTGOING_DISKS_NONE] = NULL,
		[OUTGOING_DISKS_IDLE] = "idle",
		[OUTGOING_DISKS_DRAINED] = "drained",
		[OUTGOING_DISKS_UNDRAINED] = "undrained",
	};

	o->disks.drained += o->disks.way == OUTGOING_DISKS_DRAINED;
	o->disks.undrained += o->disks.way == OUTGOING_DISKS_UNDRAINED;
	if (o->disks.forsaken && !o->disks.told) {
		o->disks.told = true;
		report_event(o->report, "warning", o->phase,
			     "QEMU did not say in time that the guest's disk requests had ended: "
			     "its storage is slow, or hangs. It is not asked again; what disk "
			     "reads may have changed is looked at again when the guest stops");
	}
	return names[o->disks.way];
}

/* A round that is cut short does not ask. Where nobody answers there is nothing to hold for. */
static void look_again(struct outgoing *o)
{
	struct disk_flight_view view;
	struct errtext err = {0};

	if (look(o, false, &view, &err) < 0)
		o->disks.forsaken = true;
}

bool outgoing_disks_hold(struct outgoing *o)
{
	bool before = o->disks.hanging;

	o->disks.hanging = hangs(o);
	if (o->disks.hanging && !before)
		report_event(o->report, "warning", o->phase,
			     "the guest has disk requests in flight of which none ends: it would "
			     "stand still for as long as its storage does not answer, so it is not "
			     "stopped yet");
	if (!o->disks.hanging)
		return false;
	outgoing_await(o, outgoing_never, HANG_PAUSE_MS, NULL);
	look_again(o);
	return true;
}
