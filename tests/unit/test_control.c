// SPDX-License-Identifier: Apache-2.0
// The control channel: against another of its kind, and against a peer that is the test.
#include "control.h"

#include <criterion/criterion.h>
#include <criterion/parameterized.h>
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include "clock.h"
#include "pacer.h"
#include "socket.h"

#define PATIENT_MS 20000
#define HOUR_US 3600000000ll
#define KEPT 8

TestSuite(control, .timeout = 30);

struct side {
	struct control *control;

	pthread_mutex_t lock;
	pthread_cond_t changed;
	/* under lock */
	struct wire_message messages[KEPT];
	unsigned int count, lost_count;
	int lost_result;
	char lost_text[256];
	bool late; /* a message came after the end */
};

static bool on_message(void *opaque, struct wire_message *m, uint64_t deadline_us)
{
	struct side *s = opaque;

	(void)deadline_us;
	pthread_mutex_lock(&s->lock);
	s->late |= s->lost_count > 0;
	if (s->count < KEPT)
		s->messages[s->count] = *m;
	s->count++;
	pthread_cond_broadcast(&s->changed);
	pthread_mutex_unlock(&s->lock);
	return true;
}

static void on_lost(void *opaque, int result, const char *text)
{
	struct side *s = opaque;

	pthread_mutex_lock(&s->lock);
	s->lost_count++;
	s->lost_result = result;
	snprintf(s->lost_text, sizeof(s->lost_text), "%s", text);
	pthread_cond_broadcast(&s->changed);
	pthread_mutex_unlock(&s->lock);
}

static void start_with(struct side *s, struct control_options opt)
{
	struct errtext err = {0};

	opt.message = on_message;
	opt.lost = on_lost;
	opt.opaque = s;
	memset(s, 0, sizeof(*s));
	pthread_mutex_init(&s->lock, NULL);
	pthread_cond_init(&s->changed, NULL);
	cr_assert_eq(control_new(&opt, &s->control, &err), 0, "%s", err.text);
}

static void start_paced(struct side *s, int fd, uint32_t silence_ms, struct pacer *pacer)
{
	start_with(s, (struct control_options){
			      .line = line_plain(fd), .silence_ms = silence_ms, .pacer = pacer});
}

static void start(struct side *s, int fd, uint32_t silence_ms)
{
	start_paced(s, fd, silence_ms, NULL);
}

/* Returns the descriptor of the other end. */
static int start_alone(struct side *s, uint32_t silence_ms)
{
	int fds[2];

	cr_assert_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), 0);
	start(s, fds[0], silence_ms);
	return fds[1];
}

static void start_both(struct side *a, struct side *b, uint32_t silence_ms)
{
	int fds[2];

	cr_assert_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), 0);
	start(a, fds[0], silence_ms);
	start(b, fds[1], silence_ms);
}

static void end(struct side *s)
{
	control_destroy(s->control);
	cr_assert_eq(s->lost_count, 1);
	cr_assert_not(s->late);
	pthread_cond_destroy(&s->changed);
	pthread_mutex_destroy(&s->lock);
}

static void await_messages(struct side *s, unsigned int count)
{
	pthread_mutex_lock(&s->lock);
	while (s->count < count)
		pthread_cond_wait(&s->changed, &s->lock);
	pthread_mutex_unlock(&s->lock);
}

static int await_lost(struct side *s)
{
	pthread_mutex_lock(&s->lock);
	while (!s->lost_count)
		pthread_cond_wait(&s->changed, &s->lock);
	pthread_mutex_unlock(&s->lock);
	return s->lost_result;
}

/* ---- the test as the peer ---- */

static void put(int fd, const struct wire_message *m)
{
	struct errtext err = {0};

	cr_assert_eq(control_write_one(line_plain(fd), PATIENT_MS, m, &err), 0, "%s", err.text);
}

static void put_type(int fd, enum wire_type type)
{
	struct wire_message m = {.type = type};

	put(fd, &m);
}

/* The next message of that type; others are passed over. */
static struct wire_message next_of(int fd, enum wire_type type)
{
	struct errtext err = {0};
	struct wire_message m;

	do
		cr_assert_eq(control_read_one(line_plain(fd), PATIENT_MS, &m, &err), 0, "%s",
			     err.text);
	while (m.type != type);
	return m;
}

Test(control, messages_go_both_ways_in_order)
{
	struct wire_message m = {.type = WIRE_SYNCED};
	struct side a, b;

	start_both(&a, &b, PATIENT_MS);
	for (uint16_t i = 0; i < KEPT; i++) {
		m.synced.stream = i;
		m.synced.round = 100u + i;
		cr_assert_eq(control_send(a.control, &m), 0);
	}
	cr_assert_eq(control_send_type(b.control, WIRE_READY), 0);
	await_messages(&b, KEPT);
	await_messages(&a, 1);
	for (uint16_t i = 0; i < KEPT; i++) {
		cr_assert_eq(b.messages[i].type, WIRE_SYNCED);
		cr_assert_eq(b.messages[i].synced.stream, i);
		cr_assert_eq(b.messages[i].synced.round, 100u + i);
	}
	cr_assert_eq(a.messages[0].type, WIRE_READY);
	end(&a);
	end(&b);
}

/* The peer takes nothing else before it. */
Test(control, the_first_message_goes_before_any_heartbeat)
{
	const struct wire_message first = {.type = WIRE_QUEUED, .queued = {7}};
	struct wire_message m;
	struct errtext err = {0};
	struct side s;
	int fds[2];

	cr_assert_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), 0);
	start_with(&s, (struct control_options){.line = line_plain(fds[0]),
						.silence_ms = PATIENT_MS,
						.first = &first});
	cr_assert_eq(control_read_one(line_plain(fds[1]), PATIENT_MS, &m, &err), 0, "%s", err.text);
	cr_assert_eq(m.type, WIRE_QUEUED);
	cr_assert_eq(m.queued.ahead, 7);
	close(fds[1]);
	end(&s);
}

Test(control, a_ping_is_answered_and_not_delivered)
{
	struct wire_message ping = {.type = WIRE_PING, .ping = {4711, 0}}, pong;
	struct side s;
	int fd = start_alone(&s, PATIENT_MS);
	uint64_t before = clock_realtime_us();

	put(fd, &ping);
	pong = next_of(fd, WIRE_PONG);
	cr_assert_eq(pong.ping.sent_us, 4711);
	cr_assert_geq(pong.ping.peer_us, before);
	cr_assert_leq(pong.ping.peer_us, clock_realtime_us());
	put_type(fd, WIRE_READY);
	await_messages(&s, 1);
	cr_assert_eq(s.messages[0].type, WIRE_READY);
	end(&s);
	close(fd);
}

/* The peer's clock is an hour ahead. */
Test(control, the_clocks_difference_is_learnt)
{
	struct side s;
	int fd = start_alone(&s, PATIENT_MS);
	int64_t offset = -1;
	uint64_t trip = 1;
	struct wire_message pong;

	control_clock(s.control, &offset, &trip);
	cr_assert_eq(offset, 0, "nothing known yet");
	cr_assert_eq(trip, 0);
	pong = next_of(fd, WIRE_PING);
	pong.type = WIRE_PONG;
	pong.ping.peer_us = clock_realtime_us() + (uint64_t)HOUR_US;
	put(fd, &pong);
	put_type(fd, WIRE_READY); /* read after the PONG */
	await_messages(&s, 1);
	control_clock(s.control, &offset, &trip);
	cr_assert_gt(trip, 0);
	cr_assert_leq(llabs(offset - HOUR_US), (int64_t)trip / 2 + 1);
	end(&s);
	close(fd);
}

Test(control, a_slower_ping_does_not_spoil_the_difference)
{
	struct side s;
	int fd = start_alone(&s, PATIENT_MS);
	struct wire_message pong = {.type = WIRE_PONG};
	uint64_t now = clock_realtime_us(), trip = 0;
	int64_t offset = 0;

	pong.ping.sent_us = now - 1000000;
	pong.ping.peer_us = now - 1000000 + 500000;
	put(fd, &pong); /* a second's round trip, about no difference */
	pong.ping.sent_us = now - 9000000;
	pong.ping.peer_us = now;
	put(fd, &pong);
	pong.ping.sent_us = now + HOUR_US; /* from the future: our clock was set back */
	put(fd, &pong);
	put_type(fd, WIRE_READY);
	await_messages(&s, 1);
	control_clock(s.control, &offset, &trip);
	cr_assert_geq(trip, 1000000);
	cr_assert_lt(trip, 9000000);
	cr_assert_leq(llabs(offset), (int64_t)trip / 2 + 1);
	end(&s);
	close(fd);
}

/* ---- silence ---- */

/* At 1000 bytes/s, so that what follows waits for them. */
Test(control, messages_are_charged_and_do_not_wait)
{
	const unsigned int count = 20;
	uint64_t began = clock_monotonic_us();
	struct pacer *pacer;
	struct side s;
	int fds[2];

	cr_assert_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), 0);
	cr_assert_eq(pacer_new(1000, &pacer), 0);
	start_paced(&s, fds[0], PATIENT_MS, pacer);
	for (unsigned int i = 0; i < count; i++)
		cr_assert_eq(control_send_type(s.control, WIRE_READY), 0);
	cr_assert_eq(pacer_take(pacer, 1), 0);
	cr_assert_geq(clock_monotonic_us() - began, count * WIRE_HEADER_SIZE * 1000 - 10000);
	end(&s);
	pacer_destroy(pacer);
	close(fds[1]);
}

Test(control, silence_is_noticed)
{
	struct side s;
	uint64_t before = clock_monotonic_us();
	int fd = start_alone(&s, 100);

	cr_assert_eq(await_lost(&s), -ETIMEDOUT);
	cr_assert_geq(clock_monotonic_us() - before, 100000);
	cr_assert(strstr(s.lost_text, "100 ms"), "%s", s.lost_text);
	end(&s);
	close(fd);
}

Test(control, silence_can_be_shortened_later)
{
	struct side s;
	int fd = start_alone(&s, PATIENT_MS);

	control_set_silence(s.control, 50);
	cr_assert_eq(await_lost(&s), -ETIMEDOUT);
	end(&s);
	close(fd);
}

/* Waits on the condition that a loss would signal, for longer than several silences. */
static void expect_alive_for(struct side *s, uint64_t us)
{
	uint64_t until = clock_realtime_us() + us;
	struct timespec at = {(time_t)(until / 1000000), (long)(until % 1000000) * 1000};
	bool lost;
	int ret = 0;

	pthread_mutex_lock(&s->lock);
	while (!s->lost_count && ret != ETIMEDOUT)
		ret = pthread_cond_timedwait(&s->changed, &s->lock, &at);
	lost = s->lost_count > 0;
	pthread_mutex_unlock(&s->lock);
	cr_assert_not(lost);
}

Test(control, heartbeats_alone_keep_it_alive)
{
	struct side a, b;
	int64_t offset;
	uint64_t trip;

	start_both(&a, &b, 300);
	expect_alive_for(&a, 3 * 300000);
	control_clock(a.control, &offset, &trip);
	cr_assert_gt(trip, 0);
	cr_assert_leq(llabs(offset), (int64_t)trip);
	end(&a);
	end(&b);
}

Test(control, a_peer_that_takes_nothing_fails_the_sender)
{
	char text[WIRE_TEXT_MAX + 1] = {0};
	const struct wire_message m = {.type = WIRE_ABORT, .abort = {text}};
	struct side s;
	int fd = start_alone(&s, 100), ret = 0;

	memset(text, 'x', WIRE_TEXT_MAX);
	for (int i = 0; i < 100000 && ret == 0; i++)
		ret = control_send(s.control, &m);
	cr_assert_lt(ret, 0);
	await_lost(&s);
	end(&s);
	close(fd);
}

/* ---- more than is taken ---- */

#define SMALL_SOCKET 4096

/* Takes `room` messages, then none until more room is made. */
struct narrow {
	pthread_mutex_t lock;
	pthread_cond_t changed;
	/* under lock */
	unsigned int room;
	uint32_t taken, out_of_order;
	int lost_result;
	bool lost;
};

static bool take_if_room(void *opaque, struct wire_message *m, uint64_t deadline_us)
{
	struct narrow *n = opaque;
	const struct timespec until = clock_timespec(deadline_us);
	bool taken;
	int ret = 0;

	pthread_mutex_lock(&n->lock);
	while (!n->room && ret == 0)
		ret = pthread_cond_timedwait(&n->changed, &n->lock, &until);
	taken = n->room;
	if (taken) {
		n->room--;
		n->out_of_order += m->synced.round != n->taken++;
	}
	pthread_cond_broadcast(&n->changed);
	pthread_mutex_unlock(&n->lock);
	return taken;
}

static void narrow_lost(void *opaque, int result, const char *text)
{
	struct narrow *n = opaque;

	(void)text;
	pthread_mutex_lock(&n->lock);
	n->lost_result = result;
	n->lost = true;
	pthread_cond_broadcast(&n->changed);
	pthread_mutex_unlock(&n->lock);
}

/* Returns the descriptor of the other end; both ends' buffers are small. */
static int start_narrow(struct narrow *n, uint32_t silence_ms, struct control **control)
{
	const int size = SMALL_SOCKET;
	struct control_options opt = {.silence_ms = silence_ms,
				      .message = take_if_room,
				      .lost = narrow_lost,
				      .opaque = n};
	struct errtext err = {0};
	int fds[2];

	memset(n, 0, sizeof(*n));
	pthread_mutex_init(&n->lock, NULL);
	clock_cond_init(&n->changed);
	cr_assert_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), 0);
	for (int i = 0; i < 2; i++)
		cr_assert_eq(setsockopt(fds[i], SOL_SOCKET, SO_SNDBUF, &size, sizeof(size)), 0);
	opt.line = line_plain(fds[0]);
	cr_assert_eq(control_new(&opt, control, &err), 0, "%s", err.text);
	return fds[1];
}

static void make_room(struct narrow *n, unsigned int room)
{
	pthread_mutex_lock(&n->lock);
	n->room += room;
	pthread_cond_broadcast(&n->changed);
	pthread_mutex_unlock(&n->lock);
}

/* SYNCED messages, numbered from `first`, until the socket takes no more; returns the next number.
 * A message that went in half is finished by the next call: *rest are its bytes left. */
static uint32_t flood(int fd, uint32_t first, uint8_t rest[64], size_t *rest_len)
{
	for (;;) {
		ssize_t n;

		if (*rest_len == 0) {
			const struct wire_message m = {.type = WIRE_SYNCED,
						       .synced = {.round = first++}};

			*rest_len = (size_t)wire_message_encode(&m, rest, 64);
		}
		n = send(fd, rest, *rest_len, MSG_DONTWAIT | MSG_NOSIGNAL);
		if (n < 0)
			return first;
		*rest_len -= (size_t)n;
		memmove(rest, rest + n, *rest_len);
	}
}

/* A peer sends without end and nobody takes anything: it is slowed down, not lost, and what it sent
 * comes in order once there is room. The reader sends a PING between two offers, and at no other
 * time while there is something to read. */
Test(control, a_peer_that_sends_more_than_is_taken_waits)
{
	const uint32_t silence_ms = 400;
	uint64_t began = clock_monotonic_us();
	uint8_t rest[64];
	size_t rest_len = 0;
	uint32_t sent = 0, before;
	struct control *control;
	struct narrow n;
	int fd = start_narrow(&n, silence_ms, &control);

	do {
		next_of(fd, WIRE_PING);
		before = sent;
		sent = flood(fd, sent, rest, &rest_len);
	} while (sent > before || clock_monotonic_us() - began < 3000ull * silence_ms);
	make_room(&n, sent);
	cr_assert_eq(socket_write_full(fd, rest, rest_len, PATIENT_MS), 0);
	pthread_mutex_lock(&n.lock);
	while (n.taken < sent && !n.lost)
		pthread_cond_wait(&n.changed, &n.lock);
	cr_assert_not(n.lost, "%d", n.lost_result);
	pthread_mutex_unlock(&n.lock);
	control_destroy(control);
	cr_assert_eq(n.taken, sent);
	cr_assert_eq(n.out_of_order, 0);
	close(fd);
}

/* What it said before it closed is not lost for want of room. */
Test(control, a_peer_that_goes_is_heard_to_the_end)
{
	uint8_t rest[64];
	size_t rest_len = 0;
	struct control *control;
	struct narrow n;
	int fd = start_narrow(&n, PATIENT_MS, &control);
	uint32_t sent;

	next_of(fd, WIRE_PING);
	sent = flood(fd, 0, rest, &rest_len) - 1; /* the last did not go in as a whole */
	close(fd);
	make_room(&n, sent + 1);
	pthread_mutex_lock(&n.lock);
	while (!n.lost)
		pthread_cond_wait(&n.changed, &n.lock);
	pthread_mutex_unlock(&n.lock);
	control_destroy(control);
	cr_assert_eq(n.taken, sent);
	cr_assert_eq(n.out_of_order, 0);
}

Test(control, destroy_ends_a_reader_that_waits_for_room)
{
	struct control *control;
	struct narrow n;
	int fd = start_narrow(&n, PATIENT_MS, &control);

	put_type(fd, WIRE_READY);
	next_of(fd, WIRE_PING);
	next_of(fd, WIRE_PING); /* it has been offered, to no avail */
	control_destroy(control);
	cr_assert_eq(n.lost_result, -ECANCELED);
	cr_assert_eq(n.taken, 0);
	close(fd);
}

/* ---- ends ---- */

/* Known at once, though the reader, which waits for room, has not come to the end yet. */
Test(control, a_peer_that_has_gone_is_known_at_once)
{
	struct control *control;
	struct narrow n;
	int fd = start_narrow(&n, PATIENT_MS, &control);

	put_type(fd, WIRE_READY);
	next_of(fd, WIRE_PING);
	next_of(fd, WIRE_PING);
	cr_expect(control_is_up(control));
	close(fd);
	cr_expect_not(control_is_up(control));
	control_destroy(control);
	cr_assert_eq(n.taken, 0);
}

Test(control, a_clean_close)
{
	struct side s;
	int fd = start_alone(&s, PATIENT_MS);

	put_type(fd, WIRE_READY);
	next_of(fd, WIRE_PING); /* unread data would make the close a reset */
	close(fd);
	cr_assert_eq(await_lost(&s), -ENODATA);
	cr_assert(strstr(s.lost_text, "closed"), "%s", s.lost_text);
	cr_assert_eq(s.count, 1);
	cr_assert_lt(control_send_type(s.control, WIRE_READY), 0);
	end(&s);
}

Test(control, shutdown_ends_the_reader)
{
	struct side s;
	int fd = start_alone(&s, PATIENT_MS);

	control_shutdown(s.control);
	cr_assert_lt(await_lost(&s), 0);
	end(&s);
	close(fd);
}

Test(control, destroy_ends_the_reader)
{
	struct side s;
	int fd = start_alone(&s, PATIENT_MS);

	end(&s);
	close(fd);
}

struct half {
	size_t bytes;
};

static struct half halves[] = {{1}, {WIRE_HEADER_SIZE - 1}, {WIRE_HEADER_SIZE}, {20}};

ParameterizedTestParameters(control, half_a_message_is_no_clean_close)
{
	return cr_make_param_array(struct half, halves, sizeof(halves) / sizeof(halves[0]));
}

ParameterizedTest(struct half *half, control, half_a_message_is_no_clean_close)
{
	struct wire_message m = {.type = WIRE_ABORT, .abort = {"a text of some length"}};
	struct side s;
	int fd = start_alone(&s, PATIENT_MS);
	uint8_t buf[256];

	cr_assert_gt(wire_message_encode(&m, buf, sizeof(buf)), (long)half->bytes);
	cr_assert_eq(socket_write_full(fd, buf, half->bytes, PATIENT_MS), 0);
	shutdown(fd, SHUT_WR);
	cr_assert_eq(await_lost(&s), -ECONNRESET);
	cr_assert_eq(s.count, 0);
	end(&s);
	close(fd);
}

Test(control, half_a_message_and_then_silence)
{
	struct side s;
	int fd = start_alone(&s, 50);

	cr_assert_eq(socket_write_full(fd, "\x01", 1, PATIENT_MS), 0);
	cr_assert_eq(await_lost(&s), -ETIMEDOUT);
	end(&s);
	close(fd);
}

struct garbage {
	char bytes[WIRE_HEADER_SIZE + 1];
	char says[32];
};

ParameterizedTestParameters(control, garbage_ends_it)
{
	static struct garbage rows[] = {
		{"GET / HT", "unknown type"},
		{"\xff\xff\0\0\0\0\0\0", "unknown type"},
		{"\x03\0\0\0\xff\xff\xff\xff", "limit"}, /* READY of 4 GiB */
		{"\x04\0\0\0\0\0\0\0", "cut short"},	 /* SYNCED without a body */
	};

	return cr_make_param_array(struct garbage, rows, sizeof(rows) / sizeof(rows[0]));
}

ParameterizedTest(struct garbage *row, control, garbage_ends_it)
{
	struct side s;
	int fd = start_alone(&s, PATIENT_MS);

	cr_assert_eq(socket_write_full(fd, row->bytes, WIRE_HEADER_SIZE, PATIENT_MS), 0);
	cr_assert_eq(await_lost(&s), -EPROTO);
	cr_assert(strstr(s.lost_text, row->says), "%s", s.lost_text);
	cr_assert_eq(s.count, 0);
	end(&s);
	close(fd);
}

Test(control, read_one_says_what_is_wrong)
{
	struct errtext err = {0};
	struct wire_message m;
	int fds[2];

	cr_assert_eq(socketpair(AF_UNIX, SOCK_STREAM, 0, fds), 0);
	put_type(fds[1], WIRE_READY);
	cr_assert_eq(control_read_one(line_plain(fds[0]), PATIENT_MS, &m, &err), 0, "%s", err.text);
	cr_assert_eq(m.type, WIRE_READY);
	cr_assert_eq(control_read_one(line_plain(fds[0]), 1, &m, &err), -ETIMEDOUT);
	cr_assert(strstr(err.text, "control connection"), "%s", err.text);
	close(fds[1]);
	cr_assert_eq(control_read_one(line_plain(fds[0]), PATIENT_MS, &m, &err), -ENODATA);
	close(fds[0]);
}

Test(control, write_one_says_what_is_wrong)
{
	const struct wire_message ready = {.type = WIRE_READY}, unknown = {.type = WIRE_TYPE_END_};
	struct errtext err = {0};
	int fds[2];

	cr_assert_eq(socketpair(AF_UNIX, SOCK_STREAM, 0, fds), 0);
	cr_assert_eq(control_write_one(line_plain(fds[0]), PATIENT_MS, &unknown, NULL), -EINVAL);
	close(fds[1]);
	cr_assert_eq(control_write_one(line_plain(fds[0]), PATIENT_MS, &ready, &err), -EPIPE);
	cr_assert(strstr(err.text, "control connection"), "%s", err.text);
	close(fds[0]);
}
