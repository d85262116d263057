// SPDX-License-Identifier: Apache-2.0
// The hand-over: the source gives the guest away, and it is seen to run here.
#include "incoming_private.h"

/* What a crash must not forget comes first: only then may the guest run. */
static int record_release(struct incoming *in)
{
	int ret = 0;

	if (in->owed)
		ret = incoming_postcopy_begin(in);
	in->record.released = true;
	in->record.post_copy = in->owed;
	in->record.qemu = in->qemu;
	in->record.qemu_started = in->qemu_started;
	if (ret == 0)
		ret = record_write(&in->dir, RECORD_INCOMING, &in->record, &in->err);
	if (ret < 0)
		in->record.released = in->record.post_copy = false;
	return ret;
}

void incoming_release(struct incoming *in)
{
	struct receiver *r = in->receiver;

	if (record_release(in) < 0) {
		in->aborted = true;
		return;
	}
	pthread_mutex_lock(&r->lock);
	in->released = true; /* a relay that comes later starts flowing */
	if (in->device_stream)
		pump_release(in->device_stream);
	pthread_cond_broadcast(&r->changed);
	pthread_mutex_unlock(&r->lock);
	control_send_type(in->control, WIRE_RELEASED);
}

void incoming_release_note_resumed(struct incoming *in, uint64_t time_us)
{
	struct wire_message m = {.type = WIRE_RESUMED, .resumed = {time_us}};

	if (in->resumed)
		return;
	in->resumed = true;
	in->record.resumed = true;
	record_write(&in->dir, RECORD_INCOMING, &in->record, NULL);
	if (in->control && in->prepare.running)
		control_send(in->control, &m);
}
