// SPDX-License-Identifier: Apache-2.0
// The source's RAM sender: rounds of "find what was written, protect it again, send it".
//
// One worker thread per stream. RAM is dealt out in granules of TRACKER_GRANULE_PAGES, granule g
// to worker g mod N, so a page always travels on the same stream and a newer version never
// overtakes an older one: rounds need no barrier between streams.
//
// All calls come from one driver thread, except source_abort and source_stats (any thread).
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include "bitmap.h"
#include "byte_stream.h"
#include "compressor.h"
#include "errtext.h"
#include "ram_map.h"
#include "tracker.h"

struct source;

enum source_round_kind {
	SOURCE_ROUND_LIVE,	 /* the guest runs: protect before reading */
	SOURCE_ROUND_LAST,	 /* the guest is stopped */
	SOURCE_ROUND_STALE,	 /* the guest runs, post-copy comes: instead of sending pages, tell
				  * the destination which of them are out of date there. May be
				  * repeated: each finds only what was not stale before, so that
				  * less and less is left to the stop */
	SOURCE_ROUND_STALE_LAST, /* the guest is stopped: the same for what was written since */
	SOURCE_ROUND_CHECK, /* ... and has been sent: count what was written since, send nothing,
			     * not even SYNC */
};

struct source_round {
	uint32_t round;
	uint64_t pages;	      /* sent as data in this round; of a check: found written; of a stale
			       * round: found stale and not known to be */
	uint64_t duration_us; /* until everything had left our memory */
	uint64_t scan_us;     /* of it, to find what was written; of the slowest worker */
	uint64_t read_us;     /* ... to look at that and hand it to the streams; likewise */
	bool live;	      /* SOURCE_ROUND_LIVE */
	bool suspect;	      /* ... while disk reads may have been in flight: see source.c */
	uint64_t suspects;    /* pages that are suspect after it */
	int result;	      /* 0 or a negative errno */
	struct errtext err;
};

struct source_stats {
	uint64_t pages_sent;	/* as data, all rounds */
	uint64_t pages_zero;	/* found zero or a hole, announced without data */
	uint64_t pages_skipped; /* marked written, but content unchanged or zero as before */
	uint64_t pages_resent;	/* suspect, and sent again as they had changed unseen */
	struct compressor_stats compressed; /* of pages_sent */
};

struct source_options {
	const struct ram_map *ram;    /* mapped readable; outlives the source */
	struct tracker *tracker;      /* outlives the source */
	struct byte_stream **streams; /* borrowed, one per worker */
	unsigned int stream_count;
	struct compression compression; /* none unless both sides know WIRE_FEATURE_ZSTD */
	/* Set *settled if no I/O that was in flight when this was called can still write guest
	 * memory: wait for that, or find that there is none, or leave it. NULL if no device of the
	 * guest reads disks past the page cache. Called by a worker, guest running. A negative
	 * errno fails the round. */
	int (*quiesce)(void *opaque, bool *settled, struct errtext *err);
	/* A round has ended; called by the last worker. The struct is valid during the call. */
	void (*round_done)(void *opaque, const struct source_round *round);
	void *opaque;
};

/* Starts the workers, idle. */
int source_new(const struct source_options *options, struct source **out, struct errtext *err);
/* Begin round 1, 2, ...; no other may be under way. round_done follows. */
void source_round_start(struct source *s, uint32_t round, enum source_round_kind kind);
/* The guest has stopped, or post-copy begins: let a live round, this one and any later, end early;
 * what it left is found by the last one, or by a stale one. Stale rounds are never cut short. */
void source_hurry(struct source *s);
/* Make the round under way, and all later ones, fail with -ECANCELED. */
void source_abort(struct source *s);
/* Pages of a block that the stale rounds have found, and that a page server has to serve. (One that
 * became a hole in between stays in it.) Borrowed; not while a round is under way. */
const struct bitmap *source_stale(const struct source *s, unsigned int block);
void source_stats(const struct source *s, struct source_stats *stats);
/* Joins the workers (source_abort first if a round may be under way). */
void source_destroy(struct source *s);
