// SPDX-License-Identifier: Apache-2.0
// Records of TLS 1.3.
//
//   record    head (5 bytes)  |  sealed: payload, type, zeroes (none here)  |  tag (16 bytes)
//   nonce     the direction's iv, and the record's number over its end
//
// The head is authenticated beside. Bytes in pieces are one text to the cipher, whatever it is cut
// into.
#include "tls_record.h"

#include <errno.h>
#include <openssl/core_names.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/kdf.h>
#include <stdlib.h>
#include <string.h>

#define IV_SIZE 12
#define LABEL_PREFIX "tls13 "

struct tls_record {
	EVP_CIPHER_CTX *ctx; /* with the key, and whether it seals */
	uint8_t secret[TLS_TRAFFIC_SECRET_SIZE];
	uint8_t iv[IV_SIZE];
	const EVP_CIPHER *cipher;
	bool seals;
	uint64_t number; /* of the next record under this key */
};

/* ---- keys ---- */

/* HKDF-Expand-Label of the direction's secret, without a context. */
static int expand(const struct tls_record *r, const char *label, uint8_t *out, size_t size)
{
	EVP_KDF *kdf = EVP_KDF_fetch(NULL, OSSL_KDF_NAME_TLS1_3_KDF, NULL);
	EVP_KDF_CTX *ctx = kdf ? EVP_KDF_CTX_new(kdf) : NULL;
	int mode = EVP_KDF_HKDF_MODE_EXPAND_ONLY, ok;
	const OSSL_PARAM params[] = {
		OSSL_PARAM_construct_utf8_string(OSSL_KDF_PARAM_DIGEST, (char *)"SHA256", 0),
		OSSL_PARAM_construct_int(OSSL_KDF_PARAM_MODE, &mode),
		OSSL_PARAM_construct_octet_string(OSSL_KDF_PARAM_KEY, (void *)r->secret,
						  sizeof(r->secret)),
		OSSL_PARAM_construct_octet_string(OSSL_KDF_PARAM_PREFIX, (char *)LABEL_PREFIX,
						  sizeof(LABEL_PREFIX) - 1),
		OSSL_PARAM_construct_octet_string(OSSL_KDF_PARAM_LABEL, (char *)label,
						  strlen(label)),
		OSSL_PARAM_construct_end(),
	};

	ok = ctx && EVP_KDF_derive(ctx, out, size, params) == 1;
	EVP_KDF_CTX_free(ctx);
	EVP_KDF_free(kdf);
	return ok ? 0 : -ENOTSUP;
}

/* The key and the iv of the present secret. */
static int take_secret(struct tls_record *r)
{
	uint8_t key[EVP_MAX_KEY_LENGTH];
	int ret = expand(r, "key", key, (size_t)EVP_CIPHER_get_key_length(r->cipher));

	if (ret == 0)
		ret = expand(r, "iv", r->iv, sizeof(r->iv));
	if (ret == 0 && EVP_CipherInit_ex(r->ctx, r->cipher, NULL, key, NULL, r->seals) != 1)
		ret = -ENOTSUP;
	OPENSSL_cleanse(key, sizeof(key));
	return ret;
}

int tls_record_new(const struct tls_traffic *traffic, bool seals, struct tls_record **out)
{
	struct tls_record *r = calloc(1, sizeof(*r));
	int ret;

	if (!r)
		return -ENOMEM;
	r->ctx = EVP_CIPHER_CTX_new();
	r->cipher = traffic->chacha ? EVP_chacha20_poly1305() : EVP_aes_128_gcm();
	r->seals = seals;
	r->number = traffic->records;
	memcpy(r->secret, traffic->secret, sizeof(r->secret));
	ret = r->ctx ? take_secret(r) : -ENOMEM;
	if (ret < 0)
		tls_record_destroy(r);
	else
		*out = r;
	return ret;
}

void tls_record_destroy(struct tls_record *r)
{
	if (!r)
		return;
	EVP_CIPHER_CTX_free(r->ctx);
	OPENSSL_cleanse(r, sizeof(*r));
	free(r);
}

int tls_record_renew(struct tls_record *r)
{
	uint8_t next[TLS_TRAFFIC_SECRET_SIZE];
	int ret = expand(r, "traffic upd", next, sizeof(next));

	if (ret < 0)
		return ret;
	memcpy(r->secret, next, sizeof(next));
	OPENSSL_cleanse(next, sizeof(next));
	r->number = 0;
	return take_secret(r);
}

uint64_t tls_record_count(const struct tls_record *r)
{
	return r->number;
}

/* ---- records ---- */

static void put_head(uint8_t head[TLS_RECORD_HEAD], size_t sealed)
{
	head[0] = TLS_DATA;
	head[1] = 3;
	head[2] = 3;
	head[3] = (uint8_t)(sealed >> 8);
	head[4] = (uint8_t)sealed;
}

/* The next record's nonce and head. */
static bool begin(struct tls_record *r, const uint8_t head[TLS_RECORD_HEAD])
{
	uint8_t nonce[IV_SIZE];
	int n;

	memcpy(nonce, r->iv, sizeof(nonce));
	for (unsigned int i = 0; i < 8; i++)
		nonce[IV_SIZE - 1 - i] ^= (uint8_t)(r->number >> 8 * i);
	r->number++;
	return EVP_CipherInit_ex(r->ctx, NULL, NULL, NULL, nonce, -1) == 1 &&
	       EVP_CipherUpdate(r->ctx, NULL, &n, head, TLS_RECORD_HEAD) == 1;
}

static bool update(struct tls_record *r, uint8_t *out, const uint8_t *in, size_t n)
{
	int done = 0;

	return n == 0 ||
	       (EVP_CipherUpdate(r->ctx, out, &done, in, (int)n) == 1 && (size_t)done == n);
}

ssize_t tls_record_seal(struct tls_record *r, enum tls_content type, const struct iovec *from,
			unsigned int n, uint8_t *out)
{
	uint8_t inner = (uint8_t)type, *at = out + TLS_RECORD_HEAD;
	size_t size = 0;
	int last;
	bool ok;

	for (unsigned int i = 0; i < n; i++)
		size += from[i].iov_len;
	put_head(out, size + sizeof(inner) + TLS_RECORD_TAG);
	ok = begin(r, out);
	for (unsigned int i = 0; i < n && ok; i++) {
		ok = update(r, at, from[i].iov_base, from[i].iov_len);
		at += from[i].iov_len;
	}
	ok = ok && update(r, at, &inner, sizeof(inner));
	at += sizeof(inner);
	ok = ok && EVP_CipherFinal_ex(r->ctx, at, &last) == 1 &&
	     EVP_CIPHER_CTX_ctrl(r->ctx, EVP_CTRL_AEAD_GET_TAG, TLS_RECORD_TAG, at) == 1;
	return ok ? at + TLS_RECORD_TAG - out : -EIO;
}

ssize_t tls_record_size(const uint8_t *at, size_t n)
{
	size_t sealed;

	if (n < TLS_RECORD_HEAD)
		return 0;
	sealed = (size_t)at[3] << 8 | at[4];
	if (at[0] != TLS_DATA || sealed <= TLS_RECORD_TAG ||
	    sealed > TLS_RECORD_MAX + TLS_RECORD_PADDING)
		return -EPROTO;
	return (ssize_t)(TLS_RECORD_HEAD + sealed);
}

size_t tls_record_inner(size_t size)
{
	return size - TLS_RECORD_HEAD - TLS_RECORD_TAG;
}

int tls_record_open(struct tls_record *r, const uint8_t *record, size_t size,
		    const struct iovec *to, unsigned int n)
{
	const uint8_t *at = record + TLS_RECORD_HEAD;
	const uint8_t *tag = record + size - TLS_RECORD_TAG;
	uint8_t none;
	int last;
	bool ok = begin(r, record);

	for (unsigned int i = 0; i < n && ok; i++) {
		ok = update(r, to[i].iov_base, at, to[i].iov_len);
		at += to[i].iov_len;
	}
	ok = ok &&
	     EVP_CIPHER_CTX_ctrl(r->ctx, EVP_CTRL_AEAD_SET_TAG, TLS_RECORD_TAG, (void *)tag) == 1 &&
	     EVP_CipherFinal_ex(r->ctx, &none, &last) == 1;
	return ok ? 0 : -EPROTO;
}
