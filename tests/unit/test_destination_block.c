// SPDX-License-Identifier: Apache-2.0
// The memory behind a RAM block at the destination: how much, and what if there is none.
#include "destination_block.h"

#include <criterion/criterion.h>
#include <errno.h>
#include "ram_access.h"
#include "ram_private.h"
#include "small_pool.h"
#include "zero.h"

#define UNIT 512u /* pages */

TestSuite(destination_block, .timeout = 20);

struct fixture {
	struct ram_map ram;
	struct ram_block *b;
	struct destination_block d;
	struct errtext err;
};

/* Eight pages of the file; there is memory for half of them. */
static void setup(struct fixture *f, uint32_t page_size)
{
	*f = (struct fixture){0};
	small_pool_want(4);
	small_pool_mount(page_size, 4ull * page_size);
	small_pool_add(&f->ram, "mem", 8ull * page_size, page_size);
	f->b = &f->ram.blocks[0];
	ram_access_init();
	cr_assert_eq(destination_block_init(&f->d, f->b, &f->err), 0, "%s", f->err.text);
}

static void teardown(struct fixture *f)
{
	destination_block_destroy(&f->d);
	guest_ram_destroy(&f->ram);
}

static void fill(struct fixture *f, uint64_t first, uint32_t count)
{
	struct wire_run run = {first, count};

	cr_assert_eq(destination_block_fill(&f->d, &run, &f->err), 0, "%s", f->err.text);
	memset(f->b->map + (first << RAM_PAGE_SHIFT), 1, (size_t)count << RAM_PAGE_SHIFT);
}

static void clear(struct fixture *f, uint64_t first, uint32_t count)
{
	struct wire_run run = {first, count};

	cr_assert_eq(destination_block_clear(&f->d, &run, &f->err), 0, "%s", f->err.text);
}

static void expect(const struct fixture *f, uint64_t first, uint64_t count, uint8_t byte)
{
	for (uint64_t page = first; page < first + count; page++)
		cr_assert_eq(f->b->map[page << RAM_PAGE_SHIFT], byte, "page %llu",
			     (unsigned long long)page);
}

Test(destination_block, whole_huge_pages_become_holes)
{
	struct fixture f;

	setup(&f, GUEST_HUGE_SIZE);
	fill(&f, 10, 1);
	fill(&f, UNIT + 500, 20);
	cr_assert_eq(guest_allocated(f.b), 3 * UNIT);
	clear(&f, 5, UNIT + 500); /* ends in page 505 of the second */
	cr_assert_eq(guest_allocated(f.b), 3 * UNIT, "a part of each");
	expect(&f, 10, 1, 0);
	expect(&f, UNIT + 500, 5, 0);
	expect(&f, UNIT + 505, 15, 1);
	clear(&f, 100, 2 * UNIT);
	cr_assert_eq(guest_allocated(f.b), 2 * UNIT, "the second as a whole");
	clear(&f, 0, 8 * UNIT);
	cr_assert_eq(guest_allocated(f.b), 0);
	clear(&f, 3, 8 * UNIT - 3);
	cr_assert_eq(guest_allocated(f.b), 0, "nothing was there");
	teardown(&f);
}

/* Preallocated memory is kept; what is missing of it for post-copy is not touched. */
Test(destination_block, a_missing_huge_page_stays_so)
{
	struct fixture f;

	setup(&f, GUEST_HUGE_SIZE);
	cr_assert(f.d.sparse);
	f.d.sparse = false;
	fill(&f, 0, 2 * UNIT);
	cr_assert_eq(destination_block_lose(&f.d, UNIT, 2 * UNIT, &f.err), 0, "%s", f.err.text);
	clear(&f, 0, 2 * UNIT);
	expect(&f, 0, UNIT, 0);
	cr_assert_eq(guest_allocated(f.b), UNIT);
	teardown(&f);
}

Test(destination_block, no_huge_page_is_an_error)
{
	struct wire_run run = {4 * UNIT + 1, 1};
	struct fixture f;

	setup(&f, GUEST_HUGE_SIZE);
	fill(&f, 0, 4 * UNIT);
	cr_assert_eq(destination_block_fill(&f.d, &run, &f.err), -ENOMEM);
	cr_assert(strstr(f.err.text, "RAM block mem: there is no memory for it: of huge pages of "
				     "2048 KiB 0 MiB are free now"),
		  "%s", f.err.text);
	teardown(&f);
}

Test(destination_block, a_full_tmpfs_is_an_error)
{
	struct wire_run run = {0, 8};
	struct fixture f;

	setup(&f, RAM_PAGE_SIZE);
	cr_assert_eq(destination_block_fill(&f.d, &run, &f.err), -ENOMEM);
	cr_assert(strstr(f.err.text, "/mnt (tmpfs)"), "%s", f.err.text);
	teardown(&f);
}

/* ---- private memory ---- */

/* Eight pages, of which a fresh QEMU has touched two. */
static void setup_private(struct fixture *f)
{
	*f = (struct fixture){0};
	guest_ram_add_private(&f->ram, "mem", 8 * RAM_PAGE_SIZE);
	f->b = &f->ram.blocks[0];
	madvise(guest_page(f->b, 0), f->b->size, MADV_NOHUGEPAGE);
	guest_write(f->b, 1, 1);
	guest_write(f->b, 6, 6);
	cr_assert_eq(destination_block_init(&f->d, f->b, &f->err), 0, "%s", f->err.text);
}

Test(destination_block, of_private_memory_what_qemu_wrote_becomes_zero_and_nothing_else_is_touched)
{
	struct fixture f;

	setup_private(&f);
	clear(&f, 0, 6);
	cr_assert_eq(ram_private_allocated(f.b), 2 * RAM_PAGE_SIZE);
	cr_assert(zero_page(guest_page(f.b, 1)));
	clear(&f, 0, 8);
	cr_assert(zero_page(guest_page(f.b, 6)));
	teardown(&f);
}

Test(destination_block, a_page_of_private_memory_is_written_and_cleared_again)
{
	static uint8_t in[2 * RAM_PAGE_SIZE];
	static const struct wire_run run = {3, 2};
	struct fixture f;

	setup_private(&f);
	guest_fill(in, 70);
	guest_fill(in + RAM_PAGE_SIZE, 71);
	cr_assert_eq(destination_block_write(&f.d, &run, in, &f.err), 0, "%s", f.err.text);
	cr_assert_eq(memcmp(guest_page(f.b, 3), in, sizeof(in)), 0);
	cr_assert_eq(ram_private_allocated(f.b), 4 * RAM_PAGE_SIZE);
	clear(&f, 4, 1);
	cr_assert(zero_page(guest_page(f.b, 4)));
	cr_assert(!zero_page(guest_page(f.b, 3)));
	/* Of what is zero already nobody makes anything. */
	guest_write(f.b, 4, 4);
	clear(&f, 4, 1);
	cr_assert(!zero_page(guest_page(f.b, 4)));
	teardown(&f);
}

/* ---- private memory, in post-copy ---- */

struct dropped {
	unsigned int ranges;
	struct iovec last;
};

static int drop(void *opaque, const struct iovec *ranges, unsigned int n, struct errtext *err)
{
	struct dropped *d = opaque;

	(void)err;
	for (unsigned int i = 0; i < n; i++)
		cr_assert_eq(madvise(ranges[i].iov_base, ranges[i].iov_len, MADV_DONTNEED), 0);
	d->ranges += n;
	d->last = ranges[n - 1];
	return 0;
}

static struct dropper *expect_loss(struct fixture *f, struct dropped *d)
{
	const struct dropper_options options = {.drop = drop, .opaque = d, .uffd = -1};
	struct dropper *dropper;

	*d = (struct dropped){0};
	cr_assert_eq(dropper_new(&options, &dropper, &f->err), 0);
	destination_block_expect_loss(&f->d, dropper);
	return dropper;
}

Test(destination_block, private_pages_are_dropped_rather_than_wiped)
{
	struct dropped dropped;
	struct dropper *dropper;
	struct fixture f;

	setup_private(&f);
	dropper = expect_loss(&f, &dropped);
	clear(&f, 0, 6);
	cr_assert_eq(destination_block_lose(&f.d, 5, 8, &f.err), 0, "%s", f.err.text);
	cr_assert_not(zero_page(guest_page(f.b, 1)), "not before all do");
	cr_assert_eq(dropper_flush(dropper, &f.err), 0);
	cr_assert_eq(dropped.ranges, 2);
	cr_assert_eq(ram_private_allocated(f.b), 0);
	clear(&f, 0, 8);
	cr_assert_eq(dropper_flush(dropper, &f.err), 0);
	cr_assert_eq(dropped.ranges, 2, "there is nothing left");
	dropper_destroy(dropper);
	teardown(&f);
}

/* Two huge pages. */
Test(destination_block, of_private_huge_pages_whole_ones_are_dropped)
{
	static uint8_t in[8 * RAM_PAGE_SIZE];
	struct wire_run run = {UNIT - 4, 8};
	struct dropped dropped;
	struct dropper *dropper;
	struct fixture f = {0};

	guest_ram_add_private_pages(&f.ram, "mem", 2 * GUEST_HUGE_SIZE, GUEST_HUGE_SIZE);
	f.b = &f.ram.blocks[0];
	cr_assert_eq(destination_block_init(&f.d, f.b, &f.err), 0, "%s", f.err.text);
	memset(in, 1, sizeof(in));
	if (destination_block_write(&f.d, &run, in, &f.err) < 0)
		cr_skip_test("no huge pages: %s", f.err.text);
	dropper = expect_loss(&f, &dropped);
	bitmap_set(&f.d.filled, UNIT, UNIT);
	clear(&f, UNIT - 2, UNIT + 2);
	cr_assert_eq(dropper_flush(dropper, &f.err), 0);
	cr_assert_eq(dropped.ranges, 1);
	cr_assert_eq(dropped.last.iov_base, guest_page(f.b, UNIT));
	cr_assert_eq(dropped.last.iov_len, GUEST_HUGE_SIZE);
	cr_assert_not(zero_page(guest_page(f.b, UNIT - 3)));
	cr_assert(zero_page(guest_page(f.b, UNIT - 2)));
	cr_assert_eq(ram_private_allocated(f.b), GUEST_HUGE_SIZE);
	dropper_destroy(dropper);
	teardown(&f);
}
