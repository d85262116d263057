// SPDX-License-Identifier: Apache-2.0
// Frames as read: in as few calls as possible, and to the right end.
#include "frame_reader.h"

#include <criterion/criterion.h>
#include <criterion/parameterized.h>
#include <errno.h>
#include <stdlib.h>
#include "byte_source.h"
#include "guest_ram.h"

#define PAGES 64
#define BYTES_MAX (16 * (WIRE_FRAME_SIZE + PAGES * RAM_PAGE_SIZE))

TestSuite(frame_reader, .timeout = 20);

struct fixture {
	struct ram_map ram;
	uint8_t *bytes; /* as written so far */
	size_t len;
	struct byte_source source;
	struct frame_reader *reader;
	struct errtext err;
	uint8_t into[PAGES * RAM_PAGE_SIZE];
};

static struct fixture *setup(void)
{
	struct fixture *f = calloc(1, sizeof(*f));

	guest_ram_add(&f->ram, "a", PAGES * RAM_PAGE_SIZE, RAM_PAGE_SIZE);
	f->bytes = calloc(1, BYTES_MAX);
	return f;
}

static void teardown(struct fixture *f)
{
	frame_reader_destroy(f->reader);
	guest_ram_destroy(&f->ram);
	free(f->bytes);
	free(f);
}

/* Pages hold their own number. */
static void write_frame(struct fixture *f, enum wire_frame_type type, uint64_t first,
			uint32_t count)
{
	struct wire_frame frame = {.type = type, .runs = count ? 1 : 0, .round = 7};

	frame.run[0] = (struct wire_run){first, count};
	wire_frame_encode(&frame, f->bytes + f->len);
	f->len += WIRE_FRAME_SIZE;
	for (uint64_t page = first; type == WIRE_FRAME_PAGES && page < first + count; page++) {
		memcpy(f->bytes + f->len, &page, sizeof(page));
		f->len += RAM_PAGE_SIZE;
	}
}

/* All that was written but the last `less` bytes. */
static void read_from(struct fixture *f, size_t less)
{
	byte_source_init(&f->source, f->bytes, f->len - less);
	cr_assert_eq(frame_reader_new(&f->ram, &f->source.stream, &f->reader), 0);
}

static void expect_frame(struct fixture *f, enum wire_frame_type type, uint64_t first,
			 uint32_t count)
{
	struct wire_frame frame;

	cr_assert_eq(frame_reader_next(f->reader, &frame, &f->err), 0, "%s", f->err.text);
	cr_assert_eq(frame.type, type);
	cr_assert_eq(frame.round, 7);
	cr_assert_eq(frame.runs, count ? 1 : 0);
	cr_assert(!count || (frame.run[0].first == first && frame.run[0].count == count));
	cr_assert_eq(frame_reader_size(&frame),
		     type == WIRE_FRAME_PAGES ? (size_t)count << RAM_PAGE_SHIFT : 0);
}

/* Into one buffer a page. */
static int read_pages(struct fixture *f, uint32_t count, bool ahead)
{
	struct iovec iov[PAGES + 1];

	for (uint32_t i = 0; i < count; i++)
		iov[i] = (struct iovec){f->into + (size_t)i * RAM_PAGE_SIZE, RAM_PAGE_SIZE};
	return frame_reader_pages(f->reader, iov, count, ahead);
}

static void expect_pages(struct fixture *f, uint64_t first, uint32_t count, bool ahead)
{
	cr_assert_eq(read_pages(f, count, ahead), 0);
	for (uint32_t i = 0; i < count; i++) {
		uint64_t number;

		memcpy(&number, f->into + (size_t)i * RAM_PAGE_SIZE, sizeof(number));
		cr_assert_eq(number, first + i);
	}
}

static void expect_end(struct fixture *f)
{
	struct wire_frame frame;

	cr_assert_eq(frame_reader_next(f->reader, &frame, &f->err), -ENODATA);
	cr_assert_str_eq(f->err.text, "", "a stream's end has no text");
	teardown(f);
}

Test(frame_reader, the_pages_of_a_frame_come_in_parts_if_that_is_wanted)
{
	struct fixture *f = setup();

	write_frame(f, WIRE_FRAME_PAGES, 3, 10);
	write_frame(f, WIRE_FRAME_SYNC, 0, 0);
	read_from(f, 0);
	expect_frame(f, WIRE_FRAME_PAGES, 3, 10);
	expect_pages(f, 3, 4, false);
	expect_pages(f, 7, 1, false);
	expect_pages(f, 8, 5, true);
	cr_assert_eq(f->source.calls, 4);
	expect_frame(f, WIRE_FRAME_SYNC, 0, 0);
	cr_assert_eq(f->source.calls, 4);
	expect_end(f);
}

Test(frame_reader, a_head_comes_with_the_pages_before_it)
{
	struct fixture *f = setup();

	write_frame(f, WIRE_FRAME_PAGES, 3, 10);
	write_frame(f, WIRE_FRAME_PAGES, 20, 1);
	write_frame(f, WIRE_FRAME_SYNC, 0, 0);
	read_from(f, 0);
	expect_frame(f, WIRE_FRAME_PAGES, 3, 10);
	cr_assert_eq(f->source.calls, 1);
	expect_pages(f, 3, 10, true);
	cr_assert_eq(f->source.calls, 2);
	expect_frame(f, WIRE_FRAME_PAGES, 20, 1);
	cr_assert_eq(f->source.calls, 2, "it is there already");
	expect_pages(f, 20, 1, true);
	expect_frame(f, WIRE_FRAME_SYNC, 0, 0);
	cr_assert_eq(f->source.calls, 3);
	expect_end(f);
}

Test(frame_reader, not_ahead_only_the_pages_are_read)
{
	struct fixture *f = setup();

	write_frame(f, WIRE_FRAME_PAGES, 0, 2);
	write_frame(f, WIRE_FRAME_ZERO, 5, 6);
	write_frame(f, WIRE_FRAME_STALE, 6, 1);
	read_from(f, 0);
	expect_frame(f, WIRE_FRAME_PAGES, 0, 2);
	expect_pages(f, 0, 2, false);
	cr_assert_eq(f->source.left, 2 * WIRE_FRAME_SIZE, "nobody has waited for the next head");
	expect_frame(f, WIRE_FRAME_ZERO, 5, 6);
	expect_frame(f, WIRE_FRAME_STALE, 6, 1);
	expect_end(f);
}

Test(frame_reader, nothing_at_all)
{
	struct fixture *f = setup();

	read_from(f, 0);
	expect_end(f);
}

static void expect_break(struct fixture *f, int ret)
{
	cr_assert_eq(ret, -ECONNRESET, "%d", ret);
	cr_assert_str_eq(f->err.text, "", "the caller knows the stream's name");
	teardown(f);
}

struct cut {
	size_t less;
};

static struct cut head_cuts[] = {{1}, {WIRE_FRAME_SIZE - 1}};

ParameterizedTestParameters(frame_reader, half_a_head_is_no_clean_end)
{
	return cr_make_param_array(struct cut, head_cuts, 2);
}

ParameterizedTest(struct cut *cut, frame_reader, half_a_head_is_no_clean_end)
{
	struct fixture *f = setup();
	struct wire_frame frame;

	write_frame(f, WIRE_FRAME_ZERO, 0, 1);
	read_from(f, cut->less);
	expect_break(f, frame_reader_next(f->reader, &frame, &f->err));
}

/* Whether or not the next head is wanted as well: even none of the pages is no clean end. */
static struct cut page_cuts[] = {{1}, {RAM_PAGE_SIZE}, {2 * RAM_PAGE_SIZE}};

ParameterizedTestParameters(frame_reader, pages_that_do_not_come)
{
	return cr_make_param_array(struct cut, page_cuts, 3);
}

ParameterizedTest(struct cut *cut, frame_reader, pages_that_do_not_come)
{
	for (int ahead = 0; ahead < 2; ahead++) {
		struct fixture *f = setup();

		write_frame(f, WIRE_FRAME_PAGES, 0, 2);
		read_from(f, cut->less);
		expect_frame(f, WIRE_FRAME_PAGES, 0, 2);
		expect_break(f, read_pages(f, 2, ahead));
	}
}

/* Whoever reads ahead counts on another frame. */
Test(frame_reader, an_end_instead_of_the_head_that_was_read_ahead)
{
	struct fixture *f = setup();

	write_frame(f, WIRE_FRAME_PAGES, 0, 2);
	read_from(f, 0);
	expect_frame(f, WIRE_FRAME_PAGES, 0, 2);
	expect_break(f, read_pages(f, 2, true));
}

Test(frame_reader, what_is_wrong_with_a_head_is_said)
{
	struct fixture *f = setup();
	struct wire_frame frame;

	write_frame(f, WIRE_FRAME_PAGES, PAGES - 1, 2); /* one too many */
	read_from(f, 0);
	cr_assert_eq(frame_reader_next(f->reader, &frame, &f->err), -EPROTO);
	cr_assert(f->err.text[0]);
	teardown(f);
}
