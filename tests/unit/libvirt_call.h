// SPDX-License-Identifier: Apache-2.0
// Calls of libvirt's client, as bytes: an encoder for the tests of what judges them.
#pragma once

#include <stdint.h>
#include <string.h>

#define CALL_REMOTE 0x20008086u
#define CALL_KEEPALIVE 0x6b656570u

struct call {
	uint8_t bytes[1 << 16];
	size_t len;
};

static inline void call_uint(struct call *c, uint32_t value)
{
	for (int shift = 24; shift >= 0; shift -= 8)
		c->bytes[c->len++] = (uint8_t)(value >> shift);
}

static inline void call_bytes(struct call *c, const void *bytes, size_t len)
{
	call_uint(c, (uint32_t)len);
	memcpy(c->bytes + c->len, bytes, len);
	c->len += len;
	while (c->len % 4)
		c->bytes[c->len++] = 0;
}

static inline void call_begin(struct call *c, uint32_t program, uint32_t procedure)
{
	const uint32_t header[] = {0, program, 1, procedure, 0, 7, 0};

	*c = (struct call){0};
	for (size_t i = 0; i < sizeof(header) / sizeof(header[0]); i++)
		call_uint(c, header[i]);
}

/* The length word. */
static inline void call_end(struct call *c)
{
	size_t len = c->len;

	c->len = 0;
	call_uint(c, (uint32_t)len);
	c->len = len;
}

static inline void call_parameter(struct call *c, const char *name, const char *value)
{
	call_bytes(c, name, strlen(name));
	call_uint(c, 7); /* VIR_TYPED_PARAM_STRING */
	call_bytes(c, value, strlen(value));
}
