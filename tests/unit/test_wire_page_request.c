// SPDX-License-Identifier: Apache-2.0
// Page requests, checked against a map of two blocks: 1000 pages, and the largest possible.
#include "wire.h"

#include <criterion/criterion.h>
#include <criterion/parameterized.h>
#include <errno.h>
#include <string.h>

static struct ram_block blocks[] = {
	{.name = "small", .size = 1000 * 4096, .page_size = 4096, .fd = -1},
	{.name = "zlarge", .size = RAM_BLOCK_SIZE_MAX, .page_size = 4096, .fd = -1},
};
static const struct ram_map map = {.count = 2, .blocks = blocks};

Test(wire_page_request, bytes_are_as_documented)
{
	static const uint8_t expected[WIRE_PAGE_REQUEST_SIZE] = {
		'D', 'R', 'A', 'Y', 1, 0, 0, 0, 4, 3, 2, 1, 0, 0, 0, 0,
		0,   2,	  0,   0,   8, 7, 6, 5, 0, 0, 0, 0, 0, 0, 0, 0,
	};
	const struct wire_page_request in = {1, 0x01020304, 512, 0x05060708};
	uint8_t buf[WIRE_PAGE_REQUEST_SIZE];
	struct wire_page_request out;
	struct errtext err = {0};

	memset(buf, 0xee, sizeof(buf));
	wire_page_request_encode(&in, buf);
	cr_assert_arr_eq(buf, expected, sizeof(buf));
	cr_assert_eq(wire_page_request_decode(buf, &map, &out, &err), 0, "%s", err.text);
	cr_assert_eq(out.block, in.block);
	cr_assert_eq(out.first, in.first);
	cr_assert_eq(out.count, in.count);
	cr_assert_eq(out.thread, in.thread);
}

/* A request for {10, 1} of the block of 1000 pages, with some bytes overwritten. Offsets: magic 0,
 * block 4, reserved 6, first 8, count 16, thread 20, reserved 24. */
struct patch {
	size_t offset;
	unsigned int width;
	uint64_t value;
	char says[64]; /* empty: accepted */
};

static struct patch patches[] = {
	{0, 1, 'd', "out of step"},
	{4, 2, 1, ""},
	{4, 2, 2, "RAM block 2; the guest has 2"},
	{4, 2, UINT16_MAX, "RAM block 65535"},
	{6, 2, UINT16_MAX, ""},
	{8, 8, 999, ""},
	{8, 8, 1000, "1 pages from 1000 are not in RAM block 'small', which has 1000"},
	{8, 8, UINT64_MAX, "are not in RAM block"},
	{16, 4, 0, "0 pages, not 1 to 1024"},
	{16, 4, 990, ""},
	{16, 4, 991, "991 pages from 10"},
	{16, 4, 1025, "1025 pages, not"},
	{16, 4, UINT32_MAX, "4294967295 pages, not"},
	{20, 4, UINT32_MAX, ""},
	{24, 8, UINT64_MAX, ""},
};

ParameterizedTestParameters(wire_page_request, patched)
{
	return cr_make_param_array(struct patch, patches, sizeof(patches) / sizeof(patches[0]));
}

ParameterizedTest(struct patch *patch, wire_page_request, patched)
{
	struct wire_page_request r = {0, 10, 1, 0};
	uint8_t buf[WIRE_PAGE_REQUEST_SIZE];
	struct errtext err = {0};
	int rc;

	wire_page_request_encode(&r, buf);
	for (unsigned int i = 0; i < patch->width; i++)
		buf[patch->offset + i] = (uint8_t)(patch->value >> 8 * i);
	rc = wire_page_request_decode(buf, &map, &r, &err);
	cr_assert_eq(rc, patch->says[0] ? -EPROTO : 0, "%d: %s", rc, err.text);
	cr_assert(strstr(err.text, patch->says), "%s", err.text);
}
