// SPDX-License-Identifier: Apache-2.0
// Forwards raw bytes both ways between two connections, a and b, on a thread of its own.
//
// End of file on one side becomes the end on the other, after the bytes before it; the other
// direction goes on. What only breaks off becomes no orderly end where TLS can tell the two apart.
// The pump ends when both directions have ended, or by pump_stop().
//
// The direction a to b can be held: what a sends is still read, but kept in memory until released.
// b to a always flows. An a that breaks (rather than ends) while held ends the pump, since half a
// stream must not be released.
//
// What goes from a to b can be strained: part of it is dropped, and never reaches b. It can also be
// halted: a is not even read, and waits as soon as its socket is full.
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "errtext.h"
#include "line.h"

struct pacer;
struct pump;

struct pump_options {
	bool held;	   /* start with a to b held */
	size_t hold_limit; /* bytes kept before reading from a stops; 0 = PUMP_HOLD_LIMIT */
	/* Called once on the pump's thread when it has ended; sockets are shut down, not closed.
	 * result: 0 after an orderly end of both directions, -ECANCELED after pump_stop(), else
	 * the first error. Must not call pump_join or pump_destroy. May be NULL. */
	void (*ended)(void *arg, int result);
	void *arg;
	/* What goes from a to b is charged to it, but never waits: what pumps carry (libvirt's
	 * calls, QEMU's device state) is small and the guest may stand still for it. Those who
	 * take from the pacer wait the longer. Borrowed, may be NULL. */
	struct pacer *pacer;
	/* What goes from a to b waits for the pacer, too, until pump_hasten; from then on it is not
	 * even charged. It is paid for when it has gone: a chunk's length may go early. */
	bool paced;
	/* a is told what this says, and nothing of what b says, which is read and dropped: the n
	 * bytes at `in` have come from a; it puts what a is told at `out`, which has room for
	 * PUMP_ANSWER_MAX, and returns how many bytes that are. Called once with n = 0 before
	 * anything has come. On the pump's thread. May be NULL: b's words reach a. */
	size_t (*answer)(void *arg, const uint8_t *in, size_t n, uint8_t *out);
	void *answer_arg;
	/* What a says goes to b only as far as this gives it to keep(), in any pieces, which
	 * returns 0 or a negative errno; all else of the n bytes at `in` is gone:
	 * it takes no room, is not charged, counted, or seen by `answer`. One call's worth may go
	 * beyond hold_limit. Returns 0, or a negative errno (never -EAGAIN) that ends the pump:
	 * what b has not got then, it never gets. On the pump's thread. May be NULL: all passes. */
	int (*strain)(void *arg, const uint8_t *in, size_t n,
		      int (*keep)(void *opaque, const uint8_t *at, size_t n), void *opaque);
	void *strain_arg;
	bool halted; /* nothing is read from a before pump_go; a is answered, and b is read */
};

#define PUMP_ANSWER_MAX 64

#define PUMP_HOLD_LIMIT ((size_t)512 << 20)

/* Owns a and b on success only; they are closed by pump_destroy. opt may be NULL. */
int pump_start(struct line a, struct line b, const struct pump_options *opt, struct pump **out,
	       struct errtext *err);

/* Any thread. After pump_hold has returned, no further byte goes from a to b until the release. */
void pump_hold(struct pump *p);
/* Any thread. What was kept goes out at once, then all flows. */
void pump_release(struct pump *p);

/* Any thread. A pump that was started halted reads from a from now on. */
void pump_go(struct pump *p);

/* Any thread: from now on nothing that goes from a to b waits for the cap, or makes others wait. */
void pump_hasten(struct pump *p);
/* Any thread: tear both directions down. Returns at once; kept bytes are dropped. */
void pump_stop(struct pump *p);
/* Wait for the end, which does not come by itself while a side is open or held. Returns the
 * result as for `ended`. One thread, once or more. */
int pump_join(struct pump *p);
/* Stop, join, close both sockets, release. NULL is fine. No other call may be under way. */
void pump_destroy(struct pump *p);

/* Any thread. Bytes written to b, or to a, so far; and those read from a and not yet written. */
uint64_t pump_bytes_a_to_b(const struct pump *p);
uint64_t pump_bytes_b_to_a(const struct pump *p);
uint64_t pump_bytes_kept(const struct pump *p);
/* Any thread. b has closed its side, or is broken. */
bool pump_has_lost_b(const struct pump *p);
