// SPDX-License-Identifier: Apache-2.0
// The strainer on streams of QEMU's own: tests/unit/streams/record says how they were made, and how
// to let a QEMU load what is left of them.
#include "strainer.h"

#include <criterion/criterion.h>
#include <stdlib.h>
#include <zstd.h>
#include "qemu_stream.h"

TestSuite(strainer_recorded, .timeout = 60);

#define RAM_BYTES (8u << 20)
#define STREAM_MAX (4u << 20)

/* The file is in this program, so that it needs no other on the machine where it runs. */
#define RECORDED(name, file)                                                                       \
	__asm__(".section .rodata\n" #name ": .incbin \"" STREAMS "/" file "\"\n" #name            \
		"_end: .byte 0\n.previous\n");                                                     \
	extern const uint8_t name[], name##_end[];

RECORDED(stream_7_2, "qemu-7.2.zst")
RECORDED(stream_7_2_old, "qemu-7.2-old.zst")
RECORDED(stream_7_2_oldest, "qemu-7.2-oldest.zst")
RECORDED(stream_10_0, "qemu-10.0.zst")
RECORDED(stream_11_1, "qemu-11.1.zst")

static const struct recorded {
	const char *what;
	const uint8_t *at, *end;
	const char *block; /* its name here */
} streams[] = {
	{"7.2", stream_7_2, stream_7_2_end, "pc.ram"},
	{"7.2, blocks called by their path", stream_7_2_old, stream_7_2_old_end, "ram-node0"},
	{"7.2, no footers", stream_7_2_oldest, stream_7_2_oldest_end, "ram-node0"},
	{"10.0", stream_10_0, stream_10_0_end, "pc.ram"},
	{"11.1", stream_11_1, stream_11_1_end, "pc.ram"},
};

#define STREAMS_COUNT (sizeof(streams) / sizeof(streams[0]))

static struct qemu_stream unpack(const struct recorded *r)
{
	struct qemu_stream s = {.bytes = malloc(STREAM_MAX), .room = STREAM_MAX};

	s.n = ZSTD_decompress(s.bytes, s.room, r->at, (size_t)(r->end - r->at));
	cr_assert_not(ZSTD_isError(s.n), "%s: %s", r->what, ZSTD_getErrorName(s.n));
	return s;
}

/* Without the block's pages; with them if it has no name. */
static struct qemu_stream strain(const struct qemu_stream *in, const char *block, size_t piece,
				 struct strainer_stats *stats)
{
	struct qemu_stream kept = {0};
	struct ram_map drop = {0};
	struct strainer *s = strainer_for(&drop);
	struct errtext err = {0};

	if (block)
		drop_block(&drop, block, RAM_BYTES);
	for (size_t at = 0; at < in->n; at += piece) {
		size_t n = piece < in->n - at ? piece : in->n - at;

		cr_assert_eq(strainer_strain(s, in->bytes + at, n, qemu_stream_keep, &kept, &err),
			     0, "%s", err.text);
	}
	strainer_stats(s, stats);
	cr_assert(stats->past_ram);
	cr_assert_eq(stats->read_bytes, in->n);
	cr_assert_eq(stats->kept_bytes, kept.n);
	strainer_destroy(s);
	ram_map_destroy(&drop);
	return kept;
}

static void expect_same(const struct recorded *r, const struct qemu_stream *a,
			const struct qemu_stream *b)
{
	cr_assert_eq(a->n, b->n, "%s", r->what);
	cr_assert_eq(memcmp(a->bytes, b->bytes, a->n), 0, "%s", r->what);
}

Test(strainer_recorded, loses_its_ram_and_nothing_else)
{
	for (size_t i = 0; i < STREAMS_COUNT; i++) {
		const struct recorded *r = &streams[i];
		struct strainer_stats stats, other;
		_cleanup_stream_ struct qemu_stream in = unpack(r),
						    kept = strain(&in, r->block, in.n, &stats);
		_cleanup_stream_ struct qemu_stream again = strain(&kept, r->block, kept.n, &other);

		cr_assert_geq(stats.data_pages + stats.zero_pages, RAM_BYTES / RAM_PAGE_SIZE);
		cr_assert_gt(stats.data_pages, 16, "%s", r->what);
		cr_assert_lt(kept.n, in.n / 2);
		/* The last byte of the stream's description. */
		cr_assert_eq(kept.bytes[kept.n - 1], '}');
		cr_assert_eq(other.data_pages + other.zero_pages, 0);
		expect_same(r, &kept, &again);
	}
}

Test(strainer_recorded, may_be_cut_anywhere)
{
	static const size_t pieces[] = {1, 2, 7, 64, 4095, 4096, 4104, 65536};

	for (size_t i = 0; i < STREAMS_COUNT; i++) {
		const struct recorded *r = &streams[i];
		struct strainer_stats stats;
		_cleanup_stream_ struct qemu_stream in = unpack(r),
						    kept = strain(&in, r->block, in.n, &stats);

		for (size_t p = 0; p < sizeof(pieces) / sizeof(pieces[0]); p++) {
			_cleanup_stream_ struct qemu_stream cut =
				strain(&in, r->block, pieces[p], &stats);

			expect_same(r, &kept, &cut);
		}
	}
}

/* With no block to drop, only names are added: what has them passes unchanged. */
Test(strainer_recorded, keeps_all_if_nothing_is_dropped)
{
	for (size_t i = 0; i < STREAMS_COUNT; i++) {
		const struct recorded *r = &streams[i];
		struct strainer_stats stats;
		_cleanup_stream_ struct qemu_stream in = unpack(r),
						    named = strain(&in, NULL, in.n, &stats);
		_cleanup_stream_ struct qemu_stream again = strain(&named, NULL, named.n, &stats);

		cr_assert_gt(named.n, in.n);
		expect_same(r, &named, &again);
	}
}
