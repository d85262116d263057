// SPDX-License-Identifier: Apache-2.0
// From OpenSSL's records to our own: where each direction stands when it is taken over.
//
// That is a secret, which OpenSSL tells by its key log (in the format of NSS), and the number of
// records that it has protected, which OpenSSL tells record by record from the handshake on. It
// reads a record at a time, so that nothing behind the last one has left the socket.
#include <errno.h>
#include <stdatomic.h>
#include <string.h>
#include "tls_private.h"

#define CLIENT "CLIENT_TRAFFIC_SECRET_0 "
#define SERVER "SERVER_TRAFFIC_SECRET_0 "

static void note(struct tls *t, enum tls_direction direction, const char *line)
{
	const char *hex = strrchr(line, ' ');
	size_t n = 0;

	/* Only of a hash of another size would it be longer, or shorter. */
	if (hex &&
	    OPENSSL_hexstr2buf_ex(t->traffic[direction].secret, TLS_TRAFFIC_SECRET_SIZE, &n,
				  hex + 1, '\0') == 1 &&
	    n == TLS_TRAFFIC_SECRET_SIZE)
		t->traffic_known |= 1u << direction;
}

void tls_takeover_secret(const SSL *ssl, const char *line)
{
	struct tls *t = SSL_get_app_data(ssl);
	bool server = SSL_is_server(ssl);

	if (strncmp(line, CLIENT, strlen(CLIENT)) == 0)
		note(t, server ? TLS_IN : TLS_OUT, line);
	else if (strncmp(line, SERVER, strlen(SERVER)) == 0)
		note(t, server ? TLS_OUT : TLS_IN, line);
}

static void count(int written, int version, int type, const void *buf, size_t len, SSL *ssl,
		  void *opaque)
{
	struct tls *t = opaque;

	(void)version;
	(void)buf;
	(void)len;
	(void)ssl;
	if (type == SSL3_RT_INNER_CONTENT_TYPE)
		t->traffic[written ? TLS_OUT : TLS_IN].records++;
}

void tls_takeover_count(struct tls *t)
{
	SSL_set_msg_callback(t->ssl, count);
	SSL_set_msg_callback_arg(t->ssl, t);
}

/* A suite that came to be the connection's by tls_credentials.c's list. */
static int learn_suite(struct tls *t)
{
	bool chacha;

	switch (SSL_CIPHER_get_protocol_id(SSL_get_current_cipher(t->ssl))) {
	case 0x1301:
		chacha = false;
		break;
	case 0x1303:
		chacha = true;
		break;
	default:
		return -ENOTSUP;
	}
	t->traffic[TLS_IN].chacha = t->traffic[TLS_OUT].chacha = chacha;
	return 0;
}

static int make(struct tls *t, struct tls_record **out, struct tls_record **in)
{
	int ret = learn_suite(t);

	*out = *in = NULL;
	if (t->traffic_known != (1u << TLS_IN | 1u << TLS_OUT) || t->key_updates ||
	    SSL_has_pending(t->ssl) || t->why.text[0])
		return -EPROTO;
	if (ret == 0)
		ret = tls_record_new(&t->traffic[TLS_OUT], true, out);
	if (ret == 0)
		ret = tls_record_new(&t->traffic[TLS_IN], false, in);
	return ret;
}

int tls_take_over(struct tls *t, struct tls_record **out, struct tls_record **in,
		  struct errtext *err)
{
	int ret;

	pthread_mutex_lock(&t->lock);
	ret = make(t, out, in);
	OPENSSL_cleanse(t->traffic, sizeof(t->traffic));
	t->traffic_known = 0;
	pthread_mutex_unlock(&t->lock);
	if (ret == 0)
		return 0;
	tls_record_destroy(*out);
	tls_record_destroy(*in);
	return errtext_set(err, ret, "TLS: memory's records cannot be made here: %s",
			   strerror(-ret));
}

bool tls_is_worn(const struct tls *t, uint64_t records)
{
	return records >= t->record_limit;
}

void tls_key_updated(struct tls *t)
{
	t->key_updates++;
}
