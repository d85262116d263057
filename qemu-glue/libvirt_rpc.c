// SPDX-License-Identifier: Apache-2.0
// Framing and classification of libvirt RPC messages.
#include "libvirt_rpc.h"

#include <endian.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include "cleanup.h"

#define REMOTE_PROGRAM 0x20008086u
#define KEEPALIVE_PROGRAM 0x6b656570u
#define TYPE_CALL 0u
#define TYPE_MESSAGE 2u
#define KEEPALIVE_VERSION 1u
#define KEEPALIVE_PING 1u
#define KEEPALIVE_PONG 2u
#define FIRST_SIZE 16384

enum { /* remote_protocol.x */
       PROC_CONNECT_OPEN = 1,
       PROC_CONNECT_CLOSE = 2,
       PROC_CONNECT_GET_CAPABILITIES = 7,
       PROC_DOMAIN_LOOKUP_BY_UUID = 24,
       PROC_CONNECT_SUPPORTS_FEATURE = 60,
       PROC_AUTH_LIST = 66,
       PROC_DOMAIN_MIGRATE_PERFORM3 = 216,
       PROC_DOMAIN_MIGRATE_CONFIRM3 = 218,
       PROC_DOMAIN_MIGRATE_PREPARE3_PARAMS = 303,
       PROC_DOMAIN_MIGRATE_PERFORM3_PARAMS = 305,
       PROC_DOMAIN_MIGRATE_FINISH3_PARAMS = 306,
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

/* `int cancelled` is the last argument of both Confirms. */
static enum libvirt_rpc_call confirm(const uint8_t *message, size_t len)
{
	if (len < LIBVIRT_RPC_HEADER_SIZE + 4)
		return LIBVIRT_RPC_OTHER;
	return word_at(message + len - 4) ? LIBVIRT_RPC_CONFIRM_CANCELLED : LIBVIRT_RPC_CONFIRM;
}

enum libvirt_rpc_call libvirt_rpc_classify(const uint8_t *message, size_t len)
{
	if (len < LIBVIRT_RPC_HEADER_SIZE)
		return LIBVIRT_RPC_OTHER;
	if (word_at(message + 4) == KEEPALIVE_PROGRAM)
		return LIBVIRT_RPC_KEEPALIVE;
	if (word_at(message + 4) != REMOTE_PROGRAM || word_at(message + 16) != TYPE_CALL)
		return LIBVIRT_RPC_OTHER;
	switch (libvirt_rpc_procedure(message, len)) {
	case PROC_CONNECT_OPEN:
		return LIBVIRT_RPC_OPEN;
	case PROC_CONNECT_CLOSE:
	case PROC_CONNECT_GET_CAPABILITIES:
	case PROC_CONNECT_SUPPORTS_FEATURE:
	case PROC_AUTH_LIST:
		return LIBVIRT_RPC_HARMLESS;
	case PROC_DOMAIN_LOOKUP_BY_UUID:
		return LIBVIRT_RPC_LOOKUP_BY_UUID;
	case PROC_DOMAIN_MIGRATE_PREPARE3_PARAMS:
		return LIBVIRT_RPC_PREPARE;
	case PROC_DOMAIN_MIGRATE_FINISH3_PARAMS:
		return LIBVIRT_RPC_FINISH;
	case PROC_DOMAIN_MIGRATE_PERFORM3:
	case PROC_DOMAIN_MIGRATE_PERFORM3_PARAMS:
		return LIBVIRT_RPC_PERFORM;
	case PROC_DOMAIN_MIGRATE_CONFIRM3:
	case PROC_DOMAIN_MIGRATE_CONFIRM3_PARAMS:
		return confirm(message, len);
	default:
		return LIBVIRT_RPC_OTHER;
	}
}

uint32_t libvirt_rpc_procedure(const uint8_t *message, size_t len)
{
	return len < LIBVIRT_RPC_HEADER_SIZE ? 0 : word_at(message + 12);
}

/* Length, program, version, procedure, type, serial, status. */
bool libvirt_rpc_pong(const uint8_t *message, size_t len, uint8_t pong[LIBVIRT_RPC_HEADER_SIZE])
{
	const uint32_t words[] = {htobe32(LIBVIRT_RPC_HEADER_SIZE),
				  htobe32(KEEPALIVE_PROGRAM),
				  htobe32(KEEPALIVE_VERSION),
				  htobe32(KEEPALIVE_PONG),
				  htobe32(TYPE_MESSAGE),
				  0,
				  0};

	_Static_assert(sizeof(words) == LIBVIRT_RPC_HEADER_SIZE, "a whole header");
	memcpy(pong, words, sizeof(words));
	return libvirt_rpc_classify(message, len) == LIBVIRT_RPC_KEEPALIVE &&
	       libvirt_rpc_procedure(message, len) == KEEPALIVE_PING;
}

static bool read_full(int fd, uint8_t *buf, size_t len)
{
	while (len) {
		ssize_t n = read(fd, buf, len);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return false;
		buf += n;
		len -= (size_t)n;
	}
	return true;
}

/* Room for more than `have`, of `total` in the end: twice what there was. */
static bool grow(uint8_t **message, size_t *size, size_t have, size_t total)
{
	uint8_t *grown;

	if (have < *size)
		return true;
	*size = 2 * *size < total ? 2 * *size : total;
	grown = realloc(*message, *size);
	if (grown)
		*message = grown;
	return grown;
}

uint8_t *libvirt_rpc_read(int fd, size_t *len)
{
	_cleanup_free_ uint8_t *message = malloc(FIRST_SIZE);
	size_t have = 4, size = FIRST_SIZE, total;

	if (!message || !read_full(fd, message, have))
		return NULL;
	total = libvirt_rpc_length(message);
	while (have < total) {
		size_t part;

		if (!grow(&message, &size, have, total))
			return NULL;
		part = total < size ? total - have : size - have;
		if (!read_full(fd, message + have, part))
			return NULL;
		have += part;
	}
	*len = total;
	return total ? steal_ptr(&message) : NULL;
}

bool libvirt_rpc_write(int fd, const uint8_t *bytes, size_t len)
{
	while (len) {
		ssize_t n = send(fd, bytes, len, MSG_NOSIGNAL);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return false;
		bytes += n;
		len -= (size_t)n;
	}
	return true;
}
