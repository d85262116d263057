// SPDX-License-Identifier: Apache-2.0
#include "ram_kept.h"

#include <criterion/criterion.h>
#include <criterion/parameterized.h>
#include <sys/wait.h>
#include "guest_ram.h"
#include "ram_access.h"
#include "ram_private.h"

TestSuite(ram_kept, .timeout = 30);

#define UNITS 4u

static struct ram_map ram;
static struct ram_block *b;
static int seal = -1;

/* All pages but the last have content. */
static void setup(uint32_t page_size)
{
	struct errtext err = {0};

	ram_access_init();
	ram = (struct ram_map){0};
	guest_ram_add(&ram, "pc.ram", (uint64_t)UNITS * page_size, page_size);
	b = &ram.blocks[0];
	for (unsigned int i = 0; i < UNITS - 1; i++)
		guest_write(b, i * (page_size >> RAM_PAGE_SHIFT), i + 1);
	cr_assert_eq(ram_kept_note(&ram, &err), 0, "%s", err.text);
	cr_assert_eq(ram_kept_seal(&ram, &seal, &err), 0, "%s", err.text);
}

static void teardown(void)
{
	close(seal);
	guest_ram_destroy(&ram);
}

static void punch(unsigned int unit)
{
	cr_assert_eq(fallocate(b->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
			       (off_t)unit * b->page_size, b->page_size),
		     0);
}

static void load(void *arg)
{
	*(volatile uint8_t *)arg;
}

static int touch(unsigned int unit)
{
	return ram_access(b, load, b->map + (uint64_t)unit * b->page_size, NULL);
}

/* As a stream sends it. */
static int send_page(unsigned int unit)
{
	int ends[2], ret;

	cr_assert_eq(pipe(ends), 0);
	ret = write(ends[1], b->map + (uint64_t)unit * b->page_size, 512) < 0 ? -errno : 0;
	close(ends[0]);
	close(ends[1]);
	return ret;
}

ParameterizedTestParameters(ram_kept, what_is_emptied_is_not_read)
{
	static uint32_t sizes[] = {RAM_PAGE_SIZE, GUEST_HUGE_SIZE};

	return cr_make_param_array(uint32_t, sizes, sizeof(sizes) / sizeof(*sizes));
}

ParameterizedTest(uint32_t *page_size, ram_kept, what_is_emptied_is_not_read)
{
	struct errtext err = {0};

	setup(*page_size);
	cr_assert_eq(touch(0), 0);
	cr_assert_eq(send_page(1), 0);
	cr_assert_lt(touch(3), 0, "it was a hole before");
	cr_assert_eq(ram_kept_check(b, &err), 0, "%s", err.text);
	punch(1);
	cr_assert_eq(send_page(1), -EFAULT);
	cr_assert_lt(touch(1), 0);
	cr_assert_eq(touch(0), 0);
	cr_assert_eq(ram_kept_check(b, &err), -EUCLEAN, "as soon as one page has gone");
	cr_assert(strstr(err.text, "pc.ram"), "%s", err.text);
	teardown();
}

/* QEMU may still read what it never used. */
Test(ram_kept, more_is_no_less)
{
	setup(RAM_PAGE_SIZE);
	guest_write(b, 3, 9);
	cr_assert_eq(ram_kept_check(b, NULL), 0);
	cr_assert_eq(touch(3), 0);
	teardown();
}

/* ---- pages that the kernel drops ---- */

static uint64_t blocks(void)
{
	struct stat st;

	cr_assert_eq(fstat(b->fd, &st), 0);
	return (uint64_t)st.st_blocks;
}

#define CLEAN_FIRST 100u
#define CLEAN_END 356u

/* One with content, if it is below CLEAN_FIRST, and many that were only read. */
static void setup_with_clean_pages(unsigned int content)
{
	struct errtext err = {0};

	ram_access_init();
	ram = (struct ram_map){0};
	guest_ram_add(&ram, "pc.ram", (uint64_t)CLEAN_END * RAM_PAGE_SIZE, RAM_PAGE_SIZE);
	b = &ram.blocks[0];
	if (content < CLEAN_FIRST)
		guest_write(b, content, 1);
	for (unsigned int page = CLEAN_FIRST; page < CLEAN_END; page++)
		(void)*(volatile uint8_t *)(uintptr_t)(b->qemu_addr + page * RAM_PAGE_SIZE);
	cr_assert_eq(ram_kept_choose(&ram, &err), 0, "%s", err.text);
	cr_assert_eq(ram_kept_note(&ram, &err), 0, "%s", err.text);
	/* One that is mapped twice stays. */
	madvise(b->map, b->size, MADV_DONTNEED);
	if (madvise((void *)(uintptr_t)b->qemu_addr, b->size, MADV_PAGEOUT) < 0 ||
	    blocks() == b->kept)
		cr_skip_test("this kernel does not drop the page when it is asked to");
}

Test(ram_kept, a_page_of_zeroes_that_the_kernel_drops_is_no_loss)
{
	struct errtext err = {0};

	setup_with_clean_pages(1);
	cr_assert_eq(b->sentinel, 2);
	cr_assert_eq(ram_kept_check(b, &err), 0, "%s", err.text);
	punch(1);
	cr_assert_eq(ram_kept_check(b, &err), -EUCLEAN);
	guest_ram_destroy(&ram);
}

Test(ram_kept, a_page_that_the_guest_gives_back_before_the_stop_is_replaced)
{
	struct errtext err = {0};

	setup_with_clean_pages(1);
	guest_write(b, 3, 1);
	punch(1);
	cr_assert_eq(ram_kept_note(&ram, &err), 0, "%s", err.text);
	cr_assert_eq(b->sentinel, 4);
	b->kept++; /* as if the kernel had dropped a clean page since */
	cr_assert_eq(ram_kept_check(b, &err), 0, "%s", err.text);
	guest_ram_destroy(&ram);
}

Test(ram_kept, a_file_without_any_content_is_judged_by_its_blocks)
{
	setup_with_clean_pages(CLEAN_END);
	cr_assert_eq(b->sentinel, 0);
	cr_assert_eq(ram_kept_check(b, NULL), -EUCLEAN);
	guest_ram_destroy(&ram);
}

Test(ram_kept, without_a_note_nothing_is_known)
{
	setup(RAM_PAGE_SIZE);
	b->kept = 0;
	punch(0);
	cr_assert_eq(ram_kept_check(b, NULL), 0);
	teardown();
}

/* ---- pages that cannot be read ---- */

static int is_zero(unsigned int unit, bool *zero, struct errtext *err)
{
	return ram_kept_zero(b, unit, 1, zero, err);
}

Test(ram_kept, a_page_that_cannot_be_read_is_named)
{
	struct errtext err = {0};
	bool zero;

	setup(RAM_PAGE_SIZE);
	cr_assert_eq(is_zero(0, &zero, &err), 0, "%s", err.text);
	cr_assert_not(zero);
	cr_assert_eq(is_zero(3, &zero, &err), 0, "%s", err.text);
	cr_assert(zero);
	guest_poison(seal, b, 1);
	cr_assert_eq(is_zero(1, &zero, &err), -EUCLEAN);
	cr_assert(strstr(err.text, "RAM block pc.ram: page 1 cannot be read on the source any "
				   "more: "),
		  "%s", err.text);
	teardown();
}

Test(ram_kept, it_is_found_when_the_kernel_could_not_read_it)
{
	struct errtext err = {.text = "Bad address"};

	setup(RAM_PAGE_SIZE);
	guest_poison(seal, b, 1);
	cr_assert_eq(send_page(1), -EFAULT);
	cr_assert_eq(ram_kept_explain(b, 0, 3, -EPIPE, &err), -EPIPE);
	cr_assert_eq(ram_kept_explain(b, 2, 2, -EFAULT, &err), -EFAULT, "these can be read");
	cr_assert_str_eq(err.text, "Bad address");
	cr_assert_eq(ram_kept_explain(b, 0, 3, -EFAULT, &err), -EUCLEAN);
	cr_assert(strstr(err.text, "page 1 cannot be read"), "%s", err.text);
	teardown();
}

Test(ram_kept, what_was_emptied_is_not_called_unreadable)
{
	struct errtext err = {0};
	bool zero;

	setup(RAM_PAGE_SIZE);
	punch(1);
	cr_assert_eq(is_zero(0, &zero, &err), 0, "%s", err.text);
	cr_assert_eq(is_zero(1, &zero, &err), -EUCLEAN);
	cr_assert(strstr(err.text, "was emptied on the source"), "%s", err.text);
	teardown();
}

/* ---- private memory ---- */

static void setup_private(void)
{
	struct errtext err = {0};

	ram = (struct ram_map){0};
	guest_ram_add_private(&ram, "pc.ram", UNITS << RAM_PAGE_SHIFT);
	b = &ram.blocks[0];
	for (unsigned int i = 0; i < UNITS - 1; i++)
		guest_write(b, i, i + 1);
	cr_assert_eq(ram_kept_choose(&ram, &err), 0, "%s", err.text);
	cr_assert_eq(ram_kept_note(&ram, &err), 0, "%s", err.text);
	cr_assert_eq(ram_kept_seal(&ram, &seal, &err), 0, "%s", err.text);
}

static bool reads_as_zero(uint64_t first, uint64_t count)
{
	struct errtext err = {0};
	bool zero;

	cr_assert_eq(ram_kept_zero(b, first, count, &zero, &err), 0, "%s", err.text);
	return zero;
}

Test(ram_kept, private_memory_is_copied)
{
	static uint8_t out[UNITS << RAM_PAGE_SHIFT];

	setup_private();
	cr_assert(reads_as_zero(3, 1));
	cr_assert_not(reads_as_zero(2, 1) || reads_as_zero(2, 2));
	cr_assert_eq(ram_kept_read(b, 0, UNITS, out, NULL), 0);
	cr_assert_arr_eq(out, guest_page(b, 0), sizeof(out));
	cr_assert_eq(ram_kept_check(b, NULL), 0);
	teardown();
}

/* ... which there may be none of. */
Test(ram_kept, to_look_at_a_private_huge_page_gives_it_no_memory)
{
	const uint64_t unit = GUEST_HUGE_SIZE >> RAM_PAGE_SHIFT;
	struct errtext err = {0};

	ram = (struct ram_map){0};
	guest_ram_add_private_pages(&ram, "pc.ram", 3ull * GUEST_HUGE_SIZE, GUEST_HUGE_SIZE);
	b = &ram.blocks[0];
	if (madvise(guest_page(b, 0), GUEST_HUGE_SIZE, MADV_POPULATE_WRITE) < 0)
		cr_skip_test("no huge pages: %s", strerror(errno));
	guest_write(b, 5, 1);
	cr_assert_eq(ram_kept_seal(&ram, &seal, &err), 0, "%s", err.text);
	cr_assert(reads_as_zero(unit, unit) && reads_as_zero(2 * unit, unit));
	cr_assert_not(reads_as_zero(0, unit));
	cr_assert_eq(ram_private_allocated(b), GUEST_HUGE_SIZE);
	teardown();
}

/* The number may be another process's by then. */
Test(ram_kept, of_a_qemu_that_has_ended_nothing_is_taken)
{
	uint8_t out[RAM_PAGE_SIZE];
	struct errtext err = {0};
	pid_t pid = fork();
	bool zero;

	if (pid == 0)
		_exit(0);
	setup_private();
	close(b->fd);
	b->fd = (int)syscall(SYS_pidfd_open, pid, 0);
	cr_assert_geq(b->fd, 0);
	cr_assert_eq(waitpid(pid, NULL, 0), pid);
	cr_assert_eq(ram_kept_check(b, &err), -EUCLEAN);
	cr_assert(strstr(err.text, "was ended before all of it had gone"), "%s", err.text);
	cr_assert_eq(ram_kept_read(b, 0, 1, out, NULL), -EUCLEAN, "it could be read");
	cr_assert_eq(ram_kept_zero(b, 3, 1, &zero, NULL), -EUCLEAN);
	teardown();
}

Test(ram_kept, a_private_page_that_cannot_be_had)
{
	uint8_t out[RAM_PAGE_SIZE];
	struct errtext err = {0};

	setup_private();
	cr_assert_eq(munmap(guest_page(b, 1), RAM_PAGE_SIZE), 0);
	cr_assert_eq(ram_kept_read(b, 1, 1, out, &err), -EUCLEAN);
	cr_assert(strstr(err.text, "a page cannot be had"), "%s", err.text);
	cr_assert_eq(ram_kept_read(b, 2, 1, out, NULL), 0);
	teardown();
}
