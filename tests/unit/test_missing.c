// SPDX-License-Identifier: Apache-2.0
// Pages made missing, and filled again, in memory of this very process.
#include "missing.h"

#include <criterion/criterion.h>
#include <pthread.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/uio.h>
#include "postcopy.h"

#define PAGES 1024u

TestSuite(missing, .timeout = 20);

struct fixture {
	struct ram_map ram;
	struct ram_block *b;
	int uffd;
};

static void setup(struct fixture *f)
{
	struct errtext err = {0};

	*f = (struct fixture){.uffd = postcopy_userfaultfd(MISSING_FEATURES)};
	guest_ram_add(&f->ram, "pc.ram", PAGES * RAM_PAGE_SIZE, RAM_PAGE_SIZE);
	f->b = &f->ram.blocks[0];
	cr_assert_eq(missing_register(f->uffd, &f->ram, false, &err), 0, "%s", err.text);
}

static void teardown(struct fixture *f)
{
	close(f->uffd);
	guest_ram_destroy(&f->ram);
}

static bool is_filled(const struct ram_block *b, uint64_t page, uint8_t byte)
{
	const uint8_t *at = guest_page(b, page);

	return at[0] == byte && memcmp(at, at + 1, RAM_PAGE_SIZE - 1) == 0;
}

struct toucher {
	struct ram_block *b;
	uint64_t page;
	pthread_t thread;
	uint8_t got;
};

static void *touch(void *arg)
{
	struct toucher *t = arg;

	t->got = *(volatile uint8_t *)guest_page(t->b, t->page);
	return NULL;
}

/* The fault that it takes. */
static uint64_t await_fault(struct fixture *f)
{
	struct uffd_msg msg;

	while (read(f->uffd, &msg, sizeof(msg)) != sizeof(msg))
		sched_yield();
	cr_assert_eq(msg.event, UFFD_EVENT_PAGEFAULT);
	return (msg.arg.pagefault.address - f->b->qemu_addr) >> RAM_PAGE_SHIFT;
}

static void start_touching(struct fixture *f, struct toucher *t, uint64_t page)
{
	*t = (struct toucher){.b = f->b, .page = page};
	cr_assert_eq(pthread_create(&t->thread, NULL, touch, t), 0);
	cr_assert_eq(await_fault(f), page);
}

Test(missing, a_copy_leaves_alone_what_is_there)
{
	static uint8_t content[10 * RAM_PAGE_SIZE];
	struct errtext err = {0};
	struct fixture f;

	setup(&f);
	memset(f.b->map + 3 * RAM_PAGE_SIZE, 1, RAM_PAGE_SIZE);
	memset(f.b->map + 4 * RAM_PAGE_SIZE, 1, RAM_PAGE_SIZE);
	memset(f.b->map + 9 * RAM_PAGE_SIZE, 1, RAM_PAGE_SIZE);
	memset(content, 2, sizeof(content));
	cr_assert_eq(missing_copy(f.uffd, f.b, 0, 10, content, false, &err), 0, "%s", err.text);
	cr_assert_eq(missing_zero(f.uffd, f.b, 8, 4, &err), 0, "%s", err.text);
	for (uint64_t page = 0; page < 12; page++)
		cr_assert(is_filled(f.b, page,
				    page >= 10				  ? 0
				    : page == 3 || page == 4 || page == 9 ? 1
									  : 2),
			  "page %llu", (unsigned long long)page);
	teardown(&f);
}

Test(missing, what_was_there_is_missing_again)
{
	struct errtext err = {0};
	struct toucher t;
	struct fixture f;

	setup(&f);
	memset(f.b->map, 1, PAGES * RAM_PAGE_SIZE);
	cr_assert(is_filled(f.b, 7, 1));
	cr_assert_eq(missing_make(f.b, 5, 10, &err), 0, "%s", err.text);
	cr_assert_eq(guest_allocated(f.b), PAGES - 10);
	start_touching(&f, &t, 7);
	cr_assert_eq(missing_zero(f.uffd, f.b, 7, 1, &err), 0, "%s", err.text);
	pthread_join(t.thread, NULL);
	cr_assert_eq(t.got, 0);
	cr_assert(is_filled(f.b, 4, 1));
	teardown(&f);
}

Test(missing, waking_makes_the_fault_come_again)
{
	struct errtext err = {0};
	struct toucher t;
	struct fixture f;

	setup(&f);
	start_touching(&f, &t, 7);
	for (int i = 0; i < 3; i++) {
		cr_assert_eq(missing_wake(f.uffd, f.b, 0, PAGES, &err), 0, "%s", err.text);
		cr_assert_eq(await_fault(&f), 7);
	}
	cr_assert_eq(missing_unregister(f.uffd, &f.ram, &err), 0, "%s", err.text);
	pthread_join(t.thread, NULL);
	cr_assert_eq(t.got, 0, "a hole like any other");
	teardown(&f);
}

Test(missing, all_blocks_are_registered_or_none)
{
	struct ram_map ram = {0};
	struct errtext err = {0};
	int uffd = postcopy_userfaultfd(MISSING_FEATURES);
	uint64_t addr;

	guest_ram_add(&ram, "a", RAM_PAGE_SIZE, RAM_PAGE_SIZE);
	guest_ram_add(&ram, "b", RAM_PAGE_SIZE, RAM_PAGE_SIZE);
	addr = ram.blocks[1].qemu_addr;
	munmap((void *)(uintptr_t)addr, RAM_PAGE_SIZE);
	cr_assert_lt(missing_register(uffd, &ram, false, &err), 0);
	cr_assert(strstr(err.text, "RAM block b"), "%s", err.text);
	cr_assert_eq(*(volatile uint8_t *)guest_page(&ram.blocks[0], 0), 0, "nobody is asked");
	close(uffd);
	guest_ram_destroy(&ram);
}

Test(missing, a_guest_that_has_gone_is_said_so)
{
	static uint8_t content[RAM_PAGE_SIZE];
	struct errtext err = {0};
	struct fixture f;

	setup(&f);
	munmap((void *)(uintptr_t)f.b->qemu_addr, f.b->size);
	cr_assert_eq(missing_copy(f.uffd, f.b, 0, 1, content, false, &err), -ESRCH, "%s", err.text);
	cr_assert(strstr(err.text, "QEMU has gone"), "%s", err.text);
	teardown(&f);
}

/* ---- memory private to QEMU ---- */

static void setup_private(struct fixture *f, uint64_t size, uint32_t page_size)
{
	*f = (struct fixture){.uffd = postcopy_userfaultfd(MISSING_FEATURES)};
	guest_ram_add_private_pages(&f->ram, "pc.ram", size, page_size);
	f->b = &f->ram.blocks[0];
}

static void register_private(struct fixture *f)
{
	struct errtext err = {0};

	cr_assert_eq(missing_register(f->uffd, &f->ram, false, &err), 0, "%s", err.text);
}

/* Out of a transparent huge one, which the kernel makes no more where some are missing. */
Test(missing, one_private_page)
{
	static uint8_t content[4 * RAM_PAGE_SIZE];
	struct errtext err = {0};
	struct toucher t;
	struct fixture f;

	setup_private(&f, 4u << 20, RAM_PAGE_SIZE);
	madvise(guest_page(f.b, 0), f.b->size, MADV_HUGEPAGE);
	memset(guest_page(f.b, 0), 1, f.b->size);
	register_private(&f);
	cr_assert_eq(madvise(guest_page(f.b, 700), 2 * RAM_PAGE_SIZE, MADV_DONTNEED), 0);
#ifdef MADV_COLLAPSE
	cr_assert_lt(madvise(guest_page(f.b, 512), 2u << 20, MADV_COLLAPSE), 0,
		     "it would be full of zeroes");
#endif
	start_touching(&f, &t, 701);
	memset(content, 2, sizeof(content));
	cr_assert_eq(missing_copy(f.uffd, f.b, 699, 4, content, false, &err), 0, "%s", err.text);
	pthread_join(t.thread, NULL);
	cr_assert_eq(t.got, 2);
	cr_assert(is_filled(f.b, 699, 1) && is_filled(f.b, 700, 2) && is_filled(f.b, 702, 1));
	cr_assert_eq(madvise(guest_page(f.b, 5), RAM_PAGE_SIZE, MADV_DONTNEED), 0);
	start_touching(&f, &t, 5);
	cr_assert_eq(missing_zero(f.uffd, f.b, 4, 3, &err), 0, "%s", err.text);
	pthread_join(t.thread, NULL);
	cr_assert_eq(t.got, 0);
	cr_assert(is_filled(f.b, 4, 1) && is_filled(f.b, 6, 1));
	teardown(&f);
}

/* A huge page that there is no memory for is not taken for one that is there. */
Test(missing, private_huge_pages_and_none_of_them_free)
{
	static uint8_t content[GUEST_HUGE_SIZE];
	const uint64_t unit = GUEST_HUGE_SIZE / RAM_PAGE_SIZE;
	struct errtext err = {0};
	struct fixture f;
	uint64_t n = 0;
	int ret;

	setup_private(&f, 4096ull * GUEST_HUGE_SIZE, GUEST_HUGE_SIZE);
	register_private(&f);
	memset(content, 3, sizeof(content));
	while ((ret = missing_copy(f.uffd, f.b, n * unit, unit, content, false, &err)) == 0 &&
	       n < 4095)
		n++;
	if (n < 2)
		cr_skip_test("no huge pages: %s", err.text);
	cr_assert_eq(ret, -ENOMEM, "%s", err.text);
	cr_assert_eq(missing_copy(f.uffd, f.b, 0, unit, content, false, NULL), 0, "it is there");
	cr_assert(is_filled(f.b, unit, 3));
	teardown(&f);
}

/* ---- transparent huge pages ---- */

/* A file of tmpfs that is made of huge pages, in a mount namespace of our own. */
static int huge_file(uint64_t size)
{
	int fd;

	if (unshare(CLONE_NEWNS) < 0 || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0 ||
	    mount("none", "/mnt", "tmpfs", 0, "huge=always,size=64m") < 0)
		cr_skip_test("cannot mount a tmpfs with huge pages: %s", strerror(errno));
	fd = open("/mnt/ram", O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	cr_assert_geq(fd, 0);
	cr_assert_eq(ftruncate(fd, (off_t)size), 0);
	return fd;
}

static uint64_t huge_kib(const void *at)
{
	FILE *f = fopen("/proc/self/smaps", "re");
	uint64_t from, kib = 0;
	bool here = false;
	char line[512];

	while (f && fgets(line, sizeof(line), f)) {
		if (sscanf(line, "%lx-", &from) == 1 && strchr(line, '-'))
			here = from <= (uintptr_t)at && from + (8u << 20) > (uintptr_t)at;
		if (here && sscanf(line, "ShmemPmdMapped: %lu", &from) == 1)
			kib += from;
	}
	if (f)
		fclose(f);
	return kib;
}

static void map_huge(struct ram_block *b)
{
	uint8_t *area;

	*b = (struct ram_block){.name = "pc.ram", .size = 4u << 20, .page_size = RAM_PAGE_SIZE};
	b->fd = huge_file(b->size);
	area = mmap(NULL, b->size + GUEST_HUGE_SIZE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	area += GUEST_HUGE_SIZE - (uintptr_t)area % GUEST_HUGE_SIZE;
	b->map = mmap(area, b->size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, b->fd, 0);
	cr_assert_neq(b->map, MAP_FAILED);
	memset(b->map, 1, b->size);
	if (huge_kib(b->map) == 0)
		cr_skip_test("tmpfs gives no huge pages here");
}

Test(missing, one_page_out_of_a_transparent_huge_one)
{
	struct errtext err = {0};
	struct ram_block b;

	map_huge(&b);
	cr_assert_eq(missing_make(&b, 100, 1, &err), 0, "%s", err.text);
	cr_assert_eq(missing_make(&b, 300, 3, &err), 0, "%s", err.text);
	cr_assert_eq(guest_allocated(&b), 1024 - 4);
	cr_assert_eq(b.map[99 * RAM_PAGE_SIZE], 1);
	cr_assert_eq(b.map[101 * RAM_PAGE_SIZE], 1);
}

/* A pipe holds a part of the huge page, so it cannot be split. */
Test(missing, a_page_that_stays_is_an_error)
{
	struct errtext err = {0};
	struct ram_block b;
	struct iovec iov;
	int fds[2];

	map_huge(&b);
	iov = (struct iovec){b.map + 200 * RAM_PAGE_SIZE, RAM_PAGE_SIZE};
	cr_assert_eq(pipe(fds), 0);
	cr_assert_eq(vmsplice(fds[1], &iov, 1, 0), RAM_PAGE_SIZE);
	cr_assert_eq(missing_make(&b, 100, 1, &err), -EBUSY);
	cr_assert(strstr(err.text, "RAM block pc.ram: page 100 cannot be made missing"), "%s",
		  err.text);
	close(fds[0]);
	close(fds[1]);
}
