// SPDX-License-Identifier: Apache-2.0
// Cursors that write and read little-endian fields within a buffer; private to wire_*.c.
//
// Both remember the first overrun and do nothing from then on (reads return zero), so a caller
// lists its fields in order and asks once at the end.
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

struct wire_writer {
	uint8_t *buf;
	size_t size;
	size_t used; /* <= size */
	bool failed; /* no room, or a string beyond its limit */
};

struct wire_reader {
	const uint8_t *buf;
	size_t len;
	size_t used; /* <= len */
	bool failed; /* the buffer ended too early */
};

static inline uint8_t *wire_room(struct wire_writer *w, size_t n)
{
	if (w->failed || n > w->size - w->used) {
		w->failed = true;
		return NULL;
	}
	w->used += n;
	return w->buf + w->used - n;
}

static inline void wire_put_uint(struct wire_writer *w, uint64_t value, unsigned int bytes)
{
	uint8_t *at = wire_room(w, bytes);

	for (unsigned int i = 0; at && i < bytes; i++)
		at[i] = (uint8_t)(value >> 8 * i);
}

static inline void wire_put_u8(struct wire_writer *w, uint8_t value)
{
	wire_put_uint(w, value, 1);
}

static inline void wire_put_u16(struct wire_writer *w, uint16_t value)
{
	wire_put_uint(w, value, 2);
}

static inline void wire_put_u32(struct wire_writer *w, uint32_t value)
{
	wire_put_uint(w, value, 4);
}

static inline void wire_put_u64(struct wire_writer *w, uint64_t value)
{
	wire_put_uint(w, value, 8);
}

static inline void wire_put_bytes(struct wire_writer *w, const void *bytes, size_t n)
{
	uint8_t *at = wire_room(w, n);

	if (at)
		memcpy(at, bytes, n);
}

static inline void wire_put_zeroes(struct wire_writer *w, size_t n)
{
	uint8_t *at = wire_room(w, n);

	if (at)
		memset(at, 0, n);
}

/* u16 length, then the bytes without a NUL. text has room for max bytes and a NUL. */
static inline void wire_put_string(struct wire_writer *w, const char *text, size_t max)
{
	size_t len = strnlen(text, max + 1);

	if (len > max) {
		w->failed = true;
		return;
	}
	wire_put_u16(w, (uint16_t)len);
	wire_put_bytes(w, text, len);
}

static inline const uint8_t *wire_take(struct wire_reader *r, size_t n)
{
	if (r->failed || n > r->len - r->used) {
		r->failed = true;
		return NULL;
	}
	r->used += n;
	return r->buf + r->used - n;
}

static inline uint64_t wire_get_uint(struct wire_reader *r, unsigned int bytes)
{
	const uint8_t *at = wire_take(r, bytes);
	uint64_t value = 0;

	for (unsigned int i = 0; at && i < bytes; i++)
		value |= (uint64_t)at[i] << 8 * i;
	return value;
}

static inline uint8_t wire_get_u8(struct wire_reader *r)
{
	return (uint8_t)wire_get_uint(r, 1);
}

static inline uint16_t wire_get_u16(struct wire_reader *r)
{
	return (uint16_t)wire_get_uint(r, 2);
}

static inline uint32_t wire_get_u32(struct wire_reader *r)
{
	return (uint32_t)wire_get_uint(r, 4);
}

static inline uint64_t wire_get_u64(struct wire_reader *r)
{
	return wire_get_uint(r, 8);
}

static inline void wire_get_bytes(struct wire_reader *r, void *bytes, size_t n)
{
	const uint8_t *at = wire_take(r, n);

	if (at)
		memcpy(bytes, at, n);
}

static inline void wire_skip(struct wire_reader *r, size_t n)
{
	wire_take(r, n);
}
