// SPDX-License-Identifier: Apache-2.0
// The memory of a synthetic guest, as both ends make it.
#pragma once

#include "bench_options.h"
#include "errtext.h"
#include "ram_map.h"

/* Name, size and page size; no file, no mapping. */
void bench_ram_block(const struct bench_options *o, struct ram_block *block);
/* A file for it, empty; the caller's. */
int bench_ram_file(const struct bench_options *o, int *fd, struct errtext *err);
/* The destination's: mapped, the one block of `ram`. Huge pages are preallocated, as QEMU is asked
 * to do it. */
int bench_ram_new(const struct bench_options *o, struct ram_map *ram, struct errtext *err);
