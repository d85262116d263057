// SPDX-License-Identifier: Apache-2.0
// The two halves of TLS's handshake, by certificates or by a session's secret.
#include <arpa/inet.h>
#include <errno.h>
#include <openssl/err.h>
#include <openssl/x509v3.h>
#include <string.h>
#include "cleanup.h"
#include "deadline.h"
#include "tls_private.h"
#include "wire.h"

#define EXPORTER_LABEL "EXPORTER-dray-session"
#define IDENTITY_MARK "dray-psk" /* then the session's number, then the secret's id */
#define MARK_SIZE (sizeof(IDENTITY_MARK) - 1)

_Static_assert(TLS_SESSION_SIZE == WIRE_SESSION_SIZE, "one number for a session");
_Static_assert(MARK_SIZE + TLS_SESSION_SIZE + sizeof(((struct tls_secret *)0)->id) ==
		       sizeof(((struct tls *)0)->identity),
	       "an identity has room for all of it");

/* TLS_AES_128_GCM_SHA256: it stands for its hash. */
static const unsigned char psk_cipher[] = {0x13, 0x01};

/* ---- secrets ---- */

static void identify(struct tls *t)
{
	memcpy(t->identity, IDENTITY_MARK, MARK_SIZE);
	memcpy(t->identity + MARK_SIZE, t->secret.session, TLS_SESSION_SIZE);
	memcpy(t->identity + MARK_SIZE + TLS_SESSION_SIZE, t->secret.id, sizeof(t->secret.id));
}

static SSL_SESSION *secret_session(SSL *ssl, const struct tls_secret *secret)
{
	const SSL_CIPHER *cipher = SSL_CIPHER_find(ssl, psk_cipher);
	SSL_SESSION *s = SSL_SESSION_new();

	if (s && cipher && SSL_SESSION_set1_master_key(s, secret->key, sizeof(secret->key)) == 1 &&
	    SSL_SESSION_set1_id_context(s, (const unsigned char *)TLS_CONTEXT_NAME,
					sizeof(TLS_CONTEXT_NAME) - 1) == 1 &&
	    SSL_SESSION_set_cipher(s, cipher) == 1 &&
	    SSL_SESSION_set_protocol_version(s, TLS1_3_VERSION) == 1)
		return s;
	SSL_SESSION_free(s);
	return NULL;
}

static int offer_secret(SSL *ssl, const EVP_MD *md, const unsigned char **id, size_t *id_len,
			SSL_SESSION **session)
{
	struct tls *t = SSL_get_app_data(ssl);

	*session = NULL;
	*id = NULL;
	*id_len = 0;
	if (!tls_secret_is_set(&t->secret) || (md && EVP_MD_get_type(md) != NID_sha256))
		return 1;
	*session = secret_session(ssl, &t->secret);
	*id = t->identity;
	*id_len = sizeof(t->identity);
	return *session != NULL;
}

static int find_secret(SSL *ssl, const unsigned char *id, size_t id_len, SSL_SESSION **session)
{
	struct tls *t = SSL_get_app_data(ssl);
	const struct tls_accept_options *a = t->accept;

	*session = NULL;
	if (!a->find || id_len != sizeof(t->identity) || memcmp(id, IDENTITY_MARK, MARK_SIZE) != 0)
		return 1;
	if (!a->find(a->opaque, id + MARK_SIZE, id + MARK_SIZE + TLS_SESSION_SIZE, &t->secret))
		return 1;
	*session = secret_session(ssl, &t->secret);
	return *session != NULL;
}

int tls_export(struct tls *t, const uint8_t session[TLS_SESSION_SIZE], struct tls_secret *out)
{
	uint8_t both[sizeof(out->id) + sizeof(out->key)];
	int ok;

	pthread_mutex_lock(&t->lock);
	ok = SSL_export_keying_material(t->ssl, both, sizeof(both), EXPORTER_LABEL,
					sizeof(EXPORTER_LABEL) - 1, session, TLS_SESSION_SIZE, 1);
	pthread_mutex_unlock(&t->lock);
	if (ok != 1)
		return -EPROTO;
	memcpy(out->session, session, TLS_SESSION_SIZE);
	memcpy(out->id, both, sizeof(out->id));
	memcpy(out->key, both + sizeof(out->id), sizeof(out->key));
	OPENSSL_cleanse(both, sizeof(both));
	return 0;
}

/* ---- certificates ---- */

static int verify(int ok, X509_STORE_CTX *store)
{
	SSL *ssl = X509_STORE_CTX_get_ex_data(store, SSL_get_ex_data_X509_STORE_CTX_idx());
	struct tls *t = SSL_get_app_data(ssl);

	if (!ok)
		tls_certificate_explain(store, t->whose, tls_credentials_dir(t->credentials),
					t->name, &t->why);
	return ok;
}

/* Only asked for a certificate where no secret will do. */
static int show_certificate(SSL *ssl, void *opaque)
{
	struct tls *t = SSL_get_app_data(ssl);

	(void)opaque;
	if (!t->stale.text[0])
		return 1;
	errtext_set(&t->why, -EKEYREJECTED, "%s", t->stale.text);
	return 0;
}

static int expect_name(struct tls *t, const char *name)
{
	X509_VERIFY_PARAM *param = SSL_get0_param(t->ssl);
	uint8_t bytes[16];

	if (inet_pton(AF_INET, name, bytes) == 1 || inet_pton(AF_INET6, name, bytes) == 1)
		return X509_VERIFY_PARAM_set1_ip_asc(param, name) == 1 ? 0 : -EINVAL;
	X509_VERIFY_PARAM_set_hostflags(param, X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS);
	SSL_set_tlsext_host_name(t->ssl, name);
	return X509_VERIFY_PARAM_set1_host(param, name, 0) == 1 ? 0 : -EINVAL;
}

/* ---- the handshake ---- */

static int shake(struct tls *t, int timeout_ms)
{
	struct deadline deadline;
	int ret;

	deadline_set(&deadline, timeout_ms);
	for (;;) {
		ERR_clear_error();
		ret = SSL_do_handshake(t->ssl);
		if (ret == 1)
			return 0;
		ret = tls_fail(t, ret);
		if (ret != -EAGAIN)
			return ret ? ret : -EPROTO;
		ret = deadline_await(&deadline, t->fd, tls_wants(t));
		if (ret < 0)
			return errtext_set(&t->why, ret, "the handshake was not finished in time");
	}
}

/* It has answered, or begun, in the words of wire.h: without TLS. */
static bool speaks_plainly(const struct tls *t)
{
	uint32_t first =
		t->first[0] | t->first[1] << 8 | t->first[2] << 16 | (uint32_t)t->first[3] << 24;

	return t->first_count == sizeof(t->first) && first == WIRE_MAGIC;
}

static void learn_peer(struct tls *t)
{
	X509 *cert = SSL_get1_peer_certificate(t->ssl);

	t->by_secret = SSL_session_reused(t->ssl) == 1;
	if (cert)
		tls_certificate_subject(cert, t->subject);
	X509_free(cert);
}

static int finish(struct tls *t, int timeout_ms, struct tls **out, struct errtext *err)
{
	int ret = shake(t, timeout_ms);

	if (ret < 0 && speaks_plainly(t))
		ret = errtext_set(err, -EPROTOTYPE, "it does not speak TLS");
	if (ret < 0)
		errtext_set(err, ret, "TLS: %s", t->why.text);
	if (ret == 0) {
		learn_peer(t);
		if (!t->by_secret && SSL_get_verify_result(t->ssl) != X509_V_OK)
			ret = errtext_set(err, -EKEYREJECTED, "TLS: %s", t->why.text);
	}
	t->accept = NULL;
	t->name = NULL;
	t->why = (struct errtext){0};
	if (ret < 0)
		tls_destroy(t);
	else
		*out = t;
	return ret;
}

/* Credentials that are no good any more still do for a connection that needs none. */
static int begin(int fd, struct tls_credentials *credentials, const char *whose, struct tls **out,
		 struct errtext *err)
{
	struct errtext stale = {0};
	SSL_CTX *ctx = NULL;
	int ret;

	tls_credentials_current(credentials, &ctx, &stale);
	if (!ctx)
		return errtext_set(err, -ENOENT, "%s", stale.text);
	ret = tls_new(fd, ctx, out);
	SSL_CTX_free(ctx);
	if (ret < 0)
		return errtext_set(err, ret, "cannot begin with TLS: %s", strerror(-ret));
	(*out)->credentials = credentials;
	(*out)->whose = whose;
	(*out)->stale = stale;
	SSL_set_verify((*out)->ssl, SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT, verify);
	SSL_set_cert_cb((*out)->ssl, show_certificate, NULL);
	return 0;
}

int tls_connect(int fd, const struct tls_connect_options *options, struct tls **out,
		struct errtext *err)
{
	struct tls *t;
	int ret = begin(fd, options->credentials, "the destination's", &t, err);

	if (ret < 0)
		return ret;
	t->name = options->name;
	if (options->secret)
		t->secret = *options->secret;
	identify(t);
	SSL_set_psk_use_session_callback(t->ssl, offer_secret);
	SSL_set_connect_state(t->ssl);
	ret = expect_name(t, options->name);
	if (ret < 0) {
		tls_destroy(t);
		return errtext_set(err, ret, "%s: not a name that a certificate can have",
				   options->name);
	}
	return finish(t, options->timeout_ms, out, err);
}

int tls_accept(int fd, const struct tls_accept_options *options, struct tls **out,
	       struct errtext *err)
{
	struct tls *t;
	int ret = begin(fd, options->credentials, "the source's", &t, err);

	if (ret < 0)
		return ret;
	t->accept = options;
	SSL_set_psk_find_session_callback(t->ssl, find_secret);
	SSL_set_accept_state(t->ssl);
	return finish(t, options->timeout_ms, out, err);
}

bool tls_peer_matches(const struct tls *t, const char *pattern)
{
	X509 *cert = SSL_get1_peer_certificate(t->ssl);
	bool matches = cert && tls_certificate_matches(cert, pattern);

	X509_free(cert);
	return matches;
}
