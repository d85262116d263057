// SPDX-License-Identifier: Apache-2.0
// Fuzz: a control message, header and body. What decodes, encodes and decodes again to the same.
#include "wire.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(bool holds)
{
	if (!holds)
		abort();
}

/* Encodes, decodes, encodes again, and demands the same bytes. */
static void check_round_trip(const struct wire_message *m)
{
	static uint8_t first[WIRE_HEADER_SIZE + WIRE_BODY_MAX];
	static uint8_t second[WIRE_HEADER_SIZE + WIRE_BODY_MAX];
	long encoded = wire_message_encode(m, first, sizeof(first));
	struct wire_message again;
	enum wire_type type;
	uint32_t len;

	check(encoded >= WIRE_HEADER_SIZE);
	check(wire_header_decode(first, &type, &len, NULL) == 0);
	check(type == m->type && len == (size_t)encoded - WIRE_HEADER_SIZE);
	check(wire_body_decode(type, first + WIRE_HEADER_SIZE, len, &again, NULL) == 0);
	check(wire_message_encode(&again, second, sizeof(second)) == encoded);
	check(memcmp(first, second, (size_t)encoded) == 0);
	wire_message_destroy(&again);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct wire_message m;
	struct errtext err = {0};
	enum wire_type type;
	uint32_t len;
	int rc;

	if (size < WIRE_HEADER_SIZE)
		return 0;
	rc = wire_header_decode(data, &type, &len, &err);
	check(!rc == !err.text[0]);
	if (rc)
		return 0;
	/* All that is there, whatever the header announces: a mutated length is no dead end. */
	rc = wire_body_decode(type, data + WIRE_HEADER_SIZE, size - WIRE_HEADER_SIZE, &m, &err);
	check(!rc == !err.text[0]);
	if (rc)
		return 0;
	check_round_trip(&m);
	wire_message_destroy(&m);
	return 0;
}
