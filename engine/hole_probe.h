// SPDX-License-Identifier: Apache-2.0
// Which huge pages of a hugetlbfs file have memory behind them.
//
// Nothing else tells without allocating: SEEK_DATA calls everything data, a page map knows only
// what its own process has touched, reading through a mapping allocates, and reading through the
// file does not tell zeroes from a hole.
//
// Any thread may ask.
#pragma once

#include <stdbool.h>
#include <stdint.h>

struct hole_probe;

/* fd: the file, open in whatever way, by a process that may write it; borrowed for the call. */
int hole_probe_new(int fd, uint64_t size, uint32_t page_size, struct hole_probe **out);
void hole_probe_destroy(struct hole_probe *p); /* NULL is fine */

/* Has huge page number `unit` no memory? When in doubt it has. */
bool hole_probe_is_hole(const struct hole_probe *p, uint64_t unit);
