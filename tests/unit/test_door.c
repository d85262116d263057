// SPDX-License-Identifier: Apache-2.0
// The first words: each half against the other, and against a peer that is the test.
#include "door.h"

#include <criterion/criterion.h>
#include <criterion/parameterized.h>
#include <errno.h>
#include <pthread.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define PATIENT_MS 20000
#define SHORT_MS 50
#define OTHER_MIN (WIRE_VERSION_MAX + 1)
#define OTHER_MAX (WIRE_VERSION_MAX + 2)

TestSuite(door, .timeout = 30);

static const struct door_host self = {.uuid = "sixteen letters", .boot_id = "the second start"};
static const struct door_keeper keeper = {
	.self = {.uuid = "sixteen letters", .boot_id = "the second start"}};
static const struct peer there = {
	.host = "there", .port = 7470, .session = "sixteen numbers", .timeout_ms = PATIENT_MS};

struct pair {
	struct line source, destination;
};

static struct pair make_pair(void)
{
	int fds[2];

	cr_assert_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), 0);
	return (struct pair){line_plain(fds[0]), line_plain(fds[1])};
}

static void close_pair(const struct pair *p)
{
	close(p->source.fd);
	close(p->destination.fd);
}

/* ---- both halves ---- */

struct answer {
	struct line line;
	int ret;
	struct wire_hello hello;
	struct door_terms terms;
	struct errtext err;
};

static void *answer_main(void *arg)
{
	struct answer *a = arg;

	a->ret = door_answer(&a->line, PATIENT_MS, &keeper, &a->hello, &a->terms, &a->err);
	return NULL;
}

Test(door, both_sides_have_the_same_terms)
{
	struct pair p = make_pair();
	struct answer a = {.line = p.destination};
	struct door_terms terms;
	struct errtext err = {0};
	pthread_t thread;

	cr_assert_eq(pthread_create(&thread, NULL, answer_main, &a), 0);
	cr_assert_eq(door_ask(&p.source, &there, WIRE_KIND_PUSH, 3, &terms, &err), 0, "%s",
		     err.text);
	pthread_join(thread, NULL);
	cr_assert_eq(a.ret, 0, "%s", a.err.text);
	cr_assert_eq(a.hello.kind, WIRE_KIND_PUSH);
	cr_assert_eq(a.hello.index, 3);
	cr_assert_arr_eq(a.hello.session, there.session, WIRE_SESSION_SIZE);
	cr_assert_eq(terms.version, WIRE_VERSION_MAX);
	cr_assert_eq(a.terms.version, terms.version);
	cr_assert_eq(terms.features, WIRE_FEATURES);
	cr_assert_eq(a.terms.features, terms.features);
	cr_assert_eq(memcmp(&terms.host, &self, sizeof(self)), 0);
	cr_assert_eq(memcmp(&a.terms.host, &self, sizeof(self)), 0);
	close_pair(&p);
}

struct receiver {
	int listening;
	struct answer answer;
};

static void *receive_main(void *arg)
{
	struct receiver *r = arg;
	char from[SOCKET_PEER_SIZE];

	if (socket_accept(r->listening, NULL, &r->answer.line.fd, from, &r->answer.err) == 0)
		answer_main(&r->answer);
	return NULL;
}

Test(door, dial_connects_and_asks)
{
	const struct socket_options loopback = {.bind = "127.0.0.1"};
	struct peer peer = {.host = "127.0.0.1", .timeout_ms = PATIENT_MS};
	struct receiver r = {.answer = {.line = LINE_NONE, .ret = -EIO}};
	struct errtext err = {0};
	pthread_t thread;
	struct line line = LINE_NONE;

	cr_assert_eq(socket_listen(&loopback, 0, &r.listening, &err), 0, "%s", err.text);
	cr_assert_eq(socket_port(r.listening, &peer.port), 0);
	cr_assert_eq(pthread_create(&thread, NULL, receive_main, &r), 0);
	cr_assert_eq(door_dial(&peer, WIRE_KIND_RECOVER, 0, &line, NULL, &err), 0, "%s", err.text);
	pthread_join(thread, NULL);
	cr_assert_eq(r.answer.ret, 0, "%s", r.answer.err.text);
	cr_assert_eq(r.answer.hello.kind, WIRE_KIND_RECOVER);
	line_close(&line);
	line_close(&r.answer.line);
	close(r.listening);
	cr_assert_lt(door_dial(&peer, WIRE_KIND_RECOVER, 0, &line, NULL, &err), 0, "it has gone");
	cr_assert_eq(line.fd, -1);
	cr_assert(err.text[0]);
}

/* ---- the test answers ---- */

static const struct wire_hello_reply yes = {.version = WIRE_VERSION_MAX,
					    .version_min = WIRE_VERSION_MIN,
					    .version_max = WIRE_VERSION_MAX};

/* All of it is in the socket before the source asks. less: bytes that are missing at its end. */
static void put_reply(int fd, const struct wire_hello_reply *reply, size_t less)
{
	uint8_t buf[WIRE_HELLO_REPLY_SIZE + WIRE_TEXT_MAX];
	size_t len = wire_hello_reply_encode(reply, buf) - less;

	cr_assert_eq(socket_write_full(fd, buf, len, PATIENT_MS), 0);
	shutdown(fd, SHUT_WR);
}

static void expect_asking(const struct wire_hello_reply *reply, size_t less, int expected,
			  const char *text)
{
	struct pair p = make_pair();
	struct errtext err = {0};

	put_reply(p.destination.fd, reply, less);
	cr_assert_eq(door_ask(&p.source, &there, WIRE_KIND_CONTROL, 0, NULL, &err), expected, "%s",
		     err.text);
	cr_assert(strstr(err.text, text), "%s", err.text);
	close_pair(&p);
}

Test(door, a_receiver_of_other_versions)
{
	const struct wire_hello_reply newer = {
		.version_min = OTHER_MIN, .version_max = OTHER_MAX, .text = "its own words"};

	expect_asking(&newer, 0, -EPROTO,
		      "there:7470 speaks protocol versions 3 to 4, this dray 2 to 2: install the "
		      "same dray on both hosts");
}

/* It has got the address of the one that the session began with; or that one was started again. */
Test(door, another_host_than_before)
{
	struct wire_hello_reply reply = yes;

	for (int i = 0; i < 3; i++) {
		struct peer known = there;
		struct pair p = make_pair();
		struct errtext err = {0};

		known.who = self;
		memcpy(reply.host_uuid, self.uuid, sizeof(reply.host_uuid));
		memcpy(reply.boot_id, self.boot_id, sizeof(reply.boot_id));
		reply.host_uuid[0] ^= i == 1;
		reply.boot_id[15] ^= i == 2;
		put_reply(p.destination.fd, &reply, 0);
		cr_expect_eq(door_ask(&p.source, &known, WIRE_KIND_LINK, 1, NULL, &err),
			     i == 0   ? 0
			     : i == 1 ? -EXDEV
				      : -EOWNERDEAD,
			     "%s", err.text);
		cr_expect_eq(i == 0, err.text[0] == 0);
		close_pair(&p);
	}
}

/* One of its own versions, but not of ours. */
Test(door, a_receiver_that_chooses_what_was_not_offered)
{
	struct wire_hello_reply reply = yes;

	reply.version_max = reply.version = OTHER_MAX;
	expect_asking(&reply, 0, -EPROTO, "there:7470 refuses: no reason given");
}

Test(door, a_refusal_says_why)
{
	struct wire_hello_reply reply = yes;

	reply.version = 0;
	strcpy(reply.text, "not today");
	expect_asking(&reply, 0, -EPROTO, "there:7470 refuses: not today");
	expect_asking(&reply, 1, -EPROTO, "there:7470 refuses: no reason given");
	memset(reply.text, 'x', WIRE_TEXT_MAX);
	expect_asking(&reply, 0, -EPROTO, "there:7470 refuses: xxxx");
}

Test(door, no_receiver_at_all)
{
	static const char http[WIRE_HELLO_REPLY_SIZE] = "HTTP/1.1 400 Bad Request";
	struct pair p = make_pair();
	struct errtext err = {0};

	expect_asking(&yes, WIRE_HELLO_REPLY_SIZE, -ENODATA,
		      "there:7470 does not answer as a dray receiver");
	expect_asking(&yes, 1, -ECONNRESET, "is it `dray receive` that listens there?");
	cr_assert_eq(socket_write_full(p.destination.fd, http, sizeof(http), PATIENT_MS), 0);
	cr_assert_eq(door_ask(&p.source, &there, WIRE_KIND_CONTROL, 0, NULL, &err), -EPROTO);
	cr_assert(strstr(err.text, "does not speak dray's protocol"), "%s", err.text);
	close_pair(&p);
}

Test(door, a_silent_receiver)
{
	struct peer hasty = there;
	struct pair p = make_pair();
	struct errtext err = {0};

	hasty.timeout_ms = SHORT_MS;
	cr_assert_eq(door_ask(&p.source, &hasty, WIRE_KIND_CONTROL, 0, NULL, &err), -ETIMEDOUT);
	cr_assert(strstr(err.text, "is it `dray receive` that listens there?"), "%s", err.text);
	close_pair(&p);
}

/* Whatever a receiver claims to know: both must. */
Test(door, a_receiver_with_other_features)
{
	struct wire_hello_reply reply = yes;
	struct pair p = make_pair();
	struct door_terms terms;
	struct errtext err = {0};

	reply.features = UINT64_MAX;
	put_reply(p.destination.fd, &reply, 0);
	cr_assert_eq(door_ask(&p.source, &there, WIRE_KIND_CONTROL, 0, &terms, &err), 0, "%s",
		     err.text);
	cr_assert_eq(terms.features, WIRE_FEATURES);
	close_pair(&p);
}

/* ---- the test asks ---- */

static const struct wire_hello hello = {.version_min = WIRE_VERSION_MIN,
					.version_max = WIRE_VERSION_MAX,
					.features = UINT64_MAX,
					.kind = WIRE_KIND_CONTROL};

static void put_hello(int fd, const struct wire_hello *h)
{
	uint8_t buf[WIRE_HELLO_SIZE];

	wire_hello_encode(h, buf);
	cr_assert_eq(socket_write_full(fd, buf, sizeof(buf), PATIENT_MS), 0);
}

static struct wire_hello_reply get_reply(int fd)
{
	uint8_t buf[WIRE_HELLO_REPLY_SIZE];
	struct wire_hello_reply reply;
	struct errtext err = {0};
	size_t text_len;

	cr_assert_eq(socket_read_full(fd, buf, sizeof(buf), PATIENT_MS), 0);
	cr_assert_eq(wire_hello_reply_decode(buf, &reply, &text_len, &err), 0, "%s", err.text);
	cr_assert_eq(socket_read_full(fd, reply.text, text_len, PATIENT_MS), 0);
	reply.text[text_len] = '\0';
	return reply;
}

/* What the source reads is what the destination says of it. */
static void expect_refusal(struct pair *p, const char *text)
{
	struct wire_hello_reply reply;
	struct wire_hello got;
	struct door_terms terms;
	struct errtext err = {0};

	cr_assert_eq(door_answer(&p->destination, PATIENT_MS, &keeper, &got, &terms, &err),
		     -EPROTO);
	cr_assert(strstr(err.text, text), "%s", err.text);
	reply = get_reply(p->source.fd);
	cr_assert_eq(reply.version, 0);
	cr_assert_eq(reply.version_min, WIRE_VERSION_MIN);
	cr_assert_eq(reply.version_max, WIRE_VERSION_MAX);
	cr_assert_str_eq(reply.text, err.text);
	close_pair(p);
}

Test(door, a_source_of_other_versions)
{
	struct wire_hello newer = hello;
	struct pair p = make_pair();

	newer.version_min = OTHER_MIN;
	newer.version_max = OTHER_MAX;
	put_hello(p.source.fd, &newer);
	expect_refusal(&p, "it speaks protocol versions 2 to 2, you 3 to 4: install the same dray "
			   "on both hosts");
}

Test(door, a_source_that_speaks_newer_ones_too)
{
	struct wire_hello newer = hello, got;
	struct pair p = make_pair();
	struct door_terms terms;
	struct errtext err = {0};

	newer.version_max = OTHER_MAX;
	put_hello(p.source.fd, &newer);
	cr_assert_eq(door_answer(&p.destination, PATIENT_MS, &keeper, &got, &terms, &err), 0, "%s",
		     err.text);
	cr_assert_eq(terms.version, WIRE_VERSION_MAX);
	cr_assert_eq(terms.features, WIRE_FEATURES, "not all that was offered");
	cr_assert_eq(get_reply(p.source.fd).features, WIRE_FEATURES);
	close_pair(&p);
}

Test(door, no_source_at_all)
{
	static const char http[WIRE_HELLO_SIZE] = "GET / HTTP/1.1";
	struct pair p = make_pair();

	cr_assert_eq(socket_write_full(p.source.fd, http, sizeof(http), PATIENT_MS), 0);
	expect_refusal(&p, "does not speak dray's protocol");
}

Test(door, an_unknown_kind_of_connection)
{
	struct wire_hello unknown = hello;
	struct pair p = make_pair();

	unknown.kind = WIRE_KIND_LAST_ + 1;
	put_hello(p.source.fd, &unknown);
	expect_refusal(&p, "unknown kind of connection");
}

struct ending {
	size_t bytes; /* of a hello, then */
	bool close;   /* ... the end, or silence */
	int ret;
};

ParameterizedTestParameters(door, half_a_hello)
{
	static struct ending rows[] = {
		{0, true, -ENODATA},
		{0, false, -ETIMEDOUT},
		{WIRE_HELLO_SIZE - 1, true, -ECONNRESET},
		{WIRE_HELLO_SIZE - 1, false, -ETIMEDOUT},
	};

	return cr_make_param_array(struct ending, rows, sizeof(rows) / sizeof(rows[0]));
}

/* It is not answered: nobody has asked. */
ParameterizedTest(struct ending *row, door, half_a_hello)
{
	uint8_t buf[WIRE_HELLO_SIZE], byte;
	struct wire_hello got;
	struct door_terms terms;
	struct pair p = make_pair();
	struct errtext err = {0};

	wire_hello_encode(&hello, buf);
	cr_assert_eq(socket_write_full(p.source.fd, buf, row->bytes, PATIENT_MS), 0);
	if (row->close)
		shutdown(p.source.fd, SHUT_WR);
	cr_assert_eq(door_answer(&p.destination, row->close ? PATIENT_MS : SHORT_MS, &keeper, &got,
				 &terms, &err),
		     row->ret, "%s", err.text);
	cr_assert(strstr(err.text, "hello"), "%s", err.text);
	cr_assert_eq(recv(p.source.fd, &byte, 1, MSG_DONTWAIT), -1);
	close_pair(&p);
}

Test(door, a_source_that_has_gone)
{
	struct pair p = make_pair();
	struct wire_hello got;
	struct door_terms terms;
	struct errtext err = {0};

	put_hello(p.source.fd, &hello);
	close(p.source.fd);
	cr_assert_eq(door_answer(&p.destination, PATIENT_MS, &keeper, &got, &terms, &err), -EPIPE);
	cr_assert(err.text[0]);
	close(p.destination.fd);
}
