// SPDX-License-Identifier: Apache-2.0
// The door's two halves of TLS (door_tls.c), and what they need of the hello's (door.c).
#pragma once

#include "deadline.h"
#include "door.h"

/* The source: TLS under the line, if peer has it. */
int door_secure(struct line *line, const struct peer *peer, enum wire_kind kind,
		struct door_terms *terms, struct errtext *err);
/* The source, accepted: what came by certificates, and makes a session, is where its secret comes
 * from. */
int door_begin_session(struct line line, const struct peer *peer, enum wire_kind kind,
		       struct door_terms *terms, struct errtext *err);

/* The destination: TLS under the line, if it has it; and is that what the source speaks? *why: it
 * can be told, by a reply. */
int door_meet(struct line *line, const struct deadline *deadline, const struct door_keeper *keeper,
	      struct door_terms *terms, struct errtext *why, struct errtext *err);
/* May it come in? Fills in the terms' part of TLS. */
int door_authorise(struct line line, const struct door_keeper *keeper,
		   const struct wire_hello *hello, struct door_terms *terms, struct errtext *why);
/* What was said to it last is not to be lost to a reset: wait a moment until it has closed. */
void door_see_off(struct line line);

int door_reply(struct line line, int timeout_ms, const struct door_terms *terms, const char *why);
