// SPDX-License-Identifier: Apache-2.0
// One migration, as the destination serves it.
//
// A session is made by the thread of the control connection, which runs it to its end
// (incoming_state.h). The threads of the migration's other connections find it by its number
// (receiver.h) and join it (incoming_joined.h).
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include "door.h"
#include "errtext.h"
#include "line.h"
#include "wire.h"

struct incoming;
struct receiver; /* receiver.h */

struct incoming_result {
	char domain[WIRE_NAME_MAX + 1];
	bool prepared; /* there was a migration at all */
	bool trial;    /* nothing was to come: the source only wanted to know whether it could */
	bool arrived;
	bool unknown; /* it ran here and no more, or nobody saw what came of the hand-over */
	char reason[ERRTEXT_SIZE];
	bool post_copy;
	bool untold; /* every page has come, and the source may not have heard of it */
	struct wire_complete told; /* of post-copy */
	uint64_t ram_bytes, wire_bytes, total_ms;
	unsigned int streams;
};

/* Serve a control connection whose hello has been answered: read PREPARE and carry the migration
 * to its end. the line becomes ours. Blocks for the whole migration. */
void incoming_serve(struct receiver *r, struct line line, const struct wire_hello *hello,
		    const struct door_terms *terms, struct incoming_result *result);
/* Serve the link of a session that this process does not know: another process began it here, and
 * died. the line becomes ours. Blocks until every page has come. -ENOENT: the guest is not here, or
 * no more; -EALREADY: every page has come before; both have been told to the source. Others: it
 * could not be done now, and the source will come again. */
int incoming_carry_on(struct receiver *r, struct line line, const struct wire_hello *hello,
		      const struct door_terms *terms, struct incoming_result *result);
/* Serve one of a session's other connections: RAM stream, tunnel, QEMU's stream, link, fault or
 * push stream. the line becomes ours. Blocks for as long as a stream lasts. -ENOENT if there is no
 * such session. */
int incoming_join(struct receiver *r, struct line line, const struct wire_hello *hello,
		  const struct door_terms *terms, struct errtext *err);
/* Serve a recover connection: one question, QUERY or DISCARD, and if it can be answered for certain
 * the answer. the line becomes ours. */
void incoming_query(struct receiver *r, struct line line, const struct door_terms *terms);
