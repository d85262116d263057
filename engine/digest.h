// SPDX-License-Identifier: Apache-2.0
// A digest of guest RAM, to prove that both sides hold the same.
#pragma once

#include <stdatomic.h>
#include <stdint.h>
#include "errtext.h"
#include "ram_map.h"
#include "wire.h"

/* One 128-bit digest a block: XXH3-128 over the XXH3-128 digests of its 2 MiB pieces, holes
 * reading as zeroes. Nothing may write meanwhile. Reads through the file, so holes stay holes.
 * Uses `threads` threads; `cancel` (any thread may set it) ends it early with -ECANCELED. */
int digest_ram(const struct ram_map *ram, unsigned int threads, const atomic_bool *cancel,
	       struct wire_digest *out, struct errtext *err);
