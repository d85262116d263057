// SPDX-License-Identifier: Apache-2.0
// The little of libvirt's RPC protocol that the gate and the tunnel need: framing, and which call
// is which.
//
// Source: libvirt's src/rpc/virnetprotocol.x (header) and src/remote/remote_protocol.x (procedure
// numbers, argument order). Both are wire formats between different libvirt releases and do not
// change. All integers are XDR, big-endian.
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define LIBVIRT_RPC_HEADER_SIZE 28 /* length word included */
#define LIBVIRT_RPC_MESSAGE_MAX (32u * 1024 * 1024 + 4)

enum libvirt_rpc_call {
	LIBVIRT_RPC_OTHER,
	LIBVIRT_RPC_PERFORM,
	LIBVIRT_RPC_CONFIRM,	       /* cancelled = 0: the guest runs at the destination */
	LIBVIRT_RPC_CONFIRM_CANCELLED, /* cancelled = 1: resume it on the source */
	LIBVIRT_RPC_PREPARE,	       /* with typed parameters, as all since libvirt 1.1 do */
	LIBVIRT_RPC_FINISH,
	LIBVIRT_RPC_OPEN,
	LIBVIRT_RPC_LOOKUP_BY_UUID,
	LIBVIRT_RPC_HARMLESS, /* close, features, capabilities, ways to authenticate: nothing
			       * changes */
	LIBVIRT_RPC_KEEPALIVE,
};

/* Length of the whole message from its first word, or 0 if it is out of bounds. */
uint32_t libvirt_rpc_length(const uint8_t word[4]);
/* Classify a whole client-to-server message. */
enum libvirt_rpc_call libvirt_rpc_classify(const uint8_t *message, size_t len);
/* The number of the procedure that a message is about, for texts; 0: it has none. */
uint32_t libvirt_rpc_procedure(const uint8_t *message, size_t len);
/* If it is the daemon's ping: what answers it. */
bool libvirt_rpc_pong(const uint8_t *message, size_t len, uint8_t pong[LIBVIRT_RPC_HEADER_SIZE]);
/* The next whole message from a socket, the caller's; NULL at the end, or if it is out of bounds,
 * or there is no memory. It grows as it comes: a length alone makes nobody allocate. Blocks. */
uint8_t *libvirt_rpc_read(int fd, size_t *len);
/* Write all of it; false if the other side has gone. Blocks. */
bool libvirt_rpc_write(int fd, const uint8_t *bytes, size_t len);
