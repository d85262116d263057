// SPDX-License-Identifier: Apache-2.0
// A stream under TLS: the caller's memory is sealed into records, and the records are sent.
//
//   send   caller's buffers -> records of 16 KiB -> one of two buffers of many records -> io_uring
//   recv   io_uring -> as much as there is, into OpenSSL's buffer -> opened into the caller's
//
// While the kernel sends one buffer, the stream's own thread seals the next: on the core that also
// sends, out of a cache that still has it. Copies beside the cipher's own are those that OpenSSL
// forces: of what is no 16 KiB in one piece into one (a record is sealed from one piece), of a
// record out of OpenSSL's buffer, and back into the caller's on the other side. Nothing of the
// caller's memory is in use once a call has returned. That may be a guest's, in which a page may be
// missing for good: OpenSSL cannot be left in the middle, so each piece is probed before
// (ram_access_probe), and fails as the kernel would on the plain way.
//
// The thread that receives waits for the socket only when nothing is left to be opened; meanwhile
// the kernel goes on to receive into the socket.
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include "ram_access.h"
#include "tls_stream.h"
#include "uring_stream_private.h"

#define RECORDS 16
#define RECORD_SIZE (TLS_RECORD_MAX + TLS_RECORD_OVERHEAD)
/* A record and, before it, the message that renews the key. */
#define ROOM (RECORD_SIZE + TLS_RECORD_OVERHEAD)
#define BUFFER_SIZE (RECORDS * (size_t)RECORD_SIZE + ROOM)
#define READ_AHEAD (RECORDS * (size_t)RECORD_SIZE)

struct tls_stream {
	struct byte_stream_ops ops; /* the stream's, but for these two ways */
	struct tls *tls;
	uint8_t *buffers[2];
	unsigned int current; /* is being filled; the other may be in the kernel */
	size_t used;
	size_t gathered;
	uint8_t gather[TLS_RECORD_MAX];
};

static struct tls_stream *of(const struct uring_stream *s)
{
	return s->layer_state;
}

/* ---- OpenSSL's side ---- */

static ssize_t read_records(void *opaque, void *buf, size_t n)
{
	size_t got;
	int ret = uring_stream_recv_some(opaque, buf, n, &got);

	return ret == 0 ? (ssize_t)got : (ret == -ENODATA ? 0 : ret);
}

/* There is room, but for what a peer makes OpenSSL say by itself. */
static ssize_t write_record(void *opaque, const void *buf, size_t n)
{
	struct tls_stream *t = of((struct uring_stream *)opaque);

	if (n > BUFFER_SIZE - t->used)
		return -ENOBUFS;
	memcpy(t->buffers[t->current] + t->used, buf, n);
	t->used += n;
	return (ssize_t)n;
}

static const struct tls_io records_io = {read_records, write_record};

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

static size_t record_of(size_t n)
{
	return n < TLS_RECORD_MAX ? n : TLS_RECORD_MAX;
}

static int seal(struct uring_stream *s, const uint8_t *from, size_t n)
{
	struct tls_stream *t = of(s);

	while (n) {
		ssize_t done;
		int ret = BUFFER_SIZE - t->used < ROOM ? flush(s) : 0;

		if (ret == 0)
			ret = ram_access_probe(from, record_of(n));
		if (ret < 0)
			return s->tx.error = ret;
		done = tls_write(t->tls, from, record_of(n));
		if (done < 0)
			return s->tx.error = (int)done;
		from += done;
		n -= (size_t)done;
	}
	return 0;
}

static int seal_gathered(struct uring_stream *s)
{
	size_t n = of(s)->gathered;

	of(s)->gathered = 0;
	return seal(s, of(s)->gather, n);
}

static int gather(struct tls_stream *t, const uint8_t *from, size_t n, size_t *some)
{
	size_t room = TLS_RECORD_MAX - t->gathered;
	int ret;

	*some = room < n ? room : n;
	ret = ram_access_probe(from, *some);
	if (ret < 0)
		return ret;
	memcpy(t->gather + t->gathered, from, *some);
	t->gathered += *some;
	return 0;
}

/* Whole records are sealed where they are. */
static int seal_buffer(struct uring_stream *s, const uint8_t *from, size_t n)
{
	struct tls_stream *t = of(s);
	int ret = 0;

	while (n && ret == 0) {
		size_t some;

		if (t->gathered == 0 && n >= TLS_RECORD_MAX) {
			some = n - n % TLS_RECORD_MAX;
			ret = seal(s, from, some);
		} else {
			ret = s->tx.error = gather(t, from, n, &some);
			if (ret == 0 && t->gathered == TLS_RECORD_MAX)
				ret = seal_gathered(s);
		}
		from += some;
		n -= some;
	}
	return ret;
}

static int tls_stream_send(struct byte_stream *base, const struct iovec *iov, unsigned int n)
{
	struct uring_stream *s = uring_stream_of(base);
	int ret = s->tx.error;

	if (ret == 0 && uring_stream_is_stopped(s))
		ret = s->tx.error = -ECANCELED;
	for (unsigned int i = 0; i < n && ret == 0; i++)
		ret = seal_buffer(s, iov[i].iov_base, iov[i].iov_len);
	if (ret == 0)
		ret = seal_gathered(s);
	return ret < 0 ? ret : flush(s);
}

/* ---- receiving ---- */

static int open_into(struct uring_stream *s, uint8_t *to, size_t n, bool *begun)
{
	while (n) {
		ssize_t got = ram_access_probe(to, record_of(n));

		if (got == 0)
			got = tls_read(of(s)->tls, to, record_of(n));
		if (got == 0)
			return *begun ? -ECONNRESET : -ENODATA;
		if (got < 0)
			return (int)got;
		*begun = true;
		to += got;
		n -= (size_t)got;
	}
	return 0;
}

static int tls_stream_recv(struct byte_stream *base, const struct iovec *iov, unsigned int n)
{
	struct uring_stream *s = uring_stream_of(base);
	bool begun = false;
	int ret = s->rx.error;

	if (ret == 0 && uring_stream_is_stopped(s))
		ret = -ECANCELED;
	for (unsigned int i = 0; i < n && ret == 0; i++)
		ret = open_into(s, iov[i].iov_base, iov[i].iov_len, &begun);
	if (ret < 0 && uring_stream_is_stopped(s))
		ret = -ECANCELED;
	return s->rx.error = ret;
}

/* ---- life ---- */

static struct tls_stream *state_new(struct tls *tls)
{
	struct tls_stream *t = calloc(1, sizeof(*t));

	if (!t)
		return NULL;
	t->tls = tls;
	t->buffers[0] = malloc(BUFFER_SIZE);
	t->buffers[1] = malloc(BUFFER_SIZE);
	if (t->buffers[0] && t->buffers[1])
		return t;
	free(t->buffers[0]);
	free(t->buffers[1]);
	free(t);
	return NULL;
}

/* A farewell that the socket has no room for is not waited for. */
static void tls_stream_end(struct uring_stream *s)
{
	struct tls_stream *t = of(s);

	if (s->tx.error || s->tx.requested || uring_stream_is_stopped(s) || tls_end(t->tls) < 0)
		return;
	(void)send(s->fd, t->buffers[t->current], t->used, MSG_DONTWAIT | MSG_NOSIGNAL);
}

static void tls_stream_destroy(struct uring_stream *s)
{
	struct tls_stream *t = of(s);

	tls_destroy(t->tls);
	free(t->buffers[0]);
	free(t->buffers[1]);
	free(t);
}

static const struct uring_stream_layer layer = {tls_stream_end, tls_stream_destroy};

static int protect(struct byte_stream *stream, struct tls *tls, struct errtext *err)
{
	struct uring_stream *s = uring_stream_of(stream);
	struct tls_stream *t = state_new(tls);

	if (!t)
		return errtext_set(err, -ENOMEM, "cannot create a stream: out of memory");
	t->ops = *s->base.ops;
	t->ops.send = tls_stream_send;
	t->ops.recv = tls_stream_recv;
	s->layer_state = t;
	s->layer = &layer;
	s->base.batch = RECORDS * (size_t)TLS_RECORD_MAX;
	s->base.ops = &t->ops;
	tls_set_io(tls, &records_io, s, READ_AHEAD);
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
