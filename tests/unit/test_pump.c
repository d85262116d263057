// SPDX-License-Identifier: Apache-2.0
// The pump between two socket pairs: `left` is the far end of a, `right` that of b.
#include <criterion/criterion.h>
#include <criterion/parameterized.h>
#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>
#include "pacer.h"
#include "pump.h"
#include "socket.h"

#define BIG ((size_t)8 << 20) /* more than all buffers on the way take */
#define MIB ((size_t)1 << 20)

TestSuite(pump, .timeout = 60);

struct fixture {
	struct pump *pump;
	int left, right;
	atomic_int ends, result;
};

static void on_end(void *arg, int result)
{
	struct fixture *f = arg;

	atomic_store(&f->result, result);
	atomic_fetch_add(&f->ends, 1);
}

static void tcp_pair(int fds[2])
{
	struct socket_options opt = {.bind = "127.0.0.1"};
	char peer[SOCKET_PEER_SIZE];
	struct errtext err = {};
	uint16_t port;
	int listener;

	cr_assert_eq(socket_listen(&opt, 0, &listener, &err), 0, "%s", err.text);
	cr_assert_eq(socket_port(listener, &port), 0);
	cr_assert_eq(socket_connect("127.0.0.1", port, NULL, 5000, &fds[0], &err), 0, "%s",
		     err.text);
	cr_assert_eq(socket_accept(listener, NULL, &fds[1], peer, &err), 0, "%s", err.text);
	close(listener);
}

/* a is TCP or UNIX, b is UNIX: as between a connection and QEMU. */
static void fixture_open_on(struct fixture *f, struct pump_options opt, bool tcp)
{
	struct errtext err = {};
	int a[2], b[2];

	*f = (struct fixture){};
	opt.ended = on_end;
	opt.arg = f;
	if (tcp)
		tcp_pair(a);
	else
		cr_assert_eq(socketpair(AF_UNIX, SOCK_STREAM, 0, a), 0);
	cr_assert_eq(socketpair(AF_UNIX, SOCK_STREAM, 0, b), 0);
	f->left = a[0];
	f->right = b[0];
	cr_assert_eq(pump_start(line_plain(a[1]), line_plain(b[1]), &opt, &f->pump, &err), 0, "%s",
		     err.text);
}

static void fixture_open(struct fixture *f, struct pump_options opt)
{
	fixture_open_on(f, opt, false);
}

static void fixture_close(struct fixture *f, int expected)
{
	cr_assert_eq(pump_join(f->pump), expected, "%d", pump_join(f->pump));
	cr_assert_eq(atomic_load(&f->ends), 1);
	cr_assert_eq(atomic_load(&f->result), expected);
	pump_destroy(f->pump);
	close(f->left);
	close(f->right);
}

static void say(int fd, const char *text)
{
	cr_assert_eq(socket_write_full(fd, text, strlen(text), -1), 0);
}

static void expect(int fd, const char *text)
{
	char buf[64] = "";

	cr_assert_eq(socket_read_full(fd, buf, strlen(text), -1), 0);
	cr_assert_str_eq(buf, text);
}

static void expect_end(int fd)
{
	char c;

	cr_assert_eq(socket_read_full(fd, &c, 1, -1), -ENODATA);
}

static void expect_nothing(int fd)
{
	char c;

	cr_assert_eq(recv(fd, &c, 1, MSG_DONTWAIT | MSG_PEEK), -1);
	cr_assert_eq(errno, EAGAIN);
}

static void await_kept(struct fixture *f, uint64_t bytes)
{
	while (pump_bytes_kept(f->pump) != bytes)
		sched_yield();
}

/* ---- flowing ---- */

static bool kinds[] = {false, true}; /* is a TCP? */

ParameterizedTestParameters(pump, both_ways_and_half_close)
{
	return cr_make_param_array(bool, kinds, 2);
}

ParameterizedTest(bool *tcp, pump, both_ways_and_half_close)
{
	struct fixture f;

	fixture_open_on(&f, (struct pump_options){}, *tcp);
	say(f.left, "question");
	expect(f.right, "question");
	cr_assert_eq(shutdown(f.left, SHUT_WR), 0);
	expect_end(f.right);
	say(f.right, "answer");
	expect(f.left, "answer");
	cr_assert_eq(atomic_load(&f.ends), 0);
	cr_assert_eq(shutdown(f.right, SHUT_WR), 0);
	expect_end(f.left);
	cr_assert_eq(pump_join(f.pump), 0);
	cr_assert_eq(pump_bytes_a_to_b(f.pump), 8);
	cr_assert_eq(pump_bytes_b_to_a(f.pump), 6);
	fixture_close(&f, 0);
}

struct flood {
	int fd;
	pthread_t thread;
};

static char pattern(size_t i)
{
	return (char)(i % 251);
}

/* Writes BIG bytes, then closes its direction. */
static void *flood_write(void *arg)
{
	struct flood *f = arg;
	char *buf = malloc(BIG);

	for (size_t i = 0; i < BIG; i++)
		buf[i] = pattern(i);
	if (!socket_write_full(f->fd, buf, BIG, -1))
		shutdown(f->fd, SHUT_WR);
	free(buf);
	return NULL;
}

static void flood_start(struct flood *f, int fd)
{
	f->fd = fd;
	cr_assert_eq(pthread_create(&f->thread, NULL, flood_write, f), 0);
}

static void *flood_read(void *arg)
{
	char *buf = malloc(BIG), c;
	int fd = *(int *)arg, ret = socket_read_full(fd, buf, BIG, -1);

	for (size_t i = 0; i < BIG && !ret; i++)
		ret = buf[i] == pattern(i) ? 0 : -EILSEQ;
	if (!ret && socket_read_full(fd, &c, 1, -1) != -ENODATA)
		ret = -EOVERFLOW;
	free(buf);
	return (void *)(intptr_t)ret;
}

ParameterizedTestParameters(pump, floods_both_ways_at_once)
{
	return cr_make_param_array(bool, kinds, 2);
}

ParameterizedTest(bool *tcp, pump, floods_both_ways_at_once)
{
	struct flood from_left, from_right;
	pthread_t reader;
	struct fixture f;
	void *ret;

	fixture_open_on(&f, (struct pump_options){}, *tcp);
	flood_start(&from_left, f.left);
	flood_start(&from_right, f.right);
	cr_assert_eq(pthread_create(&reader, NULL, flood_read, &f.left), 0);
	cr_assert_null(flood_read(&f.right));
	pthread_join(reader, &ret);
	cr_assert_null(ret);
	pthread_join(from_left.thread, NULL);
	pthread_join(from_right.thread, NULL);
	cr_assert_eq(pump_join(f.pump), 0);
	cr_assert_eq(pump_bytes_a_to_b(f.pump), BIG);
	cr_assert_eq(pump_bytes_b_to_a(f.pump), BIG);
	fixture_close(&f, 0);
}

Test(pump, stop_tears_both_down)
{
	struct fixture f;

	fixture_open(&f, (struct pump_options){});
	say(f.left, "x");
	expect(f.right, "x");
	pump_stop(f.pump);
	expect_end(f.left);
	expect_end(f.right);
	fixture_close(&f, -ECANCELED);
}

Test(pump, stop_ends_a_pump_that_cannot_write)
{
	struct flood flood;
	struct fixture f;

	fixture_open(&f, (struct pump_options){});
	flood_start(&flood, f.left);
	while (!pump_bytes_a_to_b(f.pump))
		sched_yield();
	pump_stop(f.pump);
	pthread_join(flood.thread, NULL);
	fixture_close(&f, -ECANCELED);
}

Test(pump, destroy_alone_is_enough)
{
	struct fixture f;

	fixture_open(&f, (struct pump_options){.held = true});
	say(f.left, "kept");
	pump_destroy(f.pump);
	cr_assert_eq(atomic_load(&f.ends), 1);
	expect_end(f.right);
	close(f.left);
	close(f.right);
	pump_destroy(NULL);
}

/* The far end of b has closed, but what it said before still arrives. */
Test(pump, last_words_survive_a_failed_write)
{
	struct fixture f;

	fixture_open(&f, (struct pump_options){.held = true});
	say(f.left, "unheard");
	await_kept(&f, 7);
	say(f.right, "bye");
	close(f.right);
	pump_release(f.pump);
	expect(f.left, "bye");
	expect_end(f.left);
	cr_assert_eq(pump_join(f.pump), -EPIPE);
	f.right = -1;
	fixture_close(&f, -EPIPE);
}

/* ---- holding ---- */

Test(pump, held_bytes_wait_and_the_way_back_flows)
{
	struct fixture f;

	fixture_open(&f, (struct pump_options){.held = true});
	say(f.left, "one");
	await_kept(&f, 3);
	say(f.right, "back");
	expect(f.left, "back");
	say(f.left, "two");
	await_kept(&f, 6);
	cr_assert_eq(shutdown(f.left, SHUT_WR), 0);
	expect_nothing(f.right);
	pump_release(f.pump);
	expect(f.right, "onetwo");
	expect_end(f.right);
	close(f.right);
	cr_assert_eq(pump_join(f.pump), 0);
	cr_assert_eq(pump_bytes_kept(f.pump), 0);
	f.right = -1;
	fixture_close(&f, 0);
}

Test(pump, hold_takes_effect_at_once)
{
	struct fixture f;

	fixture_open(&f, (struct pump_options){});
	say(f.left, "before");
	expect(f.right, "before");
	pump_hold(f.pump);
	say(f.left, "after");
	await_kept(&f, 5);
	expect_nothing(f.right);
	pump_release(f.pump);
	expect(f.right, "after");
	pump_stop(f.pump);
	fixture_close(&f, -ECANCELED);
}

Test(pump, hold_limit_stops_the_writer)
{
	struct flood flood;
	struct fixture f;

	fixture_open(&f, (struct pump_options){.held = true, .hold_limit = MIB + 1});
	flood_start(&flood, f.left);
	await_kept(&f, MIB + 1);
	/* The way back is served after the limit, and the pump has had its chance to read on. */
	say(f.right, "back");
	expect(f.left, "back");
	cr_assert_eq(pump_bytes_kept(f.pump), MIB + 1);
	expect_nothing(f.right);
	pump_release(f.pump);
	cr_assert_null(flood_read(&f.right));
	pthread_join(flood.thread, NULL);
	close(f.right);
	cr_assert_eq(pump_join(f.pump), 0);
	cr_assert_eq(pump_bytes_a_to_b(f.pump), BIG);
	f.right = -1;
	fixture_close(&f, 0);
}

/* A UNIX socket closed with unread bytes resets its peer: half a stream must not be released. */
Test(pump, broken_source_ends_a_held_pump)
{
	struct fixture f;

	fixture_open(&f, (struct pump_options){.held = true});
	say(f.left, "half");
	await_kept(&f, 4);
	say(f.right, "unread");
	while (pump_bytes_b_to_a(f.pump) != 6)
		sched_yield();
	close(f.left);
	expect_end(f.right);
	f.left = -1;
	fixture_close(&f, -ECONNRESET);
}

Test(pump, held_end_of_file_is_not_passed_on)
{
	struct fixture f;

	fixture_open(&f, (struct pump_options){.held = true});
	cr_assert_eq(shutdown(f.left, SHUT_WR), 0);
	say(f.right, "back");
	expect(f.left, "back");
	expect_nothing(f.right);
	pump_release(f.pump);
	expect_end(f.right);
	pump_stop(f.pump);
	fixture_close(&f, -ECANCELED);
}

/* ---- pacing ---- */

/* Only the lower side is tested against the real clock: a busy machine may always be slower. */
Test(pump, charges_a_to_b_without_waiting)
{
	struct timespec start, end;
	struct fixture f;
	struct pacer *p;
	double elapsed;

	clock_gettime(CLOCK_MONOTONIC, &start);
	cr_assert_eq(pacer_new(100, &p), 0);
	fixture_open(&f, (struct pump_options){.pacer = p});
	say(f.right, "no charge for answers, however long they are");
	expect(f.left, "no charge for answers, however long they are");
	cr_assert_eq(pacer_take(p, 0), 0);
	say(f.left, "one, two, three");
	expect(f.right, "one, two, three");
	close(f.left);
	close(f.right);
	f.left = f.right = -1;
	pump_join(f.pump);
	cr_assert_eq(pacer_take(p, 1), 0);
	clock_gettime(CLOCK_MONOTONIC, &end);
	elapsed = (double)(end.tv_sec - start.tv_sec) + (double)(end.tv_nsec - start.tv_nsec) / 1e9;
	cr_assert_geq(elapsed, 0.15 - 0.01);
	pump_destroy(f.pump);
	pacer_destroy(p);
}

static double elapsed_since(const struct timespec *start)
{
	struct timespec end;

	clock_gettime(CLOCK_MONOTONIC, &end);
	return (double)(end.tv_sec - start->tv_sec) + (double)(end.tv_nsec - start->tv_nsec) / 1e9;
}

/* It pays for what has gone before it reads more, and once hastened never again. */
Test(pump, waits_for_the_pacer_until_hastened)
{
	struct timespec start;
	struct fixture f;
	struct pacer *p;

	clock_gettime(CLOCK_MONOTONIC, &start);
	cr_assert_eq(pacer_new(100, &p), 0);
	fixture_open(&f, (struct pump_options){.pacer = p, .paced = true});
	say(f.left, "fifteen letters");
	expect(f.right, "fifteen letters");
	say(f.left, "and more");
	expect(f.right, "and more");
	say(f.left, "!");
	expect(f.right, "!");
	cr_assert_geq(elapsed_since(&start), 0.15 - 0.01);
	pump_hasten(f.pump);
	say(f.left, "this would take more than a quarter of a second if it waited");
	expect(f.right, "this would take more than a quarter of a second if it waited");
	close(f.left);
	close(f.right);
	f.left = f.right = -1;
	pump_join(f.pump);
	pump_destroy(f.pump);
	pacer_destroy(p);
}

/* ---- one side is answered here ---- */

/* Says hello, and OK to each piece; counts what it hears. */
static size_t answer(void *arg, const uint8_t *in, size_t n, uint8_t *out)
{
	size_t *heard = arg;

	*heard += n;
	cr_assert(n == 0 || in[n - 1] == '.');
	memcpy(out, n ? "OK" : "hello ", n ? 2 : 6);
	return n ? 2 : 6;
}

static void expect_on(int fd, const char *want)
{
	char got[16] = "";

	cr_assert_eq(recv(fd, got, strlen(want), MSG_WAITALL), (ssize_t)strlen(want));
	cr_assert_str_eq(got, want);
}

Test(pump, a_may_be_answered_in_the_place_of_b)
{
	struct fixture f;
	size_t heard = 0;

	fixture_open(&f, (struct pump_options){.answer = answer, .answer_arg = &heard});
	expect_on(f.left, "hello ");
	cr_assert_eq(send(f.right, "nobody hears this", 17, 0), 17);
	cr_assert_eq(send(f.left, "a word.", 7, 0), 7);
	expect_on(f.left, "OK");
	expect_on(f.right, "a word.");
	shutdown(f.left, SHUT_WR);
	cr_assert_eq(send(f.right, "nor this", 8, 0), 8);
	shutdown(f.right, SHUT_WR);
	cr_assert_eq(recv(f.left, &(char){0}, 1, 0), 0, "b's words are dropped");
	fixture_close(&f, 0);
	cr_assert_eq(heard, 7);
}

Test(pump, knows_that_b_has_closed)
{
	struct fixture f;

	fixture_open(&f, (struct pump_options){0});
	cr_assert_not(pump_has_lost_b(f.pump));
	shutdown(f.right, SHUT_WR);
	while (!pump_has_lost_b(f.pump))
		sched_yield();
	shutdown(f.left, SHUT_WR);
	fixture_close(&f, 0);
}

Test(pump, who_does_not_listen_to_the_answer_is_carried_on)
{
	struct fixture f;
	size_t heard = 0;

	fixture_open(&f, (struct pump_options){.answer = answer, .answer_arg = &heard});
	shutdown(f.left, SHUT_RD);
	cr_assert_eq(send(f.left, "more.", 5, 0), 5);
	expect_on(f.right, "more.");
	shutdown(f.left, SHUT_WR);
	shutdown(f.right, SHUT_WR);
	pump_join(f.pump);
	pump_destroy(f.pump);
	close(f.left);
	close(f.right);
}

/* ---- straining and halting ---- */

/* Drops digits, keeps each run of other bytes, and ends at a '!'. */
static int no_digits(void *arg, const uint8_t *in, size_t n,
		     int (*keep)(void *opaque, const uint8_t *at, size_t n), void *opaque)
{
	int ret = 0;

	(void)arg;
	for (size_t i = 0; i < n && ret == 0; i++) {
		if (in[i] == '!')
			ret = -EPROTO;
		else if (in[i] < '0' || in[i] > '9')
			ret = keep(opaque, in + i, 1);
	}
	return ret;
}

static int all(void *arg, const uint8_t *in, size_t n,
	       int (*keep)(void *opaque, const uint8_t *at, size_t n), void *opaque)
{
	(void)arg;
	return keep(opaque, in, n);
}

ParameterizedTestParameters(pump, drops_what_the_strainer_drops)
{
	return cr_make_param_array(bool, kinds, 2);
}

ParameterizedTest(bool *tcp, pump, drops_what_the_strainer_drops)
{
	struct fixture f;

	fixture_open_on(&f, (struct pump_options){.strain = no_digits}, *tcp);
	say(f.left, "123a1b2");
	say(f.left, "34567");
	expect(f.right, "ab");
	say(f.left, "c8");
	expect(f.right, "c");
	say(f.right, "99 flow back");
	expect(f.left, "99 flow back");
	cr_assert_eq(shutdown(f.left, SHUT_WR), 0);
	expect_end(f.right);
	shutdown(f.right, SHUT_WR);
	cr_assert_eq(pump_join(f.pump), 0);
	cr_assert_eq(pump_bytes_a_to_b(f.pump), 3);
	fixture_close(&f, 0);
}

static size_t answer_counted(void *arg, const uint8_t *in, size_t n, uint8_t *out)
{
	size_t *heard = arg;

	*heard += n;
	memcpy(out, "OK", 2);
	return n && in[n - 1] == '.' ? 2 : 0;
}

Test(pump, only_what_is_kept_is_answered)
{
	struct fixture f;
	size_t heard = 0;

	fixture_open(&f, (struct pump_options){.strain = no_digits,
					       .answer = answer_counted,
					       .answer_arg = &heard});
	say(f.left, "0000000001");
	say(f.left, "1a.2");
	expect(f.left, "OK");
	expect(f.right, "a.");
	shutdown(f.left, SHUT_WR);
	shutdown(f.right, SHUT_WR);
	fixture_close(&f, 0);
	cr_assert_eq(heard, 2);
}

/* What the strainer drops is not kept anywhere: it never fills a queue that nobody empties. */
Test(pump, dropped_bytes_take_no_room)
{
	char *digits = malloc(BIG);
	struct fixture f;

	memset(digits, '7', BIG);
	fixture_open(&f, (struct pump_options){.held = true, .hold_limit = 4, .strain = no_digits});
	cr_assert_eq(socket_write_full(f.left, digits, BIG, -1), 0);
	say(f.left, "abc");
	await_kept(&f, 3);
	expect_nothing(f.right);
	pump_release(f.pump);
	expect(f.right, "abc");
	pump_stop(f.pump);
	fixture_close(&f, -ECANCELED);
	free(digits);
}

/* Kept bytes that b does not take keep a waiting, as without a strainer. */
Test(pump, strained_flood_waits_for_b)
{
	struct flood flood;
	struct fixture f;
	uint64_t kept;
	char c;

	fixture_open(&f, (struct pump_options){.held = true, .hold_limit = MIB, .strain = all});
	flood_start(&flood, f.left);
	while (pump_bytes_kept(f.pump) < MIB)
		sched_yield();
	/* The way back is served after the limit, and the pump has had its chance to read on. */
	say(f.right, "back");
	expect(f.left, "back");
	kept = pump_bytes_kept(f.pump);
	cr_assert_lt(kept, 2 * MIB);
	cr_assert_eq(recv(flood.fd, &c, 1, MSG_DONTWAIT | MSG_PEEK), -1);
	pump_stop(f.pump);
	pthread_join(flood.thread, NULL);
	fixture_close(&f, -ECANCELED);
}

Test(pump, ends_where_the_strainer_ends)
{
	struct fixture f;

	fixture_open(&f, (struct pump_options){.held = true, .strain = no_digits});
	say(f.left, "good");
	await_kept(&f, 4);
	say(f.left, "bad!");
	expect_end(f.left);
	expect_end(f.right);
	fixture_close(&f, -EPROTO);
}

Test(pump, ends_where_the_strainer_ends_while_it_flows)
{
	struct fixture f;

	fixture_open(&f, (struct pump_options){.strain = no_digits});
	say(f.left, "good");
	expect(f.right, "good");
	say(f.left, "bad!");
	expect_end(f.left);
	expect_end(f.right);
	fixture_close(&f, -EPROTO);
}

Test(pump, halted_reads_nothing_from_a)
{
	struct fixture f;
	size_t heard = 0;

	fixture_open(&f,
		     (struct pump_options){.halted = true, .answer = answer, .answer_arg = &heard});
	say(f.left, "one.");
	expect_on(f.left, "hello ");
	say(f.right, "dropped");
	expect_nothing(f.right);
	cr_assert_eq(pump_bytes_kept(f.pump), 0);
	pump_go(f.pump);
	expect(f.right, "one.");
	expect_on(f.left, "OK");
	pump_stop(f.pump);
	fixture_close(&f, -ECANCELED);
	cr_assert_eq(heard, 4);
}

Test(pump, halted_keeps_the_writer_waiting)
{
	struct flood flood;
	struct fixture f;

	fixture_open(&f, (struct pump_options){.halted = true});
	flood_start(&flood, f.left);
	say(f.right, "back");
	expect(f.left, "back");
	cr_assert_eq(pump_bytes_kept(f.pump) + pump_bytes_a_to_b(f.pump), 0);
	pump_go(f.pump);
	cr_assert_null(flood_read(&f.right));
	pthread_join(flood.thread, NULL);
	shutdown(f.right, SHUT_WR);
	fixture_close(&f, 0);
}

Test(pump, halted_can_be_stopped_and_loses_b)
{
	struct fixture f;

	fixture_open(&f, (struct pump_options){.halted = true});
	say(f.left, "unread");
	shutdown(f.right, SHUT_WR);
	while (!pump_has_lost_b(f.pump))
		sched_yield();
	pump_stop(f.pump);
	expect_end(f.right);
	fixture_close(&f, -ECANCELED);
}
