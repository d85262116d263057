// SPDX-License-Identifier: Apache-2.0
// Who in the source deals with which mail: a row for each kind, and for each message of the
// destination's. What has no row is no matter to the source.
#include "outgoing_mail.h"

#include <errno.h>
#include "outgoing_guest.h"
#include "outgoing_libvirt.h"
#include "outgoing_limits.h"
#include "outgoing_peer.h"
#include "outgoing_postcopy.h"
#include "outgoing_private.h"
#include "outgoing_progress.h"
#include "outgoing_qemu.h"
#include "outgoing_queue.h"
#include "outgoing_round.h"
#include "outgoing_state.h"
#include "outgoing_stop.h"
#include "outgoing_stop_parts.h"
#include "outgoing_strain.h"
#include "outgoing_verify.h"

static void (*const messages[WIRE_TYPE_END_])(struct outgoing *o, struct wire_message *m) = {
	[WIRE_QUEUED] = outgoing_queue_take,
	[WIRE_BACKING] = outgoing_peer_take_backing,
	[WIRE_PREPARED] = outgoing_peer_take_prepared,
	[WIRE_READY] = outgoing_peer_take_ready,
	[WIRE_SYNCED] = outgoing_round_take_synced,
	[WIRE_LISTENING] = outgoing_postcopy_take_listening,
	[WIRE_DIGEST] = outgoing_verify_take_digest,
	[WIRE_RELEASED] = outgoing_peer_take_released,
	[WIRE_ARRIVAL] = outgoing_stop_parts_take_arrival,
	[WIRE_RESUMED] = outgoing_stop_take_resumed,
	[WIRE_FINISHED] = outgoing_peer_take_finished,
	[WIRE_ABORT] = outgoing_peer_take_abort,
};

static void take_message(struct outgoing *o, struct mail *mail)
{
	struct wire_message *m = &mail->message;

	if (messages[m->type])
		messages[m->type](o, m);
	else
		outgoing_fail(o, -EPROTO, "the destination sent %s, which has no place here",
			      wire_type_name(m->type));
	wire_message_destroy(m);
}

static void take_event(struct outgoing *o, struct mail *mail)
{
	if (mail->event == QEMU_EVENT_UNSEEN)
		outgoing_libvirt_note_unseen(o);
	else if (mail->event == QEMU_EVENT_FLOOD)
		outgoing_libvirt_note_flood(o);
	else if (mail->event == QEMU_EVENT_BALLOON)
		outgoing_guest_note_balloon(o);
	else
		outgoing_stop_take_event(o, mail);
}

static void take_job(struct outgoing *o, struct mail *mail)
{
	outgoing_libvirt_take_job(o, mail);
	outgoing_qemu_note_job(o);
}

static void take_cancel(struct outgoing *o, struct mail *mail)
{
	if (outgoing_is_handed_over(o))
		return;
	o->cancelled = true;
	outgoing_fail(o, -ECANCELED, "%s", mail->text);
}

static void (*const kinds[])(struct outgoing *o, struct mail *mail) = {
	[MAIL_NONE] = NULL,
	[MAIL_MESSAGE] = take_message,
	[MAIL_CONTROL_LOST] = outgoing_peer_take_lost,
	[MAIL_ROUND_DONE] = outgoing_round_take_done,
	[MAIL_QEMU_EVENT] = take_event,
	[MAIL_PERFORM_HELD] = outgoing_libvirt_take_perform,
	[MAIL_CONFIRM_HELD] = outgoing_libvirt_take_confirm,
	[MAIL_JOB_DONE] = take_job,
	[MAIL_TUNNEL] = outgoing_libvirt_take_tunnel,
	[MAIL_QEMU_STREAM] = outgoing_strain_take_end,
	[MAIL_STREAM_LOST] = NULL,
	[MAIL_CANCEL] = take_cancel,
	[MAIL_COMPLETE] = NULL,
	[MAIL_LINK] = outgoing_postcopy_take_link,
	[MAIL_SET] = outgoing_limits_take_set,
	[MAIL_QEMU_SENDS] = outgoing_strain_take_begun,
};

void outgoing_mail_take(struct outgoing *o, struct mail *mail)
{
	if (kinds[mail->kind])
		kinds[mail->kind](o, mail);
	outgoing_progress_tick(o);
}
