// SPDX-License-Identifier: Apache-2.0
// What is compressed, and that the decompressor makes the same of it.
#include "compressor.h"

#include <criterion/criterion.h>
#include <criterion/parameterized.h>
#include <stdlib.h>
#include "decompressor.h"
#include "guest_ram.h"
#include "wire.h"

TestSuite(compressor, .timeout = 20);

struct fixture {
	struct compressor *compressor;
	struct decompressor *decompressor;
};

static void setup(struct fixture *f, int level)
{
	const struct compression how = {.kind = COMPRESSION_ZSTD, .level = level};

	cr_assert_eq(compressor_new(&how, &f->compressor), 0);
	cr_assert_eq(decompressor_new(&f->decompressor), 0);
}

static void teardown(struct fixture *f)
{
	compressor_destroy(f->compressor);
	decompressor_destroy(f->decompressor);
}

static void fill(struct fixture *f, uint32_t pages, uint64_t seed)
{
	for (uint32_t i = 0; i < pages; i++)
		guest_fill_text(compressor_room(f->compressor) + ((size_t)i << RAM_PAGE_SHIFT),
				seed + i);
}

static size_t run(struct fixture *f, uint32_t pages, const uint8_t **out)
{
	cr_assert_eq(compressor_next(f->compressor), WIRE_ZSTD_PAGES_MAX);
	return compressor_run(f->compressor, compressor_room(f->compressor), pages, out);
}

static void expect_same(struct fixture *f, const uint8_t *from, size_t size, uint32_t pages,
			uint64_t seed)
{
	uint8_t *to = decompressor_out(f->decompressor), expected[RAM_PAGE_SIZE];
	struct errtext err = {0};

	memcpy(decompressor_in(f->decompressor), from, size);
	cr_assert_eq(decompressor_run(f->decompressor, (uint32_t)size, pages, to, &err), 0, "%s",
		     err.text);
	for (uint32_t i = 0; i < pages; i++) {
		guest_fill_text(expected, seed + i);
		cr_assert_arr_eq(to + ((size_t)i << RAM_PAGE_SHIFT), expected, RAM_PAGE_SIZE);
	}
}

ParameterizedTestParameters(compressor, each_level_comes_back)
{
	static int levels[] = {1, 3, 9, COMPRESSION_LEVEL_MAX};

	return cr_make_param_array(int, levels, sizeof(levels) / sizeof(levels[0]));
}

ParameterizedTest(int *level, compressor, each_level_comes_back)
{
	static const uint32_t pages[] = {1, 2, 63, WIRE_ZSTD_PAGES_MAX};
	struct compressor_stats stats;
	struct fixture f;
	size_t sum = 0, n;

	setup(&f, *level);
	for (unsigned int i = 0; i < 4; i++) {
		const uint8_t *out;

		fill(&f, pages[i], i * 100);
		n = run(&f, pages[i], &out);
		cr_assert(n > 0 && n < pages[i] * RAM_PAGE_SIZE / 4, "%zu", n);
		expect_same(&f, out, n, pages[i], i * 100);
		sum += n;
	}
	stats = compressor_stats(f.compressor);
	cr_assert_eq(stats.pages, 130);
	cr_assert_eq(stats.bytes, sum);
	teardown(&f);
}

Test(compressor, what_is_not_worth_it_stays_as_it_is)
{
	struct fixture f;
	const uint8_t *out;

	setup(&f, 1);
	for (uint32_t i = 0; i < WIRE_ZSTD_PAGES_MAX; i++)
		guest_fill(compressor_room(f.compressor) + ((size_t)i << RAM_PAGE_SHIFT), i + 1);
	cr_assert_eq(run(&f, WIRE_ZSTD_PAGES_MAX, &out), 0);
	cr_assert_eq(compressor_stats(f.compressor).pages, 0);
	fill(&f, 3, 5);
	expect_same(&f, out, run(&f, 3, &out), 3, 5);
	teardown(&f);
}

Test(compressor, what_is_on_its_way_is_left_alone)
{
	const uint8_t *first, *second, *third;
	struct fixture f;
	size_t n, m;

	setup(&f, 1);
	fill(&f, 64, 1);
	n = run(&f, 64, &first);
	fill(&f, 64, 1000);
	m = run(&f, 64, &second);
	cr_assert_neq(first, second);
	expect_same(&f, first, n, 64, 1);
	cr_assert(run(&f, 1, &third));
	expect_same(&f, second, m, 64, 1000);
	teardown(&f);
}

Test(compressor, the_frame_has_a_size_and_a_checksum)
{
	static const uint8_t magic[] = {0x28, 0xb5, 0x2f, 0xfd};
	struct fixture f;
	const uint8_t *out;

	setup(&f, 1);
	fill(&f, 64, 1);
	cr_assert(run(&f, 64, &out));
	cr_assert_arr_eq(out, magic, sizeof(magic));
	cr_assert(out[4] & 4, "a checksum");
	cr_assert(out[4] >> 6, "four bytes of size");
	teardown(&f);
}

Test(compressor, by_itself_it_begins_without)
{
	const struct compression how = {.kind = COMPRESSION_AUTO};
	struct compressor *c;

	cr_assert_eq(compressor_new(&how, &c), 0);
	cr_assert_eq(compressor_next(c), 0);
	compressor_send_begins(c);
	compressor_send_ends(c, 1 << 20, 1 << 20);
	cr_assert_eq(compressor_next(c), 0);
	compressor_destroy(c);
}

/* The stream takes its time: more than a window's at once. */
Test(compressor, by_itself_it_tries_where_the_stream_makes_it_wait)
{
	const struct compression how = {.kind = COMPRESSION_AUTO};
	const uint8_t *out = NULL;
	struct fixture f;
	uint32_t pages = 0;
	size_t n = 0;

	setup(&f, 1);
	compressor_destroy(f.compressor);
	cr_assert_eq(compressor_new(&how, &f.compressor), 0);
	for (unsigned int i = 0; i < 16 && n == 0; i++) {
		compressor_send_begins(f.compressor);
		usleep(30000);
		compressor_send_ends(f.compressor, 1 << 20, 1 << 20);
		pages = compressor_next(f.compressor);
		if (pages) {
			fill(&f, pages, 7);
			n = compressor_run(f.compressor, compressor_room(f.compressor), pages,
					   &out);
		}
	}
	cr_assert_gt(n, 0);
	expect_same(&f, out, n, pages, 7);
	teardown(&f);
}
