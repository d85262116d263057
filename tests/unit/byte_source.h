// SPDX-License-Identifier: Apache-2.0
// A byte stream that gives given bytes, then ends, and counts how it was asked for them.
#pragma once

#include <errno.h>
#include <stdint.h>
#include <string.h>
#include "byte_stream.h"

struct byte_source {
	struct byte_stream stream; /* first: the ops get a pointer to it */
	const uint8_t *at;
	size_t left;
	unsigned int calls; /* of recv */
};

static inline int byte_source_recv(struct byte_stream *stream, const struct iovec *iov,
				   unsigned int n)
{
	struct byte_source *s = (struct byte_source *)stream;

	s->calls++;
	for (unsigned int i = 0; i < n; i++) {
		size_t len = iov[i].iov_len;

		if (len > s->left) {
			int ret = i == 0 && s->left == 0 ? -ENODATA : -ECONNRESET;

			s->left = 0;
			return ret;
		}
		memcpy(iov[i].iov_base, s->at, len);
		s->at += len;
		s->left -= len;
	}
	return 0;
}

static const struct byte_stream_ops byte_source_ops = {.recv = byte_source_recv};

static inline void byte_source_init(struct byte_source *s, const void *bytes, size_t len)
{
	*s = (struct byte_source){.stream = {&byte_source_ops}, .at = bytes, .left = len};
}
