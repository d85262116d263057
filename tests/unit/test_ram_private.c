// SPDX-License-Identifier: Apache-2.0
// Private memory of a process, copied out of it, and into it.
#include "ram_private.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include "guest_ram.h"
#include "zero.h"

#define PAGES 100u

TestSuite(ram_private, .timeout = 20);

static struct ram_map ram;
static struct ram_block *block;

static void setup(void)
{
	guest_ram_add_private(&ram, "pc.ram", PAGES << RAM_PAGE_SHIFT);
	block = &ram.blocks[0];
	for (uint64_t i = 0; i < PAGES; i += 2)
		guest_write(block, i, i);
}

static void teardown(void)
{
	guest_ram_destroy(&ram);
}

static bool is_page(const uint8_t *at, uint64_t page)
{
	return memcmp(at, guest_page(block, page), RAM_PAGE_SIZE) == 0;
}

Test(ram_private, pages_come_one_after_the_other)
{
	static const uint64_t pages[] = {0, 3, 4, 5, 98, 99};
	static uint8_t out[6 * RAM_PAGE_SIZE];
	struct errtext err = {0};

	setup();
	cr_assert_eq(ram_private_read(block, pages, 6, out, &err), 0, "%s", err.text);
	for (unsigned int i = 0; i < 6; i++)
		cr_assert(is_page(out + i * RAM_PAGE_SIZE, pages[i]), "page %u", i);
	teardown();
}

Test(ram_private, a_range_and_as_many_as_there_may_be)
{
	static uint8_t out[RAM_PRIVATE_PAGES_MAX * RAM_PAGE_SIZE];
	uint64_t pages[RAM_PRIVATE_PAGES_MAX];

	setup();
	for (unsigned int i = 0; i < RAM_PRIVATE_PAGES_MAX; i++)
		pages[i] = i < 40 ? 2 * i : i + 30;
	cr_assert_eq(ram_private_read(block, pages, RAM_PRIVATE_PAGES_MAX, out, NULL), 0);
	for (unsigned int i = 0; i < RAM_PRIVATE_PAGES_MAX; i++)
		cr_assert(is_page(out + i * RAM_PAGE_SIZE, pages[i]), "page %u", i);
	cr_assert_eq(ram_private_read_range(block, 7, 50, out, NULL), 0);
	for (unsigned int i = 0; i < 50; i++)
		cr_assert(is_page(out + i * RAM_PAGE_SIZE, 7 + i), "page %u", i);
	teardown();
}

Test(ram_private, reading_what_was_never_touched_costs_nothing)
{
	static uint8_t out[PAGES * RAM_PAGE_SIZE];

	setup();
	cr_assert_eq(ram_private_allocated(block), (PAGES / 2) << RAM_PAGE_SHIFT);
	cr_assert_eq(ram_private_read_range(block, 0, PAGES, out, NULL), 0);
	cr_assert_eq(ram_private_allocated(block), (PAGES / 2) << RAM_PAGE_SHIFT);
	teardown();
}

/* More regions than the kernel collects in one go. */
Test(ram_private, what_has_memory_is_counted_once)
{
	guest_ram_add_private(&ram, "pc.ram", 8 << 20);
	block = &ram.blocks[0];
	madvise(guest_page(block, 0), block->size, MADV_NOHUGEPAGE);
	for (uint64_t i = 0; i < ram_block_pages(block); i += 2)
		guest_page(block, i)[0] = 1;
	cr_assert_eq(ram_private_allocated(block), block->size / 2);
	teardown();
}

Test(ram_private, a_page_that_cannot_be_had_is_an_error)
{
	static uint8_t out[PAGES * RAM_PAGE_SIZE];
	static const uint64_t pages[] = {1, 50, 99};
	struct errtext err = {0};

	setup();
	cr_assert_eq(munmap(guest_page(block, 50), RAM_PAGE_SIZE), 0);
	cr_assert_eq(ram_private_read(block, pages, 3, out, &err), -EFAULT);
	cr_assert(strstr(err.text, "pc.ram"), "%s", err.text);
	cr_assert_eq(ram_private_read(block, pages + 1, 1, out, NULL), -EFAULT);
	cr_assert_eq(ram_private_read_range(block, 0, PAGES, out, NULL), -EFAULT);
	teardown();
}

static void add_run(void *opaque, uint64_t first, uint64_t count)
{
	uint64_t *runs = opaque;

	cr_assert_eq(first, 2 * *runs);
	cr_assert_eq(count, 1);
	++*runs;
}

Test(ram_private, what_has_memory_is_told_in_runs)
{
	uint64_t runs = 0;

	setup();
	cr_assert_eq(ram_private_look(block, add_run, &runs), 0);
	cr_assert_eq(runs, PAGES / 2);
	teardown();
}

/* A page that was only read is there: it has an entry. */
Test(ram_private, which_pages_are_there)
{
	bool has[1200];

	guest_ram_add_private(&ram, "pc.ram", 8 << 20);
	block = &ram.blocks[0];
	madvise(guest_page(block, 0), block->size, MADV_NOHUGEPAGE);
	guest_write(block, 600, 1);
	guest_write(block, 1100, 1);
	cr_assert_eq(*(volatile uint8_t *)guest_page(block, 601), 0);
	cr_assert_eq(ram_private_has(block, 20, 1200, has), 0);
	for (unsigned int page = 20; page < 1220; page++)
		cr_assert_eq(has[page - 20], page == 600 || page == 601 || page == 1100, "page %u",
			     page);
	teardown();
}

/* ... and one that is write-protected, and was never there, has an entry that says only that. */
Test(ram_private, a_marker_is_no_page)
{
	struct tracker *tracker;
	struct wire_run runs[TRACKER_RUNS_MAX];
	bool has[16];

	guest_ram_add_private(&ram, "pc.ram", 16 << RAM_PAGE_SHIFT);
	block = &ram.blocks[0];
	guest_write(block, 7, 1);
	tracker = guest_track(&ram);
	cr_assert_geq(tracker_first(tracker, 0, 0, 16, runs), 0);
	cr_assert_eq(ram_private_has(block, 0, 16, has), 0);
	for (unsigned int page = 0; page < 16; page++)
		cr_assert_eq(has[page], page == 7, "page %u", page);
	tracker_destroy(tracker);
	teardown();
}

Test(ram_private, of_no_process_nothing_can_be_told)
{
	bool has[1];

	setup();
	block->private_to = 1 << 22; /* above pid_max */
	cr_assert_eq(ram_private_has(block, 0, 1, has), -ENOENT);
	block->private_to = getpid();
	teardown();
}

static void add_pages(void *opaque, uint64_t first, uint64_t count)
{
	uint64_t *end = opaque;

	cr_assert_geq(first, *end, "in order, each once");
	*end = first + count;
}

/* As on a kernel without PAGEMAP_SCAN; at the end of what is read in one go, and past it. */
Test(ram_private, what_has_memory_is_found_page_by_page)
{
	uint64_t runs = 0, end = 0;

	setenv("DRAY_FAULT", "pagemap-scan=fail", 1);
	setup();
	cr_assert_eq(ram_private_look(block, add_run, &runs), 0);
	cr_assert_eq(runs, PAGES / 2);
	teardown();
	guest_ram_add_private(&ram, "pc.ram", 8 << 20);
	block = &ram.blocks[0];
	madvise(guest_page(block, 0), block->size, MADV_NOHUGEPAGE);
	for (uint64_t i = 500; i < 1100; i++)
		guest_page(block, i)[0] = 1;
	cr_assert_eq(ram_private_look(block, add_pages, &end), 0);
	cr_assert_eq(end, 1100);
	cr_assert_eq(ram_private_allocated(block), 600 << RAM_PAGE_SHIFT);
	teardown();
}

/* Another process than this one: a copy of it, which ends when it is told to. */
static pid_t start_other(void)
{
	pid_t parent = getpid(), pid = fork();

	if (pid == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		while (getppid() == parent)
			pause();
		_exit(0);
	}
	cr_assert(pid > 0);
	return pid;
}

static void end_other(pid_t pid)
{
	kill(pid, SIGKILL);
	cr_assert_eq(waitpid(pid, NULL, 0), pid);
}

Test(ram_private, pages_are_written_into_another_process)
{
	static uint8_t in[3 * RAM_PAGE_SIZE], out[PAGES * RAM_PAGE_SIZE];
	struct errtext err = {0};
	int memory;

	setup();
	block->private_to = start_other();
	memory = ram_private_open(block, &err);
	cr_assert_geq(memory, 0, "%s", err.text);
	for (unsigned int i = 0; i < 3; i++)
		guest_fill(in + (size_t)i * RAM_PAGE_SIZE, 500 + i);
	cr_assert_eq(ram_private_write(block, memory, 51, 3, in, &err), 0, "%s", err.text);
	cr_assert_eq(ram_private_wipe(block, memory, 60, 36, &err), 0, "%s", err.text);
	cr_assert_eq(ram_private_read_range(block, 0, PAGES, out, NULL), 0);
	cr_assert_eq(memcmp(out + (51 << RAM_PAGE_SHIFT), in, sizeof(in)), 0);
	for (unsigned int i = 0; i < PAGES; i++) {
		if (i >= 60 && i < 96)
			cr_assert(zero_page(out + (i << RAM_PAGE_SHIFT)), "page %u", i);
		else if (i < 51 || i > 53)
			cr_assert(is_page(out + (i << RAM_PAGE_SHIFT), i), "page %u", i);
	}
	cr_assert(!is_page(in, 51), "nothing of it is seen here");
	end_other(block->private_to);
	close(memory);
	teardown();
}

/* Whoever has its number. */
Test(ram_private, a_process_that_has_ended_is_not_written)
{
	static const uint8_t in[RAM_PAGE_SIZE];
	struct errtext err = {0};
	int memory;

	setup();
	block->private_to = start_other();
	memory = ram_private_open(block, &err);
	end_other(block->private_to);
	cr_assert_eq(ram_private_write(block, memory, 0, 1, in, &err), -ESRCH);
	cr_assert(strstr(err.text, "QEMU has gone"), "%s", err.text);
	cr_assert_eq(ram_private_wipe(block, memory, 0, PAGES, NULL), -ESRCH);
	close(memory);
	cr_assert_eq(ram_private_open(block, &err), -ENOENT);
	cr_assert(is_page(guest_page(block, 0), 0));
	teardown();
}

Test(ram_private, a_page_that_cannot_be_written_is_an_error)
{
	static const uint8_t in[3 * RAM_PAGE_SIZE];
	struct errtext err = {0};
	int memory;

	setup();
	cr_assert_eq(munmap(guest_page(block, 50), RAM_PAGE_SIZE), 0);
	memory = ram_private_open(block, &err);
	cr_assert_eq(ram_private_write(block, memory, 49, 3, in, &err), -ENOMEM);
	cr_assert(strstr(err.text, "pc.ram"), "%s", err.text);
	close(memory);
	teardown();
}

Test(ram_private, a_process_that_has_gone)
{
	static uint8_t out[RAM_PAGE_SIZE];
	static const uint64_t page = 0;
	struct errtext err = {0};

	setup();
	block->private_to = fork();
	if (block->private_to == 0)
		_exit(0);
	cr_assert_eq(waitpid(block->private_to, NULL, 0), block->private_to);
	cr_assert_eq(ram_private_read(block, &page, 1, out, &err), -ESRCH);
	cr_assert(strstr(err.text, "QEMU has gone"), "%s", err.text);
	cr_assert_eq(ram_private_allocated(block), block->size, "that cannot be told");
	teardown();
}
