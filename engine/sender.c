// SPDX-License-Identifier: Apache-2.0
// One stream's sender: extents, zero pages, unchanged pages, frames.
//
// What the destination holds of a page is known from two records:
//   sent[block]   the page's data went over at least once since it was last announced as zero;
//                 a page that is zero and not in `sent` needs nothing after the first round
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
#include <unistd.h>
#include <xxhash.h>
#include "wire.h"
#include "zero.h"

struct block_record {
	struct bitmap sent;
	uint64_t *hash; /* one per page, 0 unknown; NULL for small pages */
	/* The hole that the last SEEK_DATA ended: no need to ask again before this page. */
	uint64_t next_data;
};

struct sender {
	/* constant after init */
	const struct ram_map *ram;
	struct tracker *tracker;
	struct byte_stream *stream;
	struct block_record *records;

	/* private to the worker */
	uint32_t round;
	bool live;
	uint64_t round_pages;
	struct wire_frame frame; /* being filled; runs == 0: empty */
	uint32_t frame_pages;
	uint8_t head[2][WIRE_FRAME_SIZE]; /* alternate: see byte_stream_ops.send */
	unsigned int head_next;
	struct wire_run runs[TRACKER_RUNS_MAX];
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
		int ret = bitmap_init(&r->sent, ram_block_pages(b));

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
	s->stream = stream;
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
		free(s->records[i].hash);
	}
	free(s->records);
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
	for (unsigned int i = 0; i < s->ram->count; i++)
		s->records[i].next_data = 0;
}

/* ---- frames ---- */

static int stream_failed(int ret, struct errtext *err)
{
	return errtext_set(err, ret, "RAM stream to the destination broke: %s", strerror(-ret));
}

static int send_frame(struct sender *s, struct errtext *err)
{
	const struct ram_block *b = &s->ram->blocks[s->frame.block];
	struct iovec iov[1 + WIRE_FRAME_RUNS_MAX];
	uint8_t *head = s->head[s->head_next++ % 2];
	unsigned int n = 0;
	int ret;

	wire_frame_encode(&s->frame, head);
	iov[n++] = (struct iovec){head, WIRE_FRAME_SIZE};
	for (unsigned int i = 0; i < s->frame.runs && s->frame.type == WIRE_FRAME_PAGES; i++)
		iov[n++] = (struct iovec){
			b->map + (s->frame.run[i].first << RAM_PAGE_SHIFT),
			(size_t)s->frame.run[i].count << RAM_PAGE_SHIFT,
		};
	ret = s->stream->ops->send(s->stream, iov, n);
	s->frame.runs = 0;
	s->frame_pages = 0;
	return ret < 0 ? stream_failed(ret, err) : 0;
}

static int flush_frame(struct sender *s, struct errtext *err)
{
	return s->frame.runs ? send_frame(s, err) : 0;
}

/* Does [first, first + 1) continue the frame's last run? */
static bool continues_run(const struct sender *s, uint64_t page)
{
	const struct wire_run *last = &s->frame.run[s->frame.runs - 1];

	return s->frame.runs && last->first + last->count == page &&
	       last->count < WIRE_RUN_PAGES_MAX;
}

static int add_page(struct sender *s, enum wire_frame_type type, unsigned int block, uint64_t page,
		    struct errtext *err)
{
	bool other = s->frame.runs && (s->frame.type != type || s->frame.block != block);
	bool full = s->frame.runs == WIRE_FRAME_RUNS_MAX && !continues_run(s, page);

	full |= type == WIRE_FRAME_PAGES && s->frame_pages == WIRE_FRAME_PAGES_MAX;
	if (other || full) {
		int ret = send_frame(s, err);

		if (ret < 0)
			return ret;
	}
	if (continues_run(s, page))
		s->frame.run[s->frame.runs - 1].count++;
	else
		s->frame.run[s->frame.runs++] = (struct wire_run){page, 1};
	s->frame.type = type;
	s->frame.block = block;
	s->frame.round = s->round;
	s->frame_pages++;
	return 0;
}

/* ---- pages ---- */

/* Announce a page as zero, unless the destination has it so already. */
static int send_zero(struct sender *s, unsigned int block, uint64_t page, struct errtext *err)
{
	struct block_record *r = &s->records[block];

	if (s->round > 1 && !bitmap_test(&r->sent, page)) {
		count_up(&s->pages_skipped, 1);
		return 0;
	}
	bitmap_clear(&r->sent, page, 1);
	if (r->hash)
		r->hash[page] = 0;
	count_up(&s->pages_zero, 1);
	return add_page(s, WIRE_FRAME_ZERO, block, page, err);
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
	return add_page(s, WIRE_FRAME_PAGES, block, page, err);
}

static int send_run(struct sender *s, unsigned int block, const struct wire_run *run,
		    struct errtext *err)
{
	for (uint64_t page = run->first; page < run->first + run->count; page++) {
		int ret = send_page(s, block, page, err);

		if (ret < 0)
			return ret;
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
	ret = flush_frame(s, err);
	if (ret < 0)
		return ret;
	ret = s->stream->ops->drain(s->stream);
	if (ret < 0)
		return stream_failed(ret, err);
	n = tracker_collect(s->tracker, s->recheck.block, s->recheck.first, s->recheck.count,
			    false, s->runs);
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

/* ---- extents ---- */

/* Data extent [*from, *to) at or after `at`, within [at, end); *from == end if there is none.
 * Only what is data is ever scanned or read: reading a hole of a shared mapping would allocate. */
static void next_extent(struct sender *s, unsigned int block, uint64_t at, uint64_t end,
			uint64_t *from, uint64_t *to)
{
	struct block_record *r = &s->records[block];
	int fd = s->ram->blocks[block].fd;
	off_t off;

	*from = *to = end;
	if (r->next_data >= end)
		return;
	off = lseek(fd, (off_t)(at << RAM_PAGE_SHIFT), SEEK_DATA);
	if (off < 0) { /* ENXIO: no data up to the end of the file */
		r->next_data = errno == ENXIO ? UINT64_MAX : 0;
		*from = errno == ENXIO ? end : at;
		return;
	}
	if ((uint64_t)off >> RAM_PAGE_SHIFT >= end) {
		r->next_data = (uint64_t)off >> RAM_PAGE_SHIFT;
		return;
	}
	*from = (uint64_t)off >> RAM_PAGE_SHIFT;
	off = lseek(fd, off, SEEK_HOLE);
	if (off >= 0 && (uint64_t)off >> RAM_PAGE_SHIFT < end)
		*to = ((uint64_t)off + RAM_PAGE_SIZE - 1) >> RAM_PAGE_SHIFT;
}

static int zero_hole(struct sender *s, unsigned int block, uint64_t from, uint64_t to,
		     struct errtext *err)
{
	struct block_record *r = &s->records[block];

	while (from < to) {
		int ret;

		if (s->round > 1)
			from = bitmap_next_set(&r->sent, from, to);
		if (from == to)
			break;
		ret = send_zero(s, block, from++, err);
		if (ret < 0)
			return ret;
	}
	return 0;
}

typedef int extent_fn(struct sender *s, unsigned int block, uint64_t from, uint64_t to,
		      struct bitmap *todo, bool protect, struct errtext *err);

static int each_extent(struct sender *s, unsigned int block, uint64_t first, uint64_t count,
		       extent_fn *fn, struct bitmap *todo, bool protect, struct errtext *err)
{
	uint64_t end = first + count;

	for (uint64_t at = first; at < end;) {
		uint64_t from, to;
		int ret;

		next_extent(s, block, at, end, &from, &to);
		ret = zero_hole(s, block, at, from, err);
		if (ret == 0 && from < to)
			ret = fn(s, block, from, to, todo, protect, err);
		if (ret < 0)
			return ret;
		at = to;
	}
	return 0;
}

static int send_extent(struct sender *s, unsigned int block, uint64_t from, uint64_t to,
		       struct bitmap *todo, bool protect, struct errtext *err)
{
	int n = tracker_collect(s->tracker, block, from, to - from, protect, s->runs);

	(void)todo;
	if (n < 0)
		return collect_failed(n, s, block, err);
	for (int i = 0; i < n; i++) {
		int ret = send_run(s, block, &s->runs[i], err);

		if (ret < 0)
			return ret;
	}
	return 0;
}

static int note_extent(struct sender *s, unsigned int block, uint64_t from, uint64_t to,
		       struct bitmap *todo, bool protect, struct errtext *err)
{
	int n = tracker_collect(s->tracker, block, from, to - from, protect, s->runs);

	if (n < 0)
		return collect_failed(n, s, block, err);
	for (int i = 0; i < n; i++)
		bitmap_set(todo, s->runs[i].first, s->runs[i].count);
	return 0;
}

int sender_granule(struct sender *s, unsigned int block, uint64_t first, uint64_t count,
		   struct bitmap *todo, bool protect, struct errtext *err)
{
	int ret = recheck_hashes(s, err);

	if (ret == 0)
		ret = each_extent(s, block, first, count, send_extent, todo, protect, err);
	if (ret == 0)
		recheck_later(s, block, first, count);
	return ret;
}

int sender_collect(struct sender *s, unsigned int block, uint64_t first, uint64_t count,
		   struct bitmap *todo, bool protect, struct errtext *err)
{
	return each_extent(s, block, first, count, note_extent, todo, protect, err);
}

int sender_collected(struct sender *s, unsigned int block, uint64_t first, uint64_t count,
		     struct bitmap *todo, bool protect, struct errtext *err)
{
	uint64_t end = first + count;
	int ret = recheck_hashes(s, err);

	(void)protect;
	for (uint64_t at = first; ret == 0;) {
		at = bitmap_next_set(todo, at, end);
		if (at == end)
			break;
		bitmap_clear(todo, at, 1);
		ret = send_page(s, block, at++, err);
	}
	if (ret == 0)
		recheck_later(s, block, first, count);
	return ret;
}

int sender_sync(struct sender *s, struct errtext *err)
{
	int ret = recheck_hashes(s, err);

	if (ret == 0)
		ret = flush_frame(s, err);
	if (ret < 0)
		return ret;
	s->frame.type = WIRE_FRAME_SYNC;
	s->frame.block = 0;
	s->frame.round = s->round;
	ret = send_frame(s, err);
	if (ret < 0)
		return ret;
	ret = s->stream->ops->drain(s->stream);
	return ret < 0 ? stream_failed(ret, err) : 0;
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
