// SPDX-License-Identifier: Apache-2.0
// Post-copy as the guest lives it: whatever it touches, in whatever order, and whatever breaks
// meanwhile, it finds what the source had, and keeps what it writes.
#include <criterion/criterion.h>
#include <criterion/parameterized.h>
#include <sched.h>
#include "postcopy.h"

#define PAGES 2000u
#define VCPUS 4u
#define OWN_SEED 1000000u /* of what the guest writes over a page */

TestSuite(postcopy, .timeout = 60);

/* ---- a guest of four CPUs ---- */

struct vcpu {
	struct postcopy *p;
	unsigned int index;
	pthread_t thread;
	atomic_uint touched;
	unsigned int wrong; /* pages */
};

static bool is_page(const uint8_t *at, uint64_t seed)
{
	uint8_t content[RAM_PAGE_SIZE];

	guest_fill(content, seed);
	return memcmp(at, content, RAM_PAGE_SIZE) == 0;
}

/* Of 2 * VCPUS pages the first VCPUS belong to one CPU each, which writes them once it has read
 * them; the rest are only read, by all. */
static bool is_mine(const struct vcpu *v, uint64_t page)
{
	return page % (2 * VCPUS) == v->index;
}

static bool is_shared(uint64_t page)
{
	return page % (2 * VCPUS) >= VCPUS;
}

static void *vcpu_main(void *arg)
{
	struct vcpu *v = arg;
	const struct ram_block *b = &v->p->to.blocks[0];
	uint64_t state = 88172645463325252u + v->index, pages = ram_block_pages(b);
	uint8_t *written = calloc(pages, 1);

	for (uint64_t i = 0; i < pages; i++) {
		uint64_t page = guest_random(&state) % pages;
		bool mine = is_mine(v, page);

		if (mine || is_shared(page))
			v->wrong += !is_page(guest_page(b, page),
					     page + 1 + (written[page] ? OWN_SEED : 0));
		if (mine)
			guest_write(b, page, page + 1 + OWN_SEED);
		written[page] = mine;
		atomic_fetch_add(&v->touched, 1);
	}
	for (uint64_t page = 0; page < pages; page++)
		if (is_mine(v, page) || is_shared(page))
			v->wrong += !is_page(guest_page(b, page),
					     page + 1 + (written[page] ? OWN_SEED : 0));
	free(written);
	return NULL;
}

static void start_guest(struct vcpu vcpus[VCPUS], struct postcopy *p)
{
	for (unsigned int i = 0; i < VCPUS; i++) {
		vcpus[i] = (struct vcpu){.p = p, .index = i};
		cr_assert_eq(pthread_create(&vcpus[i].thread, NULL, vcpu_main, &vcpus[i]), 0);
	}
}

static void end_guest(struct vcpu vcpus[VCPUS])
{
	for (unsigned int i = 0; i < VCPUS; i++) {
		pthread_join(vcpus[i].thread, NULL);
		cr_assert_eq(vcpus[i].wrong, 0, "CPU %u saw %u wrong pages", i, vcpus[i].wrong);
	}
}

static void start(struct postcopy *p, uint32_t page_size)
{
	uint64_t pages = page_size > RAM_PAGE_SIZE ? 8 * (page_size >> RAM_PAGE_SHIFT) : PAGES;

	postcopy_init(p, pages, page_size);
	postcopy_owe(p, 0, pages);
	postcopy_begin(p);
}

static void run_guest(uint32_t page_size, unsigned int push_links)
{
	struct vcpu vcpus[VCPUS];
	struct postcopy p;

	start(&p, page_size);
	p.push_links = push_links;
	start_guest(vcpus, &p);
	postcopy_connect(&p);
	end_guest(vcpus);
	postcopy_await_complete(&p);
	cr_assert_eq(owed_left(p.owed), 0);
	cr_assert_eq(p.completed, 1);
	postcopy_end(&p);
}

Test(postcopy, four_cpus_touch_while_pages_are_pushed)
{
	run_guest(RAM_PAGE_SIZE, 2);
}

Test(postcopy, all_by_fault)
{
	run_guest(RAM_PAGE_SIZE, 0);
}

Test(postcopy, huge_pages_come_as_a_whole)
{
	run_guest(GUEST_HUGE_SIZE, 2);
}

/* ---- who brings what ---- */

Test(postcopy, a_page_is_asked_for_once_however_many_wait)
{
	struct fault_handler_stats faults;
	struct page_server_stats served;
	struct placer_stats placed;
	struct vcpu vcpus[VCPUS];
	struct postcopy p;

	start(&p, RAM_PAGE_SIZE);
	p.push_links = 0;
	p.serving.no_prefetch = true;
	start_guest(vcpus, &p);
	postcopy_connect(&p);
	end_guest(vcpus);
	postcopy_await_complete(&p); /* a page wakes the guest before it is counted */
	page_server_stats(p.server, &served);
	fault_handler_stats(p.handler, &faults);
	placer_stats(p.placer, &placed);
	cr_assert_eq(served.requests, PAGES);
	cr_assert_eq(served.pages_asked, PAGES);
	cr_assert_eq(served.pages_left, 0);
	cr_assert_eq(placed.pages[PLACER_FAULT], PAGES);
	cr_assert_eq(placed.pages[PLACER_PUSH], 0);
	cr_assert_eq(placed.pages_late, 0);
	cr_assert_geq(faults.faults, PAGES);
	cr_assert_gt(faults.p50_us, 0);
	cr_assert_leq(faults.p50_us, faults.p99_us);
	cr_assert_leq(faults.p99_us, faults.max_us);
	postcopy_end(&p);
}

Test(postcopy, what_nobody_touches_is_pushed)
{
	struct placer_stats placed;
	struct postcopy p;

	start(&p, RAM_PAGE_SIZE);
	postcopy_connect(&p);
	postcopy_await_complete(&p);
	postcopy_await_synced(&p);
	placer_stats(p.placer, &placed);
	cr_assert_eq(placed.pages[PLACER_PUSH], PAGES);
	cr_assert_eq(placed.pages[PLACER_FAULT], 0);
	for (uint64_t page = 0; page < PAGES; page++)
		postcopy_expect_page(&p, page, page + 1);
	cr_assert_eq(p.completed, 1);
	postcopy_end(&p);
}

/* Nobody serves: only knowledge can answer. */
Test(postcopy, holes_are_answered_without_asking)
{
	struct byte_stream *streams[2];
	struct placer_stats placed;
	struct postcopy_link *l;
	struct postcopy p;

	postcopy_init(&p, PAGES, RAM_PAGE_SIZE);
	postcopy_owe(&p, 5, 1);
	postcopy_begin(&p);
	postcopy_sockets(streams);
	l = &p.links[0];
	*l = (struct postcopy_link){.p = &p, .fault = true, .at_destination = streams[1]};
	cr_assert_eq(pthread_create(&l->destination, NULL, postcopy_destination_main, l), 0);
	for (uint64_t page = 0; page < PAGES; page += 7) {
		postcopy_expect_zero(&p, page);
		guest_write(&p.to.blocks[0], page, page + 1);
		postcopy_expect_page(&p, page, page + 1);
	}
	placer_stats(p.placer, &placed);
	cr_assert_eq(placed.holes, (PAGES + 6) / 7);
	cr_assert_eq(placed.pages_left, 1);
	fault_handler_stop(p.handler);
	pthread_join(l->destination, NULL);
	cr_assert_eq(uring_stream_bytes_sent(streams[1]), 0);
	streams[0]->ops->destroy(streams[0]);
	streams[1]->ops->destroy(streams[1]);
	postcopy_end(&p);
}

/* Zero pages of the source need no memory, unless somebody wants them. */
Test(postcopy, zero_pages_travel_without_data_and_stay_holes)
{
	struct postcopy p;

	postcopy_init(&p, PAGES, RAM_PAGE_SIZE);
	memset(guest_page(&p.from.blocks[0], 100), 0, 500 * RAM_PAGE_SIZE);
	postcopy_owe(&p, 0, PAGES);
	postcopy_begin(&p);
	postcopy_connect(&p);
	postcopy_await_complete(&p);
	cr_assert_eq(guest_allocated(&p.to.blocks[0]), PAGES - 500);
	postcopy_expect_zero(&p, 100);
	postcopy_expect_zero(&p, 599);
	postcopy_expect_page(&p, 600, 601);
	cr_assert_eq(guest_allocated(&p.to.blocks[0]), PAGES - 498);
	postcopy_end(&p);
}

/* Background push is held back for ever, so only guesses move. */
Test(postcopy, a_run_of_faults_is_fetched_ahead)
{
	struct page_server_stats served;
	struct placer_stats placed;
	struct postcopy p;

	start(&p, RAM_PAGE_SIZE);
	p.push_links = 1;
	p.serving.grace_us = p.serving.patience_us = UINT32_MAX;
	postcopy_connect(&p);
	for (uint64_t page = 0; page < PAGES; page++)
		postcopy_expect_page(&p, page, page + 1);
	postcopy_await_complete(&p);
	placer_stats(p.placer, &placed);
	page_server_stats(p.server, &served);
	cr_assert_eq(placed.pages[PLACER_FAULT], served.requests);
	cr_assert_eq(placed.pages[PLACER_FAULT] + placed.pages[PLACER_PREFETCH], PAGES);
	cr_assert_lt(served.requests, PAGES / 16);
	cr_assert_eq(placed.pages_late, 0, "on its way, and yet asked for");
	cr_assert_eq(served.pages_left, 0);
	cr_assert_eq(served.pages_pushed, 0);
	postcopy_end(&p);
}

/* Backwards, and in two places by turns. */
Test(postcopy, other_runs_of_faults_are_fetched_ahead)
{
	struct page_server_stats served;
	struct postcopy p;

	start(&p, RAM_PAGE_SIZE);
	p.push_links = 0;
	postcopy_connect(&p);
	for (uint64_t i = 0; i < PAGES / 2; i++) {
		postcopy_expect_page(&p, PAGES - 1 - i, PAGES - i);
		postcopy_expect_page(&p, i, i + 1);
	}
	postcopy_await_complete(&p);
	page_server_stats(p.server, &served);
	cr_assert_lt(served.requests, PAGES / 8);
	cr_assert_eq(served.pages_left, 0);
	postcopy_end(&p);
}

/* What was guessed is zero, in part or as a whole: it travels without data. */
Test(postcopy, guesses_may_be_zero)
{
	struct placer_stats placed;
	struct postcopy p;

	postcopy_init(&p, PAGES, RAM_PAGE_SIZE);
	for (uint64_t page = 0; page < PAGES; page++)
		if (page % 3 == 0 || page / 100 == 3)
			memset(guest_page(&p.from.blocks[0], page), 0, RAM_PAGE_SIZE);
	postcopy_owe(&p, 0, PAGES);
	postcopy_begin(&p);
	p.push_links = 0;
	postcopy_connect(&p);
	for (uint64_t page = 0; page < PAGES; page++)
		if (page % 3 == 0 || page / 100 == 3)
			postcopy_expect_zero(&p, page);
		else
			postcopy_expect_page(&p, page, page + 1);
	postcopy_await_complete(&p);
	placer_stats(p.placer, &placed);
	cr_assert_gt(placed.pages[PLACER_PREFETCH], PAGES / 2);
	cr_assert_gt(placed.holes, 0);
	postcopy_end(&p);
}

Test(postcopy, nothing_owed_completes_at_once)
{
	struct postcopy p;

	postcopy_init(&p, PAGES, RAM_PAGE_SIZE);
	postcopy_begin(&p);
	cr_assert_eq(p.completed, 1);
	postcopy_end(&p);
}

/* ---- what comes late ---- */

Test(postcopy, a_late_page_never_overwrites)
{
	struct wire_frame f = {.type = WIRE_FRAME_PAGES, .runs = 1, .run = {{0, 4}}};
	static uint8_t content[4 * RAM_PAGE_SIZE];
	struct placer_stats placed;
	struct errtext err = {0};
	struct postcopy p;

	postcopy_init(&p, PAGES, RAM_PAGE_SIZE);
	postcopy_owe(&p, 1, 3);
	postcopy_begin(&p);
	guest_fill(content + 2 * RAM_PAGE_SIZE, 3);
	f.run[0] = (struct wire_run){2, 1};
	cr_assert_eq(placer_frame(p.placer, &f, PLACER_FAULT, content + 2 * RAM_PAGE_SIZE, &err),
		     0);
	guest_write(&p.to.blocks[0], 2, 777);
	memset(content, 0xdb, sizeof(content));
	f.run[0] = (struct wire_run){0, 4};
	cr_assert_eq(placer_frame(p.placer, &f, PLACER_PUSH, content, &err), 0, "%s", err.text);
	postcopy_expect_page(&p, 2, 777);
	f.type = WIRE_FRAME_ZERO;
	cr_assert_eq(placer_frame(p.placer, &f, PLACER_PUSH, NULL, &err), 0, "%s", err.text);
	postcopy_expect_page(&p, 2, 777);
	cr_assert_eq(guest_page(&p.to.blocks[0], 1)[5], 0xdb);
	cr_assert_eq(guest_page(&p.to.blocks[0], 3)[5], 0xdb);
	placer_stats(p.placer, &placed);
	cr_assert_eq(placed.pages[PLACER_PUSH], 2);
	cr_assert_eq(placed.pages_late, 2 + 4);
	cr_assert_eq(p.completed, 1);
	postcopy_end(&p);
}

/* Placed, and dray died before it could say so: the page comes once more. */
Test(postcopy, a_page_that_is_there_though_owed_is_left_alone)
{
	struct wire_frame f = {.type = WIRE_FRAME_PAGES, .runs = 1, .run = {{0, 3}}};
	static uint8_t content[3 * RAM_PAGE_SIZE];
	struct errtext err = {0};
	struct postcopy p;

	postcopy_init(&p, PAGES, RAM_PAGE_SIZE);
	postcopy_owe(&p, 0, 3);
	guest_write(&p.to.blocks[0], 1, 777);
	postcopy_begin(&p);
	memset(content, 0xdb, sizeof(content));
	cr_assert_eq(placer_frame(p.placer, &f, PLACER_PUSH, content, &err), 0, "%s", err.text);
	postcopy_expect_page(&p, 1, 777);
	cr_assert_eq(guest_page(&p.to.blocks[0], 0)[0], 0xdb);
	cr_assert_eq(guest_page(&p.to.blocks[0], 2)[0], 0xdb);
	cr_assert_eq(p.completed, 1);
	postcopy_end(&p);
}

/* ---- what breaks ---- */

static unsigned int touched(struct vcpu vcpus[VCPUS])
{
	unsigned int n = 0;

	for (unsigned int i = 0; i < VCPUS; i++)
		n += atomic_load(&vcpus[i].touched);
	return n;
}

static void await_touched(struct vcpu vcpus[VCPUS], unsigned int more)
{
	unsigned int until = touched(vcpus) + more;

	while (touched(vcpus) < until && touched(vcpus) < VCPUS * PAGES)
		sched_yield();
}

/* The guest waits where it is; then it finds what it waited for. */
static void lose_connections(unsigned int push_links, bool crash)
{
	struct vcpu vcpus[VCPUS];
	struct postcopy p;

	start(&p, RAM_PAGE_SIZE);
	p.push_links = push_links;
	p.serving.grace_us = p.serving.patience_us = 2000; /* not all at once */
	start_guest(vcpus, &p);
	for (int i = 0; i < 10; i++) {
		postcopy_connect(&p);
		await_touched(vcpus, 20);
		postcopy_cut(&p);
		if (crash)
			postcopy_forget(&p);
		postcopy_resume(&p);
	}
	postcopy_connect(&p);
	end_guest(vcpus);
	if (push_links)
		postcopy_await_complete(&p);
	postcopy_end(&p);
}

Test(postcopy, connections_are_lost_and_come_back)
{
	lose_connections(1, false);
}

Test(postcopy, connections_are_lost_without_push)
{
	lose_connections(0, false);
}

Test(postcopy, the_destination_dies_and_comes_back)
{
	lose_connections(1, true);
}

Test(postcopy, the_destination_dies_without_push)
{
	lose_connections(0, true);
}

/* One of two, again and again, with the same handler and server. */
Test(postcopy, a_fault_connection_breaks_and_the_other_goes_on)
{
	struct vcpu vcpus[VCPUS];
	struct postcopy p;

	start(&p, RAM_PAGE_SIZE);
	p.push_links = 0;
	start_guest(vcpus, &p);
	postcopy_connect(&p);
	for (unsigned int i = 0; i < 10; i++) {
		struct postcopy_link *l = &p.links[i % 2];

		await_touched(vcpus, 20);
		l->at_source->ops->shutdown(l->at_source);
		postcopy_link_down(l);
		cr_assert_lt(l->destination_result, 0);
		cr_assert(strstr(l->destination_err.text, "fault connection"), "%s",
			  l->destination_err.text);
		postcopy_link_up(&p, i % 2);
	}
	end_guest(vcpus);
	postcopy_end(&p);
}

/* One fault connection, whose source is the test. */
struct false_source {
	struct postcopy p;
	struct byte_stream *streams[2];
	struct vcpu vcpus[VCPUS];
	struct postcopy_link *link;
	struct wire_page_request asked;
};

static void start_false_source(struct false_source *s)
{
	uint8_t request[WIRE_PAGE_REQUEST_SIZE];
	struct iovec in = {request, sizeof(request)};

	start(&s->p, RAM_PAGE_SIZE);
	s->p.push_links = 0;
	start_guest(s->vcpus, &s->p);
	postcopy_sockets(s->streams);
	s->link = &s->p.links[0];
	*s->link =
		(struct postcopy_link){.p = &s->p, .fault = true, .at_destination = s->streams[1]};
	cr_assert_eq(
		pthread_create(&s->link->destination, NULL, postcopy_destination_main, s->link), 0);
	cr_assert_eq(s->streams[0]->ops->recv(s->streams[0], &in, 1), 0);
	cr_assert_eq(wire_page_request_decode(request, &s->p.from, &s->asked, NULL), 0);
	cr_assert_eq(s->asked.count, 1);
	cr_assert_neq(s->asked.thread, 0);
}

static void answer(struct false_source *s, const struct wire_frame *f)
{
	static uint8_t content[2 * RAM_PAGE_SIZE * WIRE_PREFETCH_PAGES_MAX];
	uint8_t head[WIRE_FRAME_SIZE];
	struct iovec out[] = {{head, sizeof(head)}, {content, 0}};
	size_t pages = f->type == WIRE_FRAME_PAGES ? wire_frame_pages(f) : 0;

	for (size_t i = 0; i < pages; i++)
		guest_fill(content + i * RAM_PAGE_SIZE, f->run[0].first + i + 1);
	out[1].iov_len = pages * RAM_PAGE_SIZE;
	wire_frame_encode(f, head);
	cr_assert_eq(s->streams[0]->ops->send(s->streams[0], out, pages ? 2 : 1), 0);
	cr_assert_eq(s->streams[0]->ops->drain(s->streams[0]), 0);
}

/* The connection fails; the true source then serves all that is owed still. */
static void end_false_source(struct false_source *s, const char *why, uint64_t owed)
{
	pthread_join(s->link->destination, NULL);
	cr_assert_eq(s->link->destination_result, -EPROTO);
	cr_assert(strstr(s->link->destination_err.text, why), "%s", s->link->destination_err.text);
	cr_assert_eq(owed_left(s->p.owed), owed);
	s->streams[0]->ops->destroy(s->streams[0]);
	s->streams[1]->ops->destroy(s->streams[1]);
	postcopy_connect(&s->p);
	end_guest(s->vcpus);
	postcopy_await_complete(&s->p);
	postcopy_end(&s->p);
}

/* The page is somebody else's to ask for. */
Test(postcopy, an_answer_that_is_none_fails_the_connection_and_gives_the_page_back)
{
	struct wire_frame wrong = {.type = WIRE_FRAME_ZERO, .runs = 1, .run = {{1, 1}}};
	struct false_source s;

	start_false_source(&s);
	wrong.run[0].first = (s.asked.first + 1) % PAGES;
	answer(&s, &wrong);
	end_false_source(&s, "other pages", PAGES);
}

static struct wire_frame false_guesses[] = {
	{.type = WIRE_FRAME_PAGES, .runs = 1, .run = {{0, 4}}},
	{.type = WIRE_FRAME_SYNC, .flags = WIRE_FRAME_PREFETCH},
	{.type = WIRE_FRAME_STALE, .runs = 1, .flags = WIRE_FRAME_PREFETCH, .run = {{0, 4}}},
	{.type = WIRE_FRAME_PAGES,
	 .runs = 1,
	 .flags = WIRE_FRAME_PREFETCH,
	 .run = {{0, WIRE_PREFETCH_PAGES_MAX + 1}}},
	{.type = WIRE_FRAME_ZERO,
	 .runs = 2,
	 .flags = WIRE_FRAME_PREFETCH,
	 .run = {{0, WIRE_PREFETCH_PAGES_MAX}, {100, 1}}},
};

ParameterizedTestParameters(postcopy, guesses_that_are_none)
{
	return cr_make_param_array(struct wire_frame, false_guesses,
				   sizeof(false_guesses) / sizeof(false_guesses[0]));
}

/* Whether they come right behind the answer, or behind good guesses. */
ParameterizedTest(struct wire_frame *wrong, postcopy, guesses_that_are_none)
{
	struct wire_frame f = {.type = WIRE_FRAME_PAGES, .runs = 1, .flags = WIRE_FRAME_MORE};
	struct false_source s;

	start_false_source(&s);
	f.run[0] = (struct wire_run){s.asked.first, 1};
	answer(&s, &f);
	answer(&s, wrong);
	end_false_source(&s, "nobody asked for", PAGES);

	start_false_source(&s);
	f.run[0] = (struct wire_run){s.asked.first, 1};
	answer(&s, &f);
	f.run[0] = (struct wire_run){s.asked.first < 100 ? 200 : 0, 10};
	f.flags |= WIRE_FRAME_PREFETCH;
	answer(&s, &f);
	answer(&s, wrong);
	end_false_source(&s, "nobody asked for", PAGES - 11);
}
