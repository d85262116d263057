// SPDX-License-Identifier: Apache-2.0
// The little of libvirt's RPC protocol that the gate needs: framing, and which call is which.
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
};

/* Length of the whole message from its first word, or 0 if it is out of bounds. */
uint32_t libvirt_rpc_length(const uint8_t word[4]);
/* Classify a whole client-to-server message. */
enum libvirt_rpc_call libvirt_rpc_classify(const uint8_t *message, size_t len);
