// SPDX-License-Identifier: Apache-2.0
// Reads XDR (RFC 4506) from a buffer: big-endian, everything in multiples of four bytes.
//
// It remembers the first overrun and gives zeros from then on, so a caller lists its fields in
// order and asks once at the end. Nothing is allocated: texts point into the buffer.
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct xdr_reader {
	const uint8_t *at;
	size_t left;
	bool failed; /* the buffer ended too early, or a length was beyond what is allowed */
};

/* Bytes in the buffer, not NUL-terminated. */
struct xdr_text {
	const char *at; /* NULL: not given */
	size_t len;
};

static inline const uint8_t *xdr_take(struct xdr_reader *r, size_t n)
{
	const uint8_t *at = r->at;

	if (r->failed || n > r->left) {
		r->failed = true;
		return NULL;
	}
	r->at += n;
	r->left -= n;
	return at;
}

static inline uint32_t xdr_uint(struct xdr_reader *r)
{
	const uint8_t *p = xdr_take(r, 4);

	return p ? (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3] : 0;
}

/* A string, or opaque data: of at most max bytes. */
static inline struct xdr_text xdr_text(struct xdr_reader *r, uint32_t max)
{
	uint32_t len = xdr_uint(r);
	const uint8_t *p = NULL;

	if (len > max)
		r->failed = true;
	else
		p = xdr_take(r, ((size_t)len + 3) & ~(size_t)3);
	return (struct xdr_text){(const char *)p, p ? len : 0};
}
