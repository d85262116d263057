// SPDX-License-Identifier: Apache-2.0
// Answers to faults: whoever waits goes on, whatever has happened to the page meanwhile.
#include "placer.h"

#include <criterion/criterion.h>
#include <pthread.h>
#include <sched.h>
#include "postcopy.h"

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
