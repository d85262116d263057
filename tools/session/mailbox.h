// SPDX-License-Identifier: Apache-2.0
// A queue of things that happened, from any thread to the one thread that decides.
//
// It has a fixed size. The peer's messages have room of their own: when that is full, whoever
// brings one waits, and does not read on (control.h). What happens on this host, the notes, is
// never held up by them, nor lost: there is room for more notes than there are kinds, and if one
// kind repeats until it is full all the same, its first and its latest note stay.
#pragma once

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include "qemu_event.h"
#include "wire.h"

enum mail_kind {
	MAIL_NONE,	   /* the wait timed out */
	MAIL_MESSAGE,	   /* from the peer: message */
	MAIL_CONTROL_LOST, /* result, text */
	MAIL_ROUND_DONE,   /* result, text, a = pages, b = scan_us, c = read_us */
	MAIL_QEMU_EVENT,   /* event; a = CLOCK_REALTIME microseconds */
	MAIL_PERFORM_HELD,
	MAIL_CONFIRM_HELD,
	MAIL_JOB_DONE,	  /* result, text */
	MAIL_TUNNEL,	  /* libvirt's calls to the destination: result, text */
	MAIL_QEMU_STREAM, /* QEMU's stream: result, text */
	MAIL_STREAM_LOST, /* a RAM stream: result, text */
	MAIL_CANCEL,	  /* text = why */
	MAIL_COMPLETE,	  /* post-copy: nothing is owed any more */
	MAIL_LINK,	  /* post-copy's connections: result = what of page_link_state, text */
	MAIL_SET,	  /* limits have changed: text = how */
	MAIL_LACKING,	  /* post-copy waits for memory: text = where there is none */
	MAIL_GIVEN_UP,	  /* post-copy: the source cannot serve its memory any more: text = why */
	MAIL_QEMU_SENDS,  /* QEMU has begun to send its stream */
	MAIL_LAST_ = MAIL_QEMU_SENDS,
};

/* A SYNCED of every stream, with some to spare. */
#define MAILBOX_MESSAGES (2 * WIRE_STREAMS_MAX)

struct mail {
	enum mail_kind kind;
	int result;
	enum qemu_event event;
	uint64_t a, b, c;
	const char *text; /* lent: the mailbox's until the next mailbox_take; not NULL then */
	struct wire_message message; /* owned by whoever takes the mail out */
};

_Static_assert(sizeof(struct mail) <= 384, "a mail is small");

struct mailbox;

int mailbox_new(struct mailbox **out);
void mailbox_destroy(struct mailbox *m);
/* A note, without a message. Any thread; never waits for room; copies *mail and its text, which may
 * be NULL. */
void mailbox_post(struct mailbox *m, const struct mail *mail);
/* Shorthand. */
void mailbox_note(struct mailbox *m, enum mail_kind kind, int result, const char *text);
/* MAIL_MESSAGE. True: it has taken the message over, *message is empty. False: there was no room
 * until the CLOCK_MONOTONIC deadline. */
bool mailbox_message(struct mailbox *m, struct wire_message *message, uint64_t deadline_us);
/* MAIL_QEMU_EVENT */
void mailbox_qemu_event(struct mailbox *m, enum qemu_event event, uint64_t time_us);
/* Turns true for good when there is mail that calls for an end: cancel, a lost peer, its ABORT. */
const atomic_bool *mailbox_urgent(const struct mailbox *m);
/* The oldest mail, waiting at most until the CLOCK_MONOTONIC deadline; MAIL_NONE then. One thread.
 */
void mailbox_take(struct mailbox *m, uint64_t deadline_us, struct mail *mail);
