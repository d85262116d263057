// SPDX-License-Identifier: Apache-2.0
// Fuzz: the head of a RAM frame. What decodes stays inside its block and its limits, and encodes
// and decodes again to the same.
#include "wire.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(bool holds)
{
	if (!holds)
		abort();
}

static void check_limits(const struct wire_frame *f, const struct ram_map *map)
{
	uint64_t pages = 0;

	check(f->runs <= WIRE_FRAME_RUNS_MAX && f->block < map->count);
	for (unsigned int i = 0; i < f->runs; i++) {
		check(f->run[i].count >= 1 && f->run[i].count <= WIRE_RUN_PAGES_MAX);
		check(f->run[i].first + f->run[i].count <= ram_block_pages(&map->blocks[f->block]));
		pages += f->run[i].count;
	}
	check(pages == wire_frame_pages(f));
	check(f->type != WIRE_FRAME_PAGES || (pages >= 1 && pages <= WIRE_FRAME_PAGES_MAX));
	check(f->type != WIRE_FRAME_ZSTD ||
	      (pages <= WIRE_ZSTD_PAGES_MAX && f->size >= 1 && f->size < pages << RAM_PAGE_SHIFT));
	check(f->type == WIRE_FRAME_ZSTD || f->size == 0);
	check(f->type == WIRE_FRAME_SYNC ? f->runs == 0 : f->runs >= 1);
}

static void check_round_trip(const struct wire_frame *f, const struct ram_map *map)
{
	uint8_t buf[WIRE_FRAME_SIZE];
	struct wire_frame again;

	wire_frame_encode(f, buf);
	check(wire_frame_decode(buf, map, &again, NULL) == 0);
	check(f->type == again.type && f->runs == again.runs && f->block == again.block &&
	      f->flags == again.flags && f->round == again.round && f->size == again.size);
	for (unsigned int i = 0; i < f->runs; i++)
		check(f->run[i].first == again.run[i].first &&
		      f->run[i].count == again.run[i].count);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct ram_block blocks[] = {
		{.name = "small", .size = 4096, .page_size = 4096, .fd = -1},
		{.name = "usual", .size = 1ull << 30, .page_size = 4096, .fd = -1},
		{.name = "vast", .size = RAM_BLOCK_SIZE_MAX, .page_size = 4096, .fd = -1},
	};
	const struct ram_map map = {.count = 3, .blocks = blocks};
	uint8_t buf[WIRE_FRAME_SIZE] = {0};
	struct wire_frame f;
	struct errtext err = {0};
	int rc;

	memcpy(buf, data, size < sizeof(buf) ? size : sizeof(buf));
	rc = wire_frame_decode(buf, &map, &f, &err);
	check(!rc == !err.text[0]);
	if (rc)
		return 0;
	check_limits(&f, &map);
	check_round_trip(&f, &map);
	return 0;
}
