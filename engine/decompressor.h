// SPDX-License-Identifier: Apache-2.0
// Decompresses the pages of ZSTD frames, for one stream, whatever it is sent.
//
// All memory is taken by decompressor_new; what comes cannot make it more: pages are decompressed
// in one go into room for exactly those that the frame's head has named, and zstd needs no window
// for that.
//
// Private to one thread.
#pragma once

#include <stdint.h>
#include "errtext.h"

struct decompressor;

/* -ENOMEM. */
int decompressor_new(struct decompressor **out);
void decompressor_destroy(struct decompressor *d); /* NULL is fine */

/* Where what follows a frame's head is to be received: room for WIRE_ZSTD_PAGES_MAX pages. */
uint8_t *decompressor_in(struct decompressor *d);
/* And where pages may go that have no better place: as much. */
uint8_t *decompressor_out(struct decompressor *d);
/* The `size` bytes in decompressor_in become `pages` pages in `into`. Nothing is written behind
 * them; they are undefined after an error. -EPROTO, with a text. */
int decompressor_run(struct decompressor *d, uint32_t size, uint32_t pages, uint8_t *into,
		     struct errtext *err);
