// SPDX-License-Identifier: Apache-2.0
// The hand-over: the source gives the guest away, it is seen to run here, and has all of its
// memory.
#include "incoming_private.h"

#include <errno.h>

/* Everything that a crash must not forget is on disk before the guest may run: first the owed set,
 * sealed, then the record. */
static int record_release(struct incoming *in)
{
	struct record *r = &in->place.record;
	int ret = 0;

	if (in->postcopy.owed)
		ret = incoming_postcopy_begin(in);
	r->released = true;
	r->post_copy = in->postcopy.owed;
	if (ret == 0)
		ret = incoming_place_write(in, &in->err);
	if (ret < 0)
		r->released = r->post_copy = false;
	return ret;
}

/* Post-copy goes on when the guest runs and nothing is owed any more, whichever is seen last. */
static void go_on_fetching(struct incoming *in)
{
	if (in->state == INCOMING_FETCHING && in->postcopy.complete)
		incoming_move(in, in->place.record.prove ? INCOMING_PROVING : INCOMING_ARRIVED);
}

/* The guest has run here. Before the release that leads nowhere: somebody else resumed it. */
static void go_on_running(struct incoming *in)
{
	if (in->place.record.released)
		incoming_monitor_note_resumed(in);
	if (in->state == INCOMING_RELEASED)
		incoming_move(in, INCOMING_RUNNING);
	if (in->state == INCOMING_OWED || in->state == INCOMING_SETTLING)
		incoming_move(in, INCOMING_FETCHING);
	go_on_fetching(in);
}

/* A guest that libvirt here will not start must not be let go of: nobody could tell the source that
 * it has not run, before libvirt answers again. */
static int check_libvirt(struct incoming *in)
{
	if (!incoming_joined_lost_tunnels(in))
		return 0;
	return errtext_set(&in->err, -ECONNRESET,
			   "the connection to libvirt on the destination broke: did libvirtd end "
			   "there?");
}

void incoming_release(struct incoming *in)
{
	incoming_arrival_note_release(in);
	if (check_libvirt(in) < 0 || record_release(in) < 0) {
		incoming_move_after(in, INCOMING_GIVEN_UP);
		return;
	}
	incoming_monitor_note_released(in);
	incoming_joined_release(in);
	incoming_arrival_note_let_go(in);
	control_send_type(in->control, WIRE_RELEASED);
	incoming_move(in, in->place.record.post_copy ? INCOMING_OWED : INCOMING_RELEASED);
	if (in->place.record.resumed)
		go_on_running(in);
}

void incoming_release_note_resumed(struct incoming *in, uint64_t time_us)
{
	struct wire_message m = {.type = WIRE_RESUMED, .resumed = {time_us}};

	if (!in->place.record.resumed) {
		in->place.record.resumed = true;
		incoming_place_write(in, NULL);
		if (in->control && in->prepare.running) {
			incoming_arrival_tell(in, time_us);
			control_send(in->control, &m);
		}
	}
	go_on_running(in);
}

void incoming_release_note_complete(struct incoming *in)
{
	if (!in->place.record.released)
		return;
	in->postcopy.complete = true;
	in->postcopy.completed_us = in->world->now_us();
	go_on_fetching(in);
}
