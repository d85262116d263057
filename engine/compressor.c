// SPDX-License-Identifier: Apache-2.0
// Compresses the pages of frames, by zstd.
#include "compressor.h"

#include <assert.h>
#include <errno.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <zstd.h>
#include "clock.h"
#include "compression_plan.h"
#include "ram_map.h"
#include "wire.h"

/* What saves less is not worth the other side's time. */
#define WORTH_SHARE 16

/* Some bytes of each part of the pages, by the fastest level but for those that find nothing. */
#define SAMPLE_PARTS 8u
#define SAMPLE_SIZE 4096u
#define SAMPLE_LEVEL (-5)

struct compressor {
	/* constant after init */
	ZSTD_CCtx *context;
	uint8_t *room;
	struct compression how;

	/* private to the thread */
	struct compression_step step; /* of the frame in hand */
	struct compression_plan plan; /* of COMPRESSION_AUTO only */
	uint64_t compress_ns, send_began_ns;

	/* private to the thread; alternate: see byte_stream_ops.send */
	uint8_t *out[2];
	unsigned int next;

	/* relaxed: independent counters */
	atomic_uint_least64_t pages, bytes;
};

#define ROOM_SIZE ((size_t)WIRE_ZSTD_PAGES_MAX << RAM_PAGE_SHIFT)

static int init(struct compressor *c, const struct compression *how)
{
	c->context = ZSTD_createCCtx();
	c->room = malloc(ROOM_SIZE);
	c->out[0] = malloc(ROOM_SIZE);
	c->out[1] = malloc(ROOM_SIZE);
	if (!c->context || !c->room || !c->out[0] || !c->out[1])
		return -ENOMEM;
	ZSTD_CCtx_setParameter(c->context, ZSTD_c_checksumFlag, 1);
	c->how = *how;
	c->step = (struct compression_step){.level = how->level, .pages = WIRE_ZSTD_PAGES_MAX};
	compression_plan_init(&c->plan, clock_monotonic_ns());
	return 0;
}

int compressor_new(const struct compression *how, struct compressor **out)
{
	struct compressor *c = calloc(1, sizeof(*c));
	int ret = c ? init(c, how) : -ENOMEM;

	if (ret < 0)
		compressor_destroy(c);
	else
		*out = c;
	return ret;
}

void compressor_destroy(struct compressor *c)
{
	if (!c)
		return;
	ZSTD_freeCCtx(c->context);
	free(c->room);
	free(c->out[0]);
	free(c->out[1]);
	free(c);
}

uint8_t *compressor_room(struct compressor *c)
{
	return c->room;
}

uint32_t compressor_next(struct compressor *c)
{
	if (c->how.kind == COMPRESSION_AUTO)
		c->step = compression_plan_next(&c->plan);
	return c->step.level ? c->step.pages : 0;
}

static bool sample_is_worth_it(struct compressor *c, const uint8_t *content, size_t size,
			       uint8_t *out)
{
	size_t part = SAMPLE_SIZE / SAMPLE_PARTS;
	uint8_t sample[SAMPLE_SIZE];

	for (unsigned int i = 0; i < SAMPLE_PARTS; i++)
		memcpy(sample + i * part, content + i * (size / SAMPLE_PARTS), part);
	return !ZSTD_isError(ZSTD_compressCCtx(c->context, out,
					       SAMPLE_SIZE - SAMPLE_SIZE / WORTH_SHARE, sample,
					       SAMPLE_SIZE, SAMPLE_LEVEL));
}

/* zstd gives up by itself where there is no room for what is not worth it. That it lacks memory is
 * no reason to fail either. */
static size_t compress(struct compressor *c, const uint8_t *content, size_t size, uint8_t *out)
{
	size_t n;

	if (c->step.sample && !sample_is_worth_it(c, content, size, out))
		return 0;
	ZSTD_CCtx_setParameter(c->context, ZSTD_c_compressionLevel, c->step.level);
	n = ZSTD_compress2(c->context, out, size - size / WORTH_SHARE, content, size);
	return ZSTD_isError(n) ? 0 : n;
}

size_t compressor_run(struct compressor *c, const uint8_t *content, uint32_t pages,
		      const uint8_t **out)
{
	uint64_t began_ns = clock_monotonic_ns();
	size_t n;

	assert(pages && pages <= WIRE_ZSTD_PAGES_MAX);
	*out = c->out[c->next % 2];
	n = compress(c, content, (size_t)pages << RAM_PAGE_SHIFT, c->out[c->next % 2]);
	c->compress_ns += clock_monotonic_ns() - began_ns;
	if (n == 0)
		return 0;
	c->next++;
	atomic_fetch_add_explicit(&c->pages, pages, memory_order_relaxed);
	atomic_fetch_add_explicit(&c->bytes, n, memory_order_relaxed);
	return n;
}

void compressor_send_begins(struct compressor *c)
{
	if (c->how.kind == COMPRESSION_AUTO)
		c->send_began_ns = clock_monotonic_ns();
}

void compressor_send_ends(struct compressor *c, uint64_t bytes, uint64_t wire)
{
	struct compression_sample s = {.bytes = bytes, .wire = wire, .compress_ns = c->compress_ns};
	uint64_t now_ns;

	if (c->how.kind != COMPRESSION_AUTO)
		return;
	now_ns = clock_monotonic_ns();
	s.send_ns = now_ns - c->send_began_ns;
	c->compress_ns = 0;
	compression_plan_note(&c->plan, &s, now_ns);
}

struct compressor_stats compressor_stats(const struct compressor *c)
{
	return (struct compressor_stats){
		.pages = atomic_load_explicit(&c->pages, memory_order_relaxed),
		.bytes = atomic_load_explicit(&c->bytes, memory_order_relaxed),
	};
}
