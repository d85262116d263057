// SPDX-License-Identifier: Apache-2.0
// Fuzz: a request for a page. What decodes lies inside its block, and encodes and decodes again to
// the same.
#include "wire.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(bool holds)
{
	if (!holds)
		abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct ram_block blocks[] = {
		{.name = "small", .size = 4096, .page_size = 4096, .fd = -1},
		{.name = "vast", .size = RAM_BLOCK_SIZE_MAX, .page_size = 4096, .fd = -1},
	};
	const struct ram_map map = {.count = 2, .blocks = blocks};
	uint8_t buf[WIRE_PAGE_REQUEST_SIZE] = {0};
	struct wire_page_request r, again;
	struct errtext err = {0};
	int rc;

	memcpy(buf, data, size < sizeof(buf) ? size : sizeof(buf));
	rc = wire_page_request_decode(buf, &map, &r, &err);
	check(!rc == !err.text[0]);
	if (rc)
		return 0;
	check(r.block < map.count && r.count >= 1 && r.count <= WIRE_FRAME_PAGES_MAX);
	check(r.first + r.count <= ram_block_pages(&map.blocks[r.block]));
	wire_page_request_encode(&r, buf);
	check(wire_page_request_decode(buf, &map, &again, NULL) == 0);
	check(r.block == again.block && r.first == again.first && r.count == again.count &&
	      r.thread == again.thread);
	return 0;
}
