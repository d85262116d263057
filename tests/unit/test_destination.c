// SPDX-License-Identifier: Apache-2.0
// Frames into guest RAM: what they may touch, and what no frame may.
#include "destination.h"

#include <criterion/criterion.h>
#include <criterion/parameterized.h>
#include <errno.h>
#include "compressor.h"
#include "guest_ram.h"
#include "memory_stream.h"
#include "ram_private.h"
#include "wire.h"

#define PAGES 64u
#define GUARD 16u /* pages on both sides of the block */
#define CANARY 0xca

TestSuite(destination, .timeout = 20);

struct fixture {
	struct ram_map ram;
	struct ram_block *block;
	uint8_t *guarded; /* GUARD pages, the block's mapping, GUARD pages */
	struct memory_pipe pipe;
	struct destination *destination;
	unsigned int synced_stream, synced_calls;
	uint32_t synced_round;
};

static void on_synced(void *opaque, unsigned int stream, uint32_t round)
{
	struct fixture *f = opaque;

	f->synced_stream = stream;
	f->synced_round = round;
	f->synced_calls++;
}

/* The block's mapping moves in between two guards. */
static void add_guards(struct fixture *f)
{
	f->guarded = mmap(NULL, (PAGES + 2 * GUARD) * RAM_PAGE_SIZE, PROT_READ | PROT_WRITE,
			  MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	cr_assert_neq(f->guarded, MAP_FAILED);
	memset(f->guarded, CANARY, (PAGES + 2 * GUARD) * RAM_PAGE_SIZE);
	munmap(f->block->map, f->block->size);
	f->block->map = mmap(f->guarded + GUARD * RAM_PAGE_SIZE, f->block->size,
			     PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, f->block->fd, 0);
	cr_assert_neq(f->block->map, MAP_FAILED);
}

static void setup(struct fixture *f, bool dense)
{
	struct destination_options opt = {.ram = &f->ram, .synced = on_synced, .opaque = f};
	struct errtext err = {0};

	*f = (struct fixture){0};
	guest_ram_add(&f->ram, "pc.ram", PAGES * RAM_PAGE_SIZE, RAM_PAGE_SIZE);
	f->block = &f->ram.blocks[0];
	add_guards(f);
	memset(f->block->map, 0xdb, (dense ? PAGES : 5) * RAM_PAGE_SIZE);
	memory_pipe_init(&f->pipe, 1 << 20);
	cr_assert_eq(destination_new(&opt, &f->destination, &err), 0, "%s", err.text);
}

static void teardown(struct fixture *f)
{
	destination_destroy(f->destination);
	memory_pipe_free(&f->pipe);
	guest_ram_destroy(&f->ram);
	munmap(f->guarded, (PAGES + 2 * GUARD) * RAM_PAGE_SIZE);
}

static void put(struct fixture *f, const void *bytes, size_t len)
{
	struct byte_stream *out = &f->pipe.out.stream;
	struct iovec iov = {(void *)bytes, len};

	cr_assert_eq(out->ops->send(out, &iov, 1), 0);
	cr_assert_eq(out->ops->drain(out), 0);
}

static void put_head(struct fixture *f, enum wire_frame_type type, uint64_t first, uint32_t count)
{
	struct wire_frame frame = {.type = type, .runs = count ? 1 : 0, .run = {{first, count}}};
	uint8_t head[WIRE_FRAME_SIZE];

	frame.round = 3;
	wire_frame_encode(&frame, head);
	put(f, head, sizeof(head));
}

static void put_pages(struct fixture *f, uint64_t first, uint32_t count)
{
	put_head(f, WIRE_FRAME_PAGES, first, count);
	for (uint64_t page = first; page < first + count; page++) {
		uint8_t content[RAM_PAGE_SIZE];

		guest_fill(content, page);
		put(f, content, sizeof(content));
	}
}

static int receive_all(struct fixture *f, struct errtext *err)
{
	*err = (struct errtext){0};
	f->pipe.out.stream.ops->destroy(&f->pipe.out.stream);
	return destination_receive(f->destination, 2, &f->pipe.in.stream, err);
}

static bool is_filled_with(const uint8_t *at, size_t len, uint8_t byte)
{
	return at[0] == byte && memcmp(at, at + 1, len - 1) == 0;
}

static void expect_guards(const struct fixture *f)
{
	size_t len = GUARD * RAM_PAGE_SIZE;

	cr_assert(is_filled_with(f->guarded, len, CANARY));
	cr_assert(is_filled_with(f->guarded + len + PAGES * RAM_PAGE_SIZE, len, CANARY));
}

static void expect_page(const struct fixture *f, uint64_t page, uint64_t seed)
{
	uint8_t content[RAM_PAGE_SIZE];

	guest_fill(content, seed);
	cr_assert_arr_eq(f->block->map + page * RAM_PAGE_SIZE, content, RAM_PAGE_SIZE, "page %llu",
			 (unsigned long long)page);
}

Test(destination, pages_land_where_they_belong)
{
	struct errtext err;
	struct fixture f;

	setup(&f, false);
	cr_assert_eq(guest_allocated(f.block), 0, "emptied at first");
	put_pages(&f, 0, 1);
	put_pages(&f, 10, 20);
	put_pages(&f, PAGES - 1, 1);
	put_head(&f, WIRE_FRAME_SYNC, 0, 0);
	cr_assert_eq(receive_all(&f, &err), 0, "%s", err.text);
	cr_assert_eq(f.synced_calls, 1);
	cr_assert_eq(f.synced_stream, 2);
	cr_assert_eq(f.synced_round, 3);
	cr_assert_eq(guest_allocated(f.block), 22);
	for (uint64_t page = 10; page < 30; page++)
		expect_page(&f, page, page);
	expect_page(&f, 0, 0);
	expect_page(&f, PAGES - 1, PAGES - 1);
	expect_guards(&f);
	teardown(&f);
}

Test(destination, zero_makes_holes_where_there_was_memory)
{
	struct errtext err;
	struct fixture f;

	setup(&f, false);
	put_pages(&f, 0, 16);
	put_pages(&f, 20, 1);
	put_head(&f, WIRE_FRAME_ZERO, 8, 40);
	put_head(&f, WIRE_FRAME_ZERO, 8, 40);
	put_pages(&f, 9, 1);
	put_head(&f, WIRE_FRAME_SYNC, 0, 0);
	cr_assert_eq(receive_all(&f, &err), 0, "%s", err.text);
	cr_assert_eq(guest_allocated(f.block), 9);
	for (uint64_t page = 0; page < 8; page++)
		expect_page(&f, page, page);
	expect_page(&f, 9, 9);
	cr_assert(is_filled_with(f.block->map + 10 * RAM_PAGE_SIZE, 54 * RAM_PAGE_SIZE, 0));
	teardown(&f);
}

Test(destination, preallocated_memory_stays_so)
{
	struct errtext err;
	struct fixture f;

	setup(&f, true);
	put_pages(&f, 1, 1);
	put_head(&f, WIRE_FRAME_ZERO, 2, PAGES - 2);
	put_head(&f, WIRE_FRAME_SYNC, 0, 0);
	cr_assert_eq(receive_all(&f, &err), 0, "%s", err.text);
	cr_assert_eq(guest_allocated(f.block), PAGES);
	cr_assert(is_filled_with(f.block->map, RAM_PAGE_SIZE, 0xdb), "nothing was said of it");
	expect_page(&f, 1, 1);
	cr_assert(is_filled_with(f.block->map + 2 * RAM_PAGE_SIZE, 62 * RAM_PAGE_SIZE, 0));
	expect_guards(&f);
	teardown(&f);
}

Test(destination, an_end_without_a_word_is_a_clean_one)
{
	struct errtext err;
	struct fixture f;

	setup(&f, false);
	cr_assert_eq(receive_all(&f, &err), 0);
	cr_assert_eq(f.synced_calls, 0);
	teardown(&f);
}

struct cut {
	unsigned int pages; /* of two announced */
	size_t bytes;	    /* of the next page */
};

static struct cut cuts[] = {{0, 0}, {0, 1}, {1, 0}, {1, 4095}};

ParameterizedTestParameters(destination, an_end_in_the_middle_is_none)
{
	return cr_make_param_array(struct cut, cuts, sizeof(cuts) / sizeof(cuts[0]));
}

ParameterizedTest(struct cut *cut, destination, an_end_in_the_middle_is_none)
{
	static const uint8_t content[2 * RAM_PAGE_SIZE];
	struct errtext err;
	struct fixture f;
	size_t len = cut->pages * RAM_PAGE_SIZE + cut->bytes;

	setup(&f, false);
	put_head(&f, WIRE_FRAME_PAGES, 5, 2);
	if (len)
		put(&f, content, len);
	cr_assert_eq(receive_all(&f, &err), -ECONNRESET);
	cr_assert(strstr(err.text, "RAM stream 2 from the source broke"), "%s", err.text);
	teardown(&f);
}

Test(destination, half_a_head_is_no_clean_end)
{
	struct errtext err;
	struct fixture f;

	setup(&f, false);
	put(&f, "DRAY", 4);
	cr_assert_eq(receive_all(&f, &err), -ECONNRESET);
	teardown(&f);
}

Test(destination, shutdown_from_another_thread_ends_it)
{
	struct errtext err = {0};
	struct fixture f;

	setup(&f, false);
	f.pipe.in.stream.ops->shutdown(&f.pipe.in.stream);
	cr_assert_eq(destination_receive(f.destination, 0, &f.pipe.in.stream, &err), -ECONNRESET);
	teardown(&f);
}

/* ---- compressed ---- */

/* Pages with text of their own number; `flip` is a bit of what follows the head, or none. */
static void put_compressed(struct fixture *f, const struct wire_run *runs, unsigned int count,
			   size_t flip)
{
	const struct compression how = {COMPRESSION_ZSTD, 1};
	struct wire_frame frame = {.type = WIRE_FRAME_ZSTD, .runs = (uint16_t)count, .round = 3};
	uint8_t head[WIRE_FRAME_SIZE], *to;
	struct compressor *c;
	const uint8_t *out;

	memcpy(frame.run, runs, count * sizeof(*runs));
	cr_assert_eq(compressor_new(&how, &c), 0);
	to = compressor_room(c);
	for (unsigned int i = 0; i < count; i++)
		for (uint32_t j = 0; j < runs[i].count; j++, to += RAM_PAGE_SIZE)
			guest_fill_text(to, runs[i].first + j);
	frame.size =
		(uint32_t)compressor_run(c, compressor_room(c), wire_frame_pages(&frame), &out);
	cr_assert_gt(frame.size, 0);
	if (flip)
		((uint8_t *)out)[flip / 8] ^= (uint8_t)(1u << flip % 8);
	wire_frame_encode(&frame, head);
	put(f, head, sizeof(head));
	put(f, out, frame.size);
	compressor_destroy(c);
}

static void expect_text(const uint8_t *at, uint64_t seed)
{
	uint8_t content[RAM_PAGE_SIZE];

	guest_fill_text(content, seed);
	cr_assert_arr_eq(at, content, RAM_PAGE_SIZE, "page %llu", (unsigned long long)seed);
}

static const struct wire_run scattered[] = {{1, 1}, {5, 9}, {40, 2}};

Test(destination, compressed_pages_land_where_they_belong)
{
	struct errtext err;
	struct fixture f;

	setup(&f, false);
	put_compressed(&f, &(struct wire_run){20, 16}, 1, 0);
	put_compressed(&f, scattered, 3, 0);
	put_pages(&f, 60, 2);
	put_compressed(&f, &(struct wire_run){62, 2}, 1, 0);
	put_head(&f, WIRE_FRAME_SYNC, 0, 0);
	cr_assert_eq(receive_all(&f, &err), 0, "%s", err.text);
	cr_assert_eq(f.synced_calls, 1);
	for (uint64_t page = 20; page < 36; page++)
		expect_text(f.block->map + page * RAM_PAGE_SIZE, page);
	for (unsigned int i = 0; i < 3; i++)
		for (uint32_t j = 0; j < scattered[i].count; j++)
			expect_text(f.block->map + (scattered[i].first + j) * RAM_PAGE_SIZE,
				    scattered[i].first + j);
	expect_page(&f, 61, 61);
	expect_text(f.block->map + 63 * RAM_PAGE_SIZE, 63);
	cr_assert_eq(guest_allocated(f.block), 16 + 12 + 2 + 2, "what did not come is a hole");
	expect_guards(&f);
	teardown(&f);
}

Test(destination, damage_to_compressed_pages_is_noticed)
{
	for (unsigned int runs = 1; runs <= 3; runs += 2) {
		struct errtext err;
		struct fixture f;

		setup(&f, true);
		put_compressed(&f, scattered, runs, 8 * 20);
		put_head(&f, WIRE_FRAME_SYNC, 0, 0);
		cr_assert_eq(receive_all(&f, &err), -EPROTO);
		cr_assert(strstr(err.text, "RAM stream: "), "%s", err.text);
		cr_assert_eq(f.synced_calls, 0);
		expect_guards(&f);
		teardown(&f);
	}
}

Test(destination, compressed_pages_that_end_in_the_middle)
{
	struct wire_frame frame = {.type = WIRE_FRAME_ZSTD, .runs = 1, .run = {{0, 9}}, .size = 9};
	uint8_t head[WIRE_FRAME_SIZE];
	struct errtext err;
	struct fixture f;

	setup(&f, true);
	wire_frame_encode(&frame, head);
	put(&f, head, sizeof(head));
	put(&f, head, 8);
	cr_assert_eq(receive_all(&f, &err), -ECONNRESET);
	teardown(&f);
}

/* ---- hostile frames ---- */

/* A head for one run {10, 1}, with bytes overwritten. Offsets as in test_wire_frame.c. */
struct patch {
	size_t offset;
	unsigned int width;
	uint64_t value;
	char says[40];
};

#define RUN(first, count) ((uint64_t)(first) | (uint64_t)(count) << 48)

static struct patch patches[] = {
	{0, 4, 0x44415259, "out of step"},
	{4, 2, 9, "unknown frame type 9"},
	{4, 2, WIRE_FRAME_SYNC, "sync frame with 1 runs"},
	{6, 2, 0, "0 runs"},
	{6, 2, UINT16_MAX, "65535 runs"},
	{8, 2, 1, "RAM block 1"},
	{8, 2, UINT16_MAX, "RAM block 65535"},
	{24, 8, RUN(PAGES, 1), "no run of RAM block"},
	{24, 8, RUN(PAGES - 1, 2), "no run of RAM block"},
	{24, 8, RUN(0, PAGES + 1), "no run of RAM block"},
	{24, 8, RUN((1ull << 48) - 1, 1), "no run of RAM block"},
	{24, 8, RUN((1ull << 48) - 1, 2), "no run of RAM block"},
	{24, 8, UINT64_MAX, "no run of RAM block"},
	{24, 8, RUN(0, 0), "no run of RAM block"},
};

ParameterizedTestParameters(destination, a_hostile_frame_is_refused_and_nothing_written)
{
	return cr_make_param_array(struct patch, patches, sizeof(patches) / sizeof(patches[0]));
}

static void put_patched(struct fixture *f, enum wire_frame_type type, const struct patch *patch)
{
	struct wire_frame frame = {.type = type, .runs = 1, .run = {{10, 1}}};
	uint8_t head[WIRE_FRAME_SIZE];

	wire_frame_encode(&frame, head);
	for (unsigned int i = 0; i < patch->width; i++)
		head[patch->offset + i] = (uint8_t)(patch->value >> 8 * i);
	put(f, head, sizeof(head));
}

static void check_refused(enum wire_frame_type type, const struct patch *patch)
{
	static uint8_t payload[PAGES * RAM_PAGE_SIZE];
	struct errtext err;
	struct fixture f;

	setup(&f, true);
	put_pages(&f, 3, 1);
	put_patched(&f, type, patch);
	memset(payload, 0xee, sizeof(payload));
	put(&f, payload, sizeof(payload));
	cr_assert_eq(receive_all(&f, &err), -EPROTO, "%s", err.text);
	cr_assert(strstr(err.text, patch->says), "%s", err.text);
	expect_page(&f, 3, 3);
	memset(f.block->map + 3 * RAM_PAGE_SIZE, 0xdb, RAM_PAGE_SIZE);
	cr_assert(is_filled_with(f.block->map, PAGES * RAM_PAGE_SIZE, 0xdb));
	expect_guards(&f);
	cr_assert_eq(f.synced_calls, 0);
	teardown(&f);
}

ParameterizedTest(struct patch *patch, destination, a_hostile_frame_is_refused_and_nothing_written)
{
	check_refused(WIRE_FRAME_PAGES, patch);
	check_refused(WIRE_FRAME_ZERO, patch);
}

/* Each run is inside, all together are beyond what one frame may carry. */
Test(destination, a_frame_of_too_many_pages_is_refused)
{
	struct wire_frame frame = {.type = WIRE_FRAME_PAGES, .runs = WIRE_FRAME_RUNS_MAX};
	uint8_t head[WIRE_FRAME_SIZE];
	struct errtext err;
	struct fixture f;

	setup(&f, false);
	for (unsigned int i = 0; i < frame.runs; i++)
		frame.run[i] = (struct wire_run){0, PAGES};
	wire_frame_encode(&frame, head);
	put(&f, head, sizeof(head));
	cr_assert_eq(receive_all(&f, &err), -EPROTO);
	cr_assert_eq(guest_allocated(f.block), 0);
	teardown(&f);
}

/* ---- memory that is private to QEMU ---- */

static void setup_private(struct fixture *f, uint64_t pages)
{
	struct destination_options opt = {.ram = &f->ram, .synced = on_synced, .opaque = f};
	struct errtext err = {0};

	*f = (struct fixture){0};
	guest_ram_add_private(&f->ram, "pc.ram", pages * RAM_PAGE_SIZE);
	f->block = &f->ram.blocks[0];
	madvise(guest_page(f->block, 0), f->block->size, MADV_NOHUGEPAGE);
	memory_pipe_init(&f->pipe, 16 << 20);
	guest_write(f->block, 3, 99); /* firmware */
	cr_assert_eq(destination_new(&opt, &f->destination, &err), 0, "%s", err.text);
}

static void teardown_private(struct fixture *f)
{
	destination_destroy(f->destination);
	memory_pipe_free(&f->pipe);
	guest_ram_destroy(&f->ram);
}

static void expect_private(const struct fixture *f, uint64_t page, uint64_t seed)
{
	uint8_t content[RAM_PAGE_SIZE];

	guest_fill(content, seed);
	cr_assert_eq(memcmp(guest_page(f->block, page), content, RAM_PAGE_SIZE), 0, "page %llu",
		     (unsigned long long)page);
}

Test(destination, private_memory_is_filled_and_what_was_never_used_has_no_memory)
{
	struct errtext err;
	struct fixture f;

	setup_private(&f, 1024);
	put_pages(&f, 10, 300); /* more than a piece */
	put_pages(&f, 1023, 1);
	put_head(&f, WIRE_FRAME_ZERO, 0, 10);
	put_head(&f, WIRE_FRAME_ZERO, 310, 713);
	put_head(&f, WIRE_FRAME_ZERO, 20, 1);
	put_pages(&f, 30, 1);
	put_head(&f, WIRE_FRAME_SYNC, 0, 0);
	cr_assert_eq(receive_all(&f, &err), 0, "%s", err.text);
	cr_assert_eq(f.synced_calls, 1);
	for (uint64_t page = 10; page < 310; page++)
		if (page != 20)
			expect_private(&f, page, page);
	expect_private(&f, 1023, 1023);
	cr_assert(is_filled_with(guest_page(f.block, 20), RAM_PAGE_SIZE, 0));
	cr_assert(is_filled_with(guest_page(f.block, 3), RAM_PAGE_SIZE, 0));
	cr_assert_eq(ram_private_allocated(f.block) >> RAM_PAGE_SHIFT, 302);
	teardown_private(&f);
}

/* As many runs as a frame has, of one page and of several, across pieces. */
Test(destination, private_memory_in_many_runs)
{
	struct wire_frame frame = {.type = WIRE_FRAME_PAGES};
	uint8_t head[WIRE_FRAME_SIZE], content[RAM_PAGE_SIZE];
	struct errtext err;
	struct fixture f;

	setup_private(&f, 1024);
	for (unsigned int i = 0; i < WIRE_FRAME_RUNS_MAX; i++)
		frame.run[frame.runs++] = (struct wire_run){16 * i, 1 + i % 15};
	wire_frame_encode(&frame, head);
	put(&f, head, sizeof(head));
	for (unsigned int i = 0; i < frame.runs; i++) {
		for (uint32_t j = 0; j < frame.run[i].count; j++) {
			guest_fill(content, frame.run[i].first + j);
			put(&f, content, sizeof(content));
		}
	}
	put_head(&f, WIRE_FRAME_SYNC, 0, 0);
	cr_assert_eq(receive_all(&f, &err), 0, "%s", err.text);
	for (unsigned int i = 0; i < frame.runs; i++)
		for (uint32_t j = 0; j < frame.run[i].count; j++)
			expect_private(&f, frame.run[i].first + j, frame.run[i].first + j);
	teardown_private(&f);
}

Test(destination, private_memory_is_filled_from_compressed_pages)
{
	struct errtext err;
	struct fixture f;

	setup_private(&f, 1024);
	put_compressed(&f, scattered, 3, 0);
	put_compressed(&f, &(struct wire_run){200, 64}, 1, 0);
	put_head(&f, WIRE_FRAME_ZERO, 210, 1);
	cr_assert_eq(receive_all(&f, &err), 0, "%s", err.text);
	expect_text(guest_page(f.block, 1), 1);
	expect_text(guest_page(f.block, 13), 13);
	expect_text(guest_page(f.block, 41), 41);
	expect_text(guest_page(f.block, 263), 263);
	cr_assert(is_filled_with(guest_page(f.block, 210), RAM_PAGE_SIZE, 0));
	teardown_private(&f);
}

Test(destination, private_memory_takes_no_stale_pages)
{
	struct errtext err;
	struct fixture f;

	setup_private(&f, 64);
	put_head(&f, WIRE_FRAME_STALE, 0, 10);
	cr_assert_eq(receive_all(&f, &err), -EPROTO);
	expect_private(&f, 3, 99);
	teardown_private(&f);
}
