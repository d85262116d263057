// SPDX-License-Identifier: Apache-2.0
// A forward between a QEMU and a destination, both played by the test.
#include "forward.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include "door.h"
#include "pacer.h"
#include "qemu_stream.h"
#include "socket.h"

#define PATIENT_MS 20000

TestSuite(forward, .timeout = 60);

static const struct door_keeper keeper = {.self = {.uuid = "sixteen letters"}};
static const uint8_t ack[] = {0, 7, 0, 0}, shut[] = {0, 1, 0, 4, 0, 0, 0, 0};

struct fixture {
	char directory[32], path[64];
	struct peer peer;
	struct ram_map drop;
	struct forward *forward;
	int listener, qemu;
	struct line there; /* the destination's end */

	pthread_mutex_t lock;
	pthread_cond_t changed;
	/* under lock */
	bool begun, ended;
	int result;
	char text[ERRTEXT_SIZE];
};

static void on_begun(void *opaque)
{
	struct fixture *f = opaque;

	pthread_mutex_lock(&f->lock);
	f->begun = true;
	pthread_cond_broadcast(&f->changed);
	pthread_mutex_unlock(&f->lock);
}

static void on_ended(void *opaque, int result, const char *text)
{
	struct fixture *f = opaque;

	pthread_mutex_lock(&f->lock);
	cr_assert_not(f->ended);
	f->ended = true;
	f->result = result;
	snprintf(f->text, sizeof(f->text), "%s", text);
	pthread_cond_broadcast(&f->changed);
	pthread_mutex_unlock(&f->lock);
}

static void await(struct fixture *f, const bool *what)
{
	pthread_mutex_lock(&f->lock);
	while (!*what)
		pthread_cond_wait(&f->changed, &f->lock);
	pthread_mutex_unlock(&f->lock);
}

static void open_forward(struct fixture *f, struct forward_options options)
{
	struct socket_options any = {.bind = "127.0.0.1"};
	struct errtext err = {0};

	*f = (struct fixture){.directory = "/tmp/dray-forward-XXXXXX",
			      .peer = {.host = "127.0.0.1", .timeout_ms = PATIENT_MS},
			      .drop = dropped_blocks(),
			      .lock = PTHREAD_MUTEX_INITIALIZER,
			      .changed = PTHREAD_COND_INITIALIZER};
	cr_assert(mkdtemp(f->directory));
	snprintf(f->path, sizeof(f->path), "%s/socket", f->directory);
	cr_assert_eq(socket_listen(&any, 0, &f->listener, &err), 0, "%s", err.text);
	cr_assert_eq(socket_port(f->listener, &f->peer.port), 0);
	options.path = f->path;
	options.owner = (uid_t)-1;
	options.peer = &f->peer;
	options.ended = on_ended;
	options.begun = on_begun;
	options.opaque = f;
	if (options.strain)
		options.strain = &f->drop;
	cr_assert_eq(forward_new(&options, &f->forward, &err), 0, "%s", err.text);
}

static void connect_qemu(struct fixture *f)
{
	struct errtext err = {0};

	cr_assert_eq(socket_unix_connect(f->path, &f->qemu, &err), 0, "%s", err.text);
}

static void let_in(struct fixture *f)
{
	char peer[SOCKET_PEER_SIZE];
	struct errtext err = {0};
	struct wire_hello hello;
	struct door_terms terms;
	int fd;

	cr_assert_eq(socket_accept(f->listener, NULL, &fd, peer, &err), 0, "%s", err.text);
	f->there = line_plain(fd);
	cr_assert_eq(door_answer(&f->there, PATIENT_MS, &keeper, &hello, &terms, &err), 0, "%s",
		     err.text);
}

static void close_forward(struct fixture *f)
{
	forward_destroy(f->forward);
	cr_assert(f->ended);
	cr_assert_neq(access(f->path, F_OK), 0, "the socket is removed");
	close(f->qemu);
	close(f->listener);
	line_close(&f->there);
	rmdir(f->directory);
	ram_map_destroy(&f->drop);
}

static void say(int fd, const void *bytes, size_t n)
{
	cr_assert_eq(socket_write_full(fd, bytes, n, PATIENT_MS), 0);
}

static void expect(int fd, const void *bytes, size_t n)
{
	uint8_t *got = malloc(n);

	cr_assert_eq(socket_read_full(fd, got, n, PATIENT_MS), 0);
	cr_assert_eq(memcmp(got, bytes, n), 0);
	free(got);
}

static void expect_nothing(int fd)
{
	char c;

	cr_assert_eq(recv(fd, &c, 1, MSG_DONTWAIT | MSG_PEEK), -1);
	cr_assert_eq(errno, EAGAIN);
}

static void expect_end(int fd)
{
	char c;

	cr_assert_eq(socket_read_full(fd, &c, 1, PATIENT_MS), -ENODATA);
}

/* The destination's QEMU, heard by nobody: dray answers in its place. */
static void end_both(struct fixture *f)
{
	shutdown(f->qemu, SHUT_WR);
	expect_end(f->there.fd);
	shutdown(f->there.fd, SHUT_WR);
	await(f, &f->ended);
	cr_assert_eq(f->result, 0, "%s", f->text);
}

/* ---- without a strainer ---- */

Test(forward, carries_a_tunnel_both_ways)
{
	struct strainer_stats stats;
	struct fixture f;

	open_forward(&f, (struct forward_options){.kind = WIRE_KIND_TUNNEL});
	connect_qemu(&f);
	say(f.qemu, "a call", 6);
	let_in(&f);
	expect(f.there.fd, "a call", 6);
	say(f.there.fd, "a reply", 7);
	expect(f.qemu, "a reply", 7);
	await(&f, &f.begun);
	end_both(&f);
	cr_assert_eq(forward_bytes(f.forward), 13);
	forward_strained(f.forward, &stats);
	cr_assert_eq(stats.read_bytes, 0);
	close_forward(&f);
}

/* A byte a second: nothing of this would end in time if it waited. */
Test(forward, hastened_before_qemu_connects_it_never_waits_for_the_cap)
{
	static const uint8_t much[1000] = {1};
	struct pacer *pacer;
	struct fixture f;

	cr_assert_eq(pacer_new(1, &pacer), 0);
	open_forward(&f, (struct forward_options){.kind = WIRE_KIND_QEMU_STREAM, .pacer = pacer});
	forward_hasten(f.forward);
	connect_qemu(&f);
	let_in(&f);
	for (unsigned int i = 0; i < 3; i++) {
		say(f.qemu, much, sizeof(much));
		expect(f.there.fd, much, sizeof(much));
	}
	end_both(&f);
	close_forward(&f);
	pacer_destroy(pacer);
}

/* ---- with one ---- */

static const struct forward_options strained = {
	.kind = WIRE_KIND_QEMU_STREAM, .acknowledge = true, .strain = &(struct ram_map){0}};

/* A page that ends as a whole stream ends, and is the last thing for now. */
static void put_false_end(struct qemu_stream *s)
{
	put_section(s, 2);
	put_page(s, "vga", 0);
	memcpy(s->bytes + s->n - 8, "\0\6\0\0\0\2{}", 8);
}

static void put_rest(struct qemu_stream *s)
{
	put_section_end(s);
	put_section(s, 3);
	put_section_end(s);
	put_device_state(s);
}

Test(forward, waits_for_the_word_and_strains)
{
	_cleanup_stream_ struct qemu_stream in = {0}, want = {0};
	struct strainer_stats stats;
	struct fixture f;
	size_t first;

	put_setup(&in);
	put_setup(&want);
	put_false_end(&in);
	put_false_end(&want);
	first = in.n;
	put_zero(&in, "pc.ram", 0, 0);
	put_rest(&in);
	put_rest(&want);

	open_forward(&f, strained);
	connect_qemu(&f);
	expect(f.qemu, ack, sizeof(ack)); /* before anybody is reached */
	await(&f, &f.begun);
	say(f.qemu, in.bytes, first);
	let_in(&f);
	expect_nothing(f.there.fd);
	forward_strained(f.forward, &stats);
	cr_assert_eq(stats.read_bytes, 0);
	forward_go(f.forward);
	expect(f.there.fd, want.bytes, first);
	expect_nothing(f.qemu);
	say(f.qemu, in.bytes + first, in.n - first);
	expect(f.there.fd, want.bytes + first, want.n - first);
	expect(f.qemu, shut, sizeof(shut));
	end_both(&f);
	forward_strained(f.forward, &stats);
	cr_assert_eq(stats.read_bytes, in.n);
	cr_assert_eq(stats.kept_bytes, want.n);
	cr_assert_eq(stats.zero_pages, 1);
	cr_assert_eq(stats.data_pages, 0);
	cr_assert(stats.past_ram);
	cr_assert_eq(forward_bytes(f.forward), want.n + sizeof(shut));
	close_forward(&f);
}

Test(forward, may_get_the_word_before_qemu_connects)
{
	_cleanup_stream_ struct qemu_stream in = {0};
	struct fixture f;

	open_forward(&f, strained);
	forward_go(f.forward);
	connect_qemu(&f);
	put_setup(&in);
	say(f.qemu, in.bytes, in.n);
	let_in(&f);
	expect(f.there.fd, in.bytes, in.n);
	end_both(&f);
	close_forward(&f);
}

Test(forward, ends_with_what_could_not_be_strained)
{
	_cleanup_stream_ struct qemu_stream in = {0};
	struct fixture f;

	open_forward(&f, strained);
	forward_go(f.forward);
	connect_qemu(&f);
	put_header(&in);
	put_start(&in, "vfio", 1);
	say(f.qemu, in.bytes, in.n);
	let_in(&f);
	await(&f, &f.ended);
	cr_assert_eq(f.result, -EPROTO);
	cr_assert(strstr(f.text, "'vfio' sends its state"), "%s", f.text);
	close_forward(&f);
}

Test(forward, is_cut_before_the_word)
{
	struct fixture f;

	open_forward(&f, strained);
	connect_qemu(&f);
	let_in(&f);
	forward_cut(f.forward);
	await(&f, &f.ended);
	cr_assert_eq(f.result, -ECANCELED);
	expect_end(f.there.fd);
	close_forward(&f);
}

Test(forward, is_cut_before_qemu_connects)
{
	struct fixture f;

	open_forward(&f, strained);
	f.qemu = -1;
	f.there = LINE_NONE;
	forward_cut(f.forward);
	await(&f, &f.ended);
	cr_assert_eq(f.result, -ECANCELED);
	cr_assert_not(f.begun);
	close_forward(&f);
}
