// SPDX-License-Identifier: Apache-2.0
// What is no frame of the pages that were announced is refused, whatever zstd would make of it.
#include "decompressor.h"

#include <criterion/criterion.h>
#include <criterion/parameterized.h>
#include <errno.h>
#include <stdlib.h>
#include <zstd.h>
#include "guest_ram.h"
#include "wire.h"

TestSuite(decompressor, .timeout = 20);

#define PAGES 8u
#define SIZE (PAGES * RAM_PAGE_SIZE)
#define GUARD 4096u

struct fixture {
	struct decompressor *decompressor;
	uint8_t *to; /* SIZE bytes, then GUARD */
	uint8_t content[SIZE];
	uint8_t *in;
	size_t size;
	struct errtext err;
};

static size_t compress(struct fixture *f, uint8_t *to, bool checksum, bool sized, size_t content)
{
	ZSTD_CCtx *c = ZSTD_createCCtx();
	size_t n;

	ZSTD_CCtx_setParameter(c, ZSTD_c_checksumFlag, checksum);
	ZSTD_CCtx_setParameter(c, ZSTD_c_contentSizeFlag, sized);
	n = ZSTD_compress2(c, to, 64u << RAM_PAGE_SHIFT, f->content, content);
	cr_assert_not(ZSTD_isError(n));
	ZSTD_freeCCtx(c);
	return n;
}

static struct fixture *setup(void)
{
	struct fixture *f = calloc(1, sizeof(*f));

	cr_assert_eq(decompressor_new(&f->decompressor), 0);
	f->to = malloc(SIZE + GUARD);
	memset(f->to, 0xca, SIZE + GUARD);
	for (uint32_t i = 0; i < PAGES; i++)
		guest_fill_text(f->content + i * RAM_PAGE_SIZE, i);
	f->in = decompressor_in(f->decompressor);
	f->size = compress(f, f->in, true, true, SIZE);
	return f;
}

static int run(struct fixture *f, uint32_t pages)
{
	return decompressor_run(f->decompressor, (uint32_t)f->size, pages, f->to, &f->err);
}

static void teardown(struct fixture *f)
{
	for (unsigned int i = 0; i < GUARD; i++)
		cr_assert_eq(f->to[SIZE + i], 0xca, "written behind the pages");
	decompressor_destroy(f->decompressor);
	free(f->to);
	free(f);
}

static void expect_refused(struct fixture *f, uint32_t pages)
{
	cr_assert_eq(run(f, pages), -EPROTO);
	cr_assert(f->err.text[0]);
	teardown(f);
}

Test(decompressor, what_was_compressed_comes_back)
{
	struct fixture *f = setup();

	cr_assert_eq(run(f, PAGES), 0, "%s", f->err.text);
	cr_assert_arr_eq(f->to, f->content, SIZE);
	teardown(f);
}

Test(decompressor, it_goes_on_after_an_error)
{
	struct fixture *f = setup();

	f->in[f->size / 2] ^= 1;
	cr_assert_eq(run(f, PAGES), -EPROTO);
	f->in[f->size / 2] ^= 1;
	cr_assert_eq(run(f, PAGES), 0);
	cr_assert_arr_eq(f->to, f->content, SIZE);
	teardown(f);
}

Test(decompressor, every_bit_counts)
{
	struct fixture *f = setup();

	for (size_t i = 0; i < f->size; i++)
		for (unsigned int bit = 0; bit < 8; bit++) {
			f->in[i] ^= (uint8_t)(1u << bit);
			/* Some bits mean nothing: then the pages are right all the same. */
			if (run(f, PAGES) == 0)
				cr_assert_arr_eq(f->to, f->content, SIZE, "byte %zu", i);
			f->in[i] ^= (uint8_t)(1u << bit);
		}
	teardown(f);
}

Test(decompressor, every_cut_counts)
{
	struct fixture *f = setup();
	size_t whole = f->size;

	for (f->size = 0; f->size < whole; f->size++)
		cr_assert_eq(run(f, PAGES), -EPROTO);
	teardown(f);
}

Test(decompressor, more_or_fewer_pages_than_announced)
{
	for (uint32_t pages = 1; pages <= PAGES; pages++)
		if (pages != PAGES)
			expect_refused(setup(), pages);
	expect_refused(setup(), PAGES + 1);
	expect_refused(setup(), WIRE_ZSTD_PAGES_MAX + 1);
	expect_refused(setup(), UINT32_MAX);
}

Test(decompressor, something_behind_the_frame)
{
	struct fixture *f = setup();

	f->in[f->size++] = 0;
	expect_refused(f, PAGES);
}

/* Two frames of half the pages each are what zstd takes for one content. */
Test(decompressor, two_frames)
{
	struct fixture *f = setup();

	f->size = compress(f, f->in, true, true, SIZE / 2);
	f->size += compress(f, f->in + f->size, true, true, SIZE / 2);
	expect_refused(f, PAGES);
}

Test(decompressor, no_checksum)
{
	struct fixture *f = setup();

	f->size = compress(f, f->in, false, true, SIZE);
	expect_refused(f, PAGES);
}

Test(decompressor, no_size)
{
	struct fixture *f = setup();

	f->size = compress(f, f->in, true, false, SIZE);
	expect_refused(f, PAGES);
}

/* 128 MiB of one byte, in some kilobytes. */
Test(decompressor, a_bomb)
{
	struct fixture *f = setup();
	size_t size = 128u << 20;
	uint8_t *zeroes = calloc(1, size);

	f->size = ZSTD_compress(f->in, 64u << RAM_PAGE_SHIFT, zeroes, size, 1);
	cr_assert_not(ZSTD_isError(f->size));
	f->in[4] |= 4;
	free(zeroes);
	expect_refused(f, PAGES);
}

/* The head lies: the frame says the right size, and its blocks hold more. */
Test(decompressor, a_bomb_that_lies)
{
	struct fixture *f = setup();
	uint8_t *p = f->in;

	/* single segment, checksum, a size of four bytes; then blocks of one byte, 128 KiB long */
	memcpy(p, "\x28\xb5\x2f\xfd\xa4", 5);
	p += 5;
	*p++ = SIZE & 0xff;
	*p++ = SIZE >> 8 & 0xff;
	*p++ = SIZE >> 16 & 0xff;
	*p++ = 0;
	for (unsigned int i = 0; i < 100; i++) {
		uint32_t head = (i == 99) | 1u << 1 | SIZE << 3;

		*p++ = head & 0xff;
		*p++ = head >> 8 & 0xff;
		*p++ = head >> 16 & 0xff;
		*p++ = 'x';
	}
	memset(p, 0, 4);
	f->size = (size_t)(p + 4 - f->in);
	expect_refused(f, PAGES);
}

Test(decompressor, a_frame_to_be_skipped)
{
	struct fixture *f = setup();

	memcpy(f->in, "\x50\x2a\x4d\x18\x04\x00\x00\x00zstd", 12);
	f->size = 12;
	expect_refused(f, PAGES);
}

Test(decompressor, formats_of_old)
{
	for (unsigned int version = 1; version <= 7; version++) {
		struct fixture *f = setup();

		f->in[0] = (uint8_t)(0x20 + version);
		expect_refused(f, PAGES);
	}
}
