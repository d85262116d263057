// SPDX-License-Identifier: Apache-2.0
// Heads of RAM frames.
//
//   magic:4 type:2 runs:2 block:2 flags:2 round:4 size:4 reserved:4, then 61 x { first:6 count:2 }
//
// The size is that of a ZSTD frame; in others it is reserved, too.
//
// The magic repeats in every head: a stream that slipped out of step is noticed at once, before
// page contents are taken for page numbers.
#include "wire.h"

#include <assert.h>
#include <errno.h>
#include <inttypes.h>

#include "wire_cursor.h"

#define FRAME_HEADER_SIZE 24
#define RUN_SIZE 8
#define RUN_FIRST_BYTES 6

_Static_assert(FRAME_HEADER_SIZE + WIRE_FRAME_RUNS_MAX * RUN_SIZE == WIRE_FRAME_SIZE,
	       "fields of a frame's head");
_Static_assert(RAM_BLOCK_SIZE_MAX >> RAM_PAGE_SHIFT <= 1ull << 8 * RUN_FIRST_BYTES,
	       "a page number fits a run");
_Static_assert(WIRE_FRAME_PAGES_MAX <= WIRE_RUN_PAGES_MAX, "a whole frame fits one run");
_Static_assert((uint64_t)WIRE_FRAME_RUNS_MAX *WIRE_RUN_PAGES_MAX <= UINT32_MAX,
	       "the pages of a frame are counted in 32 bits");

void wire_frame_encode(const struct wire_frame *f, uint8_t buf[WIRE_FRAME_SIZE])
{
	struct wire_writer w = {.buf = buf, .size = WIRE_FRAME_SIZE};

	assert(f->runs <= WIRE_FRAME_RUNS_MAX);
	wire_put_u32(&w, WIRE_MAGIC);
	wire_put_u16(&w, (uint16_t)f->type);
	wire_put_u16(&w, f->runs);
	wire_put_u16(&w, f->block);
	wire_put_u16(&w, f->flags);
	wire_put_u32(&w, f->round);
	wire_put_u32(&w, f->type == WIRE_FRAME_ZSTD ? f->size : 0);
	wire_put_zeroes(&w, 4);
	for (unsigned int i = 0; i < f->runs; i++) {
		assert(f->run[i].first >> 8 * RUN_FIRST_BYTES == 0);
		assert(f->run[i].count && f->run[i].count <= WIRE_RUN_PAGES_MAX);
		wire_put_uint(&w, f->run[i].first, RUN_FIRST_BYTES);
		wire_put_u16(&w, (uint16_t)f->run[i].count);
	}
	wire_put_zeroes(&w, (size_t)(WIRE_FRAME_RUNS_MAX - f->runs) * RUN_SIZE);
	assert(!w.failed && w.used == WIRE_FRAME_SIZE);
}

static int check_type(uint32_t magic, uint16_t type, struct errtext *err)
{
	if (magic != WIRE_MAGIC)
		return errtext_set(err, -EPROTO,
				   "RAM stream: 0x%08x where a frame should begin; the stream is "
				   "out of step",
				   magic);
	if (type < WIRE_FRAME_PAGES || type >= WIRE_FRAME_TYPE_END_)
		return errtext_set(err, -EPROTO, "RAM stream: unknown frame type %u", type);
	return 0;
}

static int check_counts(const struct wire_frame *f, const struct ram_map *map, struct errtext *err)
{
	if (f->type == WIRE_FRAME_SYNC) {
		if (f->runs)
			return errtext_set(err, -EPROTO,
					   "RAM stream: a sync frame with %u runs of pages",
					   f->runs);
		return 0;
	}
	if (f->runs < 1 || f->runs > WIRE_FRAME_RUNS_MAX)
		return errtext_set(err, -EPROTO, "RAM stream: a frame of %u runs, not 1 to %d",
				   f->runs, WIRE_FRAME_RUNS_MAX);
	if (f->block >= map->count)
		return errtext_set(err, -EPROTO,
				   "RAM stream: a frame for RAM block %u; the guest has %u",
				   f->block, map->count);
	return 0;
}

static int decode_runs(struct wire_reader *r, const struct ram_block *block, struct wire_frame *f,
		       struct errtext *err)
{
	uint64_t size = ram_block_pages(block);

	for (unsigned int i = 0; i < f->runs; i++) {
		struct wire_run run = {.first = wire_get_uint(r, RUN_FIRST_BYTES)};

		run.count = wire_get_u16(r);
		if (!run.count || run.first >= size || run.count > size - run.first)
			return errtext_set(err, -EPROTO,
					   "RAM stream: %" PRIu32 " pages from %" PRIu64
					   " are no run of RAM block '%s', which has %" PRIu64,
					   run.count, run.first, block->name, size);
		f->run[i] = run;
	}
	return 0;
}

/* Of frames that something follows. */
static int check_size(const struct wire_frame *f, struct errtext *err)
{
	uint32_t pages = wire_frame_pages(f);
	uint32_t most = f->type == WIRE_FRAME_ZSTD ? WIRE_ZSTD_PAGES_MAX : WIRE_FRAME_PAGES_MAX;

	if (f->type != WIRE_FRAME_ZSTD && f->type != WIRE_FRAME_PAGES)
		return 0;
	if (pages > most)
		return errtext_set(err, -EPROTO,
				   "RAM stream: a frame of %" PRIu32
				   " pages, beyond the limit of %u",
				   pages, most);
	if (f->type == WIRE_FRAME_ZSTD && (f->size == 0 || f->size >= pages << RAM_PAGE_SHIFT))
		return errtext_set(err, -EPROTO,
				   "RAM stream: %" PRIu32 " pages compressed to %" PRIu32
				   " bytes, which is not less",
				   pages, f->size);
	return 0;
}

int wire_frame_decode(const uint8_t buf[WIRE_FRAME_SIZE], const struct ram_map *map,
		      struct wire_frame *f, struct errtext *err)
{
	struct wire_reader r = {.buf = buf, .len = WIRE_FRAME_SIZE};
	uint32_t magic = wire_get_u32(&r);
	uint16_t type = wire_get_u16(&r);
	int rc;

	*f = (struct wire_frame){.type = (enum wire_frame_type)type};
	f->runs = wire_get_u16(&r);
	f->block = wire_get_u16(&r);
	f->flags = wire_get_u16(&r) & WIRE_FRAME_FLAGS;
	f->round = wire_get_u32(&r);
	f->size = wire_get_u32(&r);
	wire_skip(&r, 4);

	rc = check_type(magic, type, err);
	if (!rc)
		rc = check_counts(f, map, err);
	if (rc)
		return rc;
	if (f->type != WIRE_FRAME_ZSTD)
		f->size = 0;
	if (f->type == WIRE_FRAME_SYNC) {
		f->block = 0; /* means nothing here; an unchecked index must not get further */
		return 0;
	}
	rc = decode_runs(&r, &map->blocks[f->block], f, err);
	return rc ? rc : check_size(f, err);
}

uint32_t wire_frame_pages(const struct wire_frame *f)
{
	uint32_t pages = 0;

	for (unsigned int i = 0; i < f->runs; i++)
		pages += f->run[i].count;
	return pages;
}
