// SPDX-License-Identifier: Apache-2.0
// The destination's RAM: frames from the streams go straight into the guest's memory.
//
// That is, while the guest has not run yet: these are plain writes. One thread per stream; a page
// always arrives on the same stream, so threads share no state but the map.
//
// Post-copy: destination_expect_stale before the source's stale rounds, destination_place after
// the last of them and before the guest may run. From then on pages are placed instead of written.
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include "byte_stream.h"
#include "dropper.h"
#include "errtext.h"
#include "owed.h"
#include "placer.h"
#include "ram_map.h"

struct destination;

struct destination_options {
	/* Mapped writable, or private to a QEMU that does not write it meanwhile; same order as the
	 * source's; outlives us. */
	struct ram_map *ram;
	/* Everything of `round` on this stream is in memory. Called by the stream's thread. May be
	 * NULL. */
	void (*synced)(void *opaque, unsigned int stream, uint32_t round);
	void *opaque;
	/* The guest runs here already, and what it has is its own: nothing is emptied, and nothing
	 * taken before destination_place. For a process that carries on another's post-copy. */
	bool running;
};

/* Empties RAM that is a file and not preallocated, so that what the source never used stays a hole.
 * QEMU must be up and waiting for its incoming stream. */
int destination_new(const struct destination_options *options, struct destination **out,
		    struct errtext *err);
void destination_destroy(struct destination *d);

/* All RAM is registered for missing pages. From now on STALE frames are taken: their pages are
 * added to `owed` (borrowed) and made missing, before the round's SYNC is reported; those of
 * private memory by `dropper` (borrowed; NULL if there is none). Private memory is written no more:
 * pages of it are -EPROTO. A page that cannot be made missing fails its stream. Any thread, also
 * while streams are received. */
void destination_expect_stale(struct destination *d, struct owed *owed, struct dropper *dropper);
/* From now on, that is from the next frame on, pages are given to `placer` (borrowed). All stale
 * rounds must have been reported as synced. Any thread. */
void destination_place(struct destination *d, struct placer *placer);

/* Receive frames until the source closes the stream (returns 0) or something breaks. */
int destination_receive(struct destination *d, unsigned int index, struct byte_stream *stream,
			struct errtext *err);
