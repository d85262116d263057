// SPDX-License-Identifier: Apache-2.0
// Reads RAM frames from a stream: a head, then the pages that follow it, into buffers of the
// caller's. The mirror of frame_writer.
//
// The head of the next frame can be received together with the pages of this one, in one call.
//
// Private to one thread. A stream that breaks is told by a negative errno alone, without a text:
// the caller knows its name. What is wrong with a frame has a text.
#pragma once

#include <stdbool.h>
#include <sys/uio.h>
#include "byte_stream.h"
#include "errtext.h"
#include "ram_map.h"
#include "wire.h"

struct frame_reader;

/* Both borrowed. -ENOMEM. */
int frame_reader_new(const struct ram_map *ram, struct byte_stream *stream,
		     struct frame_reader **out);
void frame_reader_destroy(struct frame_reader *r); /* NULL is fine */

/* The next frame, checked against the RAM map. All pages of the frame before have been received.
 * -ENODATA: the stream has ended, between two frames. */
int frame_reader_next(struct frame_reader *r, struct wire_frame *frame, struct errtext *err);
/* Bytes that follow the frame: its pages, if it is PAGES, or what they were compressed to, if it is
 * ZSTD; else 0. */
size_t frame_reader_size(const struct wire_frame *frame);
/* Receive the pages of the frame that frame_reader_next returned last, in order, into n buffers
 * (at most WIRE_FRAME_RUNS_MAX, none empty) of frame_reader_size bytes together, or by several
 * calls of some of them each. With `ahead` the next head comes in the same call: only with the last
 * of them, and if it is certain to be sent without waiting for anything that these pages bring
 * about. iov has room for one more. */
int frame_reader_pages(struct frame_reader *r, struct iovec *iov, unsigned int n, bool ahead);
