// SPDX-License-Identifier: Apache-2.0
// Compresses the pages of frames, by zstd.
#include "compressor.h"

#include <assert.h>
#include <errno.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <zstd.h>
#include "ram_map.h"
#include "wire.h"

/* What saves less is not worth the other side's time. */
#define WORTH_SHARE 16

struct compressor {
	/* constant after init */
	ZSTD_CCtx *context;
	uint8_t *room;

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
	ZSTD_CCtx_setParameter(c->context, ZSTD_c_compressionLevel, how->level);
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

/* zstd gives up by itself where there is no room for what is not worth it. That it lacks memory is
 * no reason to fail either. */
size_t compressor_run(struct compressor *c, const uint8_t *content, uint32_t pages,
		      const uint8_t **out)
{
	size_t size = (size_t)pages << RAM_PAGE_SHIFT, n;

	assert(pages && pages <= WIRE_ZSTD_PAGES_MAX);
	*out = c->out[c->next % 2];
	n = ZSTD_compress2(c->context, c->out[c->next % 2], size - size / WORTH_SHARE, content,
			   size);
	if (ZSTD_isError(n))
		return 0;
	c->next++;
	atomic_fetch_add_explicit(&c->pages, pages, memory_order_relaxed);
	atomic_fetch_add_explicit(&c->bytes, n, memory_order_relaxed);
	return n;
}

struct compressor_stats compressor_stats(const struct compressor *c)
{
	return (struct compressor_stats){
		.pages = atomic_load_explicit(&c->pages, memory_order_relaxed),
		.bytes = atomic_load_explicit(&c->bytes, memory_order_relaxed),
	};
}
