// SPDX-License-Identifier: Apache-2.0
// Collects pages into RAM frames and hands them to a stream, straight out of guest RAM.
//
// Private to one thread.
#pragma once

#include <stdint.h>
#include "byte_stream.h"
#include "compressor.h"
#include "errtext.h"
#include "ram_map.h"
#include "wire.h"

struct frame_writer;

/* Both borrowed. -ENOMEM. */
int frame_writer_new(const struct ram_map *ram, struct byte_stream *stream,
		     struct frame_writer **out);
void frame_writer_destroy(struct frame_writer *w);

/* Before the first frame_writer_add_copy: room for copies. There is, if a block is private.
 * -ENOMEM.
 */
int frame_writer_make_copies(struct frame_writer *w);

/* Before the first page: what goes as PAGES may go as ZSTD, as `how` says. -ENOMEM. */
int frame_writer_compress(struct frame_writer *w, const struct compression *how);
/* What did so. Any thread. */
struct compressor_stats frame_writer_compressed(const struct frame_writer *w);

/* Number of the round that the next frames belong to. Nothing may be pending. */
void frame_writer_round(struct frame_writer *w, uint32_t round);
/* WIRE_FRAME_* flags of the next frames, at first none. Nothing may be pending. */
void frame_writer_flags(struct frame_writer *w, uint16_t flags);
/* Add `count` pages from `first` of a block: PAGES with count at most WIRE_FRAME_PAGES_MAX, or ZERO
 * or STALE with any. Sends what is full. Their memory is in use until the next drain or sync. */
int frame_writer_add(struct frame_writer *w, enum wire_frame_type type, unsigned int block,
		     uint64_t first, uint64_t count, struct errtext *err);
/* Add one page as PAGES, with this content, which is copied: so always of a private block. */
int frame_writer_add_copy(struct frame_writer *w, unsigned int block, uint64_t page,
			  const uint8_t *content, struct errtext *err);
/* Add pages of a private block that was handed over as PAGES, at most WIRE_FRAME_PAGES_MAX; they
 * are read now. -EUCLEAN, with a text, if they cannot be (ram_kept.h): what is pending is not to be
 * sent then. */
int frame_writer_add_kept(struct frame_writer *w, unsigned int block, uint64_t first,
			  uint32_t count, struct errtext *err);
/* Send what is pending and wait until nothing uses guest RAM any more. */
int frame_writer_drain(struct frame_writer *w, struct errtext *err);
/* The same with a SYNC frame at the end. */
int frame_writer_sync(struct frame_writer *w, struct errtext *err);
