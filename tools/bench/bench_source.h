// SPDX-License-Identifier: Apache-2.0
// The source of a bench: one synthetic guest, moved by the engine's rounds until what is left fits
// into the allowed downtime, stopped, moved to the end, and compared.
#pragma once

#include "bench_figures.h"
#include "bench_link.h"
#include "bench_options.h"
#include "errtext.h"

/* One run, over streams that are opened for it; the control line has been greeted. This process has
 * no other threads. -EBADMSG: the destination's memory differs. 0 or a negative errno with a text;
 * *f has its figures, without ratios. */
int bench_source_run(const struct bench_options *o, const struct bench_link *link,
		     struct line control, struct bench_figures *f, struct errtext *err);
