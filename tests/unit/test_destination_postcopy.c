// SPDX-License-Identifier: Apache-2.0
// A stream's way from pre-copy to post-copy at the destination: what STALE takes away, and how
// pages come back.
#include <criterion/criterion.h>
#include <errno.h>
#include "memory_stream.h"
#include "postcopy.h"

#define PAGES 64u

TestSuite(destination_postcopy, .timeout = 20);

struct fixture {
	struct postcopy p; /* RAM, the owed set and a destination */
	struct memory_pipe pipe;
	pthread_t thread;
	int result;
	struct errtext err;
};

/* dense: the destination is preallocated. */
static void setup(struct fixture *f, bool dense, bool agreed)
{
	struct destination_options opt = {.ram = &f->p.to, .synced = postcopy_synced};

	*f = (struct fixture){0};
	postcopy_init_empty(&f->p);
	opt.opaque = &f->p;
	guest_ram_add(&f->p.to, "pc.ram", PAGES << RAM_PAGE_SHIFT, RAM_PAGE_SIZE);
	memset(f->p.to.blocks[0].map, 0xdb, (dense ? PAGES : 1) << RAM_PAGE_SHIFT);
	postcopy_create_owed(&f->p);
	cr_assert_eq(destination_new(&opt, &f->p.destination, &f->err), 0, "%s", f->err.text);
	if (agreed)
		destination_expect_stale(f->p.destination, f->p.owed);
	memory_pipe_init(&f->pipe, 1 << 20);
}

static void teardown(struct fixture *f)
{
	memory_pipe_free(&f->pipe);
	postcopy_free(&f->p);
}

static void put(struct fixture *f, const void *bytes, size_t len)
{
	struct byte_stream *out = &f->pipe.out.stream;
	struct iovec iov = {(void *)bytes, len};

	cr_assert_eq(out->ops->send(out, &iov, 1), 0);
	cr_assert_eq(out->ops->drain(out), 0);
}

static void put_frame(struct fixture *f, enum wire_frame_type type, uint16_t flags,
		      struct wire_run run)
{
	struct wire_frame frame = {.type = type, .runs = run.count ? 1 : 0, .run = {run}};
	uint8_t head[WIRE_FRAME_SIZE], content[RAM_PAGE_SIZE];

	frame.round = POSTCOPY_ROUND;
	frame.flags = flags;
	wire_frame_encode(&frame, head);
	put(f, head, sizeof(head));
	for (uint64_t page = run.first; type == WIRE_FRAME_PAGES && page < run.first + run.count;
	     page++) {
		guest_fill(content, page);
		put(f, content, sizeof(content));
	}
}

#define RUN(first, count)                                                                          \
	(struct wire_run)                                                                          \
	{                                                                                          \
		first, count                                                                       \
	}

static void *receive(void *arg)
{
	struct fixture *f = arg;

	f->result = destination_receive(f->p.destination, 0, &f->pipe.in.stream, &f->err);
	return NULL;
}

static void start(struct fixture *f)
{
	cr_assert_eq(pthread_create(&f->thread, NULL, receive, f), 0);
}

static int end(struct fixture *f)
{
	f->pipe.out.stream.ops->destroy(&f->pipe.out.stream);
	pthread_join(f->thread, NULL);
	return f->result;
}

static void await_sync(struct fixture *f)
{
	f->p.push_links = 1;
	put_frame(f, WIRE_FRAME_SYNC, 0, RUN(0, 0));
	postcopy_await_synced(&f->p);
	f->p.push_links = 0;
	f->p.synced = 0;
}

static void from_stale_to_placed(bool dense)
{
	struct placer_stats placed;
	struct fixture f;

	setup(&f, dense, true);
	start(&f);
	put_frame(&f, WIRE_FRAME_PAGES, 0, RUN(0, PAGES));
	put_frame(&f, WIRE_FRAME_STALE, 0, RUN(10, 20));
	put_frame(&f, WIRE_FRAME_STALE, 0, RUN(25, 10));
	put_frame(&f, WIRE_FRAME_ZERO, 0, RUN(30, 1));
	await_sync(&f);
	cr_assert_eq(owed_left(f.p.owed), 24);
	cr_assert_eq(guest_allocated(&f.p.to.blocks[0]), PAGES - 25, "page 30 is a hole");
	postcopy_begin(&f.p);
	guest_write(&f.p.to.blocks[0], 5, 555);
	put_frame(&f, WIRE_FRAME_PAGES, 0, RUN(5, 8)); /* three of them owed */
	put_frame(&f, WIRE_FRAME_PAGES, 0, RUN(13, 2));
	put_frame(&f, WIRE_FRAME_ZERO, 0, RUN(15, 1));
	await_sync(&f);
	placer_stats(f.p.placer, &placed);
	cr_assert_eq(placed.pages[PLACER_PUSH], 6);
	cr_assert_eq(placed.pages_late, 5);
	cr_assert_eq(placed.pages_left, 18);
	postcopy_expect_page(&f.p, 5, 555);
	for (uint64_t page = 6; page < 15; page++)
		postcopy_expect_page(&f.p, page, page);
	cr_assert_eq(f.p.completed, 0);
	put_frame(&f, WIRE_FRAME_PAGES, 0, RUN(0, PAGES));
	cr_assert_eq(end(&f), 0, "%s", f.err.text);
	cr_assert_eq(f.p.completed, 1);
	postcopy_expect_page(&f.p, 5, 555);
	postcopy_expect_page(&f.p, 34, 34);
	teardown(&f);
}

Test(destination_postcopy, from_stale_to_placed)
{
	from_stale_to_placed(false);
}

Test(destination_postcopy, from_stale_to_placed_in_preallocated_memory)
{
	from_stale_to_placed(true);
}

/* Many runs with holes in between are one hole; what is not stale stays. */
Test(destination_postcopy, scattered_pages_are_made_missing)
{
	struct wire_frame frame = {.type = WIRE_FRAME_STALE, .runs = 4};
	const uint64_t first[] = {2, 4, 20, 30};
	uint8_t head[WIRE_FRAME_SIZE];
	struct fixture f;

	setup(&f, false, true);
	start(&f);
	put_frame(&f, WIRE_FRAME_PAGES, 0, RUN(0, 10));
	put_frame(&f, WIRE_FRAME_PAGES, 0, RUN(20, 1));
	put_frame(&f, WIRE_FRAME_PAGES, 0, RUN(29, 3));
	for (unsigned int i = 0; i < 4; i++)
		frame.run[i] = RUN(first[i], 1);
	wire_frame_encode(&frame, head);
	put(&f, head, sizeof(head));
	cr_assert_eq(end(&f), 0, "%s", f.err.text);
	cr_assert_eq(owed_left(f.p.owed), 4);
	cr_assert_eq(guest_allocated(&f.p.to.blocks[0]), 14 - 4);
	for (uint64_t page = 0; page < 10; page++)
		if (page != 2 && page != 4)
			postcopy_expect_page(&f.p, page, page);
	postcopy_expect_page(&f.p, 29, 29);
	postcopy_expect_page(&f.p, 31, 31);
	teardown(&f);
}

Test(destination_postcopy, stale_pages_that_nobody_agreed_on_are_refused)
{
	struct fixture f;

	setup(&f, false, false);
	start(&f);
	put_frame(&f, WIRE_FRAME_STALE, 0, RUN(0, 1));
	cr_assert_eq(end(&f), -EPROTO);
	cr_assert(strstr(f.err.text, "not agreed"), "%s", f.err.text);
	teardown(&f);
}

Test(destination_postcopy, stale_pages_after_the_hand_over_are_refused)
{
	struct fixture f;

	setup(&f, false, true);
	postcopy_begin(&f.p);
	start(&f);
	put_frame(&f, WIRE_FRAME_STALE, 0, RUN(0, 1));
	cr_assert_eq(end(&f), -EPROTO);
	cr_assert(strstr(f.err.text, "after the hand-over"), "%s", f.err.text);
	cr_assert_eq(owed_left(f.p.owed), 0);
	teardown(&f);
}

/* Whoever carries on must not touch what the guest has. */
Test(destination_postcopy, nothing_is_written_while_the_guest_runs)
{
	struct fixture f;

	setup(&f, false, true);
	destination_destroy(f.p.destination);
	guest_write(&f.p.to.blocks[0], 3, 333);
	postcopy_start_destination(&f.p, true);
	postcopy_expect_page(&f.p, 3, 333);
	start(&f);
	put_frame(&f, WIRE_FRAME_PAGES, 0, RUN(3, 1));
	cr_assert_eq(end(&f), -EPROTO);
	cr_assert(strstr(f.err.text, "runs here already"), "%s", f.err.text);
	postcopy_expect_page(&f.p, 3, 333);
	teardown(&f);
}

Test(destination_postcopy, an_end_in_the_middle_of_a_page_is_none)
{
	struct fixture f;

	setup(&f, false, true);
	owed_set(f.p.owed, 0, 0, 8);
	postcopy_begin(&f.p);
	start(&f);
	put_frame(&f, WIRE_FRAME_PAGES, 0, RUN(0, 4));
	put(&f, "DRAY", 4);
	cr_assert_eq(end(&f), -ECONNRESET);
	cr_assert(strstr(f.err.text, "RAM stream 0 from the source broke"), "%s", f.err.text);
	cr_assert_eq(owed_left(f.p.owed), 4);
	teardown(&f);
}
