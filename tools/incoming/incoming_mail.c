// SPDX-License-Identifier: Apache-2.0
// What happens to a session, one mail after the other: the source's messages, QEMU's events.
#include "incoming_private.h"

#include <errno.h>
#include "digest.h"

/* ---- the source's messages ---- */

static void take_listen(struct incoming *in, const struct wire_message *m)
{
	incoming_postcopy_listen(in, m->listen.prove);
}

static void take_digest_request(struct incoming *in, const struct wire_message *m)
{
	struct wire_digest digest;
	const struct wire_message answer = {.type = WIRE_DIGEST, .digest = &digest};
	int ret;

	(void)m;
	if (in->postcopy.dropper) /* to read a missing page would be to wait for it */
		ret = errtext_set(&in->err, -EPROTO,
				  "the source asks for a digest after it has announced post-copy");
	else
		ret = digest_ram(&in->ram, in->prepare.streams, mailbox_urgent(in->mail), &digest,
				 &in->err);
	if (ret == 0)
		control_send(in->control, &answer);
	else if (ret != -ECANCELED) /* else the mail that ends it is next */
		incoming_move_after(in, INCOMING_GIVEN_UP);
}

static void take_release(struct incoming *in, const struct wire_message *m)
{
	(void)m;
	incoming_release(in);
}

static void take_finish(struct incoming *in, const struct wire_message *m)
{
	(void)m;
	incoming_move_after(in, INCOMING_FINISHED);
}

static void take_abort(struct incoming *in, const struct wire_message *m)
{
	errtext_set(&in->err, -ECANCELED, "the source gave up: %s", m->abort.text);
	incoming_move_after(in, INCOMING_GIVEN_UP);
}

/* The state decides when each is taken. */
static void (*const messages[WIRE_TYPE_END_])(struct incoming *in, const struct wire_message *m) = {
	[WIRE_LISTEN] = take_listen,   [WIRE_DIGEST_REQUEST] = take_digest_request,
	[WIRE_RELEASE] = take_release, [WIRE_FINISH] = take_finish,
	[WIRE_ABORT] = take_abort,
};

static void take_message(struct incoming *in, struct mail *mail)
{
	struct wire_message *m = &mail->message;

	if (incoming_state_takes(in->state, m->type)) {
		messages[m->type](in, m);
	} else {
		errtext_set(&in->err, -EPROTO, "the source sent %s, which has no place here",
			    wire_type_name(m->type));
		incoming_move_after(in, INCOMING_GIVEN_UP);
	}
	wire_message_destroy(m);
}

/* ---- the rest ---- */

static void take_control_lost(struct incoming *in, struct mail *mail)
{
	in->source_lost = true;
	errtext_set(&in->err, mail->result, "lost the source: %s", mail->text);
	incoming_move_after(in, INCOMING_LOST);
}

/* In post-copy the monitor may close while QEMU lives: libvirt is asked what became of the guest.
 */
static void take_monitor_closed(struct incoming *in)
{
	if (in->place.record.post_copy) {
		in->monitor.lost = true;
		return;
	}
	in->monitor.qemu_ended = true;
	errtext_set(&in->err, -ECONNRESET, "QEMU of domain %s ended on the destination",
		    in->prepare.name);
	incoming_move_after(in, INCOMING_GIVEN_UP);
}

static void take_qemu_event(struct incoming *in, struct mail *mail)
{
	if (mail->event == QEMU_EVENT_GONE)
		take_monitor_closed(in);
	if (mail->event == QEMU_EVENT_COMPLETED)
		incoming_arrival_note_loaded(in, mail->a);
	if (mail->event == QEMU_EVENT_RESUME)
		incoming_release_note_resumed(in, mail->a);
}

static void take_complete(struct incoming *in, struct mail *mail)
{
	(void)mail;
	incoming_release_note_complete(in);
}

/* After the release it is too late, and whoever asked for it has been told so, or sees it. */
static void take_cancel(struct incoming *in, struct mail *mail)
{
	if (incoming_state_owner(in->state) != OWNER_SOURCE)
		return;
	errtext_set(&in->err, mail->result, "%s", mail->text);
	in->why = WIRE_ABORT_CANCELLED;
	incoming_move_after(in, INCOMING_GIVEN_UP);
}

/* It would be refused again. */
static void take_tunnel_refused(struct incoming *in, struct mail *mail)
{
	if (incoming_state_owner(in->state) != OWNER_SOURCE)
		return;
	errtext_set(&in->err, mail->result, "%s", mail->text);
	in->why = WIRE_ABORT_REFUSED;
	incoming_move_after(in, INCOMING_GIVEN_UP);
}

static void take_lacking(struct incoming *in, struct mail *mail)
{
	incoming_lacking(in, mail->text);
}

static void take_given_up(struct incoming *in, struct mail *mail)
{
	incoming_lacking_for_good(in, mail->text);
}

/* After the release RAM streams are not needed any more. Page streams do not come this way. */
static void take_stream_lost(struct incoming *in, struct mail *mail)
{
	if (incoming_state_owner(in->state) != OWNER_SOURCE)
		return;
	errtext_set(&in->err, mail->result, "%s", mail->text);
	incoming_move_after(in, INCOMING_GIVEN_UP);
}

/* Nobody posts others here. */
static void (*const kinds[MAIL_LAST_ + 1])(struct incoming *in, struct mail *mail) = {
	[MAIL_MESSAGE] = take_message,	       [MAIL_CONTROL_LOST] = take_control_lost,
	[MAIL_QEMU_EVENT] = take_qemu_event,   [MAIL_COMPLETE] = take_complete,
	[MAIL_STREAM_LOST] = take_stream_lost, [MAIL_CANCEL] = take_cancel,
	[MAIL_LACKING] = take_lacking,	       [MAIL_GIVEN_UP] = take_given_up,
	[MAIL_TUNNEL] = take_tunnel_refused,
};

bool incoming_mail_take(struct incoming *in, uint64_t for_us)
{
	struct mail mail;

	in->world->take_mail(in->mail, in->world->now_us() + for_us, &mail);
	if (mail.kind == MAIL_NONE)
		return false;
	if (kinds[mail.kind])
		kinds[mail.kind](in, &mail);
	return true;
}
