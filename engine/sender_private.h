// SPDX-License-Identifier: Apache-2.0
// A sender from inside, for sender*.c only.
#pragma once

#include <stdatomic.h>
#include "block_record.h"
#include "frame_writer.h"
#include "hole.h"
#include "sender.h"

_Static_assert(HOLE_WINDOW_PAGES == TRACKER_GRANULE_PAGES, "a granule is looked at in one go");

struct sender {
	/* constant after init */
	const struct ram_map *ram;
	bool unseen; /* disk reads may write it unseen */
	struct tracker *tracker;
	struct frame_writer *writer;
	struct block_record *records;
	struct bitmap *stale; /* borrowed; one a block, shared with other senders by granule */

	/* private to the worker */
	uint32_t round;
	bool live;
	bool suspect;	   /* what is sent in this round, is */
	uint64_t suspects; /* pages of all records */
	bool told;	   /* the destination has heard of all pages of the granule in hand */
	uint64_t round_pages;
	struct sender_costs costs; /* of this round */
	struct wire_run runs[TRACKER_RUNS_MAX];
	struct hole_window window; /* on the pages of runs */
	uint8_t *copies;	   /* of pages in hand; NULL: none is copied */
	struct {
		bool set;
		unsigned int block;
		uint64_t first, count;
	} recheck; /* granule whose hashes are not yet confirmed */

	/* written by the worker, read by any thread; relaxed: independent counters */
	atomic_uint_least64_t pages_sent, pages_zero, pages_skipped, pages_resent;
};

/* sender_pages.c */
/* Announce a page as zero, unless the destination has it so already. */
int sender_zero(struct sender *s, unsigned int block, uint64_t page, struct errtext *err);
/* The same for a page of a hole. */
int sender_hole(struct sender *s, unsigned int block, uint64_t page, struct errtext *err);
/* Which pages of the n s->runs are holes? Fills s->window. */
int sender_look_for_holes(struct sender *s, unsigned int block, int n, struct errtext *err);
/* Announce as zero what was punched of a granule since it was sent. Changes s->runs. */
int sender_punched(struct sender *s, unsigned int block, uint64_t first, uint64_t count,
		   struct errtext *err);
/* The same of a private block, of what was given back. */
int sender_given_back(struct sender *s, unsigned int block, uint64_t first, uint64_t count,
		      struct errtext *err);
/* Send the pages of the n s->runs of one granule, ascending, or announce them. */
int sender_runs(struct sender *s, unsigned int block, int n, struct errtext *err);
/* Of the pages of the n s->runs, which the destination has as zero, add those to round_pages that
 * are anything else. */
int sender_count_content(struct sender *s, unsigned int block, int n, struct errtext *err);
/* Sets a text: what was written cannot be found out. Returns ret. */
int sender_collect_failed(int ret, const struct sender *s, unsigned int block, struct errtext *err);

/* sender.c */
/* Runs written in a granule in s->runs. Returns their number, 0 for an unused granule, which is
 * announced as zero once. */
int sender_scan(struct sender *s, unsigned int block, uint64_t first, uint64_t count, bool protect,
		struct errtext *err);
/* What todo holds of a granule, and what is suspect of it, moves to s->runs; likewise. */
int sender_take_suspects(struct sender *s, unsigned int block, uint64_t first, uint64_t count,
			 struct bitmap *todo);
/* What todo holds of a granule moves to s->runs. Returns the number of runs. */
int sender_take_todo(struct sender *s, struct bitmap *todo, uint64_t first, uint64_t count);
