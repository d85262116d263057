// SPDX-License-Identifier: Apache-2.0
// The source in post-copy: serves pages of guest RAM that was handed over.
//
// Whoever is about to send a page clears its bit in `unsent` first; of several exactly one finds it
// set. A request is answered whatever its bit says: if a push has the page already it may be
// behind much else in a queue.
#include "page_server.h"

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include "atomic_bitmap.h"
#include "cleanup.h"
#include "frame_writer.h"
#include "prefetch.h"
#include "ram_kept.h"
#include "urgency.h"

/* Everything below counts in the block's units: pages of the destination's. */
struct served_block {
	uint32_t unit; /* 4 KiB pages */
	uint64_t units;
	struct atomic_bitmap unsent;
};

struct page_server {
	/* constant after init */
	struct page_server_options opt;
	struct served_block *blocks;

	struct urgency urgency;

	pthread_mutex_t lock; /* held for microseconds; never while anything is sent */
	/* under lock */
	unsigned int cursor_block; /* where the push goes on */
	uint64_t cursor_unit;
	struct prefetch prefetch;

	/* relaxed: independent counters */
	atomic_uint_least64_t requests, asked, pushed, prefetched, zero;
};

#define BATCH_UNITS_MAX 32u

_Static_assert(PAGE_SERVER_PUSH_PAGES <= BATCH_UNITS_MAX &&
		       WIRE_PREFETCH_PAGES_MAX <= BATCH_UNITS_MAX &&
		       BATCH_UNITS_MAX <= WIRE_FRAME_RUNS_MAX,
	       "a batch of single pages fits its array, and a frame");

/* Units of one block, claimed, to be sent together. */
struct batch {
	unsigned int block;
	unsigned int count;
	uint64_t pages;
	uint64_t units[BATCH_UNITS_MAX];
};

static void count_up(atomic_uint_least64_t *counter, uint64_t n)
{
	atomic_fetch_add_explicit(counter, n, memory_order_relaxed);
}

static int init_block(struct served_block *state, const struct ram_block *b, uint32_t page_size,
		      struct errtext *err)
{
	int ret;

	if (page_size < RAM_PAGE_SIZE || page_size & (page_size - 1) || b->size % page_size ||
	    page_size >> RAM_PAGE_SHIFT > WIRE_FRAME_PAGES_MAX)
		return errtext_set(err, -ENOTSUP,
				   "RAM block %s: cannot be served in pages of %" PRIu32 " bytes",
				   b->name, page_size);
	state->unit = page_size >> RAM_PAGE_SHIFT;
	state->units = b->size / page_size;
	ret = atomic_bitmap_init(&state->unsent, state->units);
	return ret < 0 ? errtext_set(err, ret, "out of memory") : 0;
}

static int init_blocks(struct page_server *s, struct errtext *err)
{
	const struct ram_map *ram = s->opt.ram;
	int ret = 0;

	s->blocks = calloc(ram->count, sizeof(*s->blocks));
	if (!s->blocks)
		return errtext_set(err, -ENOMEM, "out of memory");
	for (unsigned int i = 0; i < ram->count && ret == 0; i++) {
		const uint32_t *sizes = s->opt.peer_page_sizes;

		ret = init_block(&s->blocks[i], &ram->blocks[i],
				 sizes ? sizes[i] : ram->blocks[i].page_size, err);
	}
	s->opt.peer_page_sizes = NULL;
	return ret;
}

int page_server_new(const struct page_server_options *options, struct page_server **out,
		    struct errtext *err)
{
	struct page_server *s = calloc(1, sizeof(*s));
	int ret;

	if (!s)
		return errtext_set(err, -ENOMEM, "out of memory");
	s->opt = *options;
	if (!s->opt.grace_us)
		s->opt.grace_us = PAGE_SERVER_GRACE_US;
	if (!s->opt.patience_us)
		s->opt.patience_us = PAGE_SERVER_PATIENCE_US;
	urgency_mutex_init(&s->lock);
	urgency_init(&s->urgency);
	urgency_hold(&s->urgency, s->opt.held);
	prefetch_init(&s->prefetch);
	ret = init_blocks(s, err);
	if (ret < 0) {
		page_server_destroy(s);
		return ret;
	}
	*out = s;
	return 0;
}

void page_server_destroy(struct page_server *s)
{
	if (!s)
		return;
	for (unsigned int i = 0; s->blocks && i < s->opt.ram->count; i++)
		atomic_bitmap_destroy(&s->blocks[i].unsent);
	free(s->blocks);
	urgency_destroy(&s->urgency);
	pthread_mutex_destroy(&s->lock);
	free(s);
}

void page_server_stop(struct page_server *s)
{
	urgency_stop(&s->urgency);
}

void page_server_go(struct page_server *s)
{
	urgency_hold(&s->urgency, false);
}

void page_server_owe_run(struct page_server *s, unsigned int block, const struct wire_run *run)
{
	struct served_block *state = &s->blocks[block];
	uint64_t first = run->first / state->unit;
	uint64_t end = (run->first + run->count + state->unit - 1) / state->unit;

	atomic_bitmap_set(&state->unsent, first, end - first);
}

void page_server_owe(struct page_server *s, unsigned int block, const struct bitmap *pages)
{
	uint64_t at = 0;

	while ((at = bitmap_next_set(pages, at, pages->pages)) < pages->pages) {
		uint64_t clear = bitmap_next_clear(pages, at, pages->pages);
		uint64_t first = at / s->blocks[block].unit;
		uint64_t end = (clear - 1) / s->blocks[block].unit + 1;

		atomic_bitmap_set(&s->blocks[block].unsent, first, end - first);
		at = clear;
	}
}

/* ---- sending ---- */

static int add_pages(struct page_server *s, struct frame_writer *w, unsigned int block,
		     uint64_t first, uint64_t count, bool zero, struct errtext *err)
{
	if (zero)
		count_up(&s->zero, count);
	else if (ram_block_is_private(&s->opt.ram->blocks[block]))
		return frame_writer_add_kept(w, block, first, (uint32_t)count, err);
	return frame_writer_add(w, zero ? WIRE_FRAME_ZERO : WIRE_FRAME_PAGES, block, first, count,
				err);
}

/* They could not be sent. */
static int explain_batch(const struct page_server *s, const struct batch *batch, int why,
			 struct errtext *err)
{
	const struct ram_block *b = &s->opt.ram->blocks[batch->block];
	uint32_t unit = s->blocks[batch->block].unit;
	int ret = why;

	for (unsigned int i = 0; i < batch->count && ret == why; i++)
		ret = ram_kept_explain(b, batch->units[i] * unit, unit, why, err);
	return ret;
}

/* If nobody else has it already. */
static void add_to_batch(struct page_server *s, struct batch *batch, uint64_t unit)
{
	struct served_block *state = &s->blocks[batch->block];

	if (atomic_bitmap_clear(&state->unsent, unit, 1) == 0)
		return;
	batch->units[batch->count++] = unit;
	batch->pages += state->unit;
}

/* ---- requests ---- */

/* Where push goes on from here, and what the guest is likely to need next. */
static void learn(struct page_server *s, const struct wire_page_request *r, struct batch *guesses)
{
	const struct served_block *state = &s->blocks[r->block];
	uint64_t unit = r->first / state->unit;
	uint32_t window_max = WIRE_PREFETCH_PAGES_MAX / state->unit;
	struct prefetch_run run = {0};

	*guesses = (struct batch){.block = r->block};
	pthread_mutex_lock(&s->lock);
	s->cursor_block = r->block;
	s->cursor_unit = unit + 1;
	if (!s->opt.no_prefetch)
		run = prefetch_fault(&s->prefetch, r->thread, r->block, unit, &state->unsent,
				     window_max ? window_max : 1);
	pthread_mutex_unlock(&s->lock);
	for (uint32_t i = 0; i < run.count; i++)
		add_to_batch(s, guesses, (uint64_t)((int64_t)run.first + run.stride * (int64_t)i));
}

/* Those that are zero, or those that are not, in one frame. */
static int send_guesses(struct page_server *s, struct frame_writer *w, const struct batch *guesses,
			const bool *zero, bool which, bool more, struct errtext *err)
{
	uint32_t unit = s->blocks[guesses->block].unit;
	int ret = 0;

	frame_writer_flags(w, WIRE_FRAME_PREFETCH | (more ? WIRE_FRAME_MORE : 0));
	for (unsigned int i = 0; i < guesses->count && ret == 0; i++)
		if (zero[i] == which)
			ret = add_pages(s, w, guesses->block, guesses->units[i] * unit, unit, which,
					err);
	return ret < 0 ? ret : frame_writer_drain(w, err);
}

static int add_guesses(struct page_server *s, struct frame_writer *w, const struct batch *guesses,
		       struct errtext *err)
{
	const struct ram_block *b = &s->opt.ram->blocks[guesses->block];
	uint32_t unit = s->blocks[guesses->block].unit;
	bool zero[BATCH_UNITS_MAX];
	unsigned int zeroes = 0;
	int ret = 0;

	for (unsigned int i = 0; i < guesses->count && ret == 0; i++) {
		ret = ram_kept_zero(b, guesses->units[i] * unit, unit, &zero[i], err);
		zeroes += zero[i];
	}
	if (ret == 0 && zeroes)
		ret = send_guesses(s, w, guesses, zero, true, zeroes < guesses->count, err);
	if (ret == 0 && zeroes < guesses->count)
		ret = send_guesses(s, w, guesses, zero, false, false, err);
	count_up(&s->prefetched, guesses->pages);
	return ret < 0 ? explain_batch(s, guesses, ret, err) : 0;
}

/* The guest waits for the page, so that goes out before the guesses are looked at and sent. */
static int answer(struct page_server *s, struct frame_writer *w, const struct wire_page_request *r,
		  struct errtext *err)
{
	const struct ram_block *b = &s->opt.ram->blocks[r->block];
	struct served_block *state = &s->blocks[r->block];
	uint64_t first = (r->first + state->unit - 1) / state->unit;
	uint64_t end = (r->first + r->count) / state->unit;
	struct batch guesses;
	bool zero;
	int ret = ram_kept_zero(b, r->first, r->count, &zero, err);

	if (ret < 0)
		return ret;
	if (first < end)
		atomic_bitmap_clear(&state->unsent, first, end - first);
	count_up(&s->requests, 1); /* who has the answer sees it counted */
	count_up(&s->asked, r->count);
	learn(s, r, &guesses);
	frame_writer_flags(w, guesses.count ? WIRE_FRAME_MORE : 0);
	ret = add_pages(s, w, r->block, r->first, r->count, zero, err);
	if (ret == 0)
		ret = frame_writer_drain(w, err);
	if (ret < 0)
		return ram_kept_explain(b, r->first, r->count, ret, err);
	return guesses.count ? add_guesses(s, w, &guesses, err) : 0;
}

static int serve(struct page_server *s, unsigned int index, struct byte_stream *stream,
		 struct frame_writer *w, struct errtext *err)
{
	uint8_t buf[WIRE_PAGE_REQUEST_SIZE];
	const struct iovec iov = {buf, sizeof(buf)};
	struct wire_page_request request;
	int ret;

	for (;;) {
		ret = stream->ops->recv(stream, &iov, 1);
		if (ret == -ENODATA)
			return 0;
		if (ret < 0)
			return errtext_set(err, ret,
					   "fault connection %u to the destination broke: %s",
					   index, strerror(-ret));
		ret = wire_page_request_decode(buf, s->opt.ram, &request, err);
		if (ret < 0)
			return ret;
		urgency_begin(&s->urgency);
		ret = answer(s, w, &request, err);
		urgency_end(&s->urgency);
		if (ret < 0)
			return ret;
	}
}

/* Pages that have gone are the reason for all that fails here. */
static int explain(const struct page_server *s, int ret, const struct errtext *why,
		   struct errtext *err)
{
	for (unsigned int i = 0; ret < 0 && i < s->opt.ram->count; i++)
		if (ram_kept_check(&s->opt.ram->blocks[i], err) == -EUCLEAN)
			return -EUCLEAN;
	return ret < 0 ? errtext_set(err, ret, "%s", why->text) : 0;
}

static void cleanup_writer(struct frame_writer **w)
{
	frame_writer_destroy(*w);
}

int page_server_serve(struct page_server *s, unsigned int index, struct byte_stream *stream,
		      struct errtext *err)
{
	_cleanup_(cleanup_writer) struct frame_writer *w = NULL;
	struct errtext why = {0};
	int ret = frame_writer_new(s->opt.ram, stream, &w);

	if (ret < 0)
		return errtext_set(err, ret, "out of memory");
	ret = serve(s, index, stream, w, &why);
	return explain(s, ret, &why, err);
}

/* ---- push ---- */

/* From the cursor to the end of its block, moving the cursor along. Under lock. */
static void take_from_block(struct page_server *s, struct batch *batch)
{
	struct served_block *state = &s->blocks[s->cursor_block];

	batch->block = s->cursor_block;
	while (batch->pages < PAGE_SERVER_PUSH_PAGES) {
		uint64_t unit = s->cursor_unit;

		if (unit < state->units)
			unit = atomic_bitmap_next_set(&state->unsent, unit, state->units);
		s->cursor_unit = unit + 1;
		if (unit >= state->units)
			return;
		add_to_batch(s, batch, unit);
	}
}

/* From the cursor on, and round. */
static void take_batch(struct page_server *s, struct batch *batch)
{
	*batch = (struct batch){0};
	pthread_mutex_lock(&s->lock);
	for (unsigned int i = 0; i <= s->opt.ram->count; i++) {
		take_from_block(s, batch);
		if (batch->count)
			break;
		s->cursor_block = (s->cursor_block + 1) % s->opt.ram->count;
		s->cursor_unit = 0;
	}
	pthread_mutex_unlock(&s->lock);
}

static int send_batch(struct page_server *s, struct frame_writer *w, const struct batch *batch,
		      struct errtext *err)
{
	const struct ram_block *b = &s->opt.ram->blocks[batch->block];
	uint32_t unit = s->blocks[batch->block].unit;
	int ret = 0;

	for (unsigned int i = 0; i < batch->count && ret == 0; i++) {
		uint64_t first = batch->units[i] * unit;
		bool zero;

		ret = ram_kept_zero(b, first, unit, &zero, err);
		if (ret == 0)
			ret = add_pages(s, w, batch->block, first, unit, zero, err);
	}
	count_up(&s->pushed, batch->pages);
	if (ret == 0)
		ret = frame_writer_drain(w, err);
	return ret < 0 ? explain_batch(s, batch, ret, err) : 0;
}

static int push(struct page_server *s, struct frame_writer *w, struct errtext *err)
{
	struct batch batch;
	int ret;

	do {
		ret = urgency_give_way(&s->urgency, s->opt.grace_us, s->opt.patience_us);
		if (ret < 0)
			return errtext_set(err, ret, "sending the remaining pages was stopped");
		take_batch(s, &batch);
		ret = send_batch(s, w, &batch, err);
	} while (ret == 0 && batch.count);
	return ret;
}

int page_server_push(struct page_server *s, unsigned int index, struct byte_stream *stream,
		     struct errtext *err)
{
	_cleanup_(cleanup_writer) struct frame_writer *w = NULL;
	struct errtext why = {0};
	int ret = frame_writer_new(s->opt.ram, stream, &w);

	(void)index;
	if (ret < 0)
		return errtext_set(err, ret, "out of memory");
	frame_writer_round(w, s->opt.round);
	ret = push(s, w, &why);
	if (ret == 0)
		ret = frame_writer_sync(w, &why);
	return explain(s, ret, &why, err);
}

void page_server_stats(struct page_server *s, struct page_server_stats *stats)
{
	*stats = (struct page_server_stats){
		.requests = atomic_load_explicit(&s->requests, memory_order_relaxed),
		.pages_asked = atomic_load_explicit(&s->asked, memory_order_relaxed),
		.pages_pushed = atomic_load_explicit(&s->pushed, memory_order_relaxed),
		.pages_prefetched = atomic_load_explicit(&s->prefetched, memory_order_relaxed),
		.pages_zero = atomic_load_explicit(&s->zero, memory_order_relaxed),
	};
	for (unsigned int i = 0; i < s->opt.ram->count; i++)
		stats->pages_left += atomic_bitmap_count(&s->blocks[i].unsent) * s->blocks[i].unit;
	pthread_mutex_lock(&s->lock);
	stats->prefetch_used = s->prefetch.used;
	pthread_mutex_unlock(&s->lock);
}
