// SPDX-License-Identifier: Apache-2.0
// What happens to a session, one mail after the other: the source's messages, QEMU's events.
#include "incoming_private.h"

#include <errno.h>
#include "digest.h"

static void send_digest(struct incoming *in)
{
	struct wire_digest digest;
	const struct wire_message m = {.type = WIRE_DIGEST, .digest = &digest};
	int ret = digest_ram(&in->ram, in->prepare.streams, mailbox_urgent(in->mail), &digest,
			     &in->err);

	if (ret == 0)
		control_send(in->control, &m);
	else if (ret != -ECANCELED) /* else the mail that ends it is next */
		in->aborted = true;
}

/* Each message has its time; a peer that is out of step must not talk us into anything. */
static bool is_timely(const struct incoming *in, enum wire_type type)
{
	switch (type) {
	case WIRE_LISTEN:
		return in->joined.destination && !in->joined.released && !in->postcopy.owed;
	case WIRE_DIGEST_REQUEST:
	case WIRE_RELEASE:
		return in->joined.destination && !in->joined.released;
	case WIRE_FINISH:
		return in->joined.released;
	default:
		return type == WIRE_ABORT;
	}
}

static void take_message(struct incoming *in, struct wire_message *m)
{
	switch (is_timely(in, m->type) ? m->type : WIRE_TYPE_END_) {
	case WIRE_DIGEST_REQUEST:
		send_digest(in);
		break;
	case WIRE_LISTEN:
		incoming_postcopy_listen(in, m->listen.prove);
		break;
	case WIRE_RELEASE:
		incoming_release(in);
		break;
	case WIRE_FINISH:
		in->finished = true;
		break;
	case WIRE_ABORT:
		in->aborted = true;
		errtext_set(&in->err, -ECANCELED, "the source gave up: %s", m->abort.text);
		break;
	default:
		in->aborted = true;
		errtext_set(&in->err, -EPROTO, "the source sent %s, which has no place here",
			    wire_type_name(m->type));
	}
	wire_message_destroy(m);
}

static void take_qemu_event(struct incoming *in, const struct mail *mail)
{
	if (mail->event == QEMU_EVENT_GONE && in->postcopy.owed && in->joined.released) {
		in->monitor.lost = true; /* libvirt knows what of */
	} else if (mail->event == QEMU_EVENT_GONE && !in->finished) {
		in->gone = true;
		in->aborted = true;
		errtext_set(&in->err, -ECONNRESET, "QEMU of domain %s ended on the destination",
			    in->prepare.name);
	}
	if (mail->event == QEMU_EVENT_RESUME)
		incoming_release_note_resumed(in, mail->a);
}

bool incoming_mail_take(struct incoming *in, uint64_t for_us)
{
	struct mail mail;

	in->world->take_mail(in->mail, in->world->now_us() + for_us, &mail);
	switch (mail.kind) {
	case MAIL_MESSAGE:
		take_message(in, &mail.message);
		break;
	case MAIL_CONTROL_LOST:
		in->control_lost = true;
		errtext_set(&in->err, mail.result, "lost the source: %s", mail.text);
		break;
	case MAIL_QEMU_EVENT:
		take_qemu_event(in, &mail);
		break;
	case MAIL_COMPLETE:
		in->postcopy.complete = in->joined.released;
		in->postcopy.completed_us = in->world->now_us();
		break;
	case MAIL_STREAM_LOST:
		if (!in->joined.released) {
			in->aborted = true;
			errtext_set(&in->err, mail.result, "%s", mail.text);
		}
		break;
	default:
		break;
	}
	return mail.kind != MAIL_NONE;
}
