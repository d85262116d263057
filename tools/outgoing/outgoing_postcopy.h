// SPDX-License-Identifier: Apache-2.0
// Post-copy on the source: what comes before the stop, and from the hand-over to the last page.
// Driving thread only; negative errno, recorded, unless it says otherwise.
#pragma once

#include <stdbool.h>
#include "page_link.h"
#include "wire.h"

struct mail;
struct outgoing;
struct wire_message;

struct outgoing_postcopy {
	bool listening;			 /* the destination has answered LISTEN */
	char refusal[WIRE_TEXT_MAX + 1]; /* why it cannot; empty: it can */
	bool refused;			 /* so that pre-copy goes on */
	bool decided;			 /* the guest moves before its memory has */
	struct page_link *link;		 /* NULL until then */
	bool broken;			 /* its connections, until they are made anew */
	bool over;			 /* every page has come, or none will be asked for again: */
	bool ended;
	char text[WIRE_TEXT_MAX + 1]; /* why it ended */
	bool damaged;		      /* the proof found it so: the text says what to do */
};

/* It is not to be, and why: told if it was asked for. Before the decision for it. */
void outgoing_postcopy_refuse(struct outgoing *o, const char *why);
/* Make everything ready for post-copy, and tell the destination what it lacks. 1: done; 0: it is
 * not possible there. */
int outgoing_postcopy_listen(struct outgoing *o);
/* The guest has stopped: from now on pages can be asked for. */
int outgoing_postcopy_serve(struct outgoing *o);
/* The guest runs there: push the rest, too. Nothing happens without post-copy. */
void outgoing_postcopy_push(struct outgoing *o);
/* The phase: until every page has come. */
int outgoing_postcopy(struct outgoing *o);
void outgoing_postcopy_release(struct outgoing *o);

/* MAIL_LINK; LISTENING */
void outgoing_postcopy_take_link(struct outgoing *o, struct mail *mail);
void outgoing_postcopy_take_listening(struct outgoing *o, struct wire_message *m);
