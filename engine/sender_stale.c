// SPDX-License-Identifier: Apache-2.0
// One stream's sender, on the way to post-copy: announces what the destination has out of date.
#include "sender_private.h"

/* The destination knows already of a page that is in both sets: being announced as zero would have
 * taken it out of `sent`. It stays in `stale`, as there it may be part of a huge page. */
static int send_stale(struct sender *s, unsigned int block, uint64_t page, struct errtext *err)
{
	struct block_record *r = &s->records[block];

	if (bitmap_test(&s->stale[block], page) && bitmap_test(&r->sent, page))
		return 0;
	bitmap_set(&s->stale[block], page, 1);
	bitmap_set(&r->sent, page, 1);
	block_record_forget(r, page, 1);
	s->round_pages++;
	return frame_writer_add(s->writer, WIRE_FRAME_STALE, block, page, 1, err);
}

/* Holes are announced as zero, which needs no transfer later. */
static int send_stale_run(struct sender *s, unsigned int block, const struct wire_run *run,
			  struct errtext *err)
{
	uint64_t end = run->first + run->count;
	int ret = 0;

	for (uint64_t page = run->first; page < end && ret == 0; page++)
		ret = hole_at(&s->window, page) ? sender_hole(s, block, page, err)
						: send_stale(s, block, page, err);
	return ret;
}

/* A page whose disk read is in flight counts as written, or is suspect, and is fetched once the
 * guest has stopped and its disks with it: nothing has to quiesce here. */
int sender_stale(struct sender *s, unsigned int block, uint64_t first, uint64_t count,
		 struct bitmap *todo, bool protect, struct errtext *err)
{
	const struct ram_block *b = &s->ram->blocks[block];
	struct block_record *r = &s->records[block];
	uint64_t granule = first / sender_granule_pages(b);
	int n = sender_scan(s, block, first, count, protect, err), ret;

	if (n < 0 || !bitmap_test(&r->used, granule))
		return n < 0 ? n : 0;
	if (todo) { /* a round cut short has left some, which are protected already */
		for (int i = 0; i < n; i++)
			bitmap_set(todo, s->runs[i].first, s->runs[i].count);
		n = sender_take_suspects(s, block, first, count, todo);
	}
	s->told = bitmap_test(&r->told, granule);
	ret = sender_look_for_holes(s, block, n, err);
	for (int i = 0; ret == 0 && i < n; i++)
		ret = send_stale_run(s, block, &s->runs[i], err);
	if (ret == 0 && s->told && ram_block_is_private(b))
		ret = sender_given_back(s, block, first, count, err);
	if (ret == 0 && s->told && hole_possible(b))
		ret = sender_punched(s, block, first, count, err);
	if (ret == 0)
		bitmap_set(&r->told, granule, 1);
	return ret;
}
