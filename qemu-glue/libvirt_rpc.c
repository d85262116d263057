// SPDX-License-Identifier: Apache-2.0
// Framing and classification of libvirt RPC messages.
#include "libvirt_rpc.h"

#include <endian.h>
#include <string.h>

#define REMOTE_PROGRAM 0x20008086u
#define TYPE_CALL 0u

enum { /* remote_protocol.x */
       PROC_DOMAIN_MIGRATE_PERFORM3 = 216,
       PROC_DOMAIN_MIGRATE_CONFIRM3 = 218,
       PROC_DOMAIN_MIGRATE_PERFORM3_PARAMS = 305,
       PROC_DOMAIN_MIGRATE_CONFIRM3_PARAMS = 307,
};

static uint32_t word_at(const uint8_t *p)
{
	uint32_t w;

	memcpy(&w, p, sizeof(w));
	return be32toh(w);
}

uint32_t libvirt_rpc_length(const uint8_t word[4])
{
	uint32_t len = word_at(word);

	return len < LIBVIRT_RPC_HEADER_SIZE || len > LIBVIRT_RPC_MESSAGE_MAX ? 0 : len;
}

enum libvirt_rpc_call libvirt_rpc_classify(const uint8_t *message, size_t len)
{
	if (len < LIBVIRT_RPC_HEADER_SIZE + 4 || word_at(message + 4) != REMOTE_PROGRAM ||
	    word_at(message + 16) != TYPE_CALL)
		return LIBVIRT_RPC_OTHER;
	switch (word_at(message + 12)) {
	case PROC_DOMAIN_MIGRATE_PERFORM3:
	case PROC_DOMAIN_MIGRATE_PERFORM3_PARAMS:
		return LIBVIRT_RPC_PERFORM;
	case PROC_DOMAIN_MIGRATE_CONFIRM3:
	case PROC_DOMAIN_MIGRATE_CONFIRM3_PARAMS:
		/* `int cancelled` is the last argument of both. */
		return word_at(message + len - 4) ? LIBVIRT_RPC_CONFIRM_CANCELLED
						  : LIBVIRT_RPC_CONFIRM;
	default:
		return LIBVIRT_RPC_OTHER;
	}
}
