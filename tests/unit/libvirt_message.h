// SPDX-License-Identifier: Apache-2.0
// Messages of libvirt's RPC protocol, as a client library would send them.
#pragma once

#include <endian.h>
#include <stdint.h>
#include <string.h>
#include "libvirt_rpc.h"

enum {
	LIBVIRT_REMOTE_PROGRAM = 0x20008086,
	/* REMOTE_PROC_DOMAIN_MIGRATE_*, from remote_protocol.x */
	LIBVIRT_BEGIN3 = 213,
	LIBVIRT_PREPARE3 = 214,
	LIBVIRT_PERFORM3 = 216,
	LIBVIRT_FINISH3 = 217,
	LIBVIRT_CONFIRM3 = 218,
	LIBVIRT_BEGIN3_PARAMS = 302,
	LIBVIRT_PERFORM3_PARAMS = 305,
	LIBVIRT_FINISH3_PARAMS = 306,
	LIBVIRT_CONFIRM3_PARAMS = 307,
};

#define LIBVIRT_MESSAGE_MAX 256

struct libvirt_message {
	size_t len;
	uint8_t bytes[LIBVIRT_MESSAGE_MAX];
};

static inline void libvirt_put(struct libvirt_message *m, uint32_t word)
{
	uint32_t be = htobe32(word);

	memcpy(m->bytes + m->len, &be, sizeof(be));
	m->len += sizeof(be);
}

/* A call whose body is `body` bytes of 0xab and then one word. */
static inline struct libvirt_message libvirt_call(uint32_t procedure, uint32_t serial, size_t body,
						  uint32_t last)
{
	struct libvirt_message m = {0};

	libvirt_put(&m, (uint32_t)(LIBVIRT_RPC_HEADER_SIZE + body + 4));
	libvirt_put(&m, LIBVIRT_REMOTE_PROGRAM);
	libvirt_put(&m, 1); /* version */
	libvirt_put(&m, procedure);
	libvirt_put(&m, 0); /* call */
	libvirt_put(&m, serial);
	libvirt_put(&m, 0); /* status */
	memset(m.bytes + m.len, 0xab, body);
	m.len += body;
	libvirt_put(&m, last);
	return m;
}
