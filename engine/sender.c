// SPDX-License-Identifier: Apache-2.0
// One stream's sender: granules, and what is scanned and protected of them.
//
// What the destination holds of a page is known from two records:
//   sent[block]   the page's data went over at least once since it was last announced as zero;
//                 a page that is zero and not in `sent` needs nothing once its granule is `told`
//   hash[block]   the content that went over: of huge pages, so that of one of 2 MiB with one byte
//                 changed only 4 KiB travel; and of suspects (source.c), so that they travel again
//                 only if a disk read came after the copy
//
// A hash is worth something only if the bytes hashed are the bytes sent. The guest may write in
// between; but then its page is no longer protected afterwards. So once the frames of a granule
// have left our memory it is looked at again, without protecting, and hashes of pages written
// meanwhile are forgotten. A disk read that lands meanwhile is not seen by that: what is suspect is
// copied first, and the copy is hashed and sent.
#include "sender_private.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include "clock.h"
#include "ram_private.h"

static void count_up(atomic_uint_least64_t *counter, uint64_t n)
{
	atomic_fetch_add_explicit(counter, n, memory_order_relaxed);
}

static int init_records(struct sender *s)
{
	s->records = calloc(s->ram->count, sizeof(*s->records));
	if (!s->records)
		return -ENOMEM;
	for (unsigned int i = 0; i < s->ram->count; i++) {
		const struct ram_block *b = &s->ram->blocks[i];
		int ret = block_record_init(&s->records[i], b, sender_granule_pages(b), s->unseen);

		if (ret < 0)
			return ret;
	}
	return 0;
}

static int init_copies(struct sender *s)
{
	int ret;

	if (!ram_map_has_private(s->ram) && !s->unseen)
		return 0;
	ret = frame_writer_make_copies(s->writer);
	if (ret < 0)
		return ret;
	s->copies = malloc((size_t)RAM_PRIVATE_PAGES_MAX << RAM_PAGE_SHIFT);
	return s->copies ? 0 : -ENOMEM;
}

int sender_new(const struct ram_map *ram, struct tracker *tracker, struct byte_stream *stream,
	       struct bitmap *stale, bool unseen, struct sender **out)
{
	struct sender *s = calloc(1, sizeof(*s));
	int ret;

	if (!s)
		return -ENOMEM;
	s->ram = ram;
	s->tracker = tracker;
	s->stale = stale;
	s->unseen = unseen;
	ret = frame_writer_new(ram, stream, &s->writer);
	if (ret == 0)
		ret = init_records(s);
	if (ret == 0)
		ret = init_copies(s);
	if (ret < 0) {
		sender_destroy(s);
		return ret;
	}
	*out = s;
	return 0;
}

void sender_destroy(struct sender *s)
{
	if (!s)
		return;
	for (unsigned int i = 0; s->records && i < s->ram->count; i++)
		block_record_destroy(&s->records[i]);
	free(s->records);
	free(s->copies);
	frame_writer_destroy(s->writer);
	free(s);
}

int sender_compress(struct sender *s, const struct compression *how)
{
	return frame_writer_compress(s->writer, how);
}

uint64_t sender_granule_pages(const struct ram_block *block)
{
	uint64_t huge = block->page_size >> RAM_PAGE_SHIFT;

	return huge > TRACKER_GRANULE_PAGES ? huge : TRACKER_GRANULE_PAGES;
}

void sender_begin(struct sender *s, uint32_t round, bool live)
{
	s->round = round;
	s->live = live;
	s->suspect = false;
	s->round_pages = 0;
	s->costs = (struct sender_costs){0};
	frame_writer_round(s->writer, round);
	for (unsigned int i = 0; i < s->ram->count; i++)
		s->records[i].next_data = 0;
}

void sender_suspect(struct sender *s)
{
	s->suspect = true;
}

/* Forget the hashes of what the guest wrote while the last granule was on its way. */
static int recheck_hashes(struct sender *s, struct errtext *err)
{
	struct block_record *r = &s->records[s->recheck.block];
	int ret, n;

	if (!s->recheck.set)
		return 0;
	s->recheck.set = false;
	ret = frame_writer_drain(s->writer, err);
	if (ret < 0)
		return ret;
	n = tracker_collect(s->tracker, s->recheck.block, s->recheck.first, s->recheck.count, false,
			    s->runs);
	for (int i = 0; i < n; i++)
		block_record_forget(r, s->runs[i].first, s->runs[i].count);
	return n < 0 ? sender_collect_failed(n, s, s->recheck.block, err) : 0;
}

static void recheck_later(struct sender *s, unsigned int block, uint64_t first, uint64_t count)
{
	if (!s->live || s->suspect || !s->records[block].hashes_all)
		return;
	s->recheck.set = true;
	s->recheck.block = block;
	s->recheck.first = first;
	s->recheck.count = count;
}

/* ---- granules ---- */

/* True while no page of the granule [at, end) has memory behind it. To ask that of hugetlbfs costs
 * more than to scan what has no page table, and the scan reports all that comes to be there: once
 * the destination knows of the granule it is scanned. */
static bool is_unused(struct sender *s, unsigned int block, uint64_t at, uint64_t end)
{
	const struct ram_block *b = &s->ram->blocks[block];
	struct block_record *r = &s->records[block];
	uint64_t granule = at / sender_granule_pages(b);

	if (ram_block_is_private(b) || (b->probe && bitmap_test(&r->told, granule)))
		bitmap_set(&r->used, granule, 1);
	if (bitmap_test(&r->used, granule))
		return false;
	if (r->next_data < end)
		r->next_data = hole_next_data(b, at, ram_block_pages(b));
	if (r->next_data >= end)
		return true;
	bitmap_set(&r->used, granule, 1);
	return false;
}

/* The destination may have been preallocated, and dirtied by its QEMU: it is told once. */
static int announce_unused(struct sender *s, unsigned int block, uint64_t first, uint64_t count,
			   struct errtext *err)
{
	struct bitmap *told = &s->records[block].told;
	uint64_t granule = first / sender_granule_pages(&s->ram->blocks[block]);

	if (bitmap_test(told, granule))
		return 0;
	bitmap_set(told, granule, 1);
	count_up(&s->pages_zero, count);
	return frame_writer_add(s->writer, WIRE_FRAME_ZERO, block, first, count, err);
}

/* Pages of a granule of a private block between the n s->runs, which have no content. */
static int announce_gaps(struct sender *s, unsigned int block, uint64_t first, uint64_t count,
			 int n, struct errtext *err)
{
	uint64_t at = first;

	for (int i = 0; i <= n; i++) {
		uint64_t end = i < n ? s->runs[i].first : first + count;
		int ret = 0;

		if (end > at) {
			count_up(&s->pages_zero, end - at);
			ret = frame_writer_add(s->writer, WIRE_FRAME_ZERO, block, at, end - at,
					       err);
		}
		if (ret < 0)
			return ret;
		at = i < n ? end + s->runs[i].count : end;
	}
	return 0;
}

/* The first look at a granule of a private block finds what it uses, and announces the rest. */
static int first_private_look(struct sender *s, unsigned int block, uint64_t first, uint64_t count,
			      struct errtext *err)
{
	const struct ram_block *b = &s->ram->blocks[block];
	int n = tracker_first(s->tracker, block, first, count, s->runs), ret;

	if (n < 0)
		return sender_collect_failed(n, s, block, err);
	if (n == 0)
		bitmap_set(&s->records[block].told, first / sender_granule_pages(b), 1);
	ret = announce_gaps(s, block, first, count, n, err);
	return ret < 0 ? ret : n;
}

static bool is_first_look(const struct sender *s, unsigned int block, uint64_t first)
{
	const struct ram_block *b = &s->ram->blocks[block];

	return !bitmap_test(&s->records[block].told, first / sender_granule_pages(b));
}

static int scan(struct sender *s, unsigned int block, uint64_t first, uint64_t count, bool protect,
		struct errtext *err)
{
	const struct ram_block *b = &s->ram->blocks[block];
	int n;

	if (is_unused(s, block, first, first + count))
		return announce_unused(s, block, first, count, err);
	if (protect && ram_block_is_private(b) && is_first_look(s, block, first))
		return first_private_look(s, block, first, count, err);
	n = tracker_collect(s->tracker, block, first, count, protect, s->runs);
	if (n < 0)
		return sender_collect_failed(n, s, block, err);
	/* Kernels before mid-2026 do not report what has no page table at all, though memory may be
	 * behind it: the first look at a granule takes every page for written. */
	if (is_first_look(s, block, first)) {
		s->runs[0] = (struct wire_run){first, (uint32_t)count};
		n = 1;
	}
	return n;
}

int sender_scan(struct sender *s, unsigned int block, uint64_t first, uint64_t count, bool protect,
		struct errtext *err)
{
	uint64_t begun = clock_monotonic_us();
	int n = scan(s, block, first, count, protect, err);

	s->costs.scan_us += clock_monotonic_us() - begun;
	return n;
}

/* What of a granule that the destination knows has no memory any more. */
static int send_gone(struct sender *s, unsigned int block, uint64_t first, uint64_t count,
		     struct errtext *err)
{
	const struct ram_block *b = &s->ram->blocks[block];
	int ret = 0;

	if (ram_block_is_private(b))
		ret = sender_given_back(s, block, first, count, err);
	if (ret == 0 && hole_possible(b))
		ret = sender_punched(s, block, first, count, err);
	return ret;
}

/* A granule whose written pages are the n of s->runs. */
static int send_granule(struct sender *s, unsigned int block, uint64_t first, uint64_t count, int n,
			struct errtext *err)
{
	struct block_record *r = &s->records[block];
	uint64_t granule = first / sender_granule_pages(&s->ram->blocks[block]);
	uint64_t begun = clock_monotonic_us(), read;
	int ret;

	if (!bitmap_test(&r->used, granule))
		return 0;
	s->told = bitmap_test(&r->told, granule);
	ret = sender_runs(s, block, n, err);
	read = clock_monotonic_us();
	s->costs.read_us += read - begun;
	if (ret == 0 && s->told)
		ret = send_gone(s, block, first, count, err);
	s->costs.scan_us += clock_monotonic_us() - read;
	if (ret < 0 || n == 0)
		return ret;
	bitmap_set(&r->told, granule, 1);
	recheck_later(s, block, first, count);
	return 0;
}

int sender_granule(struct sender *s, unsigned int block, uint64_t first, uint64_t count,
		   struct bitmap *todo, bool protect, struct errtext *err)
{
	int n, ret = recheck_hashes(s, err);

	(void)todo;
	if (ret < 0)
		return ret;
	n = sender_scan(s, block, first, count, protect, err);
	return n < 0 ? n : send_granule(s, block, first, count, n, err);
}

int sender_collect(struct sender *s, unsigned int block, uint64_t first, uint64_t count,
		   struct bitmap *todo, bool protect, struct errtext *err)
{
	int n = sender_scan(s, block, first, count, protect, err);

	for (int i = 0; i < n; i++)
		bitmap_set(todo, s->runs[i].first, s->runs[i].count);
	return n < 0 ? n : 0;
}

int sender_take_todo(struct sender *s, struct bitmap *todo, uint64_t first, uint64_t count)
{
	uint64_t end = first + count, at = first;
	int n = 0;

	while ((at = bitmap_next_set(todo, at, end)) < end) {
		uint64_t clear = bitmap_next_clear(todo, at, end);

		s->runs[n++] = (struct wire_run){at, (uint32_t)(clear - at)};
		at = clear;
	}
	bitmap_clear(todo, first, count);
	return n;
}

/* The suspects of a granule that are not in todo anyway: only they are left marked, and are in todo
 * now. */
static void add_suspects(struct sender *s, unsigned int block, uint64_t first, uint64_t count,
			 struct bitmap *todo)
{
	struct bitmap *suspect = &s->records[block].suspect;
	uint64_t end = first + count, at = first;

	s->suspects -= bitmap_count(suspect, first, count);
	while ((at = bitmap_next_set(todo, at, end)) < end) {
		uint64_t clear = bitmap_next_clear(todo, at, end);

		bitmap_clear(suspect, at, clear - at);
		at = clear;
	}
	for (at = first; (at = bitmap_next_set(suspect, at, end)) < end; at++)
		bitmap_set(todo, at, 1);
}

int sender_take_suspects(struct sender *s, unsigned int block, uint64_t first, uint64_t count,
			 struct bitmap *todo)
{
	add_suspects(s, block, first, count, todo);
	bitmap_clear(&s->records[block].suspect, first, count);
	return sender_take_todo(s, todo, first, count);
}

/* What is in flight now was marked when it began: it is in the runs, or will be in a later round's.
 */
static int send_suspect(struct sender *s, unsigned int block, uint64_t first, uint64_t count,
			struct bitmap *todo, struct errtext *err)
{
	struct bitmap *suspect = &s->records[block].suspect;
	int n = sender_take_todo(s, todo, first, count);

	s->suspects -= bitmap_count(suspect, first, count);
	for (int i = 0; i < n; i++)
		bitmap_set(suspect, s->runs[i].first, s->runs[i].count);
	s->suspects += bitmap_count(suspect, first, count);
	return send_granule(s, block, first, count, n, err);
}

/* No read is in flight any more that a suspect page could be waiting for. One that is as it was
 * sent needs nothing. */
static int send_settled(struct sender *s, unsigned int block, uint64_t first, uint64_t count,
			struct bitmap *todo, struct errtext *err)
{
	int ret;

	add_suspects(s, block, first, count, todo);
	ret = send_granule(s, block, first, count, sender_take_todo(s, todo, first, count), err);
	bitmap_clear(&s->records[block].suspect, first, count);
	return ret;
}

int sender_collected(struct sender *s, unsigned int block, uint64_t first, uint64_t count,
		     struct bitmap *todo, bool protect, struct errtext *err)
{
	int ret = recheck_hashes(s, err);

	(void)protect;
	if (ret < 0)
		return ret;
	return s->suspect ? send_suspect(s, block, first, count, todo, err)
			  : send_settled(s, block, first, count, todo, err);
}

int sender_look(struct sender *s, unsigned int block, uint64_t first, uint64_t count,
		struct bitmap *todo, bool protect, struct errtext *err)
{
	const struct ram_block *b = &s->ram->blocks[block];
	struct bitmap *used = &s->records[block].used;
	uint64_t granule = first / sender_granule_pages(b);
	bool was_used = bitmap_test(used, granule);
	int n;

	(void)todo;
	(void)protect;
	if (is_unused(s, block, first, first + count))
		return 0;
	n = tracker_collect(s->tracker, block, first, count, false, s->runs);
	if (n < 0)
		return sender_collect_failed(n, s, block, err);
	/* QEMU has read it meanwhile, to send it: that gives a memfd memory, full of zeroes, of
	 * which nothing was protected before. */
	if (!was_used && !ram_block_is_private(b)) {
		bitmap_clear(used, granule, 1);
		return sender_count_content(s, block, n, err);
	}
	for (int i = 0; i < n; i++)
		s->round_pages += s->runs[i].count;
	return 0;
}

int sender_sync(struct sender *s, struct errtext *err)
{
	int ret = recheck_hashes(s, err);

	return ret < 0 ? ret : frame_writer_sync(s->writer, err);
}

uint64_t sender_round_pages(const struct sender *s)
{
	return s->round_pages;
}

struct sender_costs sender_costs(const struct sender *s)
{
	return s->costs;
}

uint64_t sender_suspects(const struct sender *s)
{
	return s->suspects;
}

struct sender_stats sender_stats(const struct sender *s)
{
	return (struct sender_stats){
		.pages_sent = atomic_load_explicit(&s->pages_sent, memory_order_relaxed),
		.pages_zero = atomic_load_explicit(&s->pages_zero, memory_order_relaxed),
		.pages_skipped = atomic_load_explicit(&s->pages_skipped, memory_order_relaxed),
		.pages_resent = atomic_load_explicit(&s->pages_resent, memory_order_relaxed),
		.compressed = frame_writer_compressed(s->writer),
	};
}
