// SPDX-License-Identifier: Apache-2.0
// Answers to faults: whoever waits goes on, whatever has happened to the page meanwhile. Pages for
// which there is no memory: who brings them waits.
#include "placer.h"

#include <criterion/criterion.h>
#include <criterion/parameterized.h>
#include <pthread.h>
#include <sched.h>
#include "postcopy.h"
#include "small_pool.h"

#define PAGES 64u

TestSuite(placer, .timeout = 20);

/* A CPU of the guest that touches a page. */
struct cpu {
	struct postcopy *p;
	uint64_t page;
	pthread_t thread;
	uint8_t got;
};

static void *touch(void *arg)
{
	struct cpu *c = arg;

	c->got = *(volatile uint8_t *)guest_page(&c->p->to.blocks[0], c->page);
	return NULL;
}

/* Takes a fault, as a fault handler does, and returns its page. */
static uint64_t take_fault(const struct postcopy *p)
{
	struct uffd_msg msg;

	while (read(p->uffd, &msg, sizeof(msg)) != sizeof(msg))
		sched_yield();
	cr_assert_eq(msg.event, UFFD_EVENT_PAGEFAULT);
	return (msg.arg.pagefault.address - p->to.blocks[0].qemu_addr) >> RAM_PAGE_SHIFT;
}

static void start_touching(struct postcopy *p, struct cpu *c, uint64_t page)
{
	*c = (struct cpu){.p = p, .page = page};
	cr_assert_eq(pthread_create(&c->thread, NULL, touch, c), 0);
	cr_assert_eq(take_fault(p), page);
}

/* The source's answer to a request for the page. */
static void answer(struct postcopy *p, uint64_t page, enum placer_cause cause)
{
	const struct wire_frame f = {
		.type = WIRE_FRAME_PAGES, .runs = 1, .run = {{.first = page, .count = 1}}};
	uint8_t content[RAM_PAGE_SIZE];
	struct errtext err = {0};

	guest_fill(content, page + 1);
	cr_assert_eq(placer_frame(p->placer, &f, cause, content, &err), 0, "%s", err.text);
}

static void start(struct postcopy *p)
{
	postcopy_init(p, PAGES, RAM_PAGE_SIZE);
	postcopy_owe(p, 0, PAGES);
	postcopy_begin(p);
}

static void expect_woken(struct postcopy *p, struct cpu *c)
{
	struct errtext err = {0};

	cr_assert_eq(take_fault(p), c->page, "it was woken, and faults again");
	cr_assert_eq(placer_hole(p->placer, 0, c->page, &err), 0, "%s", err.text);
	pthread_join(c->thread, NULL);
	cr_assert_eq(c->got, 0, "the balloon gave it away");
}

/* A push places the page, and the guest's balloon gives it away, between the fault's being taken
 * and its answer. */
Test(placer, an_answer_wakes_though_its_page_came_and_went)
{
	struct postcopy p;
	struct cpu c;

	start(&p);
	answer(&p, 7, PLACER_PUSH);
	guest_punch(&p.to.blocks[0], 7, 1);
	start_touching(&p, &c, 7);
	answer(&p, 7, PLACER_FAULT);
	expect_woken(&p, &c);
	postcopy_end(&p);
}

/* The same with a page that was guessed: whoever faults on it waits for the guess. */
Test(placer, a_guess_wakes_though_its_page_came_and_went)
{
	struct postcopy p;
	struct cpu c;

	start(&p);
	answer(&p, 9, PLACER_FAULT);
	guest_punch(&p.to.blocks[0], 9, 1);
	start_touching(&p, &c, 9);
	answer(&p, 9, PLACER_PREFETCH);
	expect_woken(&p, &c);
	postcopy_end(&p);
}

/* ---- no memory ---- */

struct lack {
	pthread_mutex_t lock;
	pthread_cond_t told;
	unsigned int times;
	char text[ERRTEXT_SIZE];
};

static void on_lacking(void *opaque, const char *text)
{
	struct lack *l = opaque;

	pthread_mutex_lock(&l->lock);
	l->times++;
	snprintf(l->text, sizeof(l->text), "%s", text);
	pthread_cond_signal(&l->told);
	pthread_mutex_unlock(&l->lock);
}

static void ignore(void *opaque)
{
	(void)opaque;
}

/* A guest on a file system with room for four of its eight pages, all of which are owed. */
struct full {
	struct ram_map ram;
	uint32_t page_size;
	int uffd;
	struct owed *owed;
	struct placer *placer;
	struct lack lack;
	pthread_t thread;
	int result;
	struct errtext err;
};

static void start_full(struct full *f, uint32_t page_size)
{
	struct placer_options options = {
		.complete = ignore, .lacking = on_lacking, .opaque = &f->lack};
	struct errtext err = {0};
	char path[64];

	*f = (struct full){.page_size = page_size};
	pthread_mutex_init(&f->lack.lock, NULL);
	pthread_cond_init(&f->lack.told, NULL);
	small_pool_want(4);
	small_pool_mount(page_size, 4ull * page_size);
	small_pool_add(&f->ram, "mem", 8ull * page_size, page_size);
	snprintf(path, sizeof(path), "/dev/shm/dray-test-owed.%d", getpid());
	cr_assert_eq(owed_create(path, &f->ram, &f->owed, &err), 0, "%s", err.text);
	unlink(path);
	owed_set(f->owed, 0, 0, ram_block_pages(&f->ram.blocks[0]));
	f->uffd = options.uffd = postcopy_userfaultfd(MISSING_FEATURES);
	cr_assert_eq(missing_register(f->uffd, &f->ram, false, &err), 0, "%s", err.text);
	options.ram = &f->ram;
	options.owed = f->owed;
	cr_assert_eq(placer_new(&options, &f->placer, &err), 0, "%s", err.text);
}

/* All eight. */
static void *place_all(void *arg)
{
	struct full *f = arg;
	uint32_t unit = f->page_size >> RAM_PAGE_SHIFT;
	uint8_t *content = malloc(f->page_size);

	memset(content, 1, f->page_size);
	for (uint64_t i = 0; i < 8 && f->result == 0; i++) {
		const struct wire_frame frame = {
			.type = WIRE_FRAME_PAGES, .runs = 1, .run = {{i * unit, unit}}};

		f->result = placer_frame(f->placer, &frame, PLACER_PUSH, content, &f->err);
	}
	free(content);
	return NULL;
}

static void await_lack(struct full *f, unsigned int times)
{
	pthread_mutex_lock(&f->lack.lock);
	while (f->lack.times < times)
		pthread_cond_wait(&f->lack.told, &f->lack.lock);
	pthread_mutex_unlock(&f->lack.lock);
}

static void end_full(struct full *f)
{
	struct errtext err = {0};

	pthread_join(f->thread, NULL);
	placer_destroy(f->placer);
	owed_close(f->owed);
	cr_assert_eq(missing_unregister(f->uffd, &f->ram, &err), 0, "%s", err.text);
	close(f->uffd);
	guest_ram_destroy(&f->ram);
}

static const uint32_t page_sizes[] = {RAM_PAGE_SIZE, GUEST_HUGE_SIZE};

ParameterizedTestParameters(placer, goes_on_when_there_is_room)
{
	return cr_make_param_array(const uint32_t, (uint32_t *)page_sizes, 2);
}

ParameterizedTest(const uint32_t *page_size, placer, goes_on_when_there_is_room)
{
	uint64_t unit = *page_size >> RAM_PAGE_SHIFT;
	struct full f;

	start_full(&f, *page_size);
	cr_assert_eq(pthread_create(&f.thread, NULL, place_all, &f), 0);
	await_lack(&f, 3);
	cr_assert(strstr(f.lack.text, "RAM block mem: there is no memory for it: of "), "%s",
		  f.lack.text);
	cr_assert_eq(owed_left(f.owed), 4 * unit);
	/* The guest has no use for the first four any more. */
	guest_punch(&f.ram.blocks[0], 0, 4 * unit);
	end_full(&f);
	cr_assert_eq(f.result, 0, "%s", f.err.text);
}

ParameterizedTestParameters(placer, is_hurried)
{
	return cr_make_param_array(const uint32_t, (uint32_t *)page_sizes, 2);
}

ParameterizedTest(const uint32_t *page_size, placer, is_hurried)
{
	struct full f;

	start_full(&f, *page_size);
	cr_assert_eq(pthread_create(&f.thread, NULL, place_all, &f), 0);
	await_lack(&f, 1);
	placer_hurry(f.placer, true);
	end_full(&f);
	cr_assert_eq(f.result, -ENOMEM);
	cr_assert(strstr(f.err.text, "there is no memory for it"), "%s", f.err.text);
}

/* One of two who wait for its threads has them out: the other one still waits. */
Test(placer, is_hurried_for_as_long_as_anybody_wants_it)
{
	struct full f;

	start_full(&f, RAM_PAGE_SIZE);
	placer_hurry(f.placer, true);
	placer_hurry(f.placer, true);
	placer_hurry(f.placer, false);
	cr_assert_eq(pthread_create(&f.thread, NULL, place_all, &f), 0);
	pthread_join(f.thread, NULL);
	cr_assert_eq(f.result, -ENOMEM);
	placer_hurry(f.placer, false);
	f.err = (struct errtext){0};
	f.result = 0;
	cr_assert_eq(pthread_create(&f.thread, NULL, place_all, &f), 0);
	await_lack(&f, 3);
	guest_punch(&f.ram.blocks[0], 0, 4);
	end_full(&f);
	cr_assert_eq(f.result, 0, "%s", f.err.text);
}
