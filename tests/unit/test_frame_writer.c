// SPDX-License-Identifier: Apache-2.0
// Frames as written: decoded again and compared with what was added, page by page.
#include "frame_writer.h"

#include <criterion/criterion.h>
#include <errno.h>
#include "guest_ram.h"
#include "memory_stream.h"

#define LARGE_PAGES (4ull * WIRE_RUN_PAGES_MAX)

TestSuite(frame_writer, .timeout = 20);

/* Large enough for all that a test writes: nobody reads meanwhile. */
#define PIPE_SIZE (24u << 20)

struct fixture {
	struct ram_map ram;
	struct memory_pipe pipe;
	struct frame_writer *writer;
};

static void setup(struct fixture *f)
{
	*f = (struct fixture){0};
	guest_ram_add(&f->ram, "a", 4096 * RAM_PAGE_SIZE, RAM_PAGE_SIZE);
	guest_ram_add(&f->ram, "b", LARGE_PAGES << RAM_PAGE_SHIFT, RAM_PAGE_SIZE);
	for (uint64_t i = 0; i < 4096; i++)
		memcpy(guest_page(&f->ram.blocks[0], i), &i, sizeof(i));
	memory_pipe_init(&f->pipe, PIPE_SIZE);
	cr_assert_eq(frame_writer_new(&f->ram, &f->pipe.out.stream, &f->writer), 0);
	frame_writer_round(f->writer, 7);
}

static void teardown(struct fixture *f)
{
	frame_writer_destroy(f->writer);
	memory_pipe_free(&f->pipe);
	guest_ram_destroy(&f->ram);
}

static void add(struct fixture *f, enum wire_frame_type type, unsigned int block, uint64_t first,
		uint64_t count)
{
	struct errtext err = {0};

	cr_assert_eq(frame_writer_add(f->writer, type, block, first, count, &err), 0, "%s",
		     err.text);
}

static void sync_and_close(struct fixture *f)
{
	struct errtext err = {0};

	cr_assert_eq(frame_writer_sync(f->writer, &err), 0, "%s", err.text);
	f->pipe.out.stream.ops->destroy(&f->pipe.out.stream);
}

static void read_bytes(struct fixture *f, void *to, size_t len)
{
	struct iovec iov = {to, len};

	cr_assert_eq(f->pipe.in.stream.ops->recv(&f->pipe.in.stream, &iov, 1), 0);
}

static struct wire_frame next_head(struct fixture *f)
{
	uint8_t head[WIRE_FRAME_SIZE];
	struct errtext err = {0};
	struct wire_frame frame;

	read_bytes(f, head, sizeof(head));
	cr_assert_eq(wire_frame_decode(head, &f->ram, &frame, &err), 0, "%s", err.text);
	cr_assert_eq(frame.round, 7);
	return frame;
}

/* Reads the pages of a frame of block 0, each of which holds its own number. */
static void expect_pages(struct fixture *f, const struct wire_frame *frame)
{
	for (unsigned int i = 0; i < frame->runs; i++) {
		for (uint64_t n = 0; n < frame->run[i].count; n++) {
			uint64_t page[RAM_PAGE_SIZE / 8];

			read_bytes(f, page, sizeof(page));
			cr_assert_eq(page[0], frame->run[i].first + n);
		}
	}
}

static void expect_frame(struct fixture *f, enum wire_frame_type type, unsigned int block,
			 unsigned int runs, uint32_t pages)
{
	struct wire_frame frame = next_head(f);

	cr_assert_eq(frame.type, type);
	cr_assert_eq(frame.block, block);
	cr_assert_eq(frame.runs, runs, "%u runs", frame.runs);
	cr_assert_eq(wire_frame_pages(&frame), pages);
	if (type == WIRE_FRAME_PAGES && block == 0)
		expect_pages(f, &frame);
}

static void expect_end(struct fixture *f)
{
	struct iovec iov = {(uint8_t[1]){0}, 1};

	expect_frame(f, WIRE_FRAME_SYNC, 0, 0, 0);
	cr_assert_eq(f->pipe.in.stream.ops->recv(&f->pipe.in.stream, &iov, 1), -ENODATA);
	teardown(f);
}

Test(frame_writer, neighbours_become_one_run)
{
	struct fixture f;

	setup(&f);
	for (uint64_t i = 0; i < 10; i++)
		add(&f, WIRE_FRAME_PAGES, 0, 100 + i, 1);
	add(&f, WIRE_FRAME_PAGES, 0, 200, 2);
	sync_and_close(&f);
	expect_frame(&f, WIRE_FRAME_PAGES, 0, 2, 12);
	expect_end(&f);
}

Test(frame_writer, a_change_of_type_or_block_begins_a_frame)
{
	struct fixture f;

	setup(&f);
	add(&f, WIRE_FRAME_PAGES, 0, 1, 1);
	add(&f, WIRE_FRAME_ZERO, 0, 2, 1);
	add(&f, WIRE_FRAME_ZERO, 1, 3, 1);
	add(&f, WIRE_FRAME_ZERO, 1, 4, 1);
	add(&f, WIRE_FRAME_PAGES, 0, 4, 1);
	sync_and_close(&f);
	expect_frame(&f, WIRE_FRAME_PAGES, 0, 1, 1);
	expect_frame(&f, WIRE_FRAME_ZERO, 0, 1, 1);
	expect_frame(&f, WIRE_FRAME_ZERO, 1, 1, 2);
	expect_frame(&f, WIRE_FRAME_PAGES, 0, 1, 1);
	expect_end(&f);
}

Test(frame_writer, a_frame_holds_so_many_runs)
{
	struct fixture f;

	setup(&f);
	for (uint64_t i = 0; i <= WIRE_FRAME_RUNS_MAX; i++)
		add(&f, WIRE_FRAME_PAGES, 0, 2 * i, 1);
	sync_and_close(&f);
	expect_frame(&f, WIRE_FRAME_PAGES, 0, WIRE_FRAME_RUNS_MAX, WIRE_FRAME_RUNS_MAX);
	expect_frame(&f, WIRE_FRAME_PAGES, 0, 1, 1);
	expect_end(&f);
}

Test(frame_writer, the_last_run_of_a_full_frame_still_grows)
{
	struct fixture f;

	setup(&f);
	for (uint64_t i = 0; i < WIRE_FRAME_RUNS_MAX; i++)
		add(&f, WIRE_FRAME_PAGES, 0, 2 * i, 1);
	add(&f, WIRE_FRAME_PAGES, 0, 2 * WIRE_FRAME_RUNS_MAX - 1, 1);
	sync_and_close(&f);
	expect_frame(&f, WIRE_FRAME_PAGES, 0, WIRE_FRAME_RUNS_MAX, WIRE_FRAME_RUNS_MAX + 1);
	expect_end(&f);
}

Test(frame_writer, a_frame_holds_so_many_pages)
{
	struct fixture f;

	setup(&f);
	add(&f, WIRE_FRAME_PAGES, 0, 0, WIRE_FRAME_PAGES_MAX);
	add(&f, WIRE_FRAME_PAGES, 0, 1024, WIRE_FRAME_PAGES_MAX - 1);
	add(&f, WIRE_FRAME_PAGES, 0, 3000, 2);
	sync_and_close(&f);
	expect_frame(&f, WIRE_FRAME_PAGES, 0, 1, 1024);
	expect_frame(&f, WIRE_FRAME_PAGES, 0, 1, 1023);
	expect_frame(&f, WIRE_FRAME_PAGES, 0, 1, 2);
	expect_end(&f);
}

Test(frame_writer, zero_runs_are_as_long_as_a_run_can_be)
{
	struct fixture f;

	setup(&f);
	add(&f, WIRE_FRAME_ZERO, 1, 5, 3 * WIRE_RUN_PAGES_MAX);
	sync_and_close(&f);
	expect_frame(&f, WIRE_FRAME_ZERO, 1, 3, 3 * WIRE_RUN_PAGES_MAX);
	expect_end(&f);
}

/* Whatever is added comes out in that order, and nothing else. */
Test(frame_writer, random_pages_keep_their_order)
{
	uint64_t state = 42, page = 0, expected[2000];
	unsigned int n = 0, at = 0;
	struct wire_frame frame;
	struct fixture f;

	setup(&f);
	for (; n < 2000; n++) {
		page = guest_random(&state) % 3 ? page + 1 : guest_random(&state);
		expected[n] = page %= 4096;
		add(&f, WIRE_FRAME_PAGES, 0, page, 1);
	}
	sync_and_close(&f);
	for (frame = next_head(&f); frame.type == WIRE_FRAME_PAGES; frame = next_head(&f)) {
		expect_pages(&f, &frame);
		for (unsigned int i = 0; i < frame.runs; i++)
			for (uint64_t k = 0; k < frame.run[i].count; k++)
				cr_assert_eq(frame.run[i].first + k, expected[at++]);
	}
	cr_assert_eq(at, n);
	teardown(&f);
}

Test(frame_writer, drain_sends_what_is_pending)
{
	struct fixture f;

	setup(&f);
	cr_assert_eq(frame_writer_drain(f.writer, NULL), 0, "nothing pending");
	cr_assert_eq(f.pipe.bytes, 0);
	add(&f, WIRE_FRAME_PAGES, 0, 3, 1);
	cr_assert_eq(f.pipe.sends, 0);
	cr_assert_eq(frame_writer_drain(f.writer, NULL), 0);
	cr_assert_eq(f.pipe.bytes, WIRE_FRAME_SIZE + RAM_PAGE_SIZE);
	sync_and_close(&f);
	expect_frame(&f, WIRE_FRAME_PAGES, 0, 1, 1);
	expect_end(&f);
}

Test(frame_writer, a_broken_stream_is_named)
{
	struct errtext err = {0};
	struct fixture f;

	setup(&f);
	f.pipe.break_after = WIRE_FRAME_SIZE + 1;
	add(&f, WIRE_FRAME_PAGES, 0, 3, 1);
	cr_assert_eq(frame_writer_drain(f.writer, &err), -EPIPE);
	cr_assert(strstr(err.text, "RAM stream to the destination"), "%s", err.text);
	cr_assert_eq(frame_writer_sync(f.writer, &err), -EPIPE);
	teardown(&f);
}
