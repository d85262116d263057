// SPDX-License-Identifier: Apache-2.0
// A whole bench: both ends on this host, or one of them.
//
// This process has no other threads. 0 or a negative errno with a text.
#pragma once

#include "bench_options.h"
#include "errtext.h"

/* Both ends, over loopback, the destination in a process of its own. */
int bench_run_here(const struct bench_options *o, struct errtext *err);
/* The source, to a destination at HOST[:PORT]. */
int bench_run_connect(const struct bench_options *o, const char *endpoint, struct errtext *err);
/* The destination, at ADDRESS[:PORT], of one bench. */
int bench_run_listen(const struct bench_options *o, const char *endpoint, struct errtext *err);
