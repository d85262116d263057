// SPDX-License-Identifier: Apache-2.0
// A source's calls into this host's libvirt, cut from a stream and judged: nothing passes but what
// a migration needs.
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include "libvirt_rpc.h"
#include "tunnel_judge.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define UUID "c9574db9-a7d5-4092-ac4c-3986c4bf2acf"

static const struct tunnel_policy policy = {
	.definition = {.uuid = UUID,
		       .name = "cap",
		       .monitor_path = "/var/lib/libvirt/qemu/dray-" UUID ".monitor"},
	.stream_path = "/run/dray/" UUID "/qemu/stream.sock"};

/* In memory of exactly its size, so that a sanitizer sees an over-read. */
static void judge(struct tunnel_state *s, const uint8_t *message, size_t len)
{
	struct errtext err = {0};
	struct tunnel_state before = *s;
	uint8_t *copy = malloc(len ? len : 1);
	int ret;

	if (!copy)
		abort();
	memcpy(copy, message, len);
	ret = tunnel_judge(s, &policy, copy, len, &err);
	if (ret > 0 || (ret < 0) != (err.text[0] != '\0'))
		abort();
	if (ret < 0 && memcmp(&before, s, sizeof(before)) != 0)
		abort();
	if (ret == 0 && libvirt_rpc_classify(copy, len) == LIBVIRT_RPC_OTHER)
		abort();
	free(copy);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct tunnel_state s = {0};

	judge(&s, data, size);
	while (size >= 4) {
		uint32_t len = libvirt_rpc_length(data);

		if (len == 0 || len > size)
			break;
		judge(&s, data, len);
		data += len;
		size -= len;
	}
	return 0;
}
