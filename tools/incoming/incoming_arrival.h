// SPDX-License-Identifier: Apache-2.0
// How long the parts of a stop take that lie on this host, from RELEASE until the guest runs: the
// source is told just before it hears that it does. The session's thread only.
#pragma once

#include <stdint.h>

struct incoming;

/* CLOCK_REALTIME here, as QEMU's events have it; 0: not yet. */
struct incoming_arrival {
	uint64_t released_us; /* RELEASE came */
	uint64_t let_go_us;   /* QEMU's stream was let go */
	uint64_t loaded_us;   /* QEMU had loaded it */
};

void incoming_arrival_note_release(struct incoming *in);
void incoming_arrival_note_let_go(struct incoming *in);
/* QEMU said so. */
void incoming_arrival_note_loaded(struct incoming *in, uint64_t time_us);
/* The guest runs, since resumed_us: tell a source that understands it. */
void incoming_arrival_tell(struct incoming *in, uint64_t resumed_us);
