// SPDX-License-Identifier: Apache-2.0
// Any bytes as records of TLS, one behind the other, as tls_stream.c takes them from the socket.
#include <stdlib.h>
#include <string.h>
#include "tls_record.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* As long as they are records, sealed with this key or not. */
static void take_all(struct tls_record *r, uint8_t *at, size_t left)
{
	for (;;) {
		ssize_t n = tls_record_size(at, left);
		struct iovec inner = {at + TLS_RECORD_HEAD, 0};

		if (n <= 0 || (size_t)n > left)
			return;
		inner.iov_len = tls_record_inner((size_t)n);
		(void)tls_record_open(r, at, (size_t)n, &inner, 1);
		at += n;
		left -= (size_t)n;
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const struct tls_traffic traffic = {.secret = {1}};
	uint8_t *copy = malloc(size + 1);
	struct tls_record *r;

	if (!copy || tls_record_new(&traffic, false, &r) < 0)
		abort();
	memcpy(copy, data, size);
	take_all(r, copy, size);
	tls_record_destroy(r);
	free(copy);
	return 0;
}
