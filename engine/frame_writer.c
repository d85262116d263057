// SPDX-License-Identifier: Apache-2.0
// Collects pages into RAM frames.
//
// What is to be compressed is read when its frame is full, as the kernel would, into a copy: the
// guest may write its memory meanwhile.
#include "frame_writer.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include "ram_access.h"
#include "ram_kept.h"
#include "ram_room.h"

struct frame_writer {
	const struct ram_map *ram;
	struct byte_stream *stream;
	uint32_t pages_max; /* in a frame */
	uint32_t round;
	uint16_t flags;
	struct wire_frame frame;	  /* being filled; runs == 0: empty */
	bool copied;			  /* its pages' content is in copies */
	uint32_t compress_max;		  /* so many pages are to be compressed; 0: not at all */
	uint32_t pages;			  /* in it */
	uint8_t head[2][WIRE_FRAME_SIZE]; /* alternate: see byte_stream_ops.send */
	unsigned int head_next;
	/* Content of pages, of a frame each; alternate likewise. NULL: none is copied. */
	uint8_t *copies[2];
	unsigned int copies_next;
	struct compressor *compressor; /* NULL: nothing is compressed */
};

_Static_assert(WIRE_FRAME_PAGES_MAX <= WIRE_RUN_PAGES_MAX, "frame_writer_add_kept adds one run");

static uint32_t stream_pages(const struct byte_stream *stream)
{
	size_t pages = stream->batch >> RAM_PAGE_SHIFT;

	return pages && pages < WIRE_FRAME_PAGES_MAX ? (uint32_t)pages : WIRE_FRAME_PAGES_MAX;
}

int frame_writer_make_copies(struct frame_writer *w)
{
	for (unsigned int i = 0; i < 2; i++)
		if (!w->copies[i])
			w->copies[i] = malloc((size_t)WIRE_FRAME_PAGES_MAX << RAM_PAGE_SHIFT);
	return w->copies[0] && w->copies[1] ? 0 : -ENOMEM;
}

int frame_writer_new(const struct ram_map *ram, struct byte_stream *stream,
		     struct frame_writer **out)
{
	struct frame_writer *w = calloc(1, sizeof(*w));

	if (!w)
		return -ENOMEM;
	w->ram = ram;
	w->stream = stream;
	w->pages_max = stream_pages(stream);
	if (ram_map_has_private(ram) && frame_writer_make_copies(w) < 0) {
		frame_writer_destroy(w);
		return -ENOMEM;
	}
	*out = w;
	return 0;
}

void frame_writer_destroy(struct frame_writer *w)
{
	if (w) {
		free(w->copies[0]);
		free(w->copies[1]);
		compressor_destroy(w->compressor);
	}
	free(w);
}

int frame_writer_compress(struct frame_writer *w, const struct compression *how)
{
	return how->kind == COMPRESSION_NONE ? 0 : compressor_new(how, &w->compressor);
}

struct compressor_stats frame_writer_compressed(const struct frame_writer *w)
{
	return w->compressor ? compressor_stats(w->compressor) : (struct compressor_stats){0};
}

void frame_writer_round(struct frame_writer *w, uint32_t round)
{
	w->round = round;
}

void frame_writer_flags(struct frame_writer *w, uint16_t flags)
{
	w->flags = flags;
}

/* EFAULT: the kernel could not read a page, and found no memory for one in its place. It may have
 * been one of an earlier frame. */
static int stream_failed(const struct frame_writer *w, int ret, struct errtext *err)
{
	if (ret == -EFAULT)
		return ram_room_lacks(&w->ram->blocks[w->frame.block], ret, err);
	return errtext_set(err, ret, "RAM stream to the destination broke: %s", strerror(-ret));
}

/* Where the pages of the frame are. Returns how many buffers that makes. */
static unsigned int gather(struct frame_writer *w, struct iovec iov[WIRE_FRAME_RUNS_MAX])
{
	const struct wire_frame *f = &w->frame;
	const struct ram_block *b = &w->ram->blocks[f->block];

	if (f->type != WIRE_FRAME_PAGES)
		return 0;
	if (w->copied) {
		iov[0] = (struct iovec){w->copies[w->copies_next++ % 2],
					(size_t)w->pages << RAM_PAGE_SHIFT};
		return 1;
	}
	for (unsigned int i = 0; i < f->runs; i++)
		iov[i] = (struct iovec){
			b->map + (f->run[i].first << RAM_PAGE_SHIFT),
			(size_t)f->run[i].count << RAM_PAGE_SHIFT,
		};
	return f->runs;
}

static void copy_runs(void *arg)
{
	const struct frame_writer *w = arg;
	const struct wire_frame *f = &w->frame;
	const uint8_t *map = w->ram->blocks[f->block].map;
	uint8_t *to = compressor_room(w->compressor);

	for (unsigned int i = 0; i < f->runs; i++) {
		size_t size = (size_t)f->run[i].count << RAM_PAGE_SHIFT;

		memcpy(to, map + (f->run[i].first << RAM_PAGE_SHIFT), size);
		to += size;
	}
}

/* The frame becomes one of ZSTD, if that is worth it: with what follows it in iov, 1 then. */
static int compress(struct frame_writer *w, struct iovec *iov, struct errtext *err)
{
	const uint8_t *content = compressor_room(w->compressor), *out;
	int ret = 0;

	if (w->copied)
		content = w->copies[w->copies_next % 2];
	else
		ret = ram_access(&w->ram->blocks[w->frame.block], copy_runs, w, err);
	if (ret < 0)
		return ret;
	w->frame.size = (uint32_t)compressor_run(w->compressor, content, w->pages, &out);
	if (w->frame.size == 0)
		return 0;
	w->frame.type = WIRE_FRAME_ZSTD;
	*iov = (struct iovec){(uint8_t *)out, w->frame.size};
	return 1;
}

/* What follows the head of the frame, which is final then. Returns how many buffers that makes. */
static int fill_body(struct frame_writer *w, struct iovec *iov, struct errtext *err)
{
	int n = 0;

	if (w->compress_max && w->pages <= WIRE_ZSTD_PAGES_MAX)
		n = compress(w, iov, err);
	return n ? n : (int)gather(w, iov);
}

/* To the stream, which may make us wait. n: of buffers behind the head. */
static int hand_over(struct frame_writer *w, const struct iovec *iov, unsigned int n)
{
	uint64_t wire = 0;
	int ret;

	if (!w->compressor)
		return w->stream->ops->send(w->stream, iov, 1 + n);
	for (unsigned int i = 1; i <= n; i++)
		wire += iov[i].iov_len;
	compressor_send_begins(w->compressor);
	ret = w->stream->ops->send(w->stream, iov, 1 + n);
	compressor_send_ends(w->compressor, n ? (uint64_t)w->pages << RAM_PAGE_SHIFT : 0, wire);
	return ret;
}

static int wait_for_stream(struct frame_writer *w)
{
	int ret;

	if (!w->compressor)
		return w->stream->ops->drain(w->stream);
	compressor_send_begins(w->compressor);
	ret = w->stream->ops->drain(w->stream);
	compressor_send_ends(w->compressor, 0, 0);
	return ret;
}

static int send_frame(struct frame_writer *w, struct errtext *err)
{
	struct iovec iov[1 + WIRE_FRAME_RUNS_MAX];
	uint8_t *head = w->head[w->head_next++ % 2];
	int n = fill_body(w, iov + 1, err), ret;

	if (n < 0)
		return n;
	wire_frame_encode(&w->frame, head);
	iov[0] = (struct iovec){head, WIRE_FRAME_SIZE};
	ret = hand_over(w, iov, (unsigned int)n);
	w->frame.runs = 0;
	w->pages = 0;
	w->compress_max = 0;
	return ret < 0 ? stream_failed(w, ret, err) : 0;
}

/* How many of the pages from `first` can join the frame's last run. */
static uint64_t fits_last_run(const struct frame_writer *w, uint64_t first, uint64_t count)
{
	const struct wire_run *last;
	uint64_t room = WIRE_RUN_PAGES_MAX;

	if (w->frame.runs == 0)
		return 0;
	last = &w->frame.run[w->frame.runs - 1];
	if (last->first + last->count != first)
		return 0;
	room -= last->count;
	return count < room ? count : room;
}

static bool must_flush(const struct frame_writer *w, enum wire_frame_type type, unsigned int block,
		       uint64_t first, uint64_t count, bool copied)
{
	if (w->frame.runs == 0)
		return false;
	if (w->frame.type != type || w->frame.block != block || w->copied != copied)
		return true;
	if (type == WIRE_FRAME_PAGES &&
	    w->pages + count > (w->compress_max ? w->compress_max : w->pages_max))
		return true;
	return w->frame.runs == WIRE_FRAME_RUNS_MAX && fits_last_run(w, first, count) < count;
}

/* Room is certain. */
static void append(struct frame_writer *w, uint64_t first, uint64_t count)
{
	uint64_t joined = fits_last_run(w, first, count);

	if (joined)
		w->frame.run[w->frame.runs - 1].count += (uint32_t)joined;
	if (count > joined)
		w->frame.run[w->frame.runs++] =
			(struct wire_run){first + joined, (uint32_t)(count - joined)};
	w->pages += (uint32_t)count;
}

static int add(struct frame_writer *w, enum wire_frame_type type, unsigned int block,
	       uint64_t first, uint64_t count, bool copied, struct errtext *err)
{
	while (count) {
		uint64_t part = count < WIRE_RUN_PAGES_MAX ? count : WIRE_RUN_PAGES_MAX;

		if (must_flush(w, type, block, first, part, copied)) {
			int ret = send_frame(w, err);

			if (ret < 0)
				return ret;
		}
		if (w->frame.runs == 0 && type == WIRE_FRAME_PAGES && w->compressor)
			w->compress_max = compressor_next(w->compressor);
		w->frame.type = type;
		w->frame.block = (uint16_t)block;
		w->frame.flags = w->flags;
		w->frame.round = w->round;
		w->copied = copied;
		append(w, first, part);
		first += part;
		count -= part;
	}
	return 0;
}

int frame_writer_add(struct frame_writer *w, enum wire_frame_type type, unsigned int block,
		     uint64_t first, uint64_t count, struct errtext *err)
{
	return add(w, type, block, first, count, false, err);
}

/* The page is in the frame before its content is: nothing is sent in between. */
int frame_writer_add_copy(struct frame_writer *w, unsigned int block, uint64_t page,
			  const uint8_t *content, struct errtext *err)
{
	int ret = add(w, WIRE_FRAME_PAGES, block, page, 1, true, err);

	if (ret == 0)
		memcpy(w->copies[w->copies_next % 2] + ((size_t)(w->pages - 1) << RAM_PAGE_SHIFT),
		       content, RAM_PAGE_SIZE);
	return ret;
}

/* So many fit a run, and a frame: they are the last ones of the present frame. */
int frame_writer_add_kept(struct frame_writer *w, unsigned int block, uint64_t first,
			  uint32_t count, struct errtext *err)
{
	int ret = add(w, WIRE_FRAME_PAGES, block, first, count, true, err);
	size_t at = (size_t)(w->pages - count) << RAM_PAGE_SHIFT;

	return ret < 0 ? ret
		       : ram_kept_read(&w->ram->blocks[block], first, count,
				       w->copies[w->copies_next % 2] + at, err);
}

int frame_writer_drain(struct frame_writer *w, struct errtext *err)
{
	int ret = w->frame.runs ? send_frame(w, err) : 0;

	if (ret == 0) {
		ret = wait_for_stream(w);
		if (ret < 0)
			return stream_failed(w, ret, err);
	}
	return ret;
}

int frame_writer_sync(struct frame_writer *w, struct errtext *err)
{
	int ret = w->frame.runs ? send_frame(w, err) : 0;

	if (ret < 0)
		return ret;
	w->frame.type = WIRE_FRAME_SYNC;
	w->frame.block = 0;
	w->frame.flags = 0;
	w->frame.round = w->round;
	ret = send_frame(w, err);
	return ret < 0 ? ret : frame_writer_drain(w, err);
}
