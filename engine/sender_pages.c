// SPDX-License-Identifier: Apache-2.0
// One stream's sender: pages that are holes, zero, unchanged, or have to be sent.
//
// Guest memory is read here, and nowhere else before it is sent: some pages at once, so that the
// cache still has them when the kernel takes them. Private memory, and what is suspect, is copied
// first, and the copy is what is looked at and sent.
#include "sender_private.h"

#include <errno.h>
#include <string.h>
#include "ram_access.h"
#include "ram_private.h"
#include "zero.h"

#define LOOK_PAGES RAM_PRIVATE_PAGES_MAX

/* What the destination has to hear of a page. */
enum page_content {
	PAGE_HOLE,
	PAGE_ZERO,
	PAGE_SAME, /* it has it already */
	PAGE_DATA,
};

static void count_up(atomic_uint_least64_t *counter, uint64_t n)
{
	atomic_fetch_add_explicit(counter, n, memory_order_relaxed);
}

int sender_zero(struct sender *s, unsigned int block, uint64_t page, struct errtext *err)
{
	struct block_record *r = &s->records[block];

	if (s->told && !bitmap_test(&r->sent, page)) {
		count_up(&s->pages_skipped, 1);
		return 0;
	}
	bitmap_clear(&r->sent, page, 1);
	block_record_forget(r, page, 1);
	count_up(&s->pages_zero, 1);
	return frame_writer_add(s->writer, WIRE_FRAME_ZERO, block, page, 1, err);
}

/* Of a huge page only the whole becomes a hole at the destination, so all of it is announced with
 * its first page; runs are of whole huge pages. */
int sender_hole(struct sender *s, unsigned int block, uint64_t page, struct errtext *err)
{
	const struct ram_block *b = &s->ram->blocks[block];
	struct block_record *r = &s->records[block];
	uint64_t unit = b->page_size >> RAM_PAGE_SHIFT;

	if (unit == 1)
		return sender_zero(s, block, page, err);
	if (page % unit)
		return 0;
	if (s->told && bitmap_next_set(&r->sent, page, page + unit) == page + unit) {
		count_up(&s->pages_skipped, unit);
		return 0;
	}
	bitmap_clear(&r->sent, page, unit);
	block_record_forget(r, page, unit);
	count_up(&s->pages_zero, unit);
	return frame_writer_add(s->writer, WIRE_FRAME_ZERO, block, page, unit, err);
}

/* A page of no change is counted as such only if it was found written. copy: what was read of it,
 * if that is to be sent. */
static int send_page(struct sender *s, unsigned int block, uint64_t page, enum page_content content,
		     const uint8_t *copy, struct errtext *err)
{
	struct block_record *r = &s->records[block];
	bool settles = s->unseen && !s->suspect && bitmap_test(&r->suspect, page);

	if (content == PAGE_HOLE)
		return sender_hole(s, block, page, err);
	if (content == PAGE_ZERO)
		return sender_zero(s, block, page, err);
	if (content == PAGE_SAME) {
		count_up(&s->pages_skipped, !settles);
		return 0;
	}
	count_up(&s->pages_resent, settles);
	bitmap_set(&r->sent, page, 1);
	count_up(&s->pages_sent, 1);
	s->round_pages++;
	return copy ? frame_writer_add_copy(s->writer, block, page, copy, err)
		    : frame_writer_add(s->writer, WIRE_FRAME_PAGES, block, page, 1, err);
}

int sender_look_for_holes(struct sender *s, unsigned int block, int n, struct errtext *err)
{
	const struct wire_run *last = &s->runs[n ? n - 1 : 0];

	if (n == 0)
		return 0;
	return hole_look(&s->window, &s->ram->blocks[block], s->runs[0].first,
			 last->first + last->count, err);
}

/* Pages that are looked at in one access, and then sent while the cache still has them. */
struct look {
	struct sender *s;
	unsigned int block;
	unsigned int count;
	uint64_t page[LOOK_PAGES];
	enum page_content content[LOOK_PAGES];
};

/* Of the i-th page; NULL: what is sent is the memory itself. */
static uint8_t *copy_of(const struct look *l, unsigned int i)
{
	return l->s->suspect || ram_block_is_private(&l->s->ram->blocks[l->block])
		       ? l->s->copies + ((size_t)i << RAM_PAGE_SHIFT)
		       : NULL;
}

static enum page_content look_at(const struct look *l, unsigned int i)
{
	const uint8_t *content = copy_of(l, i);
	uint64_t page = l->page[i];

	if (!content)
		content = l->s->ram->blocks[l->block].map + (page << RAM_PAGE_SHIFT);
	if (hole_at(&l->s->window, page))
		return PAGE_HOLE;
	if (zero_page(content))
		return PAGE_ZERO;
	return block_record_same(&l->s->records[l->block], page, content, l->s->suspect)
		       ? PAGE_SAME
		       : PAGE_DATA;
}

static void look_at_all(void *arg)
{
	struct look *l = arg;

	for (unsigned int i = 0; i < l->count; i++)
		l->content[i] = look_at(l, i);
}

/* To read a hole would give it memory. */
static void copy_all(void *arg)
{
	struct look *l = arg;
	const uint8_t *map = l->s->ram->blocks[l->block].map;

	for (unsigned int i = 0; i < l->count; i++)
		if (!hole_at(&l->s->window, l->page[i]))
			memcpy(copy_of(l, i), map + (l->page[i] << RAM_PAGE_SHIFT), RAM_PAGE_SIZE);
	look_at_all(l);
}

static int look_at_copies(struct look *l, struct errtext *err)
{
	int ret = ram_private_read(&l->s->ram->blocks[l->block], l->page, l->count, l->s->copies,
				   err);

	if (ret == 0)
		look_at_all(l);
	return ret;
}

static int send_looked_at(struct look *l, struct errtext *err)
{
	const struct ram_block *b = &l->s->ram->blocks[l->block];
	int ret = 0;

	if (l->count)
		ret = ram_block_is_private(b)
			      ? look_at_copies(l, err)
			      : ram_access(b, l->s->suspect ? copy_all : look_at_all, l, err);
	for (unsigned int i = 0; i < l->count && ret == 0; i++)
		ret = send_page(l->s, l->block, l->page[i], l->content[i], copy_of(l, i), err);
	l->count = 0;
	return ret;
}

int sender_runs(struct sender *s, unsigned int block, int n, struct errtext *err)
{
	int ret = sender_look_for_holes(s, block, n, err);
	struct look l;

	l.s = s;
	l.block = block;
	l.count = 0;
	for (int i = 0; i < n && ret == 0; i++) {
		const struct wire_run *run = &s->runs[i];

		for (uint64_t page = run->first; page < run->first + run->count && ret == 0;
		     page++) {
			l.page[l.count++] = page;
			if (l.count == LOOK_PAGES)
				ret = send_looked_at(&l, err);
		}
	}
	return ret < 0 ? ret : send_looked_at(&l, err);
}

int sender_collect_failed(int ret, const struct sender *s, unsigned int block, struct errtext *err)
{
	return errtext_set(err, ret, "RAM block %s: cannot read which pages were written: %s",
			   s->ram->blocks[block].name,
			   ret == -ESRCH ? "QEMU has gone" : strerror(-ret));
}

struct count {
	struct sender *s;
	unsigned int block;
	int runs;
	uint64_t pages; /* with content */
};

static void count_content(void *arg)
{
	struct count *c = arg;
	const uint8_t *map = c->s->ram->blocks[c->block].map;

	for (int i = 0; i < c->runs; i++) {
		const struct wire_run *run = &c->s->runs[i];

		for (uint64_t page = run->first; page < run->first + run->count; page++)
			c->pages += !hole_at(&c->s->window, page) &&
				    !zero_page(map + (page << RAM_PAGE_SHIFT));
	}
}

int sender_count_content(struct sender *s, unsigned int block, int n, struct errtext *err)
{
	struct count c = {.s = s, .block = block, .runs = n};
	int ret = sender_look_for_holes(s, block, n, err);

	if (ret == 0 && n)
		ret = ram_access(&s->ram->blocks[block], count_content, &c, err);
	s->round_pages += c.pages;
	return ret;
}

/* ---- what was given back ---- */

/* Holes among the pages of a run that were sent once. */
static int send_holes(struct sender *s, unsigned int block, const struct wire_run *run,
		      struct errtext *err)
{
	const struct bitmap *sent = &s->records[block].sent;
	uint64_t unit = s->ram->blocks[block].page_size >> RAM_PAGE_SHIFT;
	uint64_t end = run->first + run->count, page = run->first;
	int ret = 0;

	while (ret == 0 && (page = bitmap_next_set(sent, page, end)) < end) {
		if (hole_at(&s->window, page))
			ret = sender_hole(s, block, page / unit * unit, err);
		page = (page / unit + 1) * unit;
	}
	return ret;
}

/* Those of the n s->runs that have a page that was sent; their number. Memory that the guest has
 * never had is absent in each round, and need not be looked at in any. */
static int keep_sent_runs(struct sender *s, unsigned int block, int n)
{
	const struct bitmap *sent = &s->records[block].sent;
	int kept = 0;

	for (int i = 0; i < n; i++) {
		const struct wire_run run = s->runs[i];
		uint64_t end = run.first + run.count;

		if (bitmap_next_set(sent, run.first, end) < end)
			s->runs[kept++] = run;
	}
	return kept;
}

/* Pages sent once and punched since do not count as written. One that was punched while on its way,
 * or read again since, is no hole any more and keeps at the destination what it had: whoever
 * punches, a balloon say, has no use for the content. */
int sender_punched(struct sender *s, unsigned int block, uint64_t first, uint64_t count,
		   struct errtext *err)
{
	int n = tracker_absent(s->tracker, block, first, count, s->runs);
	int ret = n < 0 ? sender_collect_failed(n, s, block, err) : 0;

	n = n < 0 ? 0 : keep_sent_runs(s, block, n);
	if (ret == 0)
		ret = sender_look_for_holes(s, block, n, err);
	for (int i = 0; ret == 0 && i < n; i++)
		ret = send_holes(s, block, &s->runs[i], err);
	return ret;
}

/* What tracker_collect tells of it is sent as any other page, and reads as zero. */
int sender_given_back(struct sender *s, unsigned int block, uint64_t first, uint64_t count,
		      struct errtext *err)
{
	const struct bitmap *sent = &s->records[block].sent;
	int n = tracker_given_back(s->tracker, block, first, count, s->runs), ret = 0;

	if (n < 0)
		return sender_collect_failed(n, s, block, err);
	for (int i = 0; i < n; i++) {
		uint64_t end = s->runs[i].first + s->runs[i].count, page = s->runs[i].first;

		for (; ret == 0 && (page = bitmap_next_set(sent, page, end)) < end; page++)
			ret = sender_zero(s, block, page, err);
	}
	return ret;
}
