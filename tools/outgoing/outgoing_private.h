// SPDX-License-Identifier: Apache-2.0
// What the outgoing_*.c files share: the state of one migration on the source.
//
// Everything belongs to the one driving thread. Other threads (control reader, gate, libvirt's job,
// event loop, round workers, signal catcher) only post to the mailbox.
#pragma once

#include "mailbox.h"
#include "outgoing.h"
#include "outgoing_stop.h"
#include "outgoing_precopy.h"
#include "outgoing_round.h"
#include "outgoing_libvirt.h"
#include "outgoing_peer.h"
#include "outgoing_queue.h"
#include "outgoing_place.h"
#include "outgoing_guest.h"
#include "page_link.h"

struct outgoing {
	const struct outgoing_options *opt;
	struct report *report;
	struct steering *steering;
	struct mailbox *mail;
	/* Notes what a mail says; outgoing_mail.c's, told by a pointer because whoever waits stands
	 * below those who note. */
	void (*take)(struct outgoing *o, struct mail *mail);
	struct steering_status status;
	enum phase phase;
	struct errtext err; /* why it failed; the first reason */
	int failed;	    /* negative errno of the first failure, or 0 */
	bool cancelled;	    /* ... which was a request, or a time-out */
	const char *mode;   /* PreCopy, Paused, PostCopy */

	/* machinery; owned, NULL until made */
	struct page_link *link; /* of post-copy */

	/* what the mail said */
	bool got_digest;
	bool got_listening, post_copy_refused;
	char listening_text[WIRE_TEXT_MAX + 1]; /* why not */
	bool post_copy;				/* decided */
	bool link_over, link_ended; /* every page has come; none will be asked for again */
	char link_text[WIRE_TEXT_MAX + 1];
	bool damaged; /* the proof found it so: err says what to do */
	struct wire_digest digest;

	/* rounds */

	/* times, CLOCK_MONOTONIC */
	uint64_t begun_us, next_progress_us;
	char verified[33];

	/* its parts */
	struct outgoing_stop stop;
	struct outgoing_precopy precopy;
	struct outgoing_rounds rounds;
	struct outgoing_libvirt libvirt;
	struct outgoing_peer peer;
	struct outgoing_turn turn;
	struct outgoing_place place;
	struct outgoing_guest guest;
};
