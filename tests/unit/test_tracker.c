// SPDX-License-Identifier: Apache-2.0
// Which pages a process has written, as the tracker sees it.
#include "tracker.h"

#include <criterion/criterion.h>
#include <sys/wait.h>
#include "guest_ram.h"

#define GRANULE TRACKER_GRANULE_PAGES

TestSuite(tracker, .timeout = 20);

struct fixture {
	struct ram_map ram;
	struct ram_block *block;
	struct tracker *tracker;
	struct wire_run runs[TRACKER_RUNS_MAX];
};

static void setup_pages(struct fixture *f, uint64_t size, uint32_t page_size)
{
	*f = (struct fixture){0};
	guest_ram_add(&f->ram, "ram", size, page_size);
	f->block = &f->ram.blocks[0];
	f->tracker = guest_track(&f->ram);
}

static void setup(struct fixture *f)
{
	setup_pages(f, GUEST_ODD_SIZE, RAM_PAGE_SIZE);
}

static void teardown(struct fixture *f)
{
	tracker_destroy(f->tracker);
	guest_ram_destroy(&f->ram);
}

static int collect(struct fixture *f, uint64_t first, uint64_t count, bool protect)
{
	return tracker_collect(f->tracker, 0, first, count, protect, f->runs);
}

static void expect_run(const struct fixture *f, int i, uint64_t first, uint32_t count)
{
	cr_assert_eq(f->runs[i].first, first, "run %d from %llu", i,
		     (unsigned long long)f->runs[i].first);
	cr_assert_eq(f->runs[i].count, count, "run %d of %u", i, f->runs[i].count);
}

Test(tracker, what_was_never_protected_counts_as_written)
{
	struct fixture f;

	setup(&f);
	cr_assert_eq(collect(&f, 0, GRANULE, false), 1);
	expect_run(&f, 0, 0, GRANULE);
	cr_assert_eq(collect(&f, GRANULE, 3, false), 1);
	expect_run(&f, 0, GRANULE, 3);
	cr_assert_eq(guest_allocated(f.block), 0, "looking allocates nothing");
	teardown(&f);
}

Test(tracker, writes_are_seen_until_protected_again)
{
	struct fixture f;

	setup(&f);
	guest_write(f.block, 7, 1);
	collect(&f, 0, GRANULE, true);
	cr_assert_eq(collect(&f, 0, GRANULE, true), 0);
	guest_write(f.block, 7, 2); /* was there */
	guest_write(f.block, 8, 3); /* was not */
	guest_write(f.block, GRANULE - 1, 4);
	for (int i = 0; i < 2; i++) { /* looking does not protect */
		cr_assert_eq(collect(&f, 0, GRANULE, false), 2);
		expect_run(&f, 0, 7, 2);
		expect_run(&f, 1, GRANULE - 1, 1);
	}
	cr_assert_eq(collect(&f, 0, GRANULE, true), 2);
	cr_assert_eq(collect(&f, 0, GRANULE, true), 0);
	guest_write(f.block, 7, 5);
	cr_assert_eq(collect(&f, 0, GRANULE, true), 1);
	expect_run(&f, 0, 7, 1);
	teardown(&f);
}

Test(tracker, reads_and_our_own_mapping_do_not_count)
{
	struct fixture f;

	setup(&f);
	guest_write(f.block, 1, 1);
	collect(&f, 0, GRANULE, true);
	cr_assert_neq(*(volatile uint64_t *)guest_page(f.block, 1), 0);
	cr_assert_eq(*(volatile uint64_t *)guest_page(f.block, 2), 0);
	guest_fill(f.block->map + RAM_PAGE_SIZE, 2);
	cr_assert_eq(collect(&f, 0, GRANULE, true), 0);
	teardown(&f);
}

Test(tracker, a_first_look_at_private_memory_finds_what_has_content)
{
	struct fixture f = {0};

	guest_ram_add_private(&f.ram, "ram", GUEST_ODD_SIZE);
	f.block = &f.ram.blocks[0];
	f.tracker = guest_track(&f.ram);
	guest_write(f.block, 7, 1);
	guest_write(f.block, 8, 1);
	guest_write(f.block, GRANULE - 1, 1);
	cr_assert_eq(*(volatile uint64_t *)guest_page(f.block, 500), 0);
	cr_assert_eq(tracker_first(f.tracker, 0, 0, GRANULE, f.runs), 2);
	expect_run(&f, 0, 7, 2);
	expect_run(&f, 1, GRANULE - 1, 1);
	cr_assert_eq(tracker_first(f.tracker, 0, GRANULE, 3, f.runs), 0);
	cr_assert_eq(collect(&f, 0, GRANULE, false), 0, "all is protected");
	cr_assert_eq(collect(&f, GRANULE, 3, false), 0);
	guest_write(f.block, 8, 2);   /* had content */
	guest_write(f.block, 500, 2); /* was mapped to zeroes */
	guest_write(f.block, 600, 2); /* was not mapped */
	guest_write(f.block, GRANULE + 1, 2);
	cr_assert_eq(collect(&f, 0, GRANULE, true), 3);
	expect_run(&f, 0, 8, 1);
	expect_run(&f, 1, 500, 1);
	expect_run(&f, 2, 600, 1);
	cr_assert_eq(collect(&f, GRANULE, 3, true), 1);
	expect_run(&f, 0, GRANULE + 1, 1);
	teardown(&f);
}

Test(tracker, every_other_page_fits)
{
	struct fixture f;

	setup(&f);
	collect(&f, 0, GRANULE, true);
	for (uint64_t i = 0; i < GRANULE; i += 2)
		guest_page(f.block, i)[0] = 1;
	cr_assert_eq(collect(&f, 0, GRANULE, true), (int)GRANULE / 2);
	for (int i = 0; i < (int)GRANULE / 2; i++)
		expect_run(&f, i, 2 * (uint64_t)i, 1);
	teardown(&f);
}

Test(tracker, only_the_range_asked_for_is_protected)
{
	struct fixture f;

	setup(&f);
	guest_write(f.block, 9, 1);
	guest_write(f.block, 10, 2);
	cr_assert_eq(collect(&f, 10, 5, true), 1);
	expect_run(&f, 0, 10, 5);
	cr_assert_eq(collect(&f, 0, 20, false), 2);
	expect_run(&f, 0, 0, 10);
	expect_run(&f, 1, 15, 5);
	teardown(&f);
}

Test(tracker, an_entry_that_is_empty_again_is_reported)
{
	struct fixture f;

	setup(&f);
	collect(&f, 0, GRANULE, true);
	guest_write(f.block, 20, 1); /* not protected any more, so nothing is left behind */
	guest_punch(f.block, 20, 1);
	cr_assert_eq(collect(&f, 0, GRANULE, true), 1);
	expect_run(&f, 0, 20, 1);
	teardown(&f);
}

Test(tracker, what_is_punched_while_protected_is_absent)
{
	struct fixture f;

	setup(&f);
	for (uint64_t i = 0; i < GRANULE; i++)
		guest_write(f.block, i, i);
	collect(&f, 0, GRANULE, true);
	cr_assert_eq(tracker_absent(f.tracker, 0, 0, GRANULE, f.runs), 0);
	guest_punch(f.block, 100, 3);
	cr_assert_eq(tracker_absent(f.tracker, 0, 0, GRANULE, f.runs), 1);
	expect_run(&f, 0, 100, 3);
	guest_write(f.block, 101, 1);
	cr_assert_eq(tracker_absent(f.tracker, 0, 0, GRANULE, f.runs), 2);
	cr_assert_eq(collect(&f, 0, GRANULE, false), 1);
	expect_run(&f, 0, 101, 1);
	teardown(&f);
}

Test(tracker, huge_pages_are_tracked_whole)
{
	struct fixture f;

	setup_pages(&f, 2 * GUEST_HUGE_SIZE, GUEST_HUGE_SIZE);
	guest_write(f.block, 0, 1);
	guest_write(f.block, 512, 2);
	collect(&f, 0, GRANULE, true);
	cr_assert_eq(collect(&f, 0, GRANULE, true), 0);
	guest_write(f.block, 600, 3);
	cr_assert_eq(collect(&f, 0, GRANULE, true), 1);
	expect_run(&f, 0, 512, 512);
	cr_assert_eq(collect(&f, 0, GRANULE, true), 0);
	teardown(&f);
}

/* ---- registration ---- */

/* Is `flag` among the VmFlags of the mapping that begins at `start`? */
static bool has_flag(uint64_t start, const char *flag)
{
	FILE *smaps = fopen("/proc/self/smaps", "r");
	unsigned long at, end;
	bool here = false, found = false;
	char line[512];

	cr_assert_not_null(smaps);
	while (fgets(line, sizeof(line), smaps)) {
		if (sscanf(line, "%lx-%lx ", &at, &end) == 2)
			here = at == start;
		else if (here && !strncmp(line, "VmFlags:", 8))
			found = strstr(line, flag) != NULL;
	}
	fclose(smaps);
	return found;
}

Test(tracker, destroy_leaves_no_trace_in_the_process)
{
	struct fixture f;

	setup(&f);
	guest_write(f.block, 1, 1);
	collect(&f, 0, GRANULE, true);
	cr_assert(has_flag(f.block->qemu_addr, " uw"), "registered");
	tracker_destroy(f.tracker);
	cr_assert_not(has_flag(f.block->qemu_addr, " uw"));
	guest_write(f.block, 1, 2);
	guest_ram_destroy(&f.ram);
}

Test(tracker, a_range_that_cannot_be_registered_is_named)
{
	struct tracker *t;
	struct errtext err = {0};
	struct ram_map ram = {0};
	int fd = guest_userfaultfd();

	if (fd < 0)
		cr_skip_test("no userfaultfd with asynchronous write-protection: %s",
			     strerror(-fd));
	guest_ram_add(&ram, "pc.ram", GUEST_ODD_SIZE, RAM_PAGE_SIZE);
	munmap(guest_page(&ram.blocks[0], 0), ram.blocks[0].size);
	cr_assert_lt(tracker_new(fd, getpid(), &ram, &t, &err), 0);
	cr_assert(strstr(err.text, "pc.ram"), "%s", err.text);
	cr_assert_lt(fcntl(fd, F_GETFD), 0, "the descriptor was the tracker's");
	ram_map_destroy(&ram);
}

Test(tracker, a_process_that_does_not_exist_is_named)
{
	struct tracker *t;
	struct errtext err = {0};
	struct ram_map ram = {0};
	pid_t child = fork();

	if (child == 0)
		_exit(0);
	cr_assert_eq(waitpid(child, NULL, 0), child);
	cr_assert_lt(tracker_new(-1, child, &ram, &t, &err), 0);
	cr_assert(strstr(err.text, "/proc/"), "%s", err.text);
}

/* ---- another process ---- */

/* In the child: opens a userfaultfd, says its number, waits to be killed. */
static void be_tracked(int to_parent)
{
	int fd = guest_userfaultfd();

	if (write(to_parent, &fd, sizeof(fd)) != sizeof(fd))
		_exit(1);
	for (;;)
		pause();
}

Test(tracker, a_process_that_has_gone_is_noticed)
{
	struct fixture f = {0};
	struct errtext err = {0};
	int talk[2], theirs = -1, ours, pidfd;
	pid_t child;

	guest_ram_add(&f.ram, "ram", GUEST_ODD_SIZE, RAM_PAGE_SIZE);
	cr_assert_eq(pipe(talk), 0);
	child = fork();
	if (child == 0)
		be_tracked(talk[1]);
	cr_assert_eq(read(talk[0], &theirs, sizeof(theirs)), (ssize_t)sizeof(theirs));
	pidfd = (int)syscall(SYS_pidfd_open, child, 0);
	ours = theirs < 0 ? -1 : (int)syscall(SYS_pidfd_getfd, pidfd, theirs, 0);
	if (ours < 0) {
		kill(child, SIGKILL);
		cr_skip_test("cannot have a child's userfaultfd");
	}
	cr_assert_eq(tracker_new(ours, child, &f.ram, &f.tracker, &err), 0, "%s", err.text);
	cr_assert_eq(collect(&f, 0, GRANULE, true), 1);
	cr_assert_eq(collect(&f, 0, GRANULE, true), 0);
	kill(child, SIGKILL);
	cr_assert_eq(waitpid(child, NULL, 0), child);
	cr_assert_eq(collect(&f, 0, GRANULE, true), -ESRCH);
	close(pidfd);
	teardown(&f);
}
