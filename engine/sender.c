// SPDX-License-Identifier: Apache-2.0
// One stream's sender: holes, zero pages, unchanged pages.
//
// What the destination holds of a page is known from two records:
//   sent[block]   the page's data went over at least once since it was last announced as zero;
//                 a page that is zero and not in `sent` needs nothing once its granule is `told`
//   hash[block]   (huge pages only) the content that went over, so that of a 2 MiB page with one
//                 byte changed only 4 KiB travel
//
// A hash is worth something only if the bytes hashed are the bytes sent. The guest may write in
// between; but then its page is no longer protected afterwards. So once the frames of a granule
// have left our memory it is looked at again, without protecting, and hashes of pages written
// meanwhile are forgotten.
#include "sender.h"

#include <assert.h>
#include <errno.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>
#include <xxhash.h>
#include "frame_writer.h"
#include "zero.h"

struct block_record {
	struct bitmap sent;
	uint64_t *hash;	    /* one per page, 0 unknown; NULL for small pages */
	struct bitmap used; /* one bit a granule: it has had data, and is scanned */
	struct bitmap told; /* one bit a granule: the destination has heard of all its pages */
	uint64_t next_data; /* no data before this page, as of this round */
};

struct sender {
	/* constant after init */
	const struct ram_map *ram;
	struct tracker *tracker;
	struct frame_writer *writer;
	struct block_record *records;

	/* private to the worker */
	uint32_t round;
	bool live;
	bool told; /* the granule in hand is */
	uint64_t round_pages;
	struct wire_run runs[TRACKER_RUNS_MAX];
	unsigned char in_core[TRACKER_GRANULE_PAGES]; /* bit 0, as from mincore(2) */
	struct {
		bool set;
		unsigned int block;
		uint64_t first, count;
	} recheck; /* granule whose hashes are not yet confirmed */

	/* written by the worker, read by any thread; relaxed: independent counters */
	atomic_uint_least64_t pages_sent, pages_zero, pages_skipped;
};

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
		struct block_record *r = &s->records[i];
		uint64_t pages = ram_block_pages(b);
		int ret = bitmap_init(&r->sent, pages);

		if (ret == 0)
			ret = bitmap_init(&r->used, pages / sender_granule_pages(b) + 1);
		if (ret == 0)
			ret = bitmap_init(&r->told, pages / sender_granule_pages(b) + 1);
		if (ret < 0)
			return ret;
		if (b->page_size > RAM_PAGE_SIZE) {
			r->hash = calloc(ram_block_pages(b), sizeof(*r->hash));
			if (!r->hash)
				return -ENOMEM;
		}
	}
	return 0;
}

int sender_new(const struct ram_map *ram, struct tracker *tracker, struct byte_stream *stream,
	       struct sender **out)
{
	struct sender *s = calloc(1, sizeof(*s));
	int ret;

	if (!s)
		return -ENOMEM;
	s->ram = ram;
	s->tracker = tracker;
	ret = frame_writer_new(ram, stream, &s->writer);
	if (ret == 0)
		ret = init_records(s);
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
	for (unsigned int i = 0; s->records && i < s->ram->count; i++) {
		bitmap_destroy(&s->records[i].sent);
		bitmap_destroy(&s->records[i].used);
		bitmap_destroy(&s->records[i].told);
		free(s->records[i].hash);
	}
	free(s->records);
	frame_writer_destroy(s->writer);
	free(s);
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
	s->round_pages = 0;
	frame_writer_round(s->writer, round);
	for (unsigned int i = 0; i < s->ram->count; i++)
		s->records[i].next_data = 0;
}

/* ---- pages ---- */

/* Announce a page as zero, unless the destination has it so already. */
static int send_zero(struct sender *s, unsigned int block, uint64_t page, struct errtext *err)
{
	struct block_record *r = &s->records[block];

	if (s->told && !bitmap_test(&r->sent, page)) {
		count_up(&s->pages_skipped, 1);
		return 0;
	}
	bitmap_clear(&r->sent, page, 1);
	if (r->hash)
		r->hash[page] = 0;
	count_up(&s->pages_zero, 1);
	return frame_writer_add(s->writer, WIRE_FRAME_ZERO, block, page, 1, err);
}

/* True if the destination holds exactly this content. */
static bool is_unchanged(struct block_record *r, uint64_t page, const uint8_t *content)
{
	uint64_t hash;
	bool same;

	if (!r->hash)
		return false;
	hash = XXH3_64bits(content, RAM_PAGE_SIZE);
	hash += hash == 0;
	same = r->hash[page] == hash;
	r->hash[page] = hash;
	return same;
}

static int send_page(struct sender *s, unsigned int block, uint64_t page, struct errtext *err)
{
	struct block_record *r = &s->records[block];
	const uint8_t *content = s->ram->blocks[block].map + (page << RAM_PAGE_SHIFT);

	if (zero_page(content))
		return send_zero(s, block, page, err);
	if (is_unchanged(r, page, content)) {
		count_up(&s->pages_skipped, 1);
		return 0;
	}
	bitmap_set(&r->sent, page, 1);
	count_up(&s->pages_sent, 1);
	s->round_pages++;
	return frame_writer_add(s->writer, WIRE_FRAME_PAGES, block, page, 1, err);
}

/* Is the page a hole of the file? Reading one through a shared mapping would allocate it. What is
 * not in the page cache may still have been swapped out, which SEEK_DATA knows. */
static bool is_hole(struct sender *s, unsigned int block, uint64_t page, unsigned char in_core)
{
	off_t at = (off_t)(page << RAM_PAGE_SHIFT);
	off_t data;

	if (in_core & 1)
		return false;
	data = lseek(s->ram->blocks[block].fd, at, SEEK_DATA);
	return data < 0 ? errno == ENXIO : data != at;
}

/* Huge pages are preallocated. */
static bool has_holes(const struct ram_block *b)
{
	return b->page_size == RAM_PAGE_SIZE;
}

/* in_core for the span of the runs, whose first page it begins with. */
static int look_in_core(struct sender *s, unsigned int block, int n, struct errtext *err)
{
	const struct ram_block *b = &s->ram->blocks[block];
	const struct wire_run *last = &s->runs[n ? n - 1 : 0];
	uint64_t first = s->runs[0].first;

	if (n && has_holes(b) &&
	    mincore(b->map + (first << RAM_PAGE_SHIFT),
		    (last->first + last->count - first) << RAM_PAGE_SHIFT, s->in_core) < 0)
		return errtext_set(err, -errno, "RAM block %s: mincore: %s", b->name,
				   strerror(errno));
	return 0;
}

/* s->runs of one granule, ascending. */
static int send_runs(struct sender *s, unsigned int block, int n, struct errtext *err)
{
	bool small = has_holes(&s->ram->blocks[block]);
	const struct wire_run *runs = s->runs;
	uint64_t first = n ? runs[0].first : 0;
	int ret = look_in_core(s, block, n, err);

	if (ret < 0)
		return ret;
	for (int i = 0; i < n; i++) {
		for (uint64_t page = runs[i].first; page < runs[i].first + runs[i].count; page++) {
			bool hole = small && is_hole(s, block, page, s->in_core[page - first]);

			ret = hole ? send_zero(s, block, page, err)
				   : send_page(s, block, page, err);
			if (ret < 0)
				return ret;
		}
	}
	return 0;
}

static int collect_failed(int ret, const struct sender *s, unsigned int block, struct errtext *err)
{
	return errtext_set(err, ret, "RAM block %s: cannot read which pages were written: %s",
			   s->ram->blocks[block].name,
			   ret == -ESRCH ? "QEMU has gone" : strerror(-ret));
}

/* Forget the hashes of what the guest wrote while the last granule was on its way. */
static int recheck_hashes(struct sender *s, struct errtext *err)
{
	uint64_t *hash = s->records[s->recheck.block].hash;
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
		memset(&hash[s->runs[i].first], 0, s->runs[i].count * sizeof(*hash));
	return n < 0 ? collect_failed(n, s, s->recheck.block, err) : 0;
}

static void recheck_later(struct sender *s, unsigned int block, uint64_t first, uint64_t count)
{
	if (!s->live || !s->records[block].hash)
		return;
	s->recheck.set = true;
	s->recheck.block = block;
	s->recheck.first = first;
	s->recheck.count = count;
}

/* ---- granules ---- */

/* True while no page of the granule [at, end) has memory behind it. SEEK_DATA jumps over holes, so
 * what the guest never used costs next to nothing, however large. */
static bool is_unused(struct sender *s, unsigned int block, uint64_t at, uint64_t end)
{
	const struct ram_block *b = &s->ram->blocks[block];
	struct block_record *r = &s->records[block];
	uint64_t granule = at / sender_granule_pages(b);
	off_t off;

	if (bitmap_test(&r->used, granule))
		return false;
	if (r->next_data >= end)
		return true;
	off = lseek(b->fd, (off_t)(at << RAM_PAGE_SHIFT), SEEK_DATA);
	if (off < 0 && errno == ENXIO) {
		r->next_data = UINT64_MAX;
		return true;
	}
	if (off >= 0) {
		r->next_data = (uint64_t)off >> RAM_PAGE_SHIFT;
		if (r->next_data >= end)
			return true;
	}
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

/* Runs written in a granule in s->runs. Returns their number, 0 for an unused granule. */
static int collect(struct sender *s, unsigned int block, uint64_t first, uint64_t count,
		   bool protect, struct errtext *err)
{
	int n;

	if (is_unused(s, block, first, first + count))
		return announce_unused(s, block, first, count, err);
	n = tracker_collect(s->tracker, block, first, count, protect, s->runs);
	if (n < 0)
		return collect_failed(n, s, block, err);
	/* Kernels before mid-2026 do not report what has no page table at all, though memory may be
	 * behind it: the first look at a granule takes every page for written. */
	if (!bitmap_test(&s->records[block].told,
			 first / sender_granule_pages(&s->ram->blocks[block]))) {
		s->runs[0] = (struct wire_run){first, (uint32_t)count};
		n = 1;
	}
	return n;
}

/* Holes among the pages of a run that were sent once. */
static int send_holes(struct sender *s, unsigned int block, const struct wire_run *run,
		      struct errtext *err)
{
	const struct bitmap *sent = &s->records[block].sent;
	uint64_t end = run->first + run->count;
	int ret = 0;

	for (uint64_t page = bitmap_next_set(sent, run->first, end); page < end && ret == 0;
	     page = bitmap_next_set(sent, page + 1, end))
		if (is_hole(s, block, page, s->in_core[page - s->runs[0].first]))
			ret = send_zero(s, block, page, err);
	return ret;
}

/* Pages sent once and punched since do not count as written. One that was punched while on its way,
 * or read again since, is no hole any more and keeps at the destination what it had: whoever
 * punches, a balloon say, has no use for the content. */
static int send_punched(struct sender *s, unsigned int block, uint64_t first, uint64_t count,
			struct errtext *err)
{
	int n = tracker_absent(s->tracker, block, first, count, s->runs);
	int ret = n < 0 ? collect_failed(n, s, block, err) : look_in_core(s, block, n, err);

	for (int i = 0; ret == 0 && i < n; i++)
		ret = send_holes(s, block, &s->runs[i], err);
	return ret;
}

/* A granule whose written pages are the n of s->runs. */
static int send_granule(struct sender *s, unsigned int block, uint64_t first, uint64_t count, int n,
			struct errtext *err)
{
	const struct ram_block *b = &s->ram->blocks[block];
	struct block_record *r = &s->records[block];
	uint64_t granule = first / sender_granule_pages(b);
	int ret;

	if (!bitmap_test(&r->used, granule))
		return 0;
	s->told = bitmap_test(&r->told, granule);
	ret = send_runs(s, block, n, err);
	if (ret == 0 && s->told && has_holes(b))
		ret = send_punched(s, block, first, count, err);
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
	n = collect(s, block, first, count, protect, err);
	return n < 0 ? n : send_granule(s, block, first, count, n, err);
}

int sender_collect(struct sender *s, unsigned int block, uint64_t first, uint64_t count,
		   struct bitmap *todo, bool protect, struct errtext *err)
{
	int n = collect(s, block, first, count, protect, err);

	for (int i = 0; i < n; i++)
		bitmap_set(todo, s->runs[i].first, s->runs[i].count);
	return n < 0 ? n : 0;
}

int sender_collected(struct sender *s, unsigned int block, uint64_t first, uint64_t count,
		     struct bitmap *todo, bool protect, struct errtext *err)
{
	uint64_t end = first + count, at = first;
	int n = 0, ret = recheck_hashes(s, err);

	(void)protect;
	if (ret < 0)
		return ret;
	while ((at = bitmap_next_set(todo, at, end)) < end) {
		uint64_t clear = bitmap_next_clear(todo, at, end);

		s->runs[n++] = (struct wire_run){at, (uint32_t)(clear - at)};
		at = clear;
	}
	bitmap_clear(todo, first, count);
	return send_granule(s, block, first, count, n, err);
}

int sender_look(struct sender *s, unsigned int block, uint64_t first, uint64_t count,
		struct bitmap *todo, bool protect, struct errtext *err)
{
	int n;

	(void)todo;
	(void)protect;
	if (is_unused(s, block, first, first + count))
		return 0;
	n = tracker_collect(s->tracker, block, first, count, false, s->runs);
	for (int i = 0; i < n; i++)
		s->round_pages += s->runs[i].count;
	return n < 0 ? collect_failed(n, s, block, err) : 0;
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

void sender_stats(const struct sender *s, struct source_stats *stats)
{
	stats->pages_sent += atomic_load_explicit(&s->pages_sent, memory_order_relaxed);
	stats->pages_zero += atomic_load_explicit(&s->pages_zero, memory_order_relaxed);
	stats->pages_skipped += atomic_load_explicit(&s->pages_skipped, memory_order_relaxed);
}
