// SPDX-License-Identifier: Apache-2.0
// QEMU's migration stream, without the pages of guest RAM that travel another way.
//
// QEMU pushes all of its RAM into the stream, which ends at this strainer on the same host. The
// page records of the RAM blocks that dray carries itself are dropped; all else goes on, and what
// remains is a whole migration stream: the destination's QEMU lacks nothing but the contents of
// those blocks. Video memory, firmware and the like stay in it.
//
// Everything up to the end of RAM must be understood, since one misread length would take guest
// memory for device state. So whatever is not known there is an error, which comes while the
// guest runs or can run on: QEMU ends its RAM before it saves the first device. What comes after
// that is device state, passed on unread.
//
// A stream comes from a QEMU that a guest may have broken: no length in it sizes an allocation,
// and names are at most 255 bytes.
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "errtext.h"

struct ram_map;
struct strainer;

struct strainer_stats {
	uint64_t data_pages, zero_pages; /* dropped: with their content, with a fill byte */
	uint64_t read_bytes, kept_bytes; /* of the stream so far */
	bool past_ram;			 /* as strainer_is_past_ram */
};

/* A strainer at the beginning of a stream, that drops the pages of these blocks: borrowed, and
 * unchanged as long as it lives. The stream may call a block by its name, or by QEMU's path to
 * it, "/objects/" and the name, as machine types of QEMU 3.1 and before do. -ENOMEM. */
int strainer_new(const struct ram_map *drop, struct strainer **out);
void strainer_destroy(struct strainer *s);

/* The next n bytes of the stream, cut anywhere. What is kept of them is given to keep(), in order,
 * in any number of pieces that are valid during the call. keep() returns 0, or a negative errno
 * that ends it. One thread.
 *
 * 0; what keep() said; or -EPROTO: the stream holds what is not known here, or QEMU and `drop` do
 * not agree about a block. Afterwards nothing is strained any more. */
int strainer_strain(struct strainer *s, const uint8_t *in, size_t n,
		    int (*keep)(void *opaque, const uint8_t *at, size_t n), void *opaque,
		    struct errtext *err);

/* Device state has begun: everything passes from here on. Any thread; what is kept before it is so
 * has been given to keep(). */
bool strainer_is_past_ram(const struct strainer *s);
/* Any thread. */
void strainer_stats(const struct strainer *s, struct strainer_stats *out);
