// SPDX-License-Identifier: Apache-2.0
// Reads RAM frames from a stream.
#include "frame_reader.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>

struct frame_reader {
	const struct ram_map *ram;
	struct byte_stream *stream;
	size_t due; /* bytes of pages that come before the next head */
	bool ahead; /* head holds the next frame's */
	uint8_t head[WIRE_FRAME_SIZE];
};

int frame_reader_new(const struct ram_map *ram, struct byte_stream *stream,
		     struct frame_reader **out)
{
	struct frame_reader *r = calloc(1, sizeof(*r));

	if (!r)
		return -ENOMEM;
	r->ram = ram;
	r->stream = stream;
	*out = r;
	return 0;
}

void frame_reader_destroy(struct frame_reader *r)
{
	free(r);
}

size_t frame_reader_size(const struct wire_frame *frame)
{
	if (frame->type == WIRE_FRAME_ZSTD)
		return frame->size;
	if (frame->type != WIRE_FRAME_PAGES)
		return 0;
	return (size_t)wire_frame_pages(frame) << RAM_PAGE_SHIFT;
}

static int receive_head(struct frame_reader *r)
{
	const struct iovec head = {r->head, sizeof(r->head)};

	return r->stream->ops->recv(r->stream, &head, 1);
}

int frame_reader_next(struct frame_reader *r, struct wire_frame *frame, struct errtext *err)
{
	int ret = 0;

	assert(r->due == 0);
	if (!r->ahead)
		ret = receive_head(r);
	r->ahead = false;
	if (ret == 0)
		ret = wire_frame_decode(r->head, r->ram, frame, err);
	if (ret == 0)
		r->due = frame_reader_size(frame);
	return ret;
}

/* A clean end can only come where no pages were due. */
int frame_reader_pages(struct frame_reader *r, struct iovec *iov, unsigned int n, bool ahead)
{
	size_t len = 0;
	int ret;

	for (unsigned int i = 0; i < n; i++)
		len += iov[i].iov_len;
	assert(len > 0 && len <= r->due && (!ahead || len == r->due));
	iov[n] = (struct iovec){r->head, sizeof(r->head)};
	ret = r->stream->ops->recv(r->stream, iov, ahead ? n + 1 : n);
	r->ahead = ahead;
	r->due -= len;
	return ret == -ENODATA ? -ECONNRESET : ret;
}
