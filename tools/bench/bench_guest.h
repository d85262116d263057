// SPDX-License-Identifier: Apache-2.0
// A synthetic guest: a process of its own with RAM that it writes by a pattern, at a rate.
//
// Made before this process has other threads: it is a fork. It dies with its maker.
#pragma once

#include <stdint.h>
#include "bench_options.h"
#include "errtext.h"
#include "ram_map.h"

struct bench_guest;

/* Its memory is filled when this returns, and is the one block of `ram`. Negative errno with a
 * text. */
int bench_guest_new(const struct bench_options *o, struct ram_map *ram, struct bench_guest **out,
		    struct errtext *err);
void bench_guest_destroy(struct bench_guest *g); /* NULL is fine */

/* A userfaultfd of its memory, for a tracker; the caller's. Negative errno with a text. */
int bench_guest_userfaultfd(const struct bench_guest *g, struct errtext *err);
int bench_guest_pid(const struct bench_guest *g);
/* It begins to write. */
void bench_guest_run(struct bench_guest *g);
/* It writes no more when this returns. -ECHILD: it has ended. */
int bench_guest_stop(struct bench_guest *g);
