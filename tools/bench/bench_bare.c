// SPDX-License-Identifier: Apache-2.0
// The ceiling of streams: bytes that lie ready, with nothing to do but to send and receive them.
#include "bench_bare.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include "bench_options.h"
#include "cleanup.h"
#include "clock.h"

#define PIECE (4u << 20) /* as a full RAM frame */
/* What no cache holds, so that bytes come from memory as a guest's do. */
#define BUFFER (64u << 20)
#define MEMCPY_US 100000

struct flow {
	struct byte_stream *stream;
	uint8_t *buffer;
	uint64_t bytes;
	bool sends;
	int result;
};

static int move_piece(const struct flow *f, uint8_t *at, size_t n)
{
	struct iovec piece = {at, n};

	return f->sends ? f->stream->ops->send(f->stream, &piece, 1)
			: f->stream->ops->recv(f->stream, &piece, 1);
}

static void *flow_main(void *arg)
{
	struct flow *f = arg;

	for (uint64_t done = 0; f->result == 0 && done < f->bytes; done += PIECE) {
		uint64_t left = f->bytes - done;

		f->result = move_piece(f, f->buffer + done % BUFFER, left < PIECE ? left : PIECE);
	}
	if (f->result == 0 && f->sends)
		f->result = f->stream->ops->drain(f->stream);
	return NULL;
}

uint8_t *bench_bare_buffers(unsigned int count)
{
	uint8_t *buffers = malloc((size_t)count * BUFFER);

	if (buffers)
		memset(buffers, 1, (size_t)count * BUFFER);
	return buffers;
}

static int flow(struct byte_stream **streams, unsigned int count, uint64_t bytes, uint8_t *buffers,
		bool sends, struct errtext *err)
{
	struct flow flows[BENCH_STREAMS_MAX] = {0};
	pthread_t ids[BENCH_STREAMS_MAX];
	unsigned int started = 0;
	int ret = 0;

	for (; ret == 0 && started < count; started += ret == 0) {
		flows[started] = (struct flow){streams[started], buffers + (size_t)started * BUFFER,
					       bytes, sends, 0};
		ret = -pthread_create(&ids[started], NULL, flow_main, &flows[started]);
	}
	for (unsigned int i = 0; ret < 0 && i < started; i++)
		streams[i]->ops->shutdown(streams[i]);
	for (unsigned int i = 0; i < started; i++) {
		pthread_join(ids[i], NULL);
		ret = ret < 0 ? ret : flows[i].result;
	}
	return ret < 0 ? errtext_set(err, ret, "bare streams: %s", strerror(-ret)) : 0;
}

int bench_bare_send(struct byte_stream **streams, unsigned int count, uint64_t bytes,
		    uint8_t *buffers, struct errtext *err)
{
	return flow(streams, count, bytes, buffers, true, err);
}

int bench_bare_receive(struct byte_stream **streams, unsigned int count, uint64_t bytes,
		       uint8_t *buffers, struct errtext *err)
{
	return flow(streams, count, bytes, buffers, false, err);
}

double bench_bare_memcpy(void)
{
	_cleanup_free_ uint8_t *from = malloc(BUFFER), *to = malloc(BUFFER);
	uint64_t begun, used = 0, copied = 0;

	if (!from || !to)
		return 0;
	memset(from, 1, BUFFER);
	memset(to, 2, BUFFER);
	begun = clock_us(CLOCK_THREAD_CPUTIME_ID);
	while (used < MEMCPY_US) {
		memcpy(to + copied % BUFFER, from + copied % BUFFER, PIECE);
		copied += PIECE;
		used = clock_us(CLOCK_THREAD_CPUTIME_ID) - begun;
	}
	return (double)copied * 1e6 / (double)used;
}
