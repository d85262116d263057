// SPDX-License-Identifier: Apache-2.0
// libvirt's RPC messages, cut from a stream as the gate does it, and classified.
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include "libvirt_rpc.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* In memory of exactly its size, so that a sanitizer sees an over-read. */
static void classify(const uint8_t *message, size_t len)
{
	uint8_t *copy = malloc(len ? len : 1);

	if (!copy)
		abort();
	memcpy(copy, message, len);
	if (libvirt_rpc_classify(copy, len) > LIBVIRT_RPC_KEEPALIVE)
		abort();
	free(copy);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	classify(data, size);
	while (size >= 4) {
		uint32_t len = libvirt_rpc_length(data);

		if (len == 0)
			break;
		if (len < LIBVIRT_RPC_HEADER_SIZE || len > LIBVIRT_RPC_MESSAGE_MAX)
			abort();
		if (len > size)
			break;
		classify(data, len);
		data += len;
		size -= len;
	}
	return 0;
}
