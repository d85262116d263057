// SPDX-License-Identifier: Apache-2.0
// A stream under TLS: the caller's memory is sealed into records, and the records are sent.
//
//   send   caller's buffers -> sealed -> one of two buffers of many records -> io_uring
//   recv   io_uring -> a buffer, as much as there is -> opened -> caller's buffers
//
// The cipher is the only one that touches a byte in between (tls_record.h); what is no payload, and
// payload that the caller has not asked for yet, is opened in the buffer, where it is. While the
// kernel sends one buffer, the stream's own thread seals the next: on the core that also sends, out
// of a cache that still has it. Nothing of the caller's memory is in use once a call has returned.
// That may be a guest's, in which a page may be missing for good: OpenSSL cannot be left in the
// middle, so each piece is probed before (ram_access_probe), and fails as the kernel would on the
// plain way.
//
// A record's bytes are in the caller's memory before its tag has been looked at, and mean nothing
// unless recv returns 0, as with any stream that breaks. Nobody may see them before: whose memory
// is in use by a guest receives into a buffer (destination.c, fault_handler.c).
//
// The thread that receives waits for the socket only when no whole record is left; meanwhile the
// kernel goes on to receive into the socket.
#include "tls_stream.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include "ram_access.h"
#include "tls_record.h"
#include "uring_stream_private.h"

#define RECORDS 16
#define RECORD_SIZE (TLS_RECORD_MAX + TLS_RECORD_OVERHEAD)
/* A record and, before it, the message that renews the key. */
#define ROOM (RECORD_SIZE + TLS_RECORD_OVERHEAD)
#define OUT_SIZE (RECORDS * (size_t)RECORD_SIZE + ROOM)
#define IN_SIZE (RECORDS * (size_t)(TLS_RECORD_MAX + TLS_RECORD_PADDING))
/* What is smaller may be a message of TLS itself, and costs little to move. */
#define DIRECT_MIN 1024

#define KEY_UPDATE 24 /* a handshake message: of one byte, whether an answer is wanted */
#define CLOSE_NOTIFY 0

struct tls_stream {
	struct byte_stream_ops ops; /* the stream's, but for these two ways */
	struct tls *tls;

	struct tls_record *out;
	uint8_t *buffers[2];
	unsigned int current; /* is being filled; the other may be in the kernel */
	size_t used;
	bool renew; /* the peer wants a new key of ours */

	struct tls_record *in;
	uint8_t *buffer;
	size_t begin, end; /* of it: received and not opened */
	uint8_t *rest;	   /* opened, and not asked for yet */
	size_t rest_size;

	struct iov_cursor cursor; /* over the caller's buffers, in a call */
	struct iovec pieces[IOV_MAX + 2];
};

static struct tls_stream *of(const struct uring_stream *s)
{
	return s->layer_state;
}

/* Each piece can be had. */
static int probe(const struct iovec *pieces, unsigned int n)
{
	int ret = 0;

	for (unsigned int i = 0; i < n && ret == 0; i++)
		ret = ram_access_probe(pieces[i].iov_base, pieces[i].iov_len);
	return ret;
}

/* ---- sending ---- */

/* Returns when the other buffer has left; that is filled next. */
static int flush(struct uring_stream *s)
{
	struct tls_stream *t = of(s);
	const struct iovec iov = {t->buffers[t->current], t->used};

	if (t->used == 0)
		return 0;
	t->current = !t->current;
	t->used = 0;
	return uring_stream_send(&s->base, &iov, 1);
}

static int seal(struct tls_stream *t, enum tls_content type, const struct iovec *from,
		unsigned int n)
{
	ssize_t size = tls_record_seal(t->out, type, from, n, t->buffers[t->current] + t->used);

	if (size < 0)
		return (int)size;
	t->used += (size_t)size;
	return 0;
}

static int renew_key(struct tls_stream *t)
{
	uint8_t message[] = {KEY_UPDATE, 0, 0, 1, 0};
	int ret;

	if (!t->renew && !tls_is_worn(t->tls, tls_record_count(t->out)))
		return 0;
	ret = seal(t, TLS_HANDSHAKE, &(struct iovec){message, sizeof(message)}, 1);
	if (ret == 0)
		ret = tls_record_renew(t->out);
	t->renew = false;
	tls_key_updated(t->tls);
	return ret;
}

/* The next record of the cursor's. */
static int seal_some(struct uring_stream *s)
{
	struct tls_stream *t = of(s);
	size_t size = t->cursor.left < TLS_RECORD_MAX ? t->cursor.left : TLS_RECORD_MAX;
	unsigned int n = iov_cursor_window(&t->cursor, size, t->pieces);
	int ret = OUT_SIZE - t->used < ROOM ? flush(s) : 0;

	if (ret == 0)
		ret = renew_key(t);
	if (ret == 0)
		ret = probe(t->pieces, n);
	if (ret == 0)
		ret = seal(t, TLS_DATA, t->pieces, n);
	iov_cursor_advance(&t->cursor, size);
	return ret;
}

static int tls_stream_send(struct byte_stream *base, const struct iovec *iov, unsigned int n)
{
	struct uring_stream *s = uring_stream_of(base);
	struct tls_stream *t = of(s);
	int ret = s->tx.error;

	if (ret == 0 && uring_stream_is_stopped(s))
		ret = -ECANCELED;
	if (ret == 0)
		iov_cursor_set(&t->cursor, iov, n);
	while (ret == 0 && t->cursor.left)
		ret = seal_some(s);
	if (ret == 0)
		ret = flush(s);
	if (ret < 0)
		s->tx.error = ret;
	return ret;
}

/* ---- receiving ---- */

/* More of a record whose end has not come. Only a message of the peer's is an end in order. */
static int receive_some(struct uring_stream *s)
{
	struct tls_stream *t = of(s);
	size_t got;
	int ret;

	memmove(t->buffer, t->buffer + t->begin, t->end - t->begin);
	t->end -= t->begin;
	t->begin = 0;
	ret = uring_stream_recv_some(s, t->buffer + t->end, IN_SIZE - t->end, &got);
	t->end += got;
	return ret == -ENODATA ? -ECONNRESET : ret;
}

/* A whole record at the buffer's begin, of *size bytes. */
static int await_record(struct uring_stream *s, size_t *size)
{
	struct tls_stream *t = of(s);

	for (;;) {
		ssize_t n = tls_record_size(t->buffer + t->begin, t->end - t->begin);
		int ret;

		if (n < 0)
			return (int)n;
		*size = (size_t)n;
		if (n > 0 && *size <= t->end - t->begin)
			return 0;
		ret = receive_some(s);
		if (ret < 0)
			return ret;
	}
}

static int take_key_update(struct tls_stream *t, const uint8_t *message, size_t n)
{
	static const uint8_t expected[] = {KEY_UPDATE, 0, 0, 1};

	if (n != sizeof(expected) + 1 || memcmp(message, expected, sizeof(expected)) != 0 ||
	    message[sizeof(expected)] > 1)
		return -EPROTO;
	t->renew = t->renew || message[sizeof(expected)];
	return tls_record_renew(t->in);
}

/* -ENODATA: the end. */
static int take(struct tls_stream *t, enum tls_content type, uint8_t *at, size_t n)
{
	switch (type) {
	case TLS_DATA:
		t->rest = at;
		t->rest_size = n;
		return 0;
	case TLS_HANDSHAKE:
		return take_key_update(t, at, n);
	case TLS_ALERT:
		return n == 2 && at[1] == CLOSE_NOTIFY ? -ENODATA : -EPROTO;
	default:
		return -EPROTO;
	}
}

/* Where it is, and then looked at. */
static int open_in_place(struct tls_stream *t, uint8_t *record, size_t size)
{
	uint8_t *inner = record + TLS_RECORD_HEAD;
	size_t n = tls_record_inner(size);
	int ret = tls_record_open(t->in, record, size, &(struct iovec){inner, n}, 1);

	if (ret < 0)
		return ret;
	while (n && inner[n - 1] == 0)
		n--;
	return n && n - 1 <= TLS_RECORD_MAX ? take(t, inner[n - 1], inner, n - 1) : -EPROTO;
}

/* To the caller's buffers, and what they have no room for where it is. Padding, which we never
 * send, is not looked for here. */
static int open_direct(struct tls_stream *t, uint8_t *record, size_t size)
{
	size_t payload = tls_record_inner(size) - 1;
	size_t wanted = payload < t->cursor.left ? payload : t->cursor.left;
	uint8_t type;
	unsigned int n = iov_cursor_window(&t->cursor, wanted, t->pieces);
	int ret = probe(t->pieces, n);

	if (ret < 0)
		return ret;
	t->rest = record + TLS_RECORD_HEAD + wanted;
	t->rest_size = payload - wanted;
	t->pieces[n++] = (struct iovec){t->rest, t->rest_size};
	t->pieces[n++] = (struct iovec){&type, sizeof(type)};
	ret = tls_record_open(t->in, record, size, t->pieces, n);
	if (ret < 0)
		return ret;
	iov_cursor_advance(&t->cursor, wanted);
	return type == TLS_DATA && payload <= TLS_RECORD_MAX ? 0 : -EPROTO;
}

static int open_some(struct uring_stream *s)
{
	struct tls_stream *t = of(s);
	uint8_t *record;
	size_t size = 0;
	int ret = await_record(s, &size);

	if (ret < 0)
		return ret;
	record = t->buffer + t->begin;
	t->begin += size;
	return size < DIRECT_MIN ? open_in_place(t, record, size) : open_direct(t, record, size);
}

static int copy_some(struct tls_stream *t)
{
	struct iovec *to = &t->cursor.iov[t->cursor.first];
	size_t n = t->rest_size < to->iov_len ? t->rest_size : to->iov_len;
	int ret = ram_access_probe(to->iov_base, n);

	if (ret < 0)
		return ret;
	memcpy(to->iov_base, t->rest, n);
	t->rest += n;
	t->rest_size -= n;
	iov_cursor_advance(&t->cursor, n);
	return 0;
}

static int tls_stream_recv(struct byte_stream *base, const struct iovec *iov, unsigned int n)
{
	struct uring_stream *s = uring_stream_of(base);
	struct tls_stream *t = of(s);
	size_t total;
	int ret = s->rx.error;

	if (ret == 0 && uring_stream_is_stopped(s))
		ret = -ECANCELED;
	if (ret < 0)
		return s->rx.error = ret;
	iov_cursor_set(&t->cursor, iov, n);
	total = t->cursor.left;
	while (ret == 0 && t->cursor.left)
		ret = t->rest_size ? copy_some(t) : open_some(s);
	if (ret == -ENODATA && t->cursor.left != total)
		ret = -ECONNRESET;
	if (ret < 0 && uring_stream_is_stopped(s))
		ret = -ECANCELED;
	return s->rx.error = ret;
}

/* ---- life ---- */

static void state_free(struct tls_stream *t)
{
	tls_record_destroy(t->out);
	tls_record_destroy(t->in);
	free(t->buffers[0]);
	free(t->buffers[1]);
	free(t->buffer);
	free(t);
}

static struct tls_stream *state_new(struct tls *tls, struct errtext *err)
{
	struct tls_stream *t = calloc(1, sizeof(*t));
	int ret = -ENOMEM;

	if (!t)
		return NULL;
	t->tls = tls;
	t->buffers[0] = malloc(OUT_SIZE);
	t->buffers[1] = malloc(OUT_SIZE);
	t->buffer = malloc(IN_SIZE);
	if (t->buffers[0] && t->buffers[1] && t->buffer)
		ret = tls_take_over(tls, &t->out, &t->in, err);
	if (ret == 0)
		return t;
	state_free(t);
	return NULL;
}

/* A farewell that the socket has no room for is not waited for. */
static void tls_stream_end(struct uring_stream *s)
{
	struct tls_stream *t = of(s);
	uint8_t alert[] = {1, CLOSE_NOTIFY};

	if (s->tx.error || s->tx.requested || uring_stream_is_stopped(s) ||
	    seal(t, TLS_ALERT, &(struct iovec){alert, sizeof(alert)}, 1) < 0)
		return;
	(void)send(s->fd, t->buffers[t->current], t->used, MSG_DONTWAIT | MSG_NOSIGNAL);
}

static void tls_stream_destroy(struct uring_stream *s)
{
	tls_destroy(of(s)->tls);
	state_free(of(s));
}

static const struct uring_stream_layer layer = {tls_stream_end, tls_stream_destroy};

static int protect(struct byte_stream *stream, struct tls *tls, struct errtext *err)
{
	struct uring_stream *s = uring_stream_of(stream);
	struct tls_stream *t = state_new(tls, err);

	if (!t)
		return errtext_set(err, -ENOMEM, "cannot create a stream: out of memory");
	t->ops = *s->base.ops;
	t->ops.send = tls_stream_send;
	t->ops.recv = tls_stream_recv;
	s->layer_state = t;
	s->layer = &layer;
	s->base.batch = RECORDS * (size_t)TLS_RECORD_MAX;
	s->base.ops = &t->ops;
	return 0;
}

int tls_stream_new(struct line line, const struct uring_stream_options *opt,
		   struct byte_stream **out, struct errtext *err)
{
	struct byte_stream *stream;
	int ret = uring_stream_new(line.fd, opt, &stream, err);

	if (ret < 0) {
		line_close(&line);
		return ret;
	}
	ret = line.tls ? protect(stream, line.tls, err) : 0;
	if (ret == 0) {
		*out = stream;
		return 0;
	}
	stream->ops->destroy(stream);
	tls_destroy(line.tls);
	return ret;
}
