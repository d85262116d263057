// SPDX-License-Identifier: Apache-2.0
// The destination's RAM: receive frames, keep holes holes.
//
// The pages of a frame and the head of the next come in one call; what memory is behind them is
// destination_block's affair.
//
// Memory that is private to QEMU is written in pieces, through a buffer that stays in the cache.
//
// What comes compressed is decompressed where it belongs, if that is one piece of mapped memory,
// and else in a buffer.
//
// In post-copy nothing of a page may be seen before all of it is: pages go through a buffer and
// the placer, and are placed before the next head is waited for.
#include "destination.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include "cleanup.h"
#include "decompressor.h"
#include "destination_block.h"
#include "frame_reader.h"
#include "ram_access.h"
#include "ram_room.h"
#include "wire.h"

/* 256 KiB, which a core's cache holds; of 256 KiB, 1 and 4 MiB none was shown to be faster. */
#define PIECE_PAGES 64u

struct destination {
	struct destination_options opt;
	struct destination_block *blocks;

	/* set once, with release; NULL before */
	_Atomic(struct dropper *) dropper; /* before owed, relaxed */
	_Atomic(struct owed *) owed;
	_Atomic(struct placer *) placer;
};

/* The reading of one stream; private to its thread. */
struct reading {
	struct destination *d;
	unsigned int index;
	struct frame_reader *reader;
	struct wire_frame frame;
	uint8_t *bounce; /* WIRE_FRAME_PAGES_MAX pages, once pages are placed, or private */
	struct decompressor *decompressor;	   /* once something has come compressed */
	struct iovec iov[WIRE_FRAME_RUNS_MAX + 1]; /* one more than buffers: frame_reader.h */
};

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
	for (unsigned int i = 0; ret == 0 && !options->running && i < options->ram->count; i++)
		ret = destination_block_init(&d->blocks[i], &options->ram->blocks[i], err);
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
		destination_block_destroy(&d->blocks[i]);
	free(d->blocks);
	free(d);
}

/* Zero where some pages may be owed. Those are missing, which is as good as zero once they are not
 * owed any more; touching them would make them present. Part of an owed huge page stays owed. */
static int clear_run_owed(struct destination *d, struct owed *owed, unsigned int block,
			  const struct wire_run *run, struct errtext *err)
{
	uint64_t end = run->first + run->count;

	for (uint64_t at = run->first; at < end;) {
		uint64_t clear = owed_next_clear(owed, block, at, end);
		uint64_t next = owed_next(owed, block, clear, end);
		struct wire_run part = {clear, (uint32_t)(next - clear)};
		int ret = part.count ? destination_block_clear(&d->blocks[block], &part, err) : 0;

		if (ret < 0)
			return ret;
		at = next;
	}
	owed_clear(owed, block, run->first, run->count);
	return 0;
}

static int apply_zero(struct destination *d, const struct wire_frame *f, struct errtext *err)
{
	struct owed *owed = atomic_load_explicit(&d->owed, memory_order_acquire);
	int ret = 0;

	for (unsigned int i = 0; i < f->runs && ret == 0; i++)
		ret = owed ? clear_run_owed(d, owed, f->block, &f->run[i], err)
			   : destination_block_clear(&d->blocks[f->block], &f->run[i], err);
	return ret;
}

/* ---- stale pages ---- */

/* Owed first, missing then: see owed.h. */
static int apply_stale(struct destination *d, const struct wire_frame *f, struct errtext *err)
{
	struct owed *owed = atomic_load_explicit(&d->owed, memory_order_acquire);
	uint64_t unit, first = 0, end = 0;
	int ret = 0;

	if (!owed)
		return errtext_set(
			err, -EPROTO,
			"the source announces pages for post-copy, which was not agreed");
	unit = owed_unit(owed, f->block);
	for (unsigned int i = 0; i < f->runs && ret == 0; i++) {
		uint64_t from = f->run[i].first / unit * unit;
		uint64_t to = (f->run[i].first + f->run[i].count + unit - 1) / unit * unit;

		owed_set(owed, f->block, f->run[i].first, f->run[i].count);
		if (i && !destination_block_bridges(&d->blocks[f->block], end, from)) {
			ret = destination_block_lose(&d->blocks[f->block], first, end, err);
			first = from;
		} else if (i == 0) {
			first = from;
		}
		end = to;
	}
	return ret < 0 ? ret : destination_block_lose(&d->blocks[f->block], first, end, err);
}

void destination_expect_stale(struct destination *d, struct owed *owed, struct dropper *dropper)
{
	for (unsigned int i = 0; i < d->opt.ram->count; i++)
		destination_block_expect_loss(&d->blocks[i], dropper);
	atomic_store_explicit(&d->dropper, dropper, memory_order_relaxed);
	atomic_store_explicit(&d->owed, owed, memory_order_release);
}

void destination_place(struct destination *d, struct placer *placer)
{
	atomic_store_explicit(&d->placer, placer, memory_order_release);
}

/* ---- receiving ---- */

static int broken(int ret, unsigned int index, struct errtext *err)
{
	return errtext_set(err, ret, "RAM stream %u from the source broke: %s", index,
			   strerror(-ret));
}

static int make_bounce(struct reading *r, struct errtext *err)
{
	if (!r->bounce)
		r->bounce = malloc((size_t)WIRE_FRAME_PAGES_MAX << RAM_PAGE_SHIFT);
	return r->bounce ? 0 : errtext_set(err, -ENOMEM, "out of memory");
}

/* The pages that follow, straight into guest RAM. */
static int receive_pages(struct reading *r, struct errtext *err)
{
	struct destination *d = r->d;
	const struct wire_frame *f = &r->frame;
	const struct ram_block *b = &d->opt.ram->blocks[f->block];
	int ret = 0;

	for (unsigned int i = 0; i < f->runs && ret == 0; i++) {
		r->iov[i] = (struct iovec){b->map + (f->run[i].first << RAM_PAGE_SHIFT),
					   (size_t)f->run[i].count << RAM_PAGE_SHIFT};
		ret = destination_block_fill(&d->blocks[f->block], &f->run[i], err);
	}
	if (ret == 0)
		ret = frame_reader_pages(r->reader, r->iov, f->runs, true);
	if (ret == -EFAULT) /* the kernel's word for a page that it could not write */
		return ram_room_lacks(b, -ENOMEM, err);
	return ret < 0 ? broken(ret, r->index, err) : 0;
}

/* Some pages of a frame, as they are received in one call. */
struct piece {
	unsigned int runs;
	uint32_t pages;
	struct wire_run run[WIRE_FRAME_RUNS_MAX];
};

/* Which of the frame's pages the next piece begins with: page `page` of run `run`. */
struct piece_at {
	unsigned int run;
	uint32_t page;
};

static void take_piece(const struct wire_frame *f, struct piece_at *at, struct piece *p)
{
	p->runs = p->pages = 0;
	while (at->run < f->runs && p->pages < PIECE_PAGES) {
		const struct wire_run *run = &f->run[at->run];
		uint32_t left = run->count - at->page, room = PIECE_PAGES - p->pages;
		uint32_t n = left < room ? left : room;

		p->run[p->runs++] = (struct wire_run){run->first + at->page, n};
		p->pages += n;
		at->page += n;
		if (n == left)
			*at = (struct piece_at){at->run + 1, 0};
	}
}

static int write_piece(struct destination_block *block, const struct piece *p, const uint8_t *in,
		       struct errtext *err)
{
	int ret = 0;

	for (unsigned int i = 0; i < p->runs && ret == 0; i++) {
		ret = destination_block_write(block, &p->run[i], in, err);
		in += (size_t)p->run[i].count << RAM_PAGE_SHIFT;
	}
	return ret;
}

/* The pages that follow, into memory that is private to QEMU. */
static int receive_private(struct reading *r, struct errtext *err)
{
	const struct wire_frame *f = &r->frame;
	struct destination_block *block = &r->d->blocks[f->block];
	struct piece_at at = {0, 0};
	struct piece piece;
	int ret = make_bounce(r, err);

	while (ret == 0 && at.run < f->runs) {
		take_piece(f, &at, &piece);
		r->iov[0] = (struct iovec){r->bounce, (size_t)piece.pages << RAM_PAGE_SHIFT};
		ret = frame_reader_pages(r->reader, r->iov, 1, at.run == f->runs);
		if (ret < 0)
			return broken(ret, r->index, err);
		ret = write_piece(block, &piece, r->bounce, err);
	}
	return ret;
}

static int place(struct reading *r, struct placer *placer, struct errtext *err)
{
	const struct wire_frame *f = &r->frame;
	int ret;

	if (f->type == WIRE_FRAME_PAGES) {
		ret = make_bounce(r, err);
		if (ret < 0)
			return ret;
		r->iov[0] = (struct iovec){r->bounce, frame_reader_size(f)};
		ret = frame_reader_pages(r->reader, r->iov, 1, false);
		if (ret < 0)
			return broken(ret, r->index, err);
	}
	return placer_frame(placer, f, PLACER_PUSH, r->bounce, err);
}

/* To write a page of private memory that is missing would be to wait for it. */
static int check_private(const struct destination *d, struct errtext *err)
{
	if (!atomic_load_explicit(&d->owed, memory_order_acquire))
		return 0;
	return errtext_set(err, -EPROTO, "the source sends pages after it has announced post-copy");
}

/* Before the hand-over. */
static int receive(struct reading *r, struct errtext *err)
{
	int ret;

	if (!ram_block_is_private(&r->d->opt.ram->blocks[r->frame.block]))
		return receive_pages(r, err);
	ret = check_private(r->d, err);
	return ret < 0 ? ret : receive_private(r, err);
}

/* What the round has made stale, or zero, is gone before the source hears that it is through. */
static int end_round(struct reading *r, struct errtext *err)
{
	struct destination *d = r->d;
	struct owed *owed = atomic_load_explicit(&d->owed, memory_order_acquire);
	struct dropper *dropper = atomic_load_explicit(&d->dropper, memory_order_relaxed);
	int ret = owed && dropper ? dropper_flush(dropper, err) : 0;

	if (ret == 0 && d->opt.synced)
		d->opt.synced(d->opt.opaque, r->index, r->frame.round);
	return ret;
}

/* ---- compressed ---- */

static int receive_compressed(struct reading *r, bool ahead, struct errtext *err)
{
	int ret = r->decompressor ? 0 : decompressor_new(&r->decompressor);

	if (ret < 0)
		return errtext_set(err, ret, "out of memory");
	r->iov[0] = (struct iovec){decompressor_in(r->decompressor), frame_reader_size(&r->frame)};
	ret = frame_reader_pages(r->reader, r->iov, 1, ahead);
	return ret < 0 ? broken(ret, r->index, err) : 0;
}

static int decompress(struct reading *r, uint8_t *into, struct errtext *err)
{
	const struct wire_frame *f = &r->frame;

	return decompressor_run(r->decompressor, f->size, wire_frame_pages(f), into, err);
}

struct unfolding {
	struct reading *r;
	struct errtext *err;
	int ret;
};

/* Of one run: nobody else has to do with its memory before the guest runs. */
static void decompress_in_place(void *arg)
{
	struct unfolding *u = arg;
	const struct wire_frame *f = &u->r->frame;
	const struct ram_block *b = &u->r->d->opt.ram->blocks[f->block];

	u->ret = decompress(u->r, b->map + (f->run[0].first << RAM_PAGE_SHIFT), u->err);
}

static void copy_in_place(void *arg)
{
	const struct unfolding *u = arg;
	const struct wire_frame *f = &u->r->frame;
	const uint8_t *from = decompressor_out(u->r->decompressor);
	uint8_t *map = u->r->d->opt.ram->blocks[f->block].map;

	for (unsigned int i = 0; i < f->runs; i++) {
		size_t size = (size_t)f->run[i].count << RAM_PAGE_SHIFT;

		memcpy(map + (f->run[i].first << RAM_PAGE_SHIFT), from, size);
		from += size;
	}
}

/* Into guest RAM that is mapped. */
static int unfold(struct reading *r, struct errtext *err)
{
	const struct wire_frame *f = &r->frame;
	const struct ram_block *b = &r->d->opt.ram->blocks[f->block];
	struct unfolding u = {.r = r, .err = err};
	int ret = 0;

	for (unsigned int i = 0; i < f->runs && ret == 0; i++)
		ret = destination_block_fill(&r->d->blocks[f->block], &f->run[i], err);
	if (ret == 0 && f->runs > 1)
		ret = decompress(r, decompressor_out(r->decompressor), err);
	if (ret == 0)
		ret = ram_access(b, f->runs > 1 ? copy_in_place : decompress_in_place, &u, err);
	return ret < 0 ? ret : u.ret;
}

static int apply_compressed(struct reading *r, struct placer *placer, struct errtext *err)
{
	struct wire_frame *f = &r->frame;
	struct piece piece = {.runs = f->runs};
	int ret = receive_compressed(r, !placer, err);
	uint8_t *out;

	if (ret < 0)
		return ret;
	if (!placer && !ram_block_is_private(&r->d->opt.ram->blocks[f->block]))
		return unfold(r, err);
	out = decompressor_out(r->decompressor);
	ret = placer ? 0 : check_private(r->d, err);
	if (ret == 0)
		ret = decompress(r, out, err);
	if (ret < 0)
		return ret;
	if (!placer) {
		memcpy(piece.run, f->run, f->runs * sizeof(*f->run));
		return write_piece(&r->d->blocks[f->block], &piece, out, err);
	}
	f->type = WIRE_FRAME_PAGES;
	return placer_frame(placer, f, PLACER_PUSH, out, err);
}

static int apply(struct reading *r, struct errtext *err)
{
	struct destination *d = r->d;
	struct placer *placer = atomic_load_explicit(&d->placer, memory_order_acquire);

	if (!placer && d->opt.running)
		return errtext_set(err, -EPROTO, "RAM stream %u: the guest runs here already",
				   r->index);
	switch (r->frame.type) {
	case WIRE_FRAME_SYNC:
		return end_round(r, err);
	case WIRE_FRAME_STALE:
		if (placer)
			return errtext_set(err, -EPROTO,
					   "the source announces stale pages after the hand-over");
		return apply_stale(d, &r->frame, err);
	case WIRE_FRAME_ZERO:
		return placer ? place(r, placer, err) : apply_zero(d, &r->frame, err);
	case WIRE_FRAME_ZSTD:
		return apply_compressed(r, placer, err);
	default:
		return placer ? place(r, placer, err) : receive(r, err);
	}
}

static int receive_frames(struct reading *r, struct errtext *err)
{
	for (;;) {
		int ret = frame_reader_next(r->reader, &r->frame, err);

		if (ret < 0)
			return ret == -ENODATA ? 0 : broken(ret, r->index, err);
		ret = apply(r, err);
		if (ret < 0)
			return ret;
	}
}

int destination_receive(struct destination *d, unsigned int index, struct byte_stream *stream,
			struct errtext *err)
{
	struct reading r = {.d = d, .index = index};
	int ret = frame_reader_new(d->opt.ram, stream, &r.reader);

	ret = ret < 0 ? errtext_set(err, ret, "out of memory") : receive_frames(&r, err);
	free(r.bounce);
	decompressor_destroy(r.decompressor);
	frame_reader_destroy(r.reader);
	return ret;
}
