// SPDX-License-Identifier: Apache-2.0
// How long one dray waits for another, in milliseconds: each number once, and why it is that.
//
// Congestion control is SOCKET_CONGESTION (socket.h), post-copy's connections PAGE_LINK_FAULTS
// (page_link.h).
#pragma once

#include <stdint.h>

/* A peer that is not heard for so long is lost: the default of --peer-timeout, and what holds where
 * nobody says. Longer than a host under memory pressure stalls, shorter than an operator waits. */
#define CONNECTION_SILENCE_MS 10000
/* ... and the most that a destination bears, whatever its source asks for. */
#define CONNECTION_SILENCE_MAX_MS 120000

/* To reach a receiver, and to have its hello. */
#define CONNECTION_DIAL_MS 10000

/* What must be there at once, or be taken at once, when a connection is new or is about to end: a
 * hello, PREPARE, a question, a last word. Nobody waits for it but one thread of the receiver. */
#define CONNECTION_FIRST_MS 10000

/* The destination's answer to a message for which it may have to work: PREPARE, LISTEN, what it is
 * owed. Longer than a silence, so that a destination that is lost is told as such. */
#define CONNECTION_ANSWER_MS 15000

/* One of many questions about who has the guest: asked again if it is not answered. */
#define CONNECTION_ASK_MS 3000

/* How long data may stay unacknowledged before the kernel gives the connection up. Twice the
 * silence: the control channel notices first, and says what happened. */
static inline uint32_t connection_dead_ms(uint32_t silence_ms)
{
	return 2 * silence_ms;
}
