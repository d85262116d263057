// SPDX-License-Identifier: Apache-2.0
// The streams of a session, which carry pages: each is served by its connection's thread, and all
// of them can be ended by the session's thread.
#include "incoming_private.h"

#include <errno.h>
#include <unistd.h>
#include "tls_stream.h"
#include "uring_stream.h"

/* Waits until guest RAM is ready. False if the session ends first, or has a stream in this slot. */
static bool register_stream(struct incoming *in, struct byte_stream **slot,
			    struct byte_stream *stream)
{
	struct receiver *r = in->receiver;
	bool go = false;

	pthread_mutex_lock(&r->lock);
	while (!in->joined.destination && !in->joined.ending)
		pthread_cond_wait(&r->changed, &r->lock);
	if (!in->joined.ending && !*slot) {
		*slot = stream;
		go = true;
	}
	pthread_mutex_unlock(&r->lock);
	return go;
}

static void unregister_stream(struct incoming *in, struct byte_stream **slot,
			      struct byte_stream *stream)
{
	pthread_mutex_lock(&in->receiver->lock);
	*slot = NULL;
	in->joined.wire_bytes += uring_stream_bytes(stream);
	pthread_cond_broadcast(&in->receiver->changed);
	pthread_mutex_unlock(&in->receiver->lock);
}

int incoming_stream_serve(struct incoming *in, struct line line, unsigned int index,
			  struct byte_stream **slots, unsigned int count,
			  int (*run)(struct incoming *in, unsigned int index,
				     struct byte_stream *stream, struct errtext *err),
			  struct errtext *err)
{
	struct byte_stream *stream;
	int ret;

	if (index >= count) {
		line_close(&line);
		return errtext_set(err, -EPROTO, "connection %u of %u", index, count);
	}
	ret = tls_stream_new(line, NULL, &stream, err);
	if (ret < 0)
		return ret;
	if (register_stream(in, &slots[index], stream)) {
		ret = run(in, index, stream, err);
		unregister_stream(in, &slots[index], stream);
	}
	stream->ops->destroy(stream);
	return ret;
}

static int run_ram(struct incoming *in, unsigned int index, struct byte_stream *stream,
		   struct errtext *err)
{
	return destination_receive(in->joined.destination, index, stream, err);
}

int incoming_stream_serve_ram(struct incoming *in, struct line line, unsigned int index,
			      struct errtext *err)
{
	int ret = incoming_stream_serve(in, line, index, in->joined.ram_streams,
					in->prepare.streams, run_ram, err);

	if (ret < 0)
		mailbox_note(in->mail, MAIL_STREAM_LOST, ret, err->text);
	return ret;
}

static void shut(struct byte_stream **slots, unsigned int count)
{
	for (unsigned int i = 0; i < count; i++)
		if (slots[i])
			slots[i]->ops->shutdown(slots[i]);
}

void incoming_stream_cut_ram(struct incoming *in)
{
	shut(in->joined.ram_streams, WIRE_STREAMS_MAX);
}

void incoming_stream_cut_pages(struct incoming *in)
{
	shut(in->joined.fault_streams, INCOMING_PAGE_STREAMS_MAX);
	shut(in->joined.push_streams, INCOMING_PAGE_STREAMS_MAX);
}

static uint64_t sum(struct byte_stream *const *slots, unsigned int count)
{
	uint64_t bytes = 0;

	for (unsigned int i = 0; i < count; i++)
		if (slots[i])
			bytes += uring_stream_bytes(slots[i]);
	return bytes;
}

uint64_t incoming_stream_bytes(const struct incoming *in)
{
	const struct incoming_joined *j = &in->joined;

	return j->wire_bytes + sum(j->ram_streams, WIRE_STREAMS_MAX) +
	       sum(j->fault_streams, INCOMING_PAGE_STREAMS_MAX) +
	       sum(j->push_streams, INCOMING_PAGE_STREAMS_MAX);
}

bool incoming_stream_has_pages(const struct incoming *in)
{
	for (unsigned int i = 0; i < INCOMING_PAGE_STREAMS_MAX; i++)
		if (in->joined.fault_streams[i] || in->joined.push_streams[i])
			return true;
	return false;
}
