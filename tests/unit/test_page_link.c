// SPDX-License-Identifier: Apache-2.0
// The source's connections in post-copy, against a destination that is made of a port, a set of
// owed pages, and bad luck.
#include "page_link.h"

#include <criterion/criterion.h>
#include <criterion/parameterized.h>
#include <errno.h>
#include <pthread.h>
#include <sys/socket.h>
#include <xxhash.h>
#include "clock.h"
#include "control.h"
#include "guest_ram.h"
#include "ram_access.h"
#include "ram_kept.h"
#include "socket.h"

#define PAGES 4096u
#define FAULTS 2u
#define PUSHES 2u
#define TIMEOUT_MS 10000

TestSuite(page_link, .timeout = 60);

struct fixture {
	struct ram_map ram;
	struct peer peer;
	struct page_link *link;
	int listen_fd;

	/* the present set, as the destination has it */
	struct control *control;
	int faults[FAULTS], pushes[PUSHES];

	pthread_mutex_t lock;
	pthread_cond_t changed;
	/* under lock */
	unsigned int states[PAGE_LINK_WAITING + 1]; /* how often each was told */
	char text[WIRE_TEXT_MAX + 1];		    /* of the latest */
	unsigned int finished, lost, given_up;
	char why[WIRE_TEXT_MAX + 1]; /* of ABORT */
	struct wire_message proven;
};

/* ---- what the link says, and waiting for it ---- */

static void on_changed(void *opaque, enum page_link_state state, const char *text)
{
	struct fixture *f = opaque;

	pthread_mutex_lock(&f->lock);
	cr_assert_eq(f->states[PAGE_LINK_COMPLETE] + f->states[PAGE_LINK_ENDED], 0);
	f->states[state]++;
	snprintf(f->text, sizeof(f->text), "%s", text);
	pthread_cond_broadcast(&f->changed);
	pthread_mutex_unlock(&f->lock);
}

static void await(struct fixture *f, const unsigned int *count, unsigned int least)
{
	pthread_mutex_lock(&f->lock);
	while (*count < least)
		pthread_cond_wait(&f->changed, &f->lock);
	pthread_mutex_unlock(&f->lock);
}

static unsigned int now(struct fixture *f, const unsigned int *count)
{
	unsigned int n;

	pthread_mutex_lock(&f->lock);
	n = *count;
	pthread_mutex_unlock(&f->lock);
	return n;
}

static bool on_message(void *opaque, struct wire_message *m, uint64_t deadline_us)
{
	struct fixture *f = opaque;

	(void)deadline_us;
	pthread_mutex_lock(&f->lock);
	f->finished += m->type == WIRE_FINISH;
	f->given_up += m->type == WIRE_ABORT;
	if (m->type == WIRE_ABORT)
		snprintf(f->why, sizeof(f->why), "%s", m->abort.text);
	if (m->type == WIRE_PROVEN)
		f->proven = *m;
	pthread_cond_broadcast(&f->changed);
	pthread_mutex_unlock(&f->lock);
	return true;
}

static void on_lost(void *opaque, int result, const char *text)
{
	struct fixture *f = opaque;

	(void)result;
	(void)text;
	pthread_mutex_lock(&f->lock);
	f->lost++;
	pthread_cond_broadcast(&f->changed);
	pthread_mutex_unlock(&f->lock);
}

/* ---- the destination ---- */

static int take_connection(struct fixture *f, struct wire_hello *hello)
{
	uint8_t buf[WIRE_HELLO_REPLY_SIZE + WIRE_TEXT_MAX], in[WIRE_HELLO_SIZE];
	struct wire_hello_reply reply = {.version = WIRE_VERSION_MAX,
					 .version_min = WIRE_VERSION_MIN,
					 .version_max = WIRE_VERSION_MAX};
	int fd = accept4(f->listen_fd, NULL, NULL, SOCK_CLOEXEC);
	size_t len = wire_hello_reply_encode(&reply, buf);

	cr_assert_geq(fd, 0);
	cr_assert_eq(socket_read_full(fd, in, sizeof(in), TIMEOUT_MS), 0);
	cr_assert_eq(wire_hello_decode(in, hello, NULL), 0);
	cr_assert_eq(memcmp(hello->session, f->peer.session, WIRE_SESSION_SIZE), 0);
	cr_assert_eq(socket_write_full(fd, buf, len, TIMEOUT_MS), 0);
	return fd;
}

/* The first of a set is its control channel, which asks what is owed. */
static void take_control(struct fixture *f)
{
	struct control_options options = {
		.silence_ms = TIMEOUT_MS, .message = on_message, .lost = on_lost, .opaque = f};
	struct errtext err = {0};
	struct wire_hello hello;

	options.line = line_plain(take_connection(f, &hello));
	cr_assert_eq(hello.kind, WIRE_KIND_LINK);
	cr_assert_eq(hello.index, 1);
	cr_assert_eq(control_new(&options, &f->control, &err), 0, "%s", err.text);
}

static void tell_run(struct fixture *f, uint64_t first, uint32_t count)
{
	const struct wire_owed owed = {.count = 1, .run = {{first, count}}};
	const struct wire_message m = {.type = WIRE_OWED, .owed = &owed};

	cr_assert_eq(control_send(f->control, &m), 0);
}

static void tell_owed(struct fixture *f, uint64_t first, uint32_t count)
{
	tell_run(f, first, count);
	cr_assert_eq(control_send_type(f->control, WIRE_OWED_END), 0);
}

static void take_lanes(struct fixture *f)
{
	for (unsigned int i = 0; i < FAULTS + PUSHES; i++) {
		struct wire_hello hello;
		int fd = take_connection(f, &hello);

		cr_assert(hello.kind == WIRE_KIND_FAULT || hello.kind == WIRE_KIND_PUSH);
		cr_assert_lt(hello.index, hello.kind == WIRE_KIND_FAULT ? FAULTS : PUSHES);
		(hello.kind == WIRE_KIND_FAULT ? f->faults : f->pushes)[hello.index] = fd;
	}
}

static void drop_set(struct fixture *f)
{
	for (unsigned int i = 0; i < FAULTS; i++)
		close(f->faults[i]);
	for (unsigned int i = 0; i < PUSHES; i++)
		close(f->pushes[i]);
	control_destroy(f->control);
	f->control = NULL;
}

static void setup_guest(struct fixture *f, bool gives_back, bool balloon)
{
	const struct socket_options loopback = {.bind = "127.0.0.1"};
	struct page_link_options options = {.peer = &f->peer,
					    .ram = &f->ram,
					    .faults = FAULTS,
					    .pushes = PUSHES,
					    .silence_ms = TIMEOUT_MS,
					    .gives_back = gives_back,
					    .balloon = balloon,
					    .changed = on_changed,
					    .opaque = f};
	struct errtext err = {0};

	*f = (struct fixture){.peer = {.host = "127.0.0.1", .timeout_ms = TIMEOUT_MS}};
	memcpy(f->peer.session, "sixteen letters!", WIRE_SESSION_SIZE);
	pthread_mutex_init(&f->lock, NULL);
	pthread_cond_init(&f->changed, NULL);
	guest_ram_add(&f->ram, "pc.ram", PAGES * RAM_PAGE_SIZE, RAM_PAGE_SIZE);
	for (uint64_t page = 0; page < PAGES; page++)
		guest_write(&f->ram.blocks[0], page, page + 1);
	cr_assert_eq(socket_listen(&loopback, 0, &f->listen_fd, &err), 0, "%s", err.text);
	/* What is pushed shall not all fit into the network. */
	cr_assert_eq(setsockopt(f->listen_fd, SOL_SOCKET, SO_RCVBUF, &(int){65536}, sizeof(int)),
		     0);
	cr_assert_eq(socket_port(f->listen_fd, &f->peer.port), 0);
	cr_assert_eq(page_link_resume(&options, &f->link, &err), 0, "%s", err.text);
}

static void setup(struct fixture *f)
{
	setup_guest(f, false, false);
}

static void teardown(struct fixture *f)
{
	page_link_destroy(f->link);
	if (f->control)
		drop_set(f);
	close(f->listen_fd);
	guest_ram_destroy(&f->ram);
}

static void connect_all(struct fixture *f, uint64_t first, uint32_t count)
{
	take_control(f);
	tell_owed(f, first, count);
	take_lanes(f);
}

/* ---- pages ---- */

static void expect_page(int fd, uint64_t page)
{
	uint8_t content[RAM_PAGE_SIZE], expected[RAM_PAGE_SIZE];

	cr_assert_eq(socket_read_full(fd, content, sizeof(content), TIMEOUT_MS), 0);
	guest_fill(expected, page + 1);
	cr_assert_arr_eq(content, expected, sizeof(content));
}

static void expect_frame(struct fixture *f, int fd, struct wire_frame *frame)
{
	uint8_t head[WIRE_FRAME_SIZE];
	struct errtext err = {0};

	cr_assert_eq(socket_read_full(fd, head, sizeof(head), TIMEOUT_MS), 0);
	cr_assert_eq(wire_frame_decode(head, &f->ram, frame, &err), 0, "%s", err.text);
}

static void ask(struct fixture *f, unsigned int lane, uint64_t page)
{
	const struct wire_page_request r = {.first = page, .count = 1, .thread = 1};
	uint8_t request[WIRE_PAGE_REQUEST_SIZE];
	struct wire_frame frame;

	wire_page_request_encode(&r, request);
	cr_assert_eq(socket_write_full(f->faults[lane], request, sizeof(request), TIMEOUT_MS), 0);
	expect_frame(f, f->faults[lane], &frame);
	cr_assert_eq(frame.type, WIRE_FRAME_PAGES);
	cr_assert_eq(frame.run[0].first, page);
	expect_page(f->faults[lane], page);
}

/* All that one connection pushes. Returns how many pages. */
static unsigned int take_pushed(struct fixture *f, unsigned int lane)
{
	unsigned int pages = 0;
	struct wire_frame frame;

	for (;;) {
		expect_frame(f, f->pushes[lane], &frame);
		if (frame.type == WIRE_FRAME_SYNC)
			return pages;
		for (unsigned int i = 0; i < frame.runs; i++)
			for (uint32_t n = 0; n < frame.run[i].count; n++, pages++)
				expect_page(f->pushes[lane], frame.run[i].first + n);
	}
}

static void complete(struct fixture *f)
{
	struct wire_message m = {.type = WIRE_COMPLETE, .complete = {.faults = 17}};

	cr_assert_eq(control_send(f->control, &m), 0);
	await(f, &f->finished, 1);
	await(f, &f->states[PAGE_LINK_COMPLETE], 1);
}

Test(page_link, serves_pushes_and_completes)
{
	struct wire_complete result;
	struct fixture f;

	setup(&f);
	connect_all(&f, 100, 200);
	await(&f, &f.states[PAGE_LINK_RESUMED], 1);
	ask(&f, 0, 7);
	ask(&f, 1, 311);
	cr_assert_eq(take_pushed(&f, 0) + take_pushed(&f, 1), 200);
	cr_assert_geq(page_link_bytes(f.link), 202 * RAM_PAGE_SIZE);
	complete(&f);
	page_link_result(f.link, &result);
	cr_assert_eq(result.faults, 17);
	cr_assert_eq(now(&f, &f.states[PAGE_LINK_BROKEN]), 1, "dray ended");
	teardown(&f);
}

/* The destination has no memory for a page: nothing breaks. */
Test(page_link, hears_that_the_destination_waits)
{
	const struct wire_message waiting = {.type = WIRE_WAITING, .abort = {"no room"}};
	struct fixture f;

	setup(&f);
	connect_all(&f, 100, 200);
	await(&f, &f.states[PAGE_LINK_RESUMED], 1);
	cr_assert_eq(control_send(f.control, &waiting), 0);
	await(&f, &f.states[PAGE_LINK_WAITING], 1);
	cr_assert_str_eq(f.text, "no room");
	cr_assert_eq(take_pushed(&f, 0) + take_pushed(&f, 1), 200);
	complete(&f);
	teardown(&f);
}

/* Whatever connection breaks, all are made anew, and only what is still owed is pushed. It waits
 * longer each time, for a destination that ends every set at once does not mean to go on. */
Test(page_link, begins_anew_when_anything_breaks)
{
	uint64_t began = clock_monotonic_us();
	struct fixture f;

	setup(&f);
	for (unsigned int round = 1; round <= 3; round++) {
		connect_all(&f, 0, PAGES);
		await(&f, &f.states[PAGE_LINK_RESUMED], round);
		if (round == 1)
			shutdown(f.faults[1], SHUT_RDWR);
		else if (round == 2)
			shutdown(f.pushes[0], SHUT_RDWR);
		else
			control_shutdown(f.control);
		await(&f, &f.states[PAGE_LINK_BROKEN], round + 1);
		drop_set(&f);
	}
	connect_all(&f, 30, 5);
	cr_assert_geq(clock_monotonic_us() - began, (50 + 100 + 200) * 1000);
	cr_assert_eq(take_pushed(&f, 0) + take_pushed(&f, 1), 5);
	complete(&f);
	teardown(&f);
}

/* It was cut off before it had said all: the next try begins from the beginning. */
Test(page_link, tries_again_when_it_is_not_told_what_is_owed)
{
	struct fixture f;

	setup(&f);
	take_control(&f);
	control_destroy(f.control);
	take_control(&f);
	tell_run(&f, PAGES - 1, 2); /* which do not exist: it hangs up at once */
	await(&f, &f.lost, 2);
	control_destroy(f.control);
	connect_all(&f, 0, 1);
	cr_assert_eq(take_pushed(&f, 0) + take_pushed(&f, 1), 1);
	await(&f, &f.states[PAGE_LINK_RESUMED], 1);
	cr_assert_eq(now(&f, &f.states[PAGE_LINK_RESUMED]), 1);
	complete(&f);
	teardown(&f);
}

Test(page_link, ends_when_there_is_no_such_guest)
{
	struct wire_message m = {.type = WIRE_ABORT, .abort = {"it was destroyed"}};
	struct fixture f;

	setup(&f);
	connect_all(&f, 0, PAGES);
	await(&f, &f.states[PAGE_LINK_RESUMED], 1);
	cr_assert_eq(control_send(f.control, &m), 0);
	await(&f, &f.states[PAGE_LINK_ENDED], 1);
	cr_assert_str_eq(f.text, "it was destroyed");
	teardown(&f);
}

/* There is no point in connecting anew: nothing else can be served. */
Test(page_link, ends_when_its_memory_was_emptied)
{
	const struct wire_page_request r = {.first = PAGES - 1, .count = 1, .thread = 1};
	uint8_t request[WIRE_PAGE_REQUEST_SIZE];
	struct fixture f;

	ram_access_init();
	setup(&f);
	cr_assert_eq(ram_kept_note(&f.ram, NULL), 0);
	connect_all(&f, 0, PAGES);
	await(&f, &f.states[PAGE_LINK_RESUMED], 1);
	ask(&f, 0, 7);
	guest_punch(&f.ram.blocks[0], 0, PAGES);
	wire_page_request_encode(&r, request);
	cr_assert_eq(socket_write_full(f.faults[0], request, sizeof(request), TIMEOUT_MS), 0);
	await(&f, &f.states[PAGE_LINK_ENDED], 1);
	cr_assert(strstr(f.text, "was emptied on the source"), "%s", f.text);
	await(&f, &f.given_up, 1);
	cr_assert_str_eq(f.why, f.text, "the destination knows, too");
	teardown(&f);
}

/* The link has sealed its memory. */
static int find_seal(void)
{
	char path[32], what[64];

	for (int fd = 3; fd < 1024; fd++) {
		ssize_t n;

		snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
		n = readlink(path, what, sizeof(what) - 1);
		what[n > 0 ? n : 0] = '\0';
		if (strcmp(what, "anon_inode:[userfaultfd]") == 0)
			return fd;
	}
	return -1;
}

/* Nobody asks for it: it is pushed. */
Test(page_link, ends_when_a_page_cannot_be_read)
{
	struct fixture f;

	ram_access_init();
	setup(&f);
	guest_poison(find_seal(), &f.ram.blocks[0], 150);
	connect_all(&f, 100, 200);
	await(&f, &f.states[PAGE_LINK_ENDED], 1);
	cr_assert(strstr(f.text, "page 150 cannot be read on the source"), "%s", f.text);
	await(&f, &f.given_up, 1);
	cr_assert_str_eq(f.why, f.text, "the destination knows, too");
	cr_assert_eq(now(&f, &f.states[PAGE_LINK_BROKEN]), 1, "dray ended");
	teardown(&f);
}

/* To give up is its owner's decision alone, and takes effect at once. */
Test(page_link, is_ended_while_it_tries)
{
	struct fixture f;

	setup(&f);
	shutdown(f.listen_fd, SHUT_RDWR);
	await(&f, &f.states[PAGE_LINK_BROKEN], 1);
	teardown(&f);
	cr_assert_eq(f.states[PAGE_LINK_COMPLETE] + f.states[PAGE_LINK_ENDED], 0);
}

/* All were written but one, of which the destination has other content. */
Test(page_link, compares_what_is_to_be_proven)
{
	struct wire_proof proof = {.count = PAGES};
	const struct wire_message m = {.type = WIRE_PROOF, .proof = &proof};
	struct errtext err = {0};
	struct fixture f;

	setup(&f);
	connect_all(&f, 0, 1);
	memset(proof.written, 0xff, PAGES / 8 - 1);
	proof.written[PAGES / 8 - 1] = 0x7f;
	proof.hash[PAGES - 1] = 1;
	cr_assert_eq(control_send(f.control, &m), 0);
	pthread_mutex_lock(&f.lock);
	while (!f.proven.proven.unequal)
		pthread_cond_wait(&f.changed, &f.lock);
	pthread_mutex_unlock(&f.lock);
	cr_assert_eq(f.proven.proven.equal, 0);
	complete(&f);
	cr_assert_eq(page_link_judge(f.link, "guest", "there", &err), -EBADMSG);
	cr_assert(strstr(err.text, "page 4095 of RAM block pc.ram"), "%s", err.text);
	teardown(&f);
}

struct giving_row {
	bool gives_back, balloon, still; /* the last: so the destination says at the end */
	bool damaged;
};

ParameterizedTestParameters(page_link, zeroes_in_the_place_of_content)
{
	static struct giving_row rows[] = {
		{false, false, false, true}, {false, false, true, true},
		{true, false, true, false},  {true, true, true, false},
		{false, true, false, false}, {false, true, true, true},
	};

	return cr_make_param_array(struct giving_row, rows, sizeof(rows) / sizeof(*rows));
}

/* They are damage if the guest has given nothing back, for certain. */
ParameterizedTest(struct giving_row *row, page_link, zeroes_in_the_place_of_content)
{
	static const uint8_t zeroes[RAM_PAGE_SIZE];
	struct wire_proof proof = {.count = PAGES};
	const struct wire_message m = {.type = WIRE_PROOF, .proof = &proof};
	const struct wire_message last = {.type = WIRE_COMPLETE,
					  .complete = {.balloon_still = row->still}};
	struct proof_result r;
	struct errtext err = {0};
	struct fixture f;

	setup_guest(&f, row->gives_back, row->balloon);
	connect_all(&f, 0, 1);
	memset(proof.written, 0xff, PAGES / 8);
	proof.written[0] = 0xfb;
	proof.hash[2] = XXH3_64bits(zeroes, sizeof(zeroes));
	cr_assert_eq(control_send(f.control, &m), 0);
	cr_assert_eq(control_send(f.control, &last), 0);
	await(&f, &f.states[PAGE_LINK_COMPLETE], 1);
	page_link_proof(f.link, &r);
	cr_expect_eq(r.given_back, !row->damaged);
	cr_expect_eq(r.unequal, row->damaged);
	cr_expect_eq(page_link_judge(f.link, "guest", "there", &err), row->damaged ? -EBADMSG : 0);
	cr_expect(!row->damaged || strstr(err.text, "page 2 of RAM block pc.ram"), "%s", err.text);
	teardown(&f);
}
