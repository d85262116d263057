// SPDX-License-Identifier: Apache-2.0
// The control channel: wire messages over one connection, heartbeats, and the two clocks'
// difference.
//
// A reader thread delivers messages and answers PINGs by itself; it sends PINGs, and when it has
// heard nothing at all for the agreed silence it reports the peer lost. Sending may be done by any
// thread.
//
// Who takes the messages may refuse one for want of room. Nothing more is read then, so that the
// socket fills and a peer that sends more than is taken has to wait: its send times out after its
// own silence. Meanwhile our PINGs go on, so that it does not take us for dead, and its silence is
// not held against it.
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include "errtext.h"
#include "line.h"
#include "wire.h"

struct control;
struct pacer;

struct control_options {
	struct line line;    /* past the door; owned */
	uint32_t silence_ms; /* peer counts as lost after so long */
	/* Sent before anything else, heartbeats included; borrowed during control_new. May be NULL.
	 */
	const struct wire_message *first;
	/* From the reader thread. PING and PONG are not delivered. False: no room until
	 * deadline_us (CLOCK_MONOTONIC; the callee waits for it, not longer); the same message is
	 * offered again. True: taken; wire_message_steal what shall outlive the call. */
	bool (*message)(void *opaque, struct wire_message *message, uint64_t deadline_us);
	/* Once, the last call: -ENODATA for a clean close, -ETIMEDOUT for silence, ... */
	void (*lost)(void *opaque, int result, const char *text);
	void *opaque;
	/* Messages are charged to it, but never wait. Borrowed, may be NULL. */
	struct pacer *pacer;
};

/* *out is set before the first message is delivered. */
int control_new(const struct control_options *options, struct control **out, struct errtext *err);
/* 0 or a negative errno: -ETIMEDOUT when the socket took nothing for the silence. Any thread. */
int control_send(struct control *c, const struct wire_message *message);
/* Shorthand for a message without body. */
int control_send_type(struct control *c, enum wire_type type);
/* Any thread. */
void control_set_silence(struct control *c, uint32_t silence_ms);
/* Has the peer neither closed the connection nor died, as far as this host's kernel knows? What it
 * said before may not have been delivered yet. Any thread. */
bool control_is_up(struct control *c);
/* Peer's CLOCK_REALTIME minus ours, from the quickest PING so far, and that PING's round trip;
 * both in microseconds, 0 before the first. Any thread. */
void control_clock(struct control *c, int64_t *offset_us, uint64_t *round_trip_us);
/* Ends the reader (lost is called), any thread. A message that found no room is dropped. */
void control_shutdown(struct control *c);
/* Shuts down, joins and frees; half a second at most. Not from a callback. */
void control_destroy(struct control *c);

/* One message on a connection that has no reader: PREPARE before there is one, a question and its
 * answer, a last word. The line stays the caller's. The one that was read is to be destroyed. */
int control_read_one(struct line line, int timeout_ms, struct wire_message *message,
		     struct errtext *err);
int control_write_one(struct line line, int timeout_ms, const struct wire_message *message,
		      struct errtext *err);
