// SPDX-License-Identifier: Apache-2.0
// Post-copy's connections at the destination: a page link is one control connection, its link, and
// the page streams that came with it, for faults and for push.
//
// The source makes a page link, and when anything of it breaks, another.
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include "control.h"
#include "door.h"
#include "errtext.h"

struct incoming;

struct incoming_link {
	struct incoming *in;
	struct control *control; /* sending: any thread */
	/* under the receiver's lock */
	bool serving;	  /* the thread that brought it is at it */
	bool held;	  /* the session's thread is: incoming_link_hold */
	bool confirmed;	  /* the source has heard COMPLETE */
	bool lost;	  /* the connection has ended */
	uint64_t answers; /* PROVEN: so many have come */
};

/* Each serves a connection, by its own thread; the line becomes ours. tell_owed: the source has
 * lost an earlier link, and asks which pages are still owed. A link goes on after the call. */
int incoming_link_serve(struct incoming *in, struct line line, bool tell_owed,
			const struct door_terms *terms, struct errtext *err);
int incoming_link_serve_fault(struct incoming *in, struct line line, unsigned int index,
			      struct errtext *err);
int incoming_link_serve_push(struct incoming *in, struct line line, unsigned int index,
			     struct errtext *err);
/* The latest link, or NULL if there is none, or it has broken. It is not freed before it is let go.
 * The session's thread. */
struct incoming_link *incoming_link_hold(struct incoming *in);
void incoming_link_let_go(struct incoming_link *link);
/* Say COMPLETE, or that the guest has ended, if either is certain; else nothing, and the source
 * comes again. Then close the connection. True: the source has confirmed COMPLETE. The session's
 * thread; no other may join any more. */
bool incoming_link_tell_end(struct incoming *in, bool ended);
