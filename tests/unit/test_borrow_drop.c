// SPDX-License-Identifier: Apache-2.0
// Memory is given back inside a process that does not notice: that much, and nothing else.
#include "borrow_drop.h"

#include <criterion/criterion.h>
#include <sys/mman.h>
#include "attach.h"
#include "victim.h"

#define PAGE 4096u
#define PAGES 8192u
#define BYTE 0xdb

TestSuite(borrow_drop, .timeout = 60);

static uint8_t *memory; /* private to this process, and to the victim */

static void start(struct victim *v, size_t bytes, int flags)
{
	if (geteuid() != 0)
		cr_skip_test("needs root");
	memory = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | flags, -1,
		      0);
	if (memory == MAP_FAILED)
		cr_skip_test("no such memory: %s", strerror(errno));
	memset(memory, BYTE, bytes);
	victim_start(v, victim_poll);
	victim_wait_syscall(v, SYS_poll);
}

/* What the victim has there. */
static uint8_t byte_of(const struct victim *v, uint64_t page)
{
	uint8_t byte;
	const struct iovec here = {&byte, 1}, there = {memory + page * PAGE + 17, 1};

	cr_assert_eq(process_vm_readv(v->pid, &here, 1, &there, 1, 0), 1);
	return byte;
}

static void drop(const struct victim *v, const struct iovec *ranges, unsigned int n, int expected)
{
	static char before[16384], after[16384];
	struct errtext err = {0};
	int ret;

	victim_descriptors(v, before, sizeof(before));
	ret = attach_drop(v->pid, ranges, n, &err);
	cr_assert_eq(ret, expected, "%d: %s", ret, err.text);
	victim_descriptors(v, after, sizeof(after));
	cr_assert_str_eq(after, before);
	cr_assert_eq(victim_tracer(v), 0);
}

/* Each second page from `first` on. */
static struct iovec *scattered(unsigned int first, unsigned int n)
{
	struct iovec *ranges = calloc(n, sizeof(*ranges));

	for (unsigned int i = 0; i < n; i++)
		ranges[i] = (struct iovec){memory + (first + 2 * i) * PAGE, PAGE};
	return ranges;
}

static void drop_scattered(unsigned int n)
{
	struct iovec *ranges;
	struct victim v;

	start(&v, PAGES * PAGE, 0);
	ranges = scattered(1, n);
	drop(&v, ranges, n, 0);
	for (unsigned int page = 0; page < PAGES; page++)
		cr_assert_eq(byte_of(&v, page), page % 2 && page < 2 * n ? 0 : BYTE, "page %u",
			     page);
	cr_assert_eq(memory[PAGE], BYTE, "nothing happens to us");
	cr_assert(victim_end(&v), "%s", v.shared->what);
	free(ranges);
}

Test(borrow_drop, one_page)
{
	drop_scattered(1);
}

Test(borrow_drop, one_by_one)
{
	drop_scattered(5);
}

Test(borrow_drop, at_once)
{
	drop_scattered(100);
}

Test(borrow_drop, more_than_one_call_takes)
{
	drop_scattered(3000);
}

Test(borrow_drop, nothing_needs_nobody)
{
	cr_assert_eq(attach_drop(-1, NULL, 0, NULL), 0);
}

/* ... of which the kernel says so, whatever it was asked by. */
Test(borrow_drop, a_range_that_is_not_there)
{
	struct iovec *ranges;
	struct victim v;

	start(&v, PAGES * PAGE, 0);
	ranges = scattered(0, 20);
	ranges[10].iov_base = (void *)PAGE;
	drop(&v, ranges, 20, -ENOMEM);
	drop(&v, ranges + 10, 1, -ENOMEM);
	drop(&v, ranges + 11, 9, 0);
	cr_assert_eq(byte_of(&v, 22), 0);
	cr_assert(victim_end(&v), "%s", v.shared->what);
	free(ranges);
}

static void locked(struct victim *v)
{
	if (!atomic_load(&v->shared->word) && mlock(memory, PAGES * PAGE) < 0)
		victim_error(v, "mlock", 0);
	atomic_store(&v->shared->word, 1);
	victim_poll(v);
}

Test(borrow_drop, locked_memory_goes_as_well)
{
	struct iovec *ranges;
	struct victim v;

	if (geteuid() != 0)
		cr_skip_test("needs root");
	memory = mmap(NULL, PAGES * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1,
		      0);
	memset(memory, BYTE, PAGES * PAGE);
	victim_start(&v, locked);
	while (!atomic_load(&v.shared->word))
		sched_yield();
	ranges = scattered(0, 20);
	drop(&v, ranges, 20, 0);
	drop(&v, &(struct iovec){memory + 101 * PAGE, 3 * PAGE}, 1, 0);
	cr_assert_eq(byte_of(&v, 0), 0);
	cr_assert_eq(byte_of(&v, 1), BYTE);
	cr_assert_eq(byte_of(&v, 103), 0);
	cr_assert(victim_end(&v), "%s", v.shared->what);
	free(ranges);
}

/* One small page out of it, which stays apart. */
Test(borrow_drop, transparent_huge_pages)
{
	struct victim v;

	start(&v, PAGES * PAGE, 0);
	madvise(memory, PAGES * PAGE, MADV_HUGEPAGE);
	drop(&v, &(struct iovec){memory + 700 * PAGE, PAGE}, 1, 0);
	cr_assert_eq(byte_of(&v, 699), BYTE);
	cr_assert_eq(byte_of(&v, 700), 0);
	cr_assert_eq(byte_of(&v, 701), BYTE);
	cr_assert(victim_end(&v), "%s", v.shared->what);
}

Test(borrow_drop, huge_pages)
{
	struct victim v;

	start(&v, 4u << 20, MAP_HUGETLB);
	drop(&v, &(struct iovec){memory + (2u << 20), 2u << 20}, 1, 0);
	cr_assert_eq(byte_of(&v, 511), BYTE);
	cr_assert_eq(byte_of(&v, 512), 0);
	cr_assert_eq(byte_of(&v, 1023), 0);
	cr_assert(victim_end(&v), "%s", v.shared->what);
}

Test(borrow_drop, it_has_ended)
{
	struct errtext err = {0};
	const struct iovec range = {(void *)PAGE, PAGE};
	pid_t pid = fork();

	if (pid == 0)
		_exit(0);
	waitpid(pid, NULL, 0);
	cr_assert_eq(attach_drop(pid, &range, 1, &err), -ESRCH, "%s", err.text);
}
