// SPDX-License-Identifier: Apache-2.0
// The destination's RAM: receive frames, keep holes holes.
//
// One receive call takes "the pages of this frame, and the head of the next". A block that is not
// preallocated begins empty and `filled` records what has been written: a zero page that was never
// filled needs no work, and one that was goes back to being a hole.
#include "destination.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include "bitmap.h"
#include "cleanup.h"
#include "wire.h"
#include "zero.h"

/* Below this, one fault per page costs less than the call that avoids them. */
#define POPULATE_PAGES_MIN 8

struct block_state {
	bool sparse;	      /* holes are possible and kept */
	struct bitmap filled; /* sparse only: pages with memory behind them */
};

struct destination {
	struct destination_options opt;
	struct block_state *blocks;
};

static int punch(const struct ram_block *b, uint64_t first, uint64_t count)
{
	if (fallocate(b->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
		      (off_t)(first << RAM_PAGE_SHIFT), (off_t)(count << RAM_PAGE_SHIFT)) < 0)
		return -errno;
	return 0;
}

/* A file that already has all its memory was preallocated, by libvirt or for hugetlbfs, so that
 * it can never be short of it later: keep it so. */
static int init_block(struct block_state *state, const struct ram_block *b, struct errtext *err)
{
	struct stat st;
	int ret;

	if (fstat(b->fd, &st) < 0)
		return errtext_set(err, -errno, "RAM block %s: %s", b->name, strerror(errno));
	state->sparse = b->page_size == RAM_PAGE_SIZE && (uint64_t)st.st_blocks * 512 < b->size;
	if (!state->sparse)
		return 0;
	ret = punch(b, 0, ram_block_pages(b));
	if (ret < 0)
		return errtext_set(err, ret, "RAM block %s: cannot empty its memory file: %s",
				   b->name, strerror(-ret));
	return bitmap_init(&state->filled, ram_block_pages(b));
}

int destination_new(const struct destination_options *options, struct destination **out,
		    struct errtext *err)
{
	struct destination *d = calloc(1, sizeof(*d));
	int ret = 0;

	if (!d)
		return errtext_set(err, -ENOMEM, "out of memory");
	d->opt = *options;
	d->blocks = calloc(options->ram->count, sizeof(*d->blocks));
	if (!d->blocks)
		ret = -ENOMEM;
	for (unsigned int i = 0; ret == 0 && i < options->ram->count; i++)
		ret = init_block(&d->blocks[i], &options->ram->blocks[i], err);
	if (ret < 0) {
		destination_destroy(d);
		return errtext_set(err, ret, "out of memory");
	}
	*out = d;
	return 0;
}

void destination_destroy(struct destination *d)
{
	if (!d)
		return;
	for (unsigned int i = 0; d->blocks && i < d->opt.ram->count; i++)
		bitmap_destroy(&d->blocks[i].filled);
	free(d->blocks);
	free(d);
}

static void clear_dense(uint8_t *page, uint32_t count)
{
	for (; count; count--, page += RAM_PAGE_SIZE)
		if (!zero_page(page))
			memset(page, 0, RAM_PAGE_SIZE);
}

/* Punch each stretch of the run that has memory behind it. */
static int clear_sparse(struct block_state *state, const struct ram_block *b,
			const struct wire_run *run)
{
	uint64_t end = run->first + run->count;

	for (uint64_t at = run->first;;) {
		uint64_t from = bitmap_next_set(&state->filled, at, end);
		int ret;

		if (from == end)
			return 0;
		at = bitmap_next_clear(&state->filled, from, end);
		ret = punch(b, from, at - from);
		if (ret < 0)
			return ret;
		bitmap_clear(&state->filled, from, at - from);
	}
}

static int apply_zero(struct destination *d, const struct wire_frame *f, struct errtext *err)
{
	const struct ram_block *b = &d->opt.ram->blocks[f->block];
	struct block_state *state = &d->blocks[f->block];

	for (unsigned int i = 0; i < f->runs; i++) {
		int ret = 0;

		if (state->sparse)
			ret = clear_sparse(state, b, &f->run[i]);
		else
			clear_dense(b->map + (f->run[i].first << RAM_PAGE_SHIFT), f->run[i].count);
		if (ret < 0)
			return errtext_set(err, ret, "RAM block %s: cannot punch a hole: %s",
					   b->name, strerror(-ret));
	}
	return 0;
}

/* Memory for the run in one go, instead of one fault a page inside the receive. A failure is left
 * to the receive, which reports it. */
static void populate(struct block_state *state, const struct wire_run *run, uint8_t *at)
{
	if (!state->sparse)
		return;
	if (run->count >= POPULATE_PAGES_MIN && !bitmap_test(&state->filled, run->first))
		(void)madvise(at, (size_t)run->count << RAM_PAGE_SHIFT, MADV_POPULATE_WRITE);
	bitmap_set(&state->filled, run->first, run->count);
}

/* Buffers for the pages that follow a head. Returns how many. */
static unsigned int scatter(struct destination *d, const struct wire_frame *f, struct iovec *iov)
{
	const struct ram_block *b = &d->opt.ram->blocks[f->block];

	if (f->type != WIRE_FRAME_PAGES)
		return 0;
	for (unsigned int i = 0; i < f->runs; i++) {
		uint8_t *at = b->map + (f->run[i].first << RAM_PAGE_SHIFT);

		populate(&d->blocks[f->block], &f->run[i], at);
		iov[i] = (struct iovec){at, (size_t)f->run[i].count << RAM_PAGE_SHIFT};
	}
	return f->runs;
}

static int broken(int ret, unsigned int index, struct errtext *err)
{
	return errtext_set(err, ret, "RAM stream %u from the source broke: %s", index,
			   strerror(-ret));
}

int destination_receive(struct destination *d, unsigned int index, struct byte_stream *stream,
			struct errtext *err)
{
	struct iovec iov[WIRE_FRAME_RUNS_MAX + 1];
	uint8_t head[WIRE_FRAME_SIZE];
	struct wire_frame frame;
	int ret;

	iov[0] = (struct iovec){head, sizeof(head)};
	ret = stream->ops->recv(stream, iov, 1);
	while (ret == 0) {
		unsigned int n;

		ret = wire_frame_decode(head, d->opt.ram, &frame, err);
		if (ret == 0 && frame.type == WIRE_FRAME_ZERO)
			ret = apply_zero(d, &frame, err);
		if (ret < 0)
			return ret;
		if (frame.type == WIRE_FRAME_SYNC)
			d->opt.synced(d->opt.opaque, index, frame.round);
		n = scatter(d, &frame, iov);
		iov[n++] = (struct iovec){head, sizeof(head)};
		ret = stream->ops->recv(stream, iov, n);
		/* A clean end can only come where no pages were due. */
		if (ret == -ENODATA && n > 1)
			ret = -ECONNRESET;
	}
	return ret == -ENODATA ? 0 : broken(ret, index, err);
}
