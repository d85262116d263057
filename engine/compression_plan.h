// SPDX-License-Identifier: Apache-2.0
// At which level the next frame of a stream had best be compressed, or not at all: a pure decision
// from what the frames so far have cost.
//
// No clock, no I/O; one thread. The caller asks before each frame, and tells what came of it.
#pragma once

#include <stdbool.h>
#include <stdint.h>

struct compression_step {
	int level;	/* zstd's; 0: the frame goes as it is */
	uint32_t pages; /* at most in it, if it is compressed */
	bool sample;	/* the last ones did not become smaller: look at some pages first */
};

/* What a frame, or a wait for those before, has cost. */
struct compression_sample {
	uint64_t bytes;		       /* of pages; 0: none, only time has passed */
	uint64_t wire;		       /* bytes that went for them */
	uint64_t compress_ns, send_ns; /* until they were compressed; until the stream took them */
};

/* compression_plan_init. */
struct compression_plan {
	unsigned int current;	     /* option in use */
	unsigned int trial;	     /* option that is tried; current: none */
	bool settling;		     /* what is sent still waits behind what another option sent */
	bool probing;		     /* the next frame tells what the trial would cost */
	bool up;		     /* the trial to come is of a higher level */
	uint64_t due_ns;	     /* of the next trial */
	uint64_t interval_ns;	     /* until the one after it */
	uint64_t cost;		     /* of the current option: ns for a MiB of pages; 0: unknown */
	uint64_t wire_cost;	     /* of it, to send: ns for a MiB on the wire */
	uint64_t wire_share;	     /* bytes on the wire for a MiB of pages */
	uint64_t judged_cost;	     /* cost at the last trial */
	struct compression_sample w; /* of the window under way */
	unsigned int misses;	     /* frames in a row that did not become smaller */
	unsigned int skip;	     /* so many more go as they are */
};

void compression_plan_init(struct compression_plan *p, uint64_t now_ns);
struct compression_step compression_plan_next(const struct compression_plan *p);
/* What became of the frame of that step; or, with no bytes, of waiting between frames. */
void compression_plan_note(struct compression_plan *p, const struct compression_sample *s,
			   uint64_t now_ns);
/* zstd's level in use, 0: none. */
int compression_plan_level(const struct compression_plan *p);
