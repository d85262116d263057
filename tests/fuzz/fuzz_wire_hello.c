// SPDX-License-Identifier: Apache-2.0
// Fuzz: the first bytes of a connection, taken as a hello and as a reply to one. What decodes,
// encodes and decodes again to the same.
#include "wire.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(bool holds)
{
	if (!holds)
		abort();
}

static void fuzz_hello(const uint8_t buf[WIRE_HELLO_SIZE])
{
	uint8_t first[WIRE_HELLO_SIZE], second[WIRE_HELLO_SIZE];
	struct errtext err = {0};
	struct wire_hello h;
	int rc = wire_hello_decode(buf, &h, &err);

	check(!rc == !err.text[0]);
	if (rc)
		return;
	check(h.index < WIRE_STREAMS_MAX && h.version_min <= h.version_max);
	wire_hello_encode(&h, first);
	check(wire_hello_decode(first, &h, NULL) == 0);
	wire_hello_encode(&h, second);
	check(memcmp(first, second, sizeof(first)) == 0);
	check(memcmp(first, buf, 36) == 0); /* all but what is reserved */
}

static void fuzz_reply(const uint8_t buf[WIRE_HELLO_REPLY_SIZE + WIRE_TEXT_MAX])
{
	uint8_t again[WIRE_HELLO_REPLY_SIZE + WIRE_TEXT_MAX];
	struct wire_hello_reply r;
	struct errtext err = {0};
	size_t text_len, encoded;
	int rc = wire_hello_reply_decode(buf, &r, &text_len, &err);

	check(!rc == !err.text[0]);
	if (rc)
		return;
	check(text_len <= WIRE_TEXT_MAX);
	memcpy(r.text, buf + WIRE_HELLO_REPLY_SIZE, text_len);
	r.text[text_len] = '\0';
	encoded = wire_hello_reply_encode(&r, again);
	check(encoded == WIRE_HELLO_REPLY_SIZE + strlen(r.text));
	check(memcmp(again, buf, 10) == 0); /* up to the length, which a NUL in the text cuts */
	check(memcmp(again + 16, buf + 16, 40) == 0);
	check(memcmp(again + WIRE_HELLO_REPLY_SIZE, r.text, strlen(r.text)) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	uint8_t buf[WIRE_HELLO_REPLY_SIZE + WIRE_TEXT_MAX] = {0};

	memcpy(buf, data, size < sizeof(buf) ? size : sizeof(buf));
	fuzz_hello(buf);
	fuzz_reply(buf);
	return 0;
}
