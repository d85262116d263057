// SPDX-License-Identifier: Apache-2.0
// The hand-over: the source gives the guest away, and it is seen to run here.
#include "incoming_private.h"

/* What a crash must not forget comes first: only then may the guest run. */
static int record_release(struct incoming *in)
{
	int ret = 0;

	if (in->postcopy.owed)
		ret = incoming_postcopy_begin(in);
	in->place.record.released = true;
	in->place.record.post_copy = in->postcopy.owed;
	in->place.record.qemu = in->postcopy.qemu;
	in->place.record.qemu_started = in->postcopy.qemu_started;
	if (ret == 0)
		ret = incoming_place_write(in, &in->err);
	if (ret < 0)
		in->place.record.released = in->place.record.post_copy = false;
	return ret;
}

void incoming_release(struct incoming *in)
{
	if (record_release(in) < 0) {
		in->aborted = true;
		return;
	}
	incoming_joined_release(in);
	control_send_type(in->control, WIRE_RELEASED);
}

void incoming_release_note_resumed(struct incoming *in, uint64_t time_us)
{
	struct wire_message m = {.type = WIRE_RESUMED, .resumed = {time_us}};

	if (in->resumed)
		return;
	in->resumed = true;
	in->place.record.resumed = true;
	incoming_place_write(in, NULL);
	if (in->control && in->prepare.running)
		control_send(in->control, &m);
}
