// SPDX-License-Identifier: Apache-2.0
// Serves the guest's faults on missing pages at the destination, in post-copy.
//
// Several threads, each in fault_handler_serve with a fault connection of its own, take faults from
// one userfaultfd. A page that is not owed is a hole and answered at once. One that is owed is
// asked for once, however many fault on it, and placed when it comes.
//
// A connection that breaks: its thread gives its page back, wakes who waits for it, so that the
// fault comes again, to another thread, and returns. If no thread is left faults wait in the
// kernel. After a reconnection the same calls go on with new streams.
#pragma once

#include <stdint.h>
#include "byte_stream.h"
#include "errtext.h"
#include "histogram.h"
#include "owed.h"
#include "placer.h"
#include "ram_map.h"

struct fault_handler;

struct fault_handler_options {
	int uffd;		   /* borrowed, non-blocking: missing.h */
	const struct ram_map *ram; /* borrowed, registered */
	struct owed *owed;	   /* borrowed */
	struct placer *placer;	   /* borrowed */
};

struct fault_handler_stats {
	uint64_t faults; /* taken, holes and repetitions included */
	/* Microseconds from taking a fault to its page's being in place; only of pages that were
	 * asked for. */
	uint64_t p50_us, p99_us, max_us;
};

int fault_handler_new(const struct fault_handler_options *options, struct fault_handler **out,
		      struct errtext *err);
/* No thread may be inside. */
void fault_handler_destroy(struct fault_handler *h);

/* Body of a thread: serve faults over this stream (borrowed) until fault_handler_stop, then return
 * 0; or until the stream or a placement fails. index is for messages. When nothing is owed any more
 * there is nothing to ask for, only holes to fill: then stream may be NULL. */
int fault_handler_serve(struct fault_handler *h, unsigned int index, struct byte_stream *stream,
			struct errtext *err);
/* Any thread: let all present and future fault_handler_serve return. One that waits for a page
 * takes it first; shut its stream down to end it at once. */
void fault_handler_stop(struct fault_handler *h);

/* Any thread. */
void fault_handler_stats(const struct fault_handler *h, struct fault_handler_stats *stats);
/* Add all latencies to *to, for a report over several handlers. Any thread. */
void fault_handler_latency(const struct fault_handler *h, struct histogram *to);
