// SPDX-License-Identifier: Apache-2.0
// Decompresses the pages of ZSTD frames.
//
// The library takes more than the wire allows: several frames, frames to be skipped, frames without
// a size or checksum, and formats older than 1.0, whose decoders few look at. So a frame is looked
// at first.
#include "decompressor.h"

#include <errno.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <zstd.h>
#include "ram_map.h"
#include "wire.h"

#define ROOM_SIZE ((size_t)WIRE_ZSTD_PAGES_MAX << RAM_PAGE_SHIFT)

/* RFC 8878, 3.1.1: a magic number, little-endian, then the descriptor. */
#define DESCRIPTOR_AT 4
#define DESCRIPTOR_CHECKSUM 4u

struct decompressor {
	ZSTD_DCtx *context;
	uint8_t *in, *out;
};

int decompressor_new(struct decompressor **out)
{
	struct decompressor *d = calloc(1, sizeof(*d));

	if (!d)
		return -ENOMEM;
	d->context = ZSTD_createDCtx();
	d->in = malloc(ROOM_SIZE);
	d->out = malloc(ROOM_SIZE);
	if (!d->context || !d->in || !d->out) {
		decompressor_destroy(d);
		return -ENOMEM;
	}
	*out = d;
	return 0;
}

void decompressor_destroy(struct decompressor *d)
{
	if (!d)
		return;
	ZSTD_freeDCtx(d->context);
	free(d->in);
	free(d->out);
	free(d);
}

uint8_t *decompressor_in(struct decompressor *d)
{
	return d->in;
}

uint8_t *decompressor_out(struct decompressor *d)
{
	return d->out;
}

static bool begins_as_agreed(const uint8_t *in, size_t size)
{
	static const uint8_t magic[] = {ZSTD_MAGICNUMBER & 0xff, ZSTD_MAGICNUMBER >> 8 & 0xff,
					ZSTD_MAGICNUMBER >> 16 & 0xff, ZSTD_MAGICNUMBER >> 24};

	return size > DESCRIPTOR_AT && memcmp(in, magic, sizeof(magic)) == 0 &&
	       in[DESCRIPTOR_AT] & DESCRIPTOR_CHECKSUM;
}

/* One frame of the right content size, which fills what came. */
static bool is_as_agreed(const uint8_t *in, size_t size, size_t content)
{
	return begins_as_agreed(in, size) && ZSTD_getFrameContentSize(in, size) == content &&
	       ZSTD_findFrameCompressedSize(in, size) == size;
}

int decompressor_run(struct decompressor *d, uint32_t size, uint32_t pages, uint8_t *into,
		     struct errtext *err)
{
	size_t content = (size_t)pages << RAM_PAGE_SHIFT, n;

	if (size > ROOM_SIZE || content > ROOM_SIZE || !is_as_agreed(d->in, size, content))
		return errtext_set(
			err, -EPROTO,
			"RAM stream: %" PRIu32 " bytes are no frame of zstd's that holds %" PRIu32
			" pages: the source is at fault; --compression none does without",
			size, pages);
	n = ZSTD_decompressDCtx(d->context, into, content, d->in, size);
	if (n != content)
		return errtext_set(err, -EPROTO,
				   "RAM stream: %" PRIu32
				   " compressed pages were damaged on their way (%s): try again",
				   pages, ZSTD_getErrorName(n));
	return 0;
}
