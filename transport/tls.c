// SPDX-License-Identifier: Apache-2.0
// Bytes through TLS: what OpenSSL reads and writes, and what it says of it.
#include "tls.h"

#include <errno.h>
#include <openssl/err.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include "cleanup.h"
#include "tls_private.h"

/* Less than 2^24.5 (RFC 8446, 5.5), by enough for what is under way. */
#define RECORD_LIMIT (1ull << 24)

bool tls_secret_is_set(const struct tls_secret *s)
{
	static const struct tls_secret none;

	return memcmp(s->key, none.key, sizeof(s->key)) != 0;
}

/* ---- the socket, not waited for ---- */

static ssize_t socket_read(void *opaque, void *buf, size_t n)
{
	const struct tls *t = opaque;
	ssize_t got;

	do
		got = recv(t->fd, buf, n, MSG_DONTWAIT);
	while (got < 0 && errno == EINTR);
	return got < 0 ? -errno : got;
}

static ssize_t socket_write(void *opaque, const void *buf, size_t n)
{
	const struct tls *t = opaque;
	ssize_t put;

	do
		put = send(t->fd, buf, n, MSG_DONTWAIT | MSG_NOSIGNAL);
	while (put < 0 && errno == EINTR);
	return put < 0 ? -errno : put;
}

static const struct tls_io socket_io = {socket_read, socket_write};

/* ---- OpenSSL's way to it ---- */

static bool again(ssize_t ret)
{
	return ret == -EAGAIN || ret == -EWOULDBLOCK;
}

static void note_first(struct tls *t, const char *buf, size_t n)
{
	for (size_t i = 0; i < n && t->first_count < sizeof(t->first); i++)
		t->first[t->first_count++] = (uint8_t)buf[i];
}

static int bio_read(BIO *bio, char *buf, size_t size, size_t *done)
{
	struct tls *t = BIO_get_data(bio);
	ssize_t n = t->io->read(t->opaque, buf, size);

	BIO_clear_retry_flags(bio);
	*done = n > 0 ? (size_t)n : 0;
	if (n > 0)
		note_first(t, buf, (size_t)n);
	else if (again(n))
		BIO_set_retry_read(bio);
	else if (n == 0)
		t->at_end = true;
	else
		t->io_error = (int)n;
	return n > 0;
}

static int bio_write(BIO *bio, const char *buf, size_t size, size_t *done)
{
	struct tls *t = BIO_get_data(bio);
	ssize_t n = t->io->write(t->opaque, buf, size);

	BIO_clear_retry_flags(bio);
	*done = n > 0 ? (size_t)n : 0;
	if (again(n))
		BIO_set_retry_write(bio);
	else if (n < 0)
		t->io_error = (int)n;
	return n > 0;
}

static long bio_ctrl(BIO *bio, int what, long number, void *pointer)
{
	const struct tls *t = BIO_get_data(bio);

	(void)number;
	(void)pointer;
	switch (what) {
	case BIO_CTRL_FLUSH:
		return 1;
	case BIO_CTRL_EOF:
		return t->at_end;
	default:
		return 0;
	}
}

static int set_bio(struct tls *t)
{
	BIO *bio;

	t->method = BIO_meth_new(BIO_TYPE_SOURCE_SINK, "dray");
	if (!t->method)
		return -ENOMEM;
	BIO_meth_set_read_ex(t->method, bio_read);
	BIO_meth_set_write_ex(t->method, bio_write);
	BIO_meth_set_ctrl(t->method, bio_ctrl);
	bio = BIO_new(t->method);
	if (!bio)
		return -ENOMEM;
	BIO_set_data(bio, t);
	BIO_set_init(bio, 1);
	SSL_set_bio(t->ssl, bio, bio);
	return 0;
}

/* ---- life ---- */

int tls_new(int fd, SSL_CTX *ctx, struct tls **out)
{
	struct tls *t = calloc(1, sizeof(*t));
	int ret;

	if (!t)
		return -ENOMEM;
	t->fd = fd;
	t->io = &socket_io;
	t->opaque = t;
	t->record_limit = RECORD_LIMIT;
	pthread_mutex_init(&t->lock, NULL);
	t->ssl = SSL_new(ctx);
	ret = t->ssl ? set_bio(t) : -ENOMEM;
	if (ret < 0) {
		tls_destroy(t);
		return ret;
	}
	SSL_set_app_data(t->ssl, t);
	*out = t;
	return 0;
}

void tls_destroy(struct tls *t)
{
	if (!t)
		return;
	SSL_free(t->ssl);
	BIO_meth_free(t->method);
	pthread_mutex_destroy(&t->lock);
	OPENSSL_cleanse(&t->secret, sizeof(t->secret));
	free(t);
}

void tls_set_io(struct tls *t, const struct tls_io *io, void *opaque, size_t read_ahead)
{
	t->io = io;
	t->opaque = opaque;
	/* Until now the buffers were given back when they were empty, so that this counts. */
	SSL_set_default_read_buffer_len(t->ssl, read_ahead);
	SSL_set_read_ahead(t->ssl, 1);
	SSL_clear_mode(t->ssl, SSL_MODE_RELEASE_BUFFERS);
}

void tls_set_record_limit(struct tls *t, uint64_t records)
{
	t->record_limit = records;
}

/* ---- what came of it ---- */

static int note(struct tls *t, int code, const char *text)
{
	return errtext_set(&t->why, code, "%s", text);
}

static int broken(struct tls *t)
{
	char text[ERRTEXT_SIZE];
	unsigned long first = ERR_peek_error();
	int reason = ERR_GET_REASON(first);

	if (t->io_error)
		return note(t, t->io_error, strerror(-t->io_error));
	if (t->at_end)
		return note(t, -ECONNRESET, "the connection was cut off (no close_notify)");
	if (ERR_GET_LIB(first) == ERR_LIB_SSL && reason >= SSL_AD_REASON_OFFSET)
		snprintf(text, sizeof(text), "it refuses: TLS alert \"%s\"",
			 SSL_alert_desc_string_long(reason - SSL_AD_REASON_OFFSET));
	else
		tls_certificate_last_error(text, sizeof(text));
	return note(t, -EPROTO, text);
}

int tls_fail(struct tls *t, int returned)
{
	switch (SSL_get_error(t->ssl, returned)) {
	case SSL_ERROR_ZERO_RETURN:
		return 0;
	case SSL_ERROR_WANT_READ:
		atomic_store_explicit(&t->wants, POLLIN, memory_order_relaxed);
		return -EAGAIN;
	case SSL_ERROR_WANT_WRITE:
		atomic_store_explicit(&t->wants, POLLOUT, memory_order_relaxed);
		return -EAGAIN;
	default:
		return broken(t);
	}
}

/* ---- bytes ---- */

ssize_t tls_read(struct tls *t, void *buf, size_t len)
{
	size_t n = 0;
	ssize_t ret;

	pthread_mutex_lock(&t->lock);
	ERR_clear_error();
	ret = SSL_read_ex(t->ssl, buf, len, &n);
	ret = ret > 0 ? (ssize_t)n : tls_fail(t, (int)ret);
	pthread_mutex_unlock(&t->lock);
	return ret;
}

/* It goes out before the next record. */
static int renew_key(struct tls *t)
{
	if (t->records < t->record_limit)
		return 0;
	if (SSL_key_update(t->ssl, SSL_KEY_UPDATE_NOT_REQUESTED) != 1)
		return broken(t);
	t->records = 0;
	t->key_updates++;
	return 0;
}

/* At most one record. */
static ssize_t write_record(struct tls *t, const void *buf, size_t len)
{
	size_t n = 0;
	int ret = renew_key(t);

	if (ret < 0)
		return ret;
	ret = SSL_write_ex(t->ssl, buf, len < TLS_RECORD_MAX ? len : TLS_RECORD_MAX, &n);
	if (ret <= 0) {
		ret = tls_fail(t, ret);
		return ret ? ret : -EPIPE;
	}
	t->records++;
	return (ssize_t)n;
}

ssize_t tls_write(struct tls *t, const void *buf, size_t len)
{
	size_t done = 0;
	ssize_t n = 0;

	pthread_mutex_lock(&t->lock);
	ERR_clear_error();
	while (done < len) {
		n = write_record(t, (const char *)buf + done, len - done);
		if (n < 0)
			break;
		done += (size_t)n;
	}
	pthread_mutex_unlock(&t->lock);
	return done ? (ssize_t)done : n;
}

int tls_end(struct tls *t)
{
	int ret = 0;

	pthread_mutex_lock(&t->lock);
	ERR_clear_error();
	if (!t->why.text[0])
		ret = SSL_shutdown(t->ssl);
	if (ret < 0)
		ret = tls_fail(t, ret);
	ERR_clear_error();
	pthread_mutex_unlock(&t->lock);
	return ret < 0 ? ret : 0;
}

/* ---- questions ---- */

bool tls_has_pending(struct tls *t)
{
	bool pending;

	pthread_mutex_lock(&t->lock);
	pending = SSL_pending(t->ssl) > 0; /* whole records; parts of one are for poll(2) */
	pthread_mutex_unlock(&t->lock);
	return pending;
}

short tls_wants(const struct tls *t)
{
	return atomic_load_explicit(&t->wants, memory_order_relaxed);
}

const char *tls_why(const struct tls *t)
{
	return t->why.text;
}

const char *tls_cipher(const struct tls *t)
{
	return SSL_get_cipher_name(t->ssl);
}

const char *tls_peer(const struct tls *t)
{
	return t->subject;
}

bool tls_by_secret(const struct tls *t, struct tls_secret *secret)
{
	if (t->by_secret && secret)
		*secret = t->secret;
	return t->by_secret;
}

uint64_t tls_key_updates(const struct tls *t)
{
	return t->key_updates;
}
