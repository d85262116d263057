// SPDX-License-Identifier: Apache-2.0
// The io_uring stream against a plain socket at the other end, which can be slow, short or gone.
//
// Every test of the contract runs over a UNIX socket pair and over loopback TCP, with and without
// zero copy (which a UNIX socket refuses: the fall-back).
#include <criterion/criterion.h>
#include <criterion/parameterized.h>
#include <errno.h>
#include <limits.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>
#include "iov_cursor.h"
#include "pacer.h"
#include "socket.h"
#include "uring_stream.h"

#define BIG ((size_t)8 << 20) /* more than any socket buffer takes */

TestSuite(uring_stream, .timeout = 60);

struct variant {
	bool tcp, zero_copy;
};

static struct variant variants[] = {{false, false}, {false, true}, {true, false}, {true, true}};

#define EACH_VARIANT(name)                                                                         \
	ParameterizedTestParameters(uring_stream, name)                                            \
	{                                                                                          \
		return cr_make_param_array(struct variant, variants, 4);                           \
	}                                                                                          \
	ParameterizedTest(struct variant *v, uring_stream, name)

static void tcp_pair(int fds[2])
{
	struct socket_options opt = {.bind = "127.0.0.1"};
	struct errtext err = {};
	char peer[SOCKET_PEER_SIZE];
	uint16_t port;
	int listener;

	cr_assert_eq(socket_listen(&opt, 0, &listener, &err), 0, "%s", err.text);
	cr_assert_eq(socket_port(listener, &port), 0);
	cr_assert_eq(socket_connect("127.0.0.1", port, NULL, 5000, &fds[0], &err), 0, "%s",
		     err.text);
	cr_assert_eq(socket_accept(listener, NULL, &fds[1], peer, &err), 0, "%s", err.text);
	close(listener);
}

/* Returns the stream; *peer is the plain end. */
static struct byte_stream *open_stream(const struct variant *v, struct pacer *pacer, int *peer)
{
	struct uring_stream_options opt = {.zero_copy = v->zero_copy, .pacer = pacer};
	struct byte_stream *stream;
	struct errtext err = {};
	int fds[2], ret;

	if (v->tcp)
		tcp_pair(fds);
	else
		cr_assert_eq(socketpair(AF_UNIX, SOCK_STREAM, 0, fds), 0);
	ret = uring_stream_new(fds[0], &opt, &stream, &err);
	if (ret == -ENOSYS || ret == -EPERM) {
		cr_skip_test("no io_uring here: %s", err.text);
	}
	cr_assert_eq(ret, 0, "%s", err.text);
	*peer = fds[1];
	return stream;
}

static int send_all(struct byte_stream *s, const void *buf, size_t len)
{
	struct iovec iov = {(void *)buf, len};

	return s->ops->send(s, &iov, 1);
}

static int recv_all(struct byte_stream *s, void *buf, size_t len)
{
	struct iovec iov = {buf, len};

	return s->ops->recv(s, &iov, 1);
}

/* Byte i of the test's data; the period is prime, so that no buffer size hides a shift. */
static char pattern(size_t i)
{
	return (char)(i % 251);
}

static char *pattern_new(size_t len)
{
	char *buf = malloc(len);

	for (size_t i = 0; i < len; i++)
		buf[i] = pattern(i);
	return buf;
}

static void expect_pattern(const char *buf, size_t len)
{
	for (size_t i = 0; i < len; i++)
		if (buf[i] != pattern(i))
			cr_assert_fail("byte %zu is wrong", i);
}

/* Buffers of growing, odd sizes over len bytes at buf. */
static unsigned int odd_iov(char *buf, size_t len, struct iovec iov[IOV_MAX])
{
	unsigned int n = 0;

	for (size_t size = 1; len; size = size * 2 + 1, n++) {
		if (size > len || n == IOV_MAX - 1)
			size = len;
		iov[n] = (struct iovec){buf, size};
		buf += size;
		len -= size;
	}
	return n;
}

/* ---- the plain end ---- */

struct peer {
	int fd;
	char *buf;
	size_t len;
	pthread_t thread;
};

/* Reads in odd portions until the end of file. */
static void *peer_read(void *arg)
{
	struct peer *p = arg;
	size_t some = 1;
	ssize_t n;

	while ((n = recv(p->fd, p->buf + p->len, some, 0)) > 0) {
		p->len += (size_t)n;
		some = some * 3 % 100003;
	}
	return NULL;
}

/* Writes len bytes in odd portions. */
static void *peer_write(void *arg)
{
	struct peer *p = arg;
	size_t done = 0, some = 1;

	while (done < p->len) {
		size_t n = some < p->len - done ? some : p->len - done;

		if (socket_write_full(p->fd, p->buf + done, n, -1))
			break;
		done += n;
		some = some * 3 % 100003;
	}
	return NULL;
}

static void peer_start(struct peer *p, void *(*main)(void *))
{
	cr_assert_eq(pthread_create(&p->thread, NULL, main, p), 0);
}

/* ---- the contract ---- */

/* As a container's seccomp profile does it. */
static void forbid_io_uring(void)
{
	struct sock_filter rows[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_io_uring_setup, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EPERM),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	const struct sock_fprog filter = {sizeof(rows) / sizeof(*rows), rows};

	cr_assert_eq(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), 0);
	cr_assert_eq(prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &filter), 0);
}

Test(uring_stream, whether_it_can_be_used_is_told)
{
	struct errtext err = {};

	if (uring_stream_supported(&err) < 0)
		cr_skip_test("%s", err.text);
	forbid_io_uring();
	cr_assert_eq(uring_stream_supported(&err), -ENOTSUP);
	cr_assert(strstr(err.text, "seccomp"), "%s", err.text);
}

EACH_VARIANT(sends_all_to_a_slow_reader)
{
	struct peer p = {.buf = malloc(BIG)};
	struct byte_stream *s = open_stream(v, NULL, &p.fd);
	char *data = pattern_new(BIG);
	struct iovec iov[IOV_MAX];
	unsigned int n = odd_iov(data, BIG, iov);

	peer_start(&p, peer_read);
	cr_assert_eq(s->ops->send(s, iov, n), 0);
	memset(iov, 0, sizeof(iov)); /* "the iovec array itself is copied" */
	cr_assert_eq(s->ops->drain(s), 0);
	cr_assert_eq(uring_stream_bytes_sent(s), BIG);
	cr_assert_eq(uring_stream_bytes(s), BIG);
	s->ops->destroy(s);
	pthread_join(p.thread, NULL);
	cr_assert_eq(p.len, BIG);
	expect_pattern(p.buf, BIG);
	close(p.fd);
	free(p.buf);
	free(data);
}

EACH_VARIANT(receives_all_from_an_odd_writer)
{
	struct peer p = {.buf = pattern_new(BIG), .len = BIG};
	struct byte_stream *s = open_stream(v, NULL, &p.fd);
	char *data = calloc(1, BIG);
	struct iovec iov[IOV_MAX];
	unsigned int n = odd_iov(data, BIG, iov);

	peer_start(&p, peer_write);
	cr_assert_eq(s->ops->recv(s, iov, n), 0);
	pthread_join(p.thread, NULL);
	expect_pattern(data, BIG);
	cr_assert_eq(uring_stream_bytes_received(s), BIG);
	s->ops->destroy(s);
	close(p.fd);
	free(p.buf);
	free(data);
}

EACH_VARIANT(takes_iov_max_buffers)
{
	struct peer p = {.buf = malloc(IOV_MAX * 5)};
	struct byte_stream *s = open_stream(v, NULL, &p.fd);
	char *data = pattern_new(IOV_MAX * 5);
	struct iovec iov[IOV_MAX];

	for (int i = 0; i < IOV_MAX; i++)
		iov[i] = (struct iovec){data + (size_t)i * 5, 5};
	cr_assert_eq(s->ops->send(s, iov, IOV_MAX), 0);
	cr_assert_eq(socket_read_full(p.fd, p.buf, IOV_MAX * 5, -1), 0);
	expect_pattern(p.buf, IOV_MAX * 5);
	cr_assert_eq(socket_write_full(p.fd, p.buf, IOV_MAX * 5, -1), 0);
	memset(data, 0, IOV_MAX * 5);
	cr_assert_eq(s->ops->recv(s, iov, IOV_MAX), 0);
	expect_pattern(data, IOV_MAX * 5);
	s->ops->destroy(s);
	close(p.fd);
	free(p.buf);
	free(data);
}

/* Two buffers in turn, rewritten as soon as the contract allows. */
EACH_VARIANT(earlier_sends_have_left_the_memory)
{
	const size_t size = 1 << 20, rounds = 16;
	struct peer p = {.buf = malloc(size * rounds)};
	struct byte_stream *s = open_stream(v, NULL, &p.fd);
	char *buf[2] = {malloc(size), malloc(size)};

	peer_start(&p, peer_read);
	for (size_t i = 0; i < rounds; i++) {
		memset(buf[i % 2], (int)i, size);
		cr_assert_eq(send_all(s, buf[i % 2], size), 0);
	}
	cr_assert_eq(s->ops->drain(s), 0);
	s->ops->destroy(s);
	pthread_join(p.thread, NULL);
	cr_assert_eq(p.len, size * rounds);
	for (size_t i = 0; i < size * rounds; i++)
		if (p.buf[i] != (char)(i / size))
			cr_assert_fail("byte %zu was overwritten", i);
	close(p.fd);
	free(p.buf);
	free(buf[0]);
	free(buf[1]);
}

/* The peer answers only once it has the whole send: recv must keep an unfinished send going. */
static void *peer_read_then_answer(void *arg)
{
	struct peer *p = arg;

	if (!socket_read_full(p->fd, p->buf, p->len, -1))
		socket_write_full(p->fd, "ok", 2, -1);
	return NULL;
}

EACH_VARIANT(recv_does_not_starve_a_send)
{
	struct peer p = {.buf = malloc(BIG), .len = BIG};
	struct byte_stream *s = open_stream(v, NULL, &p.fd);
	char *data = pattern_new(BIG), answer[2];

	peer_start(&p, peer_read_then_answer);
	cr_assert_eq(send_all(s, data, BIG), 0);
	cr_assert_eq(recv_all(s, answer, 2), 0);
	cr_assert_eq(s->ops->drain(s), 0);
	pthread_join(p.thread, NULL);
	expect_pattern(p.buf, BIG);
	s->ops->destroy(s);
	close(p.fd);
	free(p.buf);
	free(data);
}

EACH_VARIANT(tells_an_end_from_a_break)
{
	struct byte_stream *s;
	char buf[4];
	int peer;

	s = open_stream(v, NULL, &peer);
	cr_assert_eq(socket_write_full(peer, "abcdef", 6, -1), 0);
	close(peer);
	cr_assert_eq(recv_all(s, buf, 4), 0);
	cr_assert_eq(recv_all(s, buf, 4), -ECONNRESET);
	cr_assert_eq(recv_all(s, buf, 4), -ECONNRESET, "a dead stream must stay dead");
	s->ops->destroy(s);

	s = open_stream(v, NULL, &peer);
	cr_assert_eq(socket_write_full(peer, "abcd", 4, -1), 0);
	close(peer);
	cr_assert_eq(recv_all(s, buf, 4), 0);
	cr_assert_eq(recv_all(s, buf, 4), -ENODATA);
	s->ops->destroy(s);
}

EACH_VARIANT(send_fails_when_the_peer_has_gone)
{
	char *data = pattern_new(BIG);
	struct byte_stream *s;
	int peer, ret = 0;

	s = open_stream(v, NULL, &peer);
	close(peer);
	/* TCP learns of it from the answer to the first bytes. */
	for (int i = 0; i < 8 && !ret; i++)
		ret = send_all(s, data, BIG);
	cr_assert(ret == -EPIPE || ret == -ECONNRESET, "%d", ret);
	cr_assert_eq(send_all(s, data, BIG), ret);
	cr_assert_eq(s->ops->drain(s), ret);
	s->ops->destroy(s);
	free(data);
}

/* Last words of a peer that has stopped listening still arrive. */
EACH_VARIANT(recv_survives_a_failed_send)
{
	char *data = pattern_new(BIG), answer[3];
	struct byte_stream *s;
	int peer, ret = 0;

	if (v->tcp) {
		cr_skip_test("TCP resets both directions");
	}
	s = open_stream(v, NULL, &peer);
	cr_assert_eq(socket_write_full(peer, "bye", 3, -1), 0);
	cr_assert_eq(shutdown(peer, SHUT_RD), 0);
	for (int i = 0; i < 8 && !ret; i++)
		ret = send_all(s, data, BIG);
	cr_assert_eq(ret, -EPIPE);
	cr_assert_eq(recv_all(s, answer, 3), 0);
	s->ops->destroy(s);
	close(peer);
	free(data);
}

/* ---- shutdown from another thread ---- */

struct blocked {
	struct byte_stream *stream;
	bool sends;
	_Atomic pid_t tid;
	int result;
	pthread_t thread;
};

static void *block(void *arg)
{
	struct blocked *b = arg;
	char *data = pattern_new(BIG);

	atomic_store(&b->tid, gettid());
	while (!b->result)
		b->result =
			b->sends ? send_all(b->stream, data, BIG) : recv_all(b->stream, data, BIG);
	free(data);
	return NULL;
}

/* Until the kernel says that the thread sleeps. */
static void await_sleep(struct blocked *b)
{
	char path[64], stat[256] = "", *state;

	while (!atomic_load(&b->tid))
		sched_yield();
	snprintf(path, sizeof(path), "/proc/self/task/%d/stat", atomic_load(&b->tid));
	for (;;) {
		FILE *f = fopen(path, "re");

		cr_assert_not_null(f);
		cr_assert_not_null(fgets(stat, sizeof(stat), f));
		fclose(f);
		state = strrchr(stat, ')');
		if (state && state[2] == 'S')
			return;
		sched_yield();
	}
}

static void expect_shutdown_wakes(const struct variant *v, bool sends, struct pacer *pacer)
{
	struct blocked b = {.sends = sends};
	int peer;

	b.stream = open_stream(v, pacer, &peer);
	cr_assert_eq(pthread_create(&b.thread, NULL, block, &b), 0);
	await_sleep(&b);
	b.stream->ops->shutdown(b.stream);
	pthread_join(b.thread, NULL);
	cr_assert_eq(b.result, -ECANCELED, "%d", b.result);
	cr_assert_eq(recv_all(b.stream, &b, 1), -ECANCELED);
	cr_assert_eq(send_all(b.stream, &b, 1), -ECANCELED);
	b.stream->ops->destroy(b.stream);
	close(peer);
}

EACH_VARIANT(shutdown_wakes_a_send)
{
	expect_shutdown_wakes(v, true, NULL);
}

EACH_VARIANT(shutdown_wakes_a_recv)
{
	expect_shutdown_wakes(v, false, NULL);
}

EACH_VARIANT(shutdown_wakes_a_paced_send)
{
	struct pacer *pacer;

	cr_assert_eq(pacer_new(1, &pacer), 0);
	expect_shutdown_wakes(v, true, pacer);
	pacer_destroy(pacer);
}

EACH_VARIANT(shutdown_is_seen_by_the_peer)
{
	struct byte_stream *s;
	int peer, ret;
	char c;

	s = open_stream(v, NULL, &peer);
	s->ops->shutdown(s);
	ret = socket_read_full(peer, &c, 1, -1);
	cr_assert(ret == -ENODATA || (v->zero_copy && ret == -ECONNRESET), "%d", ret);
	s->ops->destroy(s);
	close(peer);
}

/* The caller may free its buffers after destroy, whatever was still under way. */
EACH_VARIANT(destroy_ends_a_send_under_way)
{
	char *data = pattern_new(BIG);
	struct byte_stream *s;
	int peer;

	s = open_stream(v, NULL, &peer);
	cr_assert_eq(send_all(s, data, BIG), 0);
	s->ops->destroy(s);
	free(data);
	close(peer);
}

/* ---- threads and pacing ---- */

static void *send_and_drain(void *arg)
{
	struct byte_stream *s = arg;

	if (send_all(s, (char[]){"hello"}, 5) || s->ops->drain(s))
		return s;
	return NULL;
}

EACH_VARIANT(drained_stream_may_change_threads)
{
	struct byte_stream *s;
	pthread_t thread;
	void *failed;
	char buf[10];
	int peer;

	s = open_stream(v, NULL, &peer);
	cr_assert_null(send_and_drain(s));
	cr_assert_eq(pthread_create(&thread, NULL, send_and_drain, s), 0);
	pthread_join(thread, &failed);
	cr_assert_null(failed);
	cr_assert_eq(socket_read_full(peer, buf, 10, -1), 0);
	cr_assert_eq(memcmp(buf, "hellohello", 10), 0);
	s->ops->destroy(s);
	close(peer);
}

EACH_VARIANT(pacer_slows_a_send_and_loses_nothing)
{
	const size_t len = 2 << 20, rate = 16 << 20;
	struct peer p = {.buf = malloc(len)};
	struct timespec start, end;
	struct byte_stream *s;
	struct pacer *pacer;
	char *data = pattern_new(len);
	double elapsed;

	cr_assert_eq(pacer_new(rate, &pacer), 0);
	s = open_stream(v, pacer, &p.fd);
	peer_start(&p, peer_read);
	clock_gettime(CLOCK_MONOTONIC, &start);
	cr_assert_eq(send_all(s, data, len), 0);
	cr_assert_eq(s->ops->drain(s), 0);
	clock_gettime(CLOCK_MONOTONIC, &end);
	elapsed = (double)(end.tv_sec - start.tv_sec) + (double)(end.tv_nsec - start.tv_nsec) / 1e9;
	cr_assert_geq(elapsed, (double)len / (double)rate - 0.01);
	s->ops->destroy(s);
	pthread_join(p.thread, NULL);
	cr_assert_eq(p.len, len);
	expect_pattern(p.buf, len);
	pacer_destroy(pacer);
	close(p.fd);
	free(p.buf);
	free(data);
}

/* At a byte a second it would take for ever. */
EACH_VARIANT(what_is_hastened_does_not_wait_for_the_pacer)
{
	struct byte_stream *s;
	struct pacer *pacer;
	char buf[10];
	int peer;

	cr_assert_eq(pacer_new(1, &pacer), 0);
	s = open_stream(v, pacer, &peer);
	uring_stream_hasten(s);
	for (int i = 0; i < 2; i++) {
		cr_assert_eq(send_all(s, "helloworld", 10), 0);
		cr_assert_eq(s->ops->drain(s), 0);
		cr_assert_eq(socket_read_full(peer, buf, 10, -1), 0);
	}
	s->ops->destroy(s);
	pacer_destroy(pacer);
	close(peer);
}

/* ---- counts ---- */

EACH_VARIANT(acknowledged_is_what_the_peer_has)
{
	struct peer p = {.buf = malloc(BIG)};
	struct byte_stream *s = open_stream(v, NULL, &p.fd);
	char *data = pattern_new(BIG);

	cr_assert_eq(uring_stream_bytes_acked(s), 0);
	peer_start(&p, peer_read);
	cr_assert_eq(send_all(s, data, BIG), 0);
	cr_assert_leq(uring_stream_bytes_acked(s), BIG);
	cr_assert_eq(s->ops->drain(s), 0);
	while (uring_stream_bytes_acked(s) != BIG)
		sched_yield();
	cr_assert_geq(uring_stream_socket(s), 0);
	s->ops->destroy(s);
	pthread_join(p.thread, NULL);
	close(p.fd);
	free(p.buf);
	free(data);
}

/* Nobody reads, so not all that was sent can have been acknowledged. */
Test(uring_stream, a_silent_peer_acknowledges_less)
{
	struct variant tcp = {.tcp = true};
	char *data = pattern_new(BIG);
	int peer;
	struct byte_stream *s = open_stream(&tcp, NULL, &peer);

	cr_assert_eq(send_all(s, data, BIG), 0);
	cr_assert_lt(uring_stream_bytes_acked(s), BIG);
	s->ops->destroy(s);
	close(peer);
	free(data);
}

/* ---- the cursor ---- */

Test(uring_stream, cursor_goes_on_where_it_stopped)
{
	static struct iov_cursor c;
	static struct iovec window[IOV_MAX];
	char buf[10];
	struct iovec iov[] = {{buf, 3}, {buf + 3, 0}, {buf + 3, 7}};

	iov_cursor_set(&c, iov, 3);
	cr_assert_eq(c.left, 10);
	cr_assert_eq(iov_cursor_window(&c, 2, window), 1);
	cr_assert_eq(window[0].iov_len, 2);
	iov_cursor_advance(&c, 2);
	cr_assert_eq(iov_cursor_window(&c, 4, window), 3);
	cr_assert_eq(window[0].iov_base, buf + 2);
	cr_assert_eq(window[0].iov_len, 1);
	cr_assert_eq(window[2].iov_len, 3);
	iov_cursor_advance(&c, 4);
	cr_assert_eq(iov_cursor_window(&c, SIZE_MAX, window), 1);
	cr_assert_eq(window[0].iov_base, buf + 6);
	cr_assert_eq(window[0].iov_len, 4);
	iov_cursor_advance(&c, 4);
	cr_assert_eq(c.left, 0);
}
