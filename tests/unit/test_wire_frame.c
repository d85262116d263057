// SPDX-License-Identifier: Apache-2.0
// Heads of RAM frames, checked against a map of two blocks: 1000 pages, and the largest possible.
#include "wire.h"

#include <criterion/criterion.h>
#include <criterion/parameterized.h>
#include <errno.h>
#include <string.h>

#define LARGE_PAGES (RAM_BLOCK_SIZE_MAX >> RAM_PAGE_SHIFT)

static struct ram_block blocks[] = {
	{.name = "small", .size = 1000 * 4096, .page_size = 4096, .fd = -1},
	{.name = "zlarge", .size = RAM_BLOCK_SIZE_MAX, .page_size = 4096, .fd = -1},
};
static const struct ram_map map = {.count = 2, .blocks = blocks};

static void round_trip(const struct wire_frame *in, uint32_t pages)
{
	uint8_t buf[WIRE_FRAME_SIZE];
	struct errtext err = {0};
	struct wire_frame out;

	wire_frame_encode(in, buf);
	cr_assert_eq(wire_frame_decode(buf, &map, &out, &err), 0, "%s", err.text);
	cr_assert_eq(out.type, in->type);
	cr_assert_eq(out.block, in->block);
	cr_assert_eq(out.flags, in->flags);
	cr_assert_eq(out.round, in->round);
	cr_assert_eq(out.size, in->size);
	cr_assert_eq(out.runs, in->runs);
	for (unsigned int i = 0; i < in->runs; i++) {
		cr_assert_eq(out.run[i].first, in->run[i].first);
		cr_assert_eq(out.run[i].count, in->run[i].count);
	}
	cr_assert_eq(wire_frame_pages(&out), pages);
}

Test(wire_frame, pages_round_trip)
{
	struct wire_frame f = {.type = WIRE_FRAME_PAGES, .runs = 1, .round = UINT32_MAX};

	f.run[0] = (struct wire_run){.first = 999, .count = 1};
	round_trip(&f, 1);
	f.block = 1;
	f.run[0] = (struct wire_run){.first = LARGE_PAGES - WIRE_FRAME_PAGES_MAX,
				     .count = WIRE_FRAME_PAGES_MAX};
	round_trip(&f, WIRE_FRAME_PAGES_MAX);
	f.runs = WIRE_FRAME_RUNS_MAX;
	for (unsigned int i = 0; i < f.runs; i++)
		f.run[i] = (struct wire_run){.first = (uint64_t)i << 28, .count = 16};
	round_trip(&f, 16 * WIRE_FRAME_RUNS_MAX);
}

Test(wire_frame, runs_without_data_may_be_long)
{
	struct wire_frame f = {.type = WIRE_FRAME_ZERO, .runs = WIRE_FRAME_RUNS_MAX, .block = 1};

	for (unsigned int i = 0; i < f.runs; i++)
		f.run[i] = (struct wire_run){.first = i * 65536ull, .count = WIRE_RUN_PAGES_MAX};
	round_trip(&f, WIRE_FRAME_RUNS_MAX * WIRE_RUN_PAGES_MAX);
	f.type = WIRE_FRAME_STALE;
	round_trip(&f, WIRE_FRAME_RUNS_MAX * WIRE_RUN_PAGES_MAX);
}

Test(wire_frame, flags_round_trip_but_for_unknown_ones)
{
	struct wire_frame f = {.type = WIRE_FRAME_PAGES, .runs = 1, .run = {{5, 1}}};
	uint8_t buf[WIRE_FRAME_SIZE];

	f.flags = WIRE_FRAME_PREFETCH | WIRE_FRAME_MORE;
	round_trip(&f, 1);
	f.flags = UINT16_MAX;
	wire_frame_encode(&f, buf);
	cr_assert_eq(wire_frame_decode(buf, &map, &f, NULL), 0);
	cr_assert_eq(f.flags, WIRE_FRAME_PREFETCH | WIRE_FRAME_MORE);
}

Test(wire_frame, compressed_pages_round_trip)
{
	struct wire_frame f = {.type = WIRE_FRAME_ZSTD, .runs = 1, .run = {{5, 1}}, .size = 1};

	round_trip(&f, 1);
	f.size = RAM_PAGE_SIZE - 1;
	round_trip(&f, 1);
	f.run[0].count = WIRE_ZSTD_PAGES_MAX;
	f.size = (WIRE_ZSTD_PAGES_MAX << RAM_PAGE_SHIFT) - 1;
	round_trip(&f, WIRE_ZSTD_PAGES_MAX);
}

Test(wire_frame, a_size_is_of_compressed_pages_only)
{
	struct wire_frame f = {.type = WIRE_FRAME_PAGES, .runs = 1, .run = {{5, 1}}, .size = 7};
	static const uint8_t zero[8];
	uint8_t buf[WIRE_FRAME_SIZE];

	wire_frame_encode(&f, buf);
	cr_assert_arr_eq(buf + 16, zero, sizeof(zero),
			 "the bytes of older frames stay as they were");
	memset(buf + 16, 0xff, 8);
	cr_assert_eq(wire_frame_decode(buf, &map, &f, NULL), 0);
	cr_assert_eq(f.size, 0);
}

Test(wire_frame, sync_round_trips)
{
	struct wire_frame f = {.type = WIRE_FRAME_SYNC, .round = 7};
	static const struct ram_map empty;
	uint8_t buf[WIRE_FRAME_SIZE];

	round_trip(&f, 0);
	wire_frame_encode(&f, buf);
	cr_assert_eq(wire_frame_decode(buf, &empty, &f, NULL), 0, "needs no block");
}

Test(wire_frame, bytes_are_as_documented)
{
	static const uint8_t expected[] = {
		'D', 'R', 'A', 'Y', 1, 0, 2, 0, 1, 0, 0, 0, 4, 3, 2, 1, 0, 0, 0, 0,
		0,   0,	  0,   0,   6, 5, 4, 3, 2, 0, 8, 7, 9, 0, 0, 0, 0, 0, 1, 0,
	};
	static const uint8_t zero[WIRE_FRAME_SIZE];
	const struct wire_frame f = {
		.type = WIRE_FRAME_PAGES,
		.runs = 2,
		.block = 1,
		.round = 0x01020304,
		.run = {{0x0203040506, 0x0708}, {9, 1}},
	};
	uint8_t buf[WIRE_FRAME_SIZE];

	memset(buf, 0xee, sizeof(buf));
	wire_frame_encode(&f, buf);
	cr_assert_arr_eq(buf, expected, sizeof(expected));
	cr_assert_arr_eq(buf + sizeof(expected), zero, sizeof(buf) - sizeof(expected));
}

/* A PAGES frame of two runs, {0, 1} and {10, 1}, in the block of 1000 pages, with some bytes
 * overwritten. Offsets: magic 0, type 4, runs 6, block 8, flags 10, round 12, reserved 16,
 * runs 24... */
struct patch {
	size_t offset;
	unsigned int width;
	uint64_t value;
	char says[64]; /* empty: accepted */
};

#define RUN(first, count) ((uint64_t)(first) | (uint64_t)(count) << 48)

ParameterizedTestParameters(wire_frame, patched)
{
	static struct patch rows[] = {
		{0, 4, 0, "out of step"},
		{3, 1, 'y', "out of step"},
		{4, 2, 0, "unknown frame type 0"},
		{4, 2, WIRE_FRAME_TYPE_END_, "unknown frame type"},
		{4, 2, 0x0101, "unknown frame type 257"},
		{4, 2, WIRE_FRAME_SYNC, "sync frame with 2 runs"},
		{4, 2, WIRE_FRAME_ZERO, ""},
		{4, 2, WIRE_FRAME_STALE, ""},
		{4, 2, WIRE_FRAME_ZSTD, "2 pages compressed to 0 bytes"},
		{6, 2, 0, "0 runs"},
		{6, 2, 1, ""},
		{6, 2, 3, "0 pages from 0"},
		{6, 2, WIRE_FRAME_RUNS_MAX, "0 pages from 0"},
		{6, 2, WIRE_FRAME_RUNS_MAX + 1, "62 runs"},
		{6, 2, UINT16_MAX, "65535 runs"},
		{8, 2, 1, ""},
		{8, 2, 2, "RAM block 2; the guest has 2"},
		{8, 2, UINT16_MAX, "RAM block 65535"},
		{10, 2, UINT16_MAX, ""},
		{16, 8, UINT64_MAX, ""},
		{24, 8, RUN(0, 0), "0 pages from 0"},
		{24, 8, RUN(999, 1), ""},
		{24, 8, RUN(0, 1000), ""},
		{24, 8, RUN(1000, 1), "1 pages from 1000 are no run of RAM block 'small'"},
		{24, 8, RUN(999, 2), "2 pages from 999"},
		{24, 8, RUN(1, 1000), "1000 pages from 1"},
		{24, 8, RUN((1ull << 48) - 1, 1), "from 281474976710655"},
		{24, 8, UINT64_MAX, "65535 pages from 281474976710655"},
		{32, 8, RUN(0, 1001), "1001 pages from 0"},
		{40, 8, UINT64_MAX, ""}, /* behind the last run: unused */
		{504, 8, UINT64_MAX, ""},
	};

	return cr_make_param_array(struct patch, rows, sizeof(rows) / sizeof(rows[0]));
}

ParameterizedTest(struct patch *patch, wire_frame, patched)
{
	struct wire_frame f = {.type = WIRE_FRAME_PAGES, .runs = 2, .run = {{0, 1}, {10, 1}}};
	uint8_t buf[WIRE_FRAME_SIZE];
	struct errtext err = {0};
	int rc;

	wire_frame_encode(&f, buf);
	for (unsigned int i = 0; i < patch->width; i++)
		buf[patch->offset + i] = (uint8_t)(patch->value >> 8 * i);
	rc = wire_frame_decode(buf, &map, &f, &err);
	cr_assert_eq(rc, patch->says[0] ? -EPROTO : 0, "at %zu: %d, %s", patch->offset, rc,
		     err.text);
	cr_assert(strstr(err.text, patch->says), "%s", err.text);
}

struct compressed {
	uint32_t pages, size;
	char says[64];
};

ParameterizedTestParameters(wire_frame, compressed_pages_are_limited)
{
	static struct compressed rows[] = {
		{1, 0, "1 pages compressed to 0 bytes"},
		{1, 4096, "1 pages compressed to 4096 bytes, which is not less"},
		{2, 8192, "2 pages compressed to 8192 bytes"},
		{64, UINT32_MAX, "64 pages compressed to 4294967295 bytes"},
		{65, 1, "65 pages, beyond the limit of 64"},
		{65535, 1, "65535 pages, beyond the limit of 64"},
	};

	return cr_make_param_array(struct compressed, rows, sizeof(rows) / sizeof(rows[0]));
}

ParameterizedTest(struct compressed *row, wire_frame, compressed_pages_are_limited)
{
	struct wire_frame f = {.type = WIRE_FRAME_ZSTD,
			       .runs = 1,
			       .block = 1,
			       .size = row->size,
			       .run = {{0, row->pages}}};
	uint8_t buf[WIRE_FRAME_SIZE];
	struct errtext err = {0};

	wire_frame_encode(&f, buf);
	cr_assert_eq(wire_frame_decode(buf, &map, &f, &err), -EPROTO);
	cr_assert(strstr(err.text, row->says), "%s", err.text);
}

Test(wire_frame, payload_is_limited)
{
	struct wire_frame f = {
		.type = WIRE_FRAME_PAGES,
		.runs = 2,
		.block = 1,
		.run = {{0, WIRE_FRAME_PAGES_MAX - 1}, {5000, 1}},
	};
	uint8_t buf[WIRE_FRAME_SIZE];
	struct errtext err = {0};

	round_trip(&f, WIRE_FRAME_PAGES_MAX);
	f.run[1].count = 2;
	wire_frame_encode(&f, buf);
	cr_assert_eq(wire_frame_decode(buf, &map, &f, &err), -EPROTO);
	cr_assert(strstr(err.text, "1025 pages"), "%s", err.text);
}

Test(wire_frame, sync_hides_an_unchecked_block)
{
	struct wire_frame f = {.type = WIRE_FRAME_SYNC, .block = 999};
	uint8_t buf[WIRE_FRAME_SIZE];

	wire_frame_encode(&f, buf);
	cr_assert_eq(wire_frame_decode(buf, &map, &f, NULL), 0);
	cr_assert_eq(f.block, 0);
}
