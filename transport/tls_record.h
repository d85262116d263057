// SPDX-License-Identifier: Apache-2.0
// The records of one direction of a TLS 1.3 connection (RFC 8446, 5), sealed from where the bytes
// are and opened to where they belong.
//
// OpenSSL's SSL_write copies what it is given into its own buffer and seals it there; SSL_read
// opens in its buffer and copies out. For memory's streams these copies cost as much as the cipher,
// so once the handshake is over tls_stream.c has its records made here, by the same ciphers (EVP),
// out of the secrets that OpenSSL's handshake has agreed on. The bytes on the wire are the same:
// either end may be OpenSSL's.
//
// One thread at a time. 0 or a negative errno; after an error the direction is dead.
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>
#include <sys/uio.h>

#define TLS_RECORD_MAX 16384   /* bytes of payload */
#define TLS_RECORD_OVERHEAD 64 /* what a record adds to them at most, of those sealed here */
#define TLS_RECORD_PADDING 256 /* ... and more, of those that a peer may send */
#define TLS_RECORD_HEAD 5
#define TLS_RECORD_TAG 16
#define TLS_TRAFFIC_SECRET_SIZE 32

enum tls_content { TLS_ALERT = 21, TLS_HANDSHAKE = 22, TLS_DATA = 23 };

struct tls_record;

/* Where a direction stands. */
struct tls_traffic {
	uint8_t secret[TLS_TRAFFIC_SECRET_SIZE]; /* SHA-256's, as both suites of dray's have it */
	bool chacha;				 /* ChaCha20-Poly1305 rather than AES-128-GCM */
	uint64_t records;			 /* that there were already */
};

int tls_record_new(const struct tls_traffic *traffic, bool seals, struct tls_record **out);
void tls_record_destroy(struct tls_record *r); /* NULL is fine */

/* A record of the n pieces, TLS_RECORD_MAX bytes at most in all, at `out`, which has room for them
 * and for TLS_RECORD_OVERHEAD. Its size, or a negative errno. */
ssize_t tls_record_seal(struct tls_record *r, enum tls_content type, const struct iovec *from,
			unsigned int n, uint8_t *out);

/* The size of the record that begins with these n bytes; 0: they are too few to tell; -EPROTO: it
 * is none that may come after the handshake. */
ssize_t tls_record_size(const uint8_t *at, size_t n);
/* How many bytes are in it: payload, then the type, then zeroes. */
size_t tls_record_inner(size_t size);
/* Opens it into the n pieces, which have exactly that room, and may lie over the sealed bytes
 * themselves. -EPROTO: it was not sealed by the peer, and what is in the pieces means nothing. */
int tls_record_open(struct tls_record *r, const uint8_t *record, size_t size,
		    const struct iovec *to, unsigned int n);

/* The next key (RFC 8446, 7.2). Counting begins anew. */
int tls_record_renew(struct tls_record *r);
/* So many has the present key protected. */
uint64_t tls_record_count(const struct tls_record *r);
