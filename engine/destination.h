// SPDX-License-Identifier: Apache-2.0
// The destination's RAM: frames from the streams go straight into the guest's memory.
//
// Only while the guest has not run yet: these are plain writes. One thread per stream; a page
// always arrives on the same stream, so threads share no state but the map.
#pragma once

#include <stdint.h>
#include "byte_stream.h"
#include "errtext.h"
#include "ram_map.h"

struct destination;

struct destination_options {
	struct ram_map *ram; /* mapped writable, same order as the source's; outlives us */
	/* Everything of `round` on this stream is in memory. Called by the stream's thread. */
	void (*synced)(void *opaque, unsigned int stream, uint32_t round);
	void *opaque;
};

/* Empties RAM that is not preallocated, so that what the source never used stays a hole. QEMU must
 * be up and waiting for its incoming stream. */
int destination_new(const struct destination_options *options, struct destination **out,
		    struct errtext *err);
void destination_destroy(struct destination *d);

/* Receive frames until the source closes the stream (returns 0) or something breaks. */
int destination_receive(struct destination *d, unsigned int index, struct byte_stream *stream,
			struct errtext *err);
