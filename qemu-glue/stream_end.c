// SPDX-License-Identifier: Apache-2.0
// The end of QEMU's migration stream: texts that are announced, and whether the stream ends there.
#include "stream_end.h"

#include <endian.h>
#include <string.h>

#define VM_EOF 0
#define VM_VMDESCRIPTION 6
#define TEXT_MIN 2u
#define TEXT_MAX (64u << 20)

/* The bytes before in[at], as far back as a head goes; they may have come with an earlier call. */
static void copy_head(const struct stream_end *s, const uint8_t *in, size_t at,
		      uint8_t head[STREAM_END_HEAD])
{
	size_t here = at < STREAM_END_HEAD ? at : STREAM_END_HEAD;

	memcpy(head, s->tail + here, STREAM_END_HEAD - here);
	memcpy(head + STREAM_END_HEAD - here, in + at - here, here);
}

/* A text begins at in[at]: was it announced? */
static void see_text(struct stream_end *s, const uint8_t *in, size_t at)
{
	uint8_t head[STREAM_END_HEAD];
	uint32_t length;

	copy_head(s, in, at, head);
	memcpy(&length, head + 2, sizeof(length));
	length = be32toh(length);
	if (s->at + at < STREAM_END_HEAD || head[0] != VM_EOF || head[1] != VM_VMDESCRIPTION ||
	    length < TEXT_MIN || length > TEXT_MAX)
		return;
	s->ends[s->next] = s->at + at + length;
	s->next = (s->next + 1) % STREAM_END_TEXTS;
}

static void keep_tail(struct stream_end *s, const uint8_t *in, size_t n)
{
	uint8_t tail[STREAM_END_HEAD];

	copy_head(s, in, n, tail);
	memcpy(s->tail, tail, sizeof(tail));
	s->at += n;
}

bool stream_end_see(struct stream_end *s, const uint8_t *in, size_t n)
{
	const uint8_t *text = in;

	while ((text = memchr(text, '{', n - (size_t)(text - in))) != NULL) {
		see_text(s, in, (size_t)(text - in));
		text++;
	}
	keep_tail(s, in, n);
	for (unsigned int i = 0; i < STREAM_END_TEXTS; i++)
		if (s->ends[i] == s->at && in[n - 1] == '}')
			return true;
	return false;
}
