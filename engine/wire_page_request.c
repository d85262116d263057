// SPDX-License-Identifier: Apache-2.0
// Requests for a page, as the destination sends them on its fault connections.
//
//   magic:4 block:2 reserved:2 first:8 count:4 thread:4 reserved:8
#include "wire.h"

#include <assert.h>
#include <errno.h>
#include <inttypes.h>

#include "wire_cursor.h"

_Static_assert(4 + 2 + 2 + 8 + 4 + 4 + 8 == WIRE_PAGE_REQUEST_SIZE, "fields of a page request");

void wire_page_request_encode(const struct wire_page_request *r,
			      uint8_t buf[WIRE_PAGE_REQUEST_SIZE])
{
	struct wire_writer w = {.buf = buf, .size = WIRE_PAGE_REQUEST_SIZE};

	assert(r->count && r->count <= WIRE_FRAME_PAGES_MAX);
	wire_put_u32(&w, WIRE_MAGIC);
	wire_put_u16(&w, r->block);
	wire_put_zeroes(&w, 2);
	wire_put_u64(&w, r->first);
	wire_put_u32(&w, r->count);
	wire_put_u32(&w, r->thread);
	wire_put_zeroes(&w, 8);
	assert(!w.failed && w.used == WIRE_PAGE_REQUEST_SIZE);
}

static int check(uint32_t magic, const struct wire_page_request *r, const struct ram_map *map,
		 struct errtext *err)
{
	uint64_t size;

	if (magic != WIRE_MAGIC)
		return errtext_set(err, -EPROTO,
				   "fault connection: 0x%08x where a page request should begin; "
				   "the connection is out of step",
				   magic);
	if (r->block >= map->count)
		return errtext_set(err, -EPROTO,
				   "fault connection: a request for RAM block %u; the guest has %u",
				   r->block, map->count);
	if (!r->count || r->count > WIRE_FRAME_PAGES_MAX)
		return errtext_set(err, -EPROTO,
				   "fault connection: a request for %" PRIu32 " pages, not 1 to %u",
				   r->count, WIRE_FRAME_PAGES_MAX);
	size = ram_block_pages(&map->blocks[r->block]);
	if (r->first >= size || r->count > size - r->first)
		return errtext_set(err, -EPROTO,
				   "fault connection: %" PRIu32 " pages from %" PRIu64
				   " are not in RAM block '%s', which has %" PRIu64,
				   r->count, r->first, map->blocks[r->block].name, size);
	return 0;
}

int wire_page_request_decode(const uint8_t buf[WIRE_PAGE_REQUEST_SIZE], const struct ram_map *map,
			     struct wire_page_request *r, struct errtext *err)
{
	struct wire_reader reader = {.buf = buf, .len = WIRE_PAGE_REQUEST_SIZE};
	uint32_t magic = wire_get_u32(&reader);

	*r = (struct wire_page_request){.block = wire_get_u16(&reader)};
	wire_skip(&reader, 2);
	r->first = wire_get_u64(&reader);
	r->count = wire_get_u32(&reader);
	r->thread = wire_get_u32(&reader);
	return check(magic, r, map, err);
}
