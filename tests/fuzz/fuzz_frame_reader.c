// SPDX-License-Identifier: Apache-2.0
// Fuzz: a RAM stream, frames and pages. Whatever comes, the reader asks for exactly the pages that
// a head announces, and ends where the bytes end.
//
// The first byte chooses, bit by bit in turn, which pages are read together with the next head.
#include "frame_reader.h"

#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include "../unit/byte_source.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define PAGES 16

static void check(bool holds)
{
	if (!holds)
		abort();
}

/* Straight into guest RAM, as the destination reads them. Pages may come twice. */
static int read_pages(struct frame_reader *r, const struct wire_frame *f, uint8_t *ram, bool ahead)
{
	struct iovec iov[WIRE_FRAME_RUNS_MAX + 1];
	size_t sum = 0;

	if (f->type == WIRE_FRAME_ZSTD) {
		iov[0] = (struct iovec){ram, f->size};
		check(f->size <= PAGES * RAM_PAGE_SIZE);
		return frame_reader_pages(r, iov, 1, ahead);
	}
	for (unsigned int i = 0; i < f->runs; i++) {
		iov[i] = (struct iovec){ram + (f->run[i].first << RAM_PAGE_SHIFT),
					(size_t)f->run[i].count << RAM_PAGE_SHIFT};
		check(f->run[i].first + f->run[i].count <= PAGES);
		sum += iov[i].iov_len;
	}
	check(sum == frame_reader_size(f));
	return frame_reader_pages(r, iov, f->runs, ahead);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct ram_block block = {
		.name = "a", .size = PAGES * RAM_PAGE_SIZE, .page_size = RAM_PAGE_SIZE, .fd = -1};
	const struct ram_map map = {.count = 1, .blocks = &block};
	struct byte_source in;
	struct frame_reader *r;
	struct wire_frame f;
	struct errtext err = {0};
	unsigned int turn = 0;
	uint8_t *ram;
	int ret;

	if (size < 1)
		return 0;
	byte_source_init(&in, data + 1, size - 1);
	ram = malloc(block.size);
	check(ram && frame_reader_new(&map, &in.stream, &r) == 0);
	do {
		ret = frame_reader_next(r, &f, &err);
		if (ret == 0 && frame_reader_size(&f))
			ret = read_pages(r, &f, ram, data[0] >> turn++ % 8 & 1);
	} while (ret == 0);
	check(ret == -ENODATA || ret == -ECONNRESET || ret == -EPROTO);
	check(ret != -ENODATA || in.left == 0);
	check((ret == -EPROTO) == (err.text[0] != '\0'));
	frame_reader_destroy(r);
	free(ram);
	return 0;
}
