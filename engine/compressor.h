// SPDX-License-Identifier: Apache-2.0
// Compresses the pages of frames, for one stream; the decompressor is its mirror.
//
// What is compressed must not change meanwhile: the guest's own memory may, so a copy of it is made
// first, in compressor_room. All memory is taken by compressor_new, zstd's own grows at the first
// use of a level.
//
// Private to one thread, except compressor_stats.
#pragma once

#include <stddef.h>
#include <stdint.h>
#include "compression.h"

struct compressor;

struct compressor_stats {
	uint64_t pages; /* that were worth it */
	uint64_t bytes; /* that they became */
};

/* -ENOMEM. */
int compressor_new(const struct compression *how, struct compressor **out);
void compressor_destroy(struct compressor *c); /* NULL is fine */

/* Before the first page of each frame: how many pages it may have if compressor_run shall be called
 * for it, at most WIRE_ZSTD_PAGES_MAX. 0: it goes as it is. */
uint32_t compressor_next(struct compressor *c);
/* Room for WIRE_ZSTD_PAGES_MAX pages, the caller's to fill before compressor_run. */
uint8_t *compressor_room(struct compressor *c);
/* Compress `pages` pages, at most WIRE_ZSTD_PAGES_MAX. Returns how many bytes that makes, in *out,
 * which stay until the next call but one that does not return 0. 0: they had better go as they
 * are. */
size_t compressor_run(struct compressor *c, const uint8_t *content, uint32_t pages,
		      const uint8_t **out);

/* Something is handed to the stream, or the stream is waited for; and that has ended, for so many
 * bytes of pages, which were `wire` bytes. What is measured here decides how the next frame goes.
 */
void compressor_send_begins(struct compressor *c);
void compressor_send_ends(struct compressor *c, uint64_t bytes, uint64_t wire);

/* Any thread. */
struct compressor_stats compressor_stats(const struct compressor *c);
