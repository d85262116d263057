// SPDX-License-Identifier: Apache-2.0
// What the page server sends: to requests, and by itself.
#include "page_server.h"

#include <criterion/criterion.h>
#include <criterion/parameterized.h>
#include <errno.h>
#include "memory_stream.h"
#include "postcopy.h"
#include "ram_access.h"
#include "ram_kept.h"

#define PAGES 1000u

TestSuite(page_server, .timeout = 30);

struct fixture {
	struct ram_map ram;
	struct ram_block *b;
	struct page_server *server;
};

static void setup(struct fixture *f, struct page_server_options opt)
{
	struct errtext err = {0};

	*f = (struct fixture){0};
	guest_ram_add(&f->ram, "pc.ram", 1024ull << RAM_PAGE_SHIFT, RAM_PAGE_SIZE);
	f->b = &f->ram.blocks[0];
	for (uint64_t page = 0; page < PAGES; page++)
		guest_write(f->b, page, page + 1);
	opt.ram = &f->ram;
	opt.round = POSTCOPY_ROUND;
	cr_assert_eq(page_server_new(&opt, &f->server, &err), 0, "%s", err.text);
}

/* The same in private memory. */
static void setup_private(struct fixture *f, struct page_server_options opt)
{
	struct errtext err = {0};

	*f = (struct fixture){0};
	guest_ram_add_private(&f->ram, "pc.ram", 1024ull << RAM_PAGE_SHIFT);
	f->b = &f->ram.blocks[0];
	for (uint64_t page = 0; page < PAGES; page++)
		guest_write(f->b, page, page + 1);
	opt.ram = &f->ram;
	opt.round = POSTCOPY_ROUND;
	cr_assert_eq(page_server_new(&opt, &f->server, &err), 0, "%s", err.text);
}

static void teardown(struct fixture *f)
{
	page_server_destroy(f->server);
	guest_ram_destroy(&f->ram);
}

/* ---- requests ---- */

struct client {
	struct page_server *server;
	struct byte_stream *streams[2]; /* the server's, ours */
	pthread_t thread;
	int result;
	struct errtext err;
};

static void *serve(void *arg)
{
	struct client *c = arg;

	c->result = page_server_serve(c->server, 3, c->streams[0], &c->err);
	return NULL;
}

static void connect_client(struct client *c, struct fixture *f)
{
	*c = (struct client){.server = f->server};
	postcopy_sockets(c->streams);
	cr_assert_eq(pthread_create(&c->thread, NULL, serve, c), 0);
}

static void receive(struct client *c, void *to, size_t len)
{
	struct iovec iov = {to, len};

	cr_assert_eq(c->streams[1]->ops->recv(c->streams[1], &iov, 1), 0);
}

static void send_bytes(struct client *c, void *bytes, size_t len)
{
	struct iovec iov = {bytes, len};

	cr_assert_eq(c->streams[1]->ops->send(c->streams[1], &iov, 1), 0);
	cr_assert_eq(c->streams[1]->ops->drain(c->streams[1]), 0);
}

static void ask(struct client *c, struct fixture *f, uint64_t first, uint32_t count,
		struct wire_frame *reply)
{
	struct wire_page_request r = {0, first, count, 7};
	uint8_t request[WIRE_PAGE_REQUEST_SIZE], head[WIRE_FRAME_SIZE];
	struct errtext err = {0};

	wire_page_request_encode(&r, request);
	send_bytes(c, request, sizeof(request));
	receive(c, head, sizeof(head));
	cr_assert_eq(wire_frame_decode(head, &f->ram, reply, &err), 0, "%s", err.text);
	cr_assert_eq(reply->runs, 1);
	cr_assert_eq(reply->run[0].first, first);
	cr_assert_eq(reply->run[0].count, count);
}

static void ask_page(struct client *c, struct fixture *f, uint64_t page)
{
	uint8_t content[RAM_PAGE_SIZE], expected[RAM_PAGE_SIZE];
	struct wire_frame reply;

	ask(c, f, page, 1, &reply);
	cr_assert_eq(reply.type, WIRE_FRAME_PAGES);
	receive(c, content, sizeof(content));
	guest_fill(expected, page + 1);
	cr_assert_arr_eq(content, expected, sizeof(content));
}

static int disconnect(struct client *c)
{
	c->streams[1]->ops->destroy(c->streams[1]);
	pthread_join(c->thread, NULL);
	c->streams[0]->ops->destroy(c->streams[0]);
	return c->result;
}

Test(page_server, answers_out_of_private_memory)
{
	struct wire_frame reply;
	struct client c;
	struct fixture f;

	setup_private(&f, (struct page_server_options){.no_prefetch = true});
	page_server_owe_run(f.server, 0, &(struct wire_run){0, 10});
	connect_client(&c, &f);
	ask_page(&c, &f, 5);
	ask_page(&c, &f, 999);
	ask(&c, &f, 1001, 1, &reply);
	cr_assert_eq(reply.type, WIRE_FRAME_ZERO);
	cr_assert_eq(disconnect(&c), 0, "%s", c.err.text);
	teardown(&f);
}

Test(page_server, a_private_page_that_cannot_be_had_is_not_answered)
{
	struct wire_page_request r = {0, 5, 1, 7};
	uint8_t request[WIRE_PAGE_REQUEST_SIZE];
	struct client c;
	struct fixture f;

	setup_private(&f, (struct page_server_options){.no_prefetch = true});
	/* A gap would be filled by what the program maps next. */
	cr_assert_eq(mprotect(guest_page(f.b, 5), RAM_PAGE_SIZE, PROT_NONE), 0);
	connect_client(&c, &f);
	wire_page_request_encode(&r, request);
	send_bytes(&c, request, sizeof(request));
	pthread_join(c.thread, NULL);
	cr_assert_eq(c.result, -EUCLEAN);
	cr_assert(strstr(c.err.text, "a page cannot be had"), "%s", c.err.text);
	c.streams[0]->ops->destroy(c.streams[0]);
	c.streams[1]->ops->destroy(c.streams[1]);
	teardown(&f);
}

Test(page_server, answers_with_the_page_whoever_had_it)
{
	struct page_server_stats stats;
	struct wire_frame reply;
	struct client c;
	struct fixture f;

	setup(&f, (struct page_server_options){.no_prefetch = true});
	page_server_owe_run(f.server, 0, &(struct wire_run){0, 10});
	connect_client(&c, &f);
	ask_page(&c, &f, 5);
	ask_page(&c, &f, 5);
	ask_page(&c, &f, 999);
	ask(&c, &f, 1001, 1, &reply);
	cr_assert_eq(reply.type, WIRE_FRAME_ZERO);
	page_server_stats(f.server, &stats);
	cr_assert_eq(disconnect(&c), 0, "%s", c.err.text);
	page_server_stats(f.server, &stats);
	cr_assert_eq(stats.requests, 4);
	cr_assert_eq(stats.pages_asked, 4);
	cr_assert_eq(stats.pages_zero, 1);
	cr_assert_eq(stats.pages_left, 9);
	teardown(&f);
}

Test(page_server, many_pages_in_one_piece)
{
	static uint8_t content[512 * RAM_PAGE_SIZE];
	const uint32_t sizes[] = {512 * RAM_PAGE_SIZE};
	struct page_server_stats stats;
	struct wire_frame reply;
	struct client c;
	struct fixture f;

	setup(&f, (struct page_server_options){.peer_page_sizes = sizes});
	memset(f.b->map, 0, sizeof(content));
	page_server_owe_run(f.server, 0, &(struct wire_run){700, 1});
	page_server_stats(f.server, &stats);
	cr_assert_eq(stats.pages_left, 512, "the whole piece");
	connect_client(&c, &f);
	ask(&c, &f, 512, 512, &reply);
	cr_assert_eq(reply.type, WIRE_FRAME_PAGES);
	receive(&c, content, sizeof(content));
	cr_assert_arr_eq(content, f.b->map + sizeof(content), sizeof(content));
	ask(&c, &f, 0, 512, &reply);
	cr_assert_eq(reply.type, WIRE_FRAME_ZERO);
	cr_assert_eq(disconnect(&c), 0, "%s", c.err.text);
	page_server_stats(f.server, &stats);
	cr_assert_eq(stats.pages_left, 0);
	teardown(&f);
}

Test(page_server, a_hostile_request_ends_it)
{
	struct wire_page_request r = {0, 1020, 10, 0};
	uint8_t request[WIRE_PAGE_REQUEST_SIZE];
	struct client c;
	struct fixture f;

	setup(&f, (struct page_server_options){0});
	connect_client(&c, &f);
	wire_page_request_encode(&r, request);
	send_bytes(&c, request, sizeof(request));
	pthread_join(c.thread, NULL);
	cr_assert_eq(c.result, -EPROTO);
	cr_assert(strstr(c.err.text, "10 pages from 1020"), "%s", c.err.text);
	c.streams[0]->ops->destroy(c.streams[0]);
	c.streams[1]->ops->destroy(c.streams[1]);
	teardown(&f);
}

Test(page_server, half_a_request_is_no_clean_end)
{
	uint8_t half[5] = "DRAY";
	struct client c;
	struct fixture f;

	setup(&f, (struct page_server_options){0});
	connect_client(&c, &f);
	send_bytes(&c, half, sizeof(half));
	cr_assert_eq(disconnect(&c), -ECONNRESET);
	cr_assert(strstr(c.err.text, "fault connection 3"), "%s", c.err.text);
	teardown(&f);
}

/* ---- push ---- */

struct pusher {
	struct fixture *f;
	unsigned int index;
	struct memory_pipe pipe;
	pthread_t sends, receives;
	int result;
	struct errtext err;
	uint8_t seen[1024]; /* how often each page came */
	uint64_t order[1024];
	unsigned int count, wrong, syncs;
};

static void *push(void *arg)
{
	struct pusher *p = arg;

	p->result = page_server_push(p->f->server, p->index, &p->pipe.out.stream, &p->err);
	p->pipe.out.stream.ops->destroy(&p->pipe.out.stream);
	return NULL;
}

static void take(struct pusher *p, const struct wire_frame *frame, uint64_t page)
{
	uint8_t content[RAM_PAGE_SIZE], expected[RAM_PAGE_SIZE] = {0};
	struct iovec iov = {content, sizeof(content)};

	p->seen[page]++;
	p->order[p->count++] = page;
	if (page < PAGES)
		guest_fill(expected, page + 1);
	if (frame->type == WIRE_FRAME_ZERO) {
		p->wrong += page < PAGES;
		return;
	}
	if (memory_recv(&p->pipe.in.stream, &iov, 1) < 0 ||
	    memcmp(content, expected, sizeof(content)) != 0)
		p->wrong++;
}

static void *receive_pushed(void *arg)
{
	struct pusher *p = arg;
	uint8_t head[WIRE_FRAME_SIZE];
	struct iovec iov = {head, sizeof(head)};
	struct wire_frame frame;

	while (memory_recv(&p->pipe.in.stream, &iov, 1) == 0) {
		if (wire_frame_decode(head, &p->f->ram, &frame, NULL) < 0)
			p->wrong++;
		p->syncs += frame.type == WIRE_FRAME_SYNC && frame.round == POSTCOPY_ROUND;
		for (unsigned int i = 0; i < frame.runs; i++)
			for (uint32_t n = 0; n < frame.run[i].count; n++)
				take(p, &frame, frame.run[i].first + n);
	}
	return NULL;
}

static void start_pusher(struct pusher *p, struct fixture *f, unsigned int index)
{
	*p = (struct pusher){.f = f, .index = index};
	memory_pipe_init(&p->pipe, 1 << 20);
	cr_assert_eq(pthread_create(&p->receives, NULL, receive_pushed, p), 0);
	cr_assert_eq(pthread_create(&p->sends, NULL, push, p), 0);
}

static void end_pusher(struct pusher *p)
{
	pthread_join(p->sends, NULL);
	pthread_join(p->receives, NULL);
	memory_pipe_free(&p->pipe);
	cr_assert_eq(p->wrong, 0);
}

/* From a set, by two threads; two pages of three, and some that are zero. */
static void push_each_page_once(void (*set_up)(struct fixture *f, struct page_server_options opt))
{
	static struct pusher pushers[2];
	struct bitmap stale;
	struct fixture f;

	set_up(&f, (struct page_server_options){.grace_us = 1});
	cr_assert_eq(bitmap_init(&stale, 1024), 0);
	for (uint64_t page = 0; page < 1023; page += 3)
		bitmap_set(&stale, page, 2);
	page_server_owe(f.server, 0, &stale);
	for (unsigned int i = 0; i < 2; i++)
		start_pusher(&pushers[i], &f, i);
	for (unsigned int i = 0; i < 2; i++) {
		end_pusher(&pushers[i]);
		cr_assert_eq(pushers[i].result, 0, "%s", pushers[i].err.text);
		cr_assert_eq(pushers[i].syncs, 1);
	}
	for (uint64_t page = 0; page < 1024; page++)
		cr_assert_eq(pushers[0].seen[page] + pushers[1].seen[page],
			     bitmap_test(&stale, page));
	bitmap_destroy(&stale);
	teardown(&f);
}

Test(page_server, each_page_is_pushed_once)
{
	push_each_page_once(setup);
}

Test(page_server, each_private_page_is_pushed_once)
{
	push_each_page_once(setup_private);
}

Test(page_server, push_goes_on_behind_the_last_page_asked_for)
{
	static struct pusher p;
	struct client c;
	struct fixture f;

	setup(&f, (struct page_server_options){.grace_us = 1, .no_prefetch = true});
	page_server_owe_run(f.server, 0, &(struct wire_run){0, 300});
	connect_client(&c, &f);
	ask_page(&c, &f, 100);
	cr_assert_eq(disconnect(&c), 0, "%s", c.err.text);
	start_pusher(&p, &f, 0);
	end_pusher(&p);
	cr_assert_eq(p.count, 299);
	for (unsigned int i = 0; i < 299; i++)
		cr_assert_eq(p.order[i], i < 199 ? 101 + i : i - 199);
	teardown(&f);
}

/* While somebody is served, or was a moment ago, nothing is pushed: here that moment is for ever.
 */
Test(page_server, stop_ends_a_push_that_waits)
{
	static struct pusher p;
	struct fixture f;

	setup(&f, (struct page_server_options){.grace_us = UINT32_MAX, .patience_us = UINT32_MAX});
	page_server_owe_run(f.server, 0, &(struct wire_run){0, 300});
	start_pusher(&p, &f, 0);
	page_server_stop(f.server);
	end_pusher(&p);
	cr_assert_eq(p.result, -ECANCELED);
	cr_assert_eq(p.count, 0);
	cr_assert_eq(p.syncs, 0);
	teardown(&f);
}

/* The guest does not run yet. */
Test(page_server, push_waits_while_it_is_held)
{
	static struct pusher p;
	struct client c;
	struct fixture f;

	setup(&f, (struct page_server_options){
			  .grace_us = 1, .patience_us = 1, .held = true, .no_prefetch = true});
	page_server_owe_run(f.server, 0, &(struct wire_run){0, 300});
	start_pusher(&p, &f, 0);
	connect_client(&c, &f);
	for (uint64_t page = 0; page < 300; page += 50)
		ask_page(&c, &f, page);
	cr_assert_eq(p.count, 0);
	page_server_go(f.server);
	end_pusher(&p);
	cr_assert_eq(p.result, 0, "%s", p.err.text);
	cr_assert_eq(p.count, 294);
	cr_assert_eq(disconnect(&c), 0, "%s", c.err.text);
	teardown(&f);
}

Test(page_server, a_broken_stream_is_reported)
{
	static struct pusher p;
	struct fixture f;

	setup(&f, (struct page_server_options){.grace_us = 1});
	page_server_owe_run(f.server, 0, &(struct wire_run){0, PAGES});
	p = (struct pusher){.f = &f};
	memory_pipe_init(&p.pipe, 1 << 20);
	p.pipe.break_after = 100000;
	p.result = page_server_push(f.server, 0, &p.pipe.out.stream, &p.err);
	cr_assert_eq(p.result, -EPIPE);
	cr_assert(strstr(p.err.text, "RAM stream"), "%s", p.err.text);
	memory_pipe_free(&p.pipe);
	teardown(&f);
}

/* Neither as zeroes, nor as what is found in its place. */
Test(page_server, pages_that_have_gone_are_not_sent)
{
	const struct wire_page_request r = {.first = 7, .count = 1};
	uint8_t request[WIRE_PAGE_REQUEST_SIZE];
	static struct pusher p;
	struct client c;
	struct fixture f;
	int seal;

	ram_access_init();
	setup(&f, (struct page_server_options){.grace_us = 1});
	page_server_owe_run(f.server, 0, &(struct wire_run){0, PAGES});
	cr_assert_eq(ram_kept_note(&f.ram, NULL), 0);
	cr_assert_eq(ram_kept_seal(&f.ram, &seal, NULL), 0);
	connect_client(&c, &f);
	guest_punch(f.b, 7, 1);
	wire_page_request_encode(&r, request);
	send_bytes(&c, request, sizeof(request));
	pthread_join(c.thread, NULL);
	cr_assert_eq(c.result, -EUCLEAN, "%s", c.err.text);
	c.streams[0]->ops->destroy(c.streams[0]);
	c.streams[1]->ops->destroy(c.streams[1]);

	start_pusher(&p, &f, 0);
	end_pusher(&p);
	cr_assert_eq(p.result, -EUCLEAN, "%s", p.err.text);
	cr_assert_eq(p.seen[7], 0);
	cr_assert_eq(p.wrong, 0);
	close(seal);
	teardown(&f);
}

/* Whoever asks for it, or is sent it, learns why it does not come. */
Test(page_server, a_page_that_cannot_be_read_ends_it)
{
	const struct wire_page_request r = {.first = 7, .count = 1};
	uint8_t request[WIRE_PAGE_REQUEST_SIZE];
	static struct pusher p;
	struct client c;
	struct fixture f;
	int seal;

	ram_access_init();
	setup(&f, (struct page_server_options){.grace_us = 1});
	page_server_owe_run(f.server, 0, &(struct wire_run){0, PAGES});
	cr_assert_eq(ram_kept_seal(&f.ram, &seal, NULL), 0);
	guest_poison(seal, f.b, 7);
	connect_client(&c, &f);
	wire_page_request_encode(&r, request);
	send_bytes(&c, request, sizeof(request));
	pthread_join(c.thread, NULL);
	cr_assert_eq(c.result, -EUCLEAN, "%s", c.err.text);
	cr_assert(strstr(c.err.text, "page 7 cannot be read"), "%s", c.err.text);
	c.streams[0]->ops->destroy(c.streams[0]);
	c.streams[1]->ops->destroy(c.streams[1]);

	start_pusher(&p, &f, 0);
	end_pusher(&p);
	cr_assert_eq(p.result, -EUCLEAN, "%s", p.err.text);
	cr_assert_eq(p.seen[7], 0);
	close(seal);
	teardown(&f);
}

static uint32_t impossible[] = {0, 2048, 4097, 8u << 20, 3u << 20};

ParameterizedTestParameters(page_server, impossible_pages_are_refused)
{
	return cr_make_param_array(uint32_t, impossible,
				   sizeof(impossible) / sizeof(impossible[0]));
}

ParameterizedTest(uint32_t *size, page_server, impossible_pages_are_refused)
{
	struct page_server_options opt = {.peer_page_sizes = size};
	struct page_server *server;
	struct errtext err = {0};
	struct ram_map ram = {0};

	guest_ram_add(&ram, "pc.ram", 16u << 20, RAM_PAGE_SIZE);
	opt.ram = &ram;
	cr_assert_eq(page_server_new(&opt, &server, &err), -ENOTSUP);
	cr_assert(strstr(err.text, "RAM block pc.ram"), "%s", err.text);
	guest_ram_destroy(&ram);
}
