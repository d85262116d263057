// SPDX-License-Identifier: Apache-2.0
// A stream's way from pre-copy to post-copy at the destination: what STALE takes away, and how
// pages come back.
#include <criterion/criterion.h>
#include <errno.h>
#include "compressor.h"
#include "memory_stream.h"
#include "postcopy.h"
#include "ram_private.h"

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
		destination_expect_stale(f->p.destination, f->p.owed, NULL);
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

/* One run, of pages with text of their own number. */
static void put_compressed(struct fixture *f, struct wire_run run)
{
	const struct compression how = {COMPRESSION_ZSTD, 1};
	struct wire_frame frame = {.type = WIRE_FRAME_ZSTD, .runs = 1, .run = {run}};
	uint8_t head[WIRE_FRAME_SIZE];
	struct compressor *c;
	const uint8_t *out;

	cr_assert_eq(compressor_new(&how, &c), 0);
	for (uint32_t i = 0; i < run.count; i++)
		guest_fill_text(compressor_room(c) + i * RAM_PAGE_SIZE, run.first + i);
	frame.size = (uint32_t)compressor_run(c, compressor_room(c), run.count, &out);
	wire_frame_encode(&frame, head);
	put(f, head, sizeof(head));
	put(f, out, frame.size);
	compressor_destroy(c);
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

Test(destination_postcopy, compressed_pages_are_placed)
{
	uint8_t text[RAM_PAGE_SIZE];
	struct fixture f;

	setup(&f, false, true);
	start(&f);
	put_frame(&f, WIRE_FRAME_PAGES, 0, RUN(0, PAGES));
	put_frame(&f, WIRE_FRAME_STALE, 0, RUN(10, 20));
	await_sync(&f);
	postcopy_begin(&f.p);
	put_compressed(&f, RUN(8, 4)); /* two of them owed */
	await_sync(&f);
	cr_assert_eq(owed_left(f.p.owed), 18);
	postcopy_expect_page(&f.p, 9, 9);
	guest_fill_text(text, 11);
	cr_assert_arr_eq(guest_page(&f.p.to.blocks[0], 11), text, RAM_PAGE_SIZE);
	put_frame(&f, WIRE_FRAME_PAGES, 0, RUN(0, PAGES));
	cr_assert_eq(end(&f), 0, "%s", f.err.text);
	teardown(&f);
}

Test(destination_postcopy, from_stale_to_placed_in_preallocated_memory)
{
	from_stale_to_placed(true);
}

/* ---- memory that is private to QEMU ---- */

struct private_fixture {
	struct fixture f;
	struct dropper *dropper;
	unsigned int drops;
	bool refuses;
};

static int drop(void *opaque, const struct iovec *ranges, unsigned int n, struct errtext *err)
{
	struct private_fixture *p = opaque;

	if (p->refuses)
		return errtext_set(err, -EBUSY, "nothing is dropped, as the test wants it");
	for (unsigned int i = 0; i < n; i++)
		cr_assert_eq(madvise(ranges[i].iov_base, ranges[i].iov_len, MADV_DONTNEED), 0);
	p->drops++;
	return 0;
}

/* What a fresh QEMU wrote is in page 3. Once post-copy is agreed on all is registered. */
static void setup_private(struct private_fixture *p)
{
	struct fixture *f = &p->f;
	struct destination_options opt = {.ram = &f->p.to, .synced = postcopy_synced};

	*p = (struct private_fixture){0};
	postcopy_init_empty(&f->p);
	opt.opaque = &f->p;
	guest_ram_add_private(&f->p.to, "pc.ram", PAGES << RAM_PAGE_SHIFT);
	guest_write(&f->p.to.blocks[0], 3, 33);
	postcopy_create_owed(&f->p);
	cr_assert_eq(destination_new(&opt, &f->p.destination, &f->err), 0, "%s", f->err.text);
	memory_pipe_init(&f->pipe, 1 << 20);
}

static void agree(struct private_fixture *p)
{
	struct fixture *f = &p->f;
	struct dropper_options opt = {.drop = drop, .opaque = p};

	opt.uffd = f->p.uffd = postcopy_userfaultfd(MISSING_FEATURES);
	cr_assert_eq(missing_register(f->p.uffd, &f->p.to, false, &f->err), 0, "%s", f->err.text);
	cr_assert_eq(dropper_new(&opt, &p->dropper, &f->err), 0);
	destination_expect_stale(f->p.destination, f->p.owed, p->dropper);
}

static void begin_private(struct private_fixture *p)
{
	owed_seal(p->f.p.owed);
	postcopy_resume(&p->f.p);
}

static void teardown_private(struct private_fixture *p)
{
	cr_assert_eq(missing_unregister(p->f.p.uffd, &p->f.p.to, NULL), 0);
	dropper_destroy(p->dropper);
	teardown(&p->f);
}

static void expect_there(struct fixture *f, uint64_t first, uint64_t count, bool there)
{
	bool has[PAGES];

	cr_assert_eq(ram_private_has(&f->p.to.blocks[0], first, count, has), 0);
	for (uint64_t i = 0; i < count; i++)
		cr_assert_eq(has[i], there, "page %llu", (unsigned long long)(first + i));
}

/* Nobody could serve a fault meanwhile: nothing waits for a missing page. */
Test(destination_postcopy, private_memory_from_stale_to_placed)
{
	struct placer_stats placed;
	struct private_fixture p;
	struct fixture *f = &p.f;

	setup_private(&p);
	start(f);
	put_frame(f, WIRE_FRAME_PAGES, 0, RUN(0, 40));
	await_sync(f);
	agree(&p);
	put_frame(f, WIRE_FRAME_STALE, 0, RUN(10, 20));
	put_frame(f, WIRE_FRAME_STALE, 0, RUN(25, 10));
	put_frame(f, WIRE_FRAME_STALE, 0, RUN(50, 2));
	put_frame(f, WIRE_FRAME_ZERO, 0, RUN(30, 1));  /* owed until now */
	put_frame(f, WIRE_FRAME_ZERO, 0, RUN(36, 20)); /* some of them never came */
	await_sync(f);
	cr_assert_eq(p.drops, 1, "one call for all");
	cr_assert_eq(owed_left(f->p.owed), 24);
	expect_there(f, 0, 10, true);
	expect_there(f, 10, 25, false);
	expect_there(f, 35, 1, true);
	expect_there(f, 36, PAGES - 36, false);
	begin_private(&p);
	guest_write(&f->p.to.blocks[0], 5, 555);
	put_frame(f, WIRE_FRAME_PAGES, 0, RUN(5, 8)); /* three of them owed */
	put_frame(f, WIRE_FRAME_ZERO, 0, RUN(15, 1));
	await_sync(f);
	placer_stats(f->p.placer, &placed);
	cr_assert_eq(placed.pages[PLACER_PUSH], 4);
	cr_assert_eq(placed.pages_left, 20);
	postcopy_expect_page(&f->p, 5, 555);
	postcopy_expect_page(&f->p, 12, 12);
	put_frame(f, WIRE_FRAME_PAGES, 0, RUN(0, PAGES));
	cr_assert_eq(end(f), 0, "%s", f->err.text);
	cr_assert_eq(f->p.completed, 1);
	postcopy_expect_page(&f->p, 5, 555);
	postcopy_expect_page(&f->p, 34, 34);
	expect_there(f, 36, PAGES - 36, false);
	teardown_private(&p);
}

/* It would have to be written, and may be missing. */
Test(destination_postcopy, private_pages_come_no_more_once_it_is_agreed)
{
	struct private_fixture p;

	setup_private(&p);
	agree(&p);
	start(&p.f);
	put_frame(&p.f, WIRE_FRAME_PAGES, 0, RUN(3, 1));
	cr_assert_eq(end(&p.f), -EPROTO);
	cr_assert(strstr(p.f.err.text, "after it has announced post-copy"), "%s", p.f.err.text);
	postcopy_expect_page(&p.f.p, 3, 33);
	teardown_private(&p);
}

/* The round is not reported, so that the source does not hand over. */
Test(destination_postcopy, private_pages_that_cannot_be_dropped)
{
	struct private_fixture p;

	setup_private(&p);
	agree(&p);
	p.refuses = true;
	start(&p.f);
	put_frame(&p.f, WIRE_FRAME_STALE, 0, RUN(3, 1));
	put_frame(&p.f, WIRE_FRAME_SYNC, 0, RUN(0, 0));
	cr_assert_eq(end(&p.f), -EBUSY);
	cr_assert(strstr(p.f.err.text, "nothing is dropped"), "%s", p.f.err.text);
	cr_assert_eq(p.f.p.synced, 0);
	teardown_private(&p);
}

/* ---- any ---- */

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
