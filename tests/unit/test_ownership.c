// SPDX-License-Identifier: Apache-2.0
// Who has the guest: asking until it is settled, and what is done and answered here.
#include "ownership.h"

#include <criterion/criterion.h>
#include <criterion/parameterized.h>
#include <errno.h>
#include <pthread.h>
#include "clock.h"
#include "control.h"
#include "fake_host.h"
#include "record.h"
#include "socket.h"
#include "own_run.h"

#define UUID "6e8a4a3c-3f6a-4f52-9a35-0a8f6b4f6a10"

TestSuite(ownership, .timeout = 20);

static struct fake_libvirt *libvirt;
static struct fake_domain *web;
static struct host *host;

static void setup(enum domain_state state, bool persistent)
{
	libvirt = fake_libvirt_new("/here");
	web = fake_libvirt_add(libvirt, "web", UUID, state);
	web->info.persistent = persistent;
	cr_assert_eq(host_open("/here", &host, NULL), 0);
}

static void teardown(void)
{
	host_close(host);
	fake_libvirt_destroy(libvirt);
}

/* ---- asking ---- */

#define NOBODY WIRE_STATE_END_
#define IGNORANT (WIRE_STATE_END_ + 1)

/* What the destination answers, one after the other; the last one from then on. 0: nothing. */
static const enum wire_state *answers;
static unsigned int queries, discards, unknown;

static int ask(const struct peer *peer, enum wire_type question, const uint8_t uuid[16],
	       enum wire_state *state, struct errtext *err)
{
	(void)peer;
	(void)uuid;
	queries += question == WIRE_QUERY;
	discards += question == WIRE_DISCARD;
	*state = *answers;
	if (answers[1])
		answers++;
	if (*state == WIRE_STATE_UNKNOWN)
		return errtext_set(err, -EOWNERDEAD, "b:7470 was started again since");
	if (*state == IGNORANT)
		return errtext_set(err, -ENODATA, "b:7470 does not know: it was shut off");
	return *state == NOBODY ? errtext_set(err, -ECONNREFUSED, "nobody listens") : 0;
}

static void on_unknown(void *opaque, const char *text)
{
	(void)opaque;
	cr_assert_str_eq(text, "b:7470 does not know: it was shut off");
	unknown++;
}

static int settle(const enum wire_state *script, uint32_t wait_ms, enum wire_state *state,
		  struct errtext *err)
{
	const struct peer peer = {.host = "b", .port = 7470};
	const uint8_t uuid[16] = {0};

	const struct ownership_inquiry q = {.ask = ask,
					    .peer = &peer,
					    .uuid = uuid,
					    .domain = "web",
					    .wait_ms = wait_ms,
					    .unknown = on_unknown};

	answers = script;
	queries = discards = unknown = 0;
	return ownership_settle(&q, state, err);
}

Test(ownership, a_final_answer_ends_the_asking)
{
	static const enum wire_state finals[][2] = {
		{WIRE_STATE_ABSENT}, {WIRE_STATE_RUNNING}, {WIRE_STATE_ENDED}};

	for (size_t i = 0; i < sizeof(finals) / sizeof(*finals); i++) {
		enum wire_state state;

		cr_assert_eq(settle(finals[i], 60000, &state, NULL), 0);
		cr_assert_eq(state, finals[i][0]);
		cr_assert(queries == 1 && discards == 0);
	}
}

Test(ownership, who_does_not_answer_is_asked_again)
{
	static const enum wire_state script[] = {NOBODY, NOBODY, WIRE_STATE_RUNNING, 0};
	enum wire_state state;

	cr_assert_eq(settle(script, 60000, &state, NULL), 0);
	cr_assert_eq(state, WIRE_STATE_RUNNING);
	cr_assert_eq(queries, 3);
}

Test(ownership, nobody_answers)
{
	static const enum wire_state script[] = {NOBODY, 0};
	struct errtext err = {0};
	enum wire_state state;

	cr_assert_eq(settle(script, 0, &state, &err), -EHOSTUNREACH);
	cr_assert_eq(queries, 1, "asked at least once");
	cr_assert_str_eq(err.text, "nobody listens");
	cr_assert_eq(settle(script, 120, &state, NULL), -EHOSTUNREACH);
	cr_assert(queries > 1 && discards == 0, "who never answered is told nothing");
}

Test(ownership, a_destination_that_was_started_again_is_not_asked_again)
{
	static const enum wire_state script[] = {NOBODY, WIRE_STATE_UNKNOWN, 0};
	struct errtext err = {0};
	enum wire_state state;

	cr_assert_eq(settle(script, 60000, &state, &err), -EOWNERDEAD);
	cr_assert_eq(queries, 2);
	cr_assert(strstr(err.text, "virsh destroy"), "%s", err.text);
	cr_assert(strstr(err.text, ". Then run: dray recover web"), "%s", err.text);
}

/* Its user is told at once that it does not know, and only once. */
Test(ownership, who_does_not_know_is_asked_ever_more_seldom)
{
	static const enum wire_state script[] = {IGNORANT, 0};
	struct errtext err = {0};
	enum wire_state state;

	cr_assert_eq(settle(script, 1000, &state, &err), -ENODATA);
	cr_assert(queries >= 3 && queries <= 6, "%u", queries);
	cr_assert_eq(discards, 0);
	cr_assert_eq(unknown, 1);
	cr_assert(strstr(err.text, "it was shut off. See whether it runs there"), "%s", err.text);
	cr_assert(strstr(err.text, ". Then run: dray recover web"), "%s", err.text);
}

Test(ownership, who_did_not_know_may_know_later)
{
	static const enum wire_state script[] = {IGNORANT, IGNORANT, WIRE_STATE_ABSENT, 0};
	enum wire_state state;

	cr_assert_eq(settle(script, 60000, &state, NULL), 0);
	cr_assert_eq(state, WIRE_STATE_ABSENT);
	cr_assert_eq(queries, 3);
	cr_assert_eq(unknown, 1);
}

Test(ownership, an_incoming_guest_that_nobody_finishes_is_given_up_after_half_the_time)
{
	static const enum wire_state script[] = {WIRE_STATE_INCOMING, WIRE_STATE_INCOMING,
						 WIRE_STATE_INCOMING, WIRE_STATE_ABSENT, 0};
	uint64_t begun = clock_monotonic_us();
	enum wire_state state;

	cr_assert_eq(settle(script, 200, &state, NULL), 0);
	cr_assert_eq(state, WIRE_STATE_ABSENT);
	cr_assert(queries >= 2 && discards >= 1, "%u queries, %u discards", queries, discards);
	cr_assert_geq(clock_monotonic_us() - begun, 100000);
}

Test(ownership, one_that_is_neither_finished_nor_given_up)
{
	static const enum wire_state script[] = {WIRE_STATE_INCOMING, 0};
	struct errtext err = {0};
	enum wire_state state;

	cr_assert_eq(settle(script, 60, &state, &err), -EBUSY);
	cr_assert_gt(discards, 0);
	cr_assert(strstr(err.text, "neither starts"), "%s", err.text);
}

/* ---- asking over the network ---- */

/* A receiver that takes one question. */
struct destination {
	int listening;
	pthread_t thread;
	enum wire_type answer; /* 0: it hangs up */
	enum wire_state state;
	bool other_host; /* than the one that is to be asked */
	/* what came */
	struct wire_hello hello;
	struct wire_message question;
};

static void answer_hello(struct destination *d, int fd)
{
	struct wire_hello_reply reply = {.version_min = WIRE_VERSION_MIN,
					 .version_max = WIRE_VERSION_MAX,
					 .version = WIRE_VERSION_MAX};
	uint8_t in[WIRE_HELLO_SIZE], out[WIRE_HELLO_REPLY_SIZE + WIRE_TEXT_MAX];

	memset(reply.host_uuid, 6, sizeof(reply.host_uuid));
	cr_assert_eq(socket_read_full(fd, in, sizeof(in), 10000), 0);
	cr_assert_eq(wire_hello_decode(in, &d->hello, NULL), 0);
	cr_assert_eq(socket_write_full(fd, out, wire_hello_reply_encode(&reply, out), 10000), 0);
}

static void *destination_main(void *arg)
{
	struct destination *d = arg;
	struct wire_message answer = {.type = d->answer};
	char peer[SOCKET_PEER_SIZE];
	uint8_t out[256];
	int fd;

	cr_assert_eq(socket_accept(d->listening, NULL, &fd, peer, NULL), 0);
	answer_hello(d, fd);
	if (d->other_host) {
		cr_assert_lt(control_read_one(line_plain(fd), 10000, &d->question, NULL), 0,
			     "nothing is asked");
		close(fd);
		return NULL;
	}
	cr_assert_eq(control_read_one(line_plain(fd), 10000, &d->question, NULL), 0);
	if (d->answer == WIRE_STATE)
		answer.state.state = d->state;
	if (d->answer)
		cr_assert_eq(socket_write_full(fd, out,
					       wire_message_encode(&answer, out, sizeof(out)),
					       10000),
			     0);
	close(fd);
	return NULL;
}

static int ask_destination(struct destination *d, enum wire_type question, enum wire_state *state,
			   struct errtext *err)
{
	struct peer peer = {.host = "127.0.0.1", .timeout_ms = 10000};
	uint8_t uuid[16];
	int ret;

	memset(peer.session, 5, sizeof(peer.session));
	memset(peer.who.uuid, d->other_host ? 7 : 6, sizeof(peer.who.uuid));
	cr_assert_eq(uuid_parse(UUID, uuid), 0);
	cr_assert_eq(socket_listen(NULL, 0, &d->listening, NULL), 0);
	cr_assert_eq(socket_port(d->listening, &peer.port), 0);
	cr_assert_eq(pthread_create(&d->thread, NULL, destination_main, d), 0);
	ret = ownership_ask(&peer, question, uuid, state, err);
	pthread_join(d->thread, NULL);
	close(d->listening);
	if (d->other_host)
		return ret;
	cr_assert_eq(memcmp(d->question.query.session, peer.session, 16), 0);
	cr_assert_eq(memcmp(d->question.query.host_uuid, peer.who.uuid, 16), 0);
	cr_assert_eq(d->hello.kind, WIRE_KIND_RECOVER);
	cr_assert_eq(d->question.type, question);
	cr_assert_eq(memcmp(d->question.query.uuid, uuid, sizeof(uuid)), 0);
	return ret;
}

Test(ownership, the_destination_is_asked)
{
	static const enum wire_type questions[] = {WIRE_QUERY, WIRE_DISCARD};

	for (int i = 0; i < 2; i++) {
		struct destination d = {.answer = WIRE_STATE, .state = WIRE_STATE_ENDED};
		struct errtext err = {0};
		enum wire_state state;

		cr_assert_eq(ask_destination(&d, questions[i], &state, &err), 0, "%s", err.text);
		cr_assert_eq(state, WIRE_STATE_ENDED);
	}
}

/* As when its address has moved. */
Test(ownership, another_host_is_not_asked)
{
	struct destination d = {.other_host = true};
	struct errtext err = {0};
	enum wire_state state;

	cr_assert_eq(ask_destination(&d, WIRE_DISCARD, &state, &err), -EXDEV);
	cr_assert(strstr(err.text, "is another host"), "%s", err.text);
}

Test(ownership, a_destination_that_does_not_know)
{
	struct destination d = {.answer = WIRE_STATE, .state = WIRE_STATE_UNKNOWN};
	struct errtext err = {0};
	enum wire_state state;

	cr_assert_eq(ask_destination(&d, WIRE_QUERY, &state, &err), -ENODATA);
	cr_assert(strstr(err.text, "does not know"), "%s", err.text);
}

Test(ownership, a_destination_that_answers_something_else)
{
	struct destination d = {.answer = WIRE_PING};
	struct errtext err = {0};
	enum wire_state state;

	cr_assert_eq(ask_destination(&d, WIRE_QUERY, &state, &err), -EPROTO);
	cr_assert(strstr(err.text, "not STATE"), "%s", err.text);
}

/* As when nobody there can tell. */
Test(ownership, a_destination_that_hangs_up)
{
	struct destination d = {0};
	struct errtext err = {0};
	enum wire_state state;

	cr_assert_lt(ask_destination(&d, WIRE_QUERY, &state, &err), 0);
	cr_assert(err.text[0]);
}

/* ---- answering ---- */

#define SESSION "00112233445566778899aabbccddeeff"
#define HOST "9b0ffac5-3f1f-4c9e-8a5b-7c6d5e4f3a2b"

/* What is asked for; a row says what is different. */
static struct wire_query question(void)
{
	const struct record r = {.session = SESSION};
	struct wire_query q;

	cr_assert_eq(uuid_parse(UUID, q.uuid), 0);
	cr_assert_eq(uuid_parse(HOST, q.host_uuid), 0);
	record_session_bytes(&r, q.session);
	return q;
}

static struct door_host this_one(void)
{
	struct door_host self = {0};

	cr_assert_eq(uuid_parse(HOST, self.uuid), 0);
	return self;
}

struct answer_row {
	enum domain_state state;
	bool record, released, resumed, defined_before, never_ran, outgoing;
	int ret;
	enum wire_state answer;
};

ParameterizedTestParameters(ownership, answers)
{
	static struct answer_row rows[] = {
		/* state, an incoming record: released, resumed, defined before, never ran; outgoing
		 */
		{DOMAIN_ABSENT, 0, 0, 0, 0, 0, 0, -ENODATA, 0},
		{DOMAIN_ABSENT, 0, 0, 0, 0, 0, 1, -ENODATA, 0},
		{DOMAIN_RUNNING, 0, 0, 0, 0, 0, 0, -ENODATA, 0},
		{DOMAIN_INCOMING, 0, 0, 0, 0, 0, 0, -ENODATA, 0},
		{DOMAIN_ABSENT, 1, 0, 0, 0, 0, 0, 0, WIRE_STATE_ABSENT},
		{DOMAIN_ABSENT, 1, 1, 0, 0, 0, 0, -ENODATA, 0},
		{DOMAIN_ABSENT, 1, 1, 0, 1, 0, 0, -ENODATA, 0},
		{DOMAIN_ABSENT, 1, 1, 0, 0, 1, 0, 0, WIRE_STATE_ABSENT},
		{DOMAIN_ABSENT, 1, 1, 1, 0, 0, 0, 0, WIRE_STATE_ENDED},
		{DOMAIN_SHUT_OFF, 1, 0, 0, 0, 0, 0, -ENODATA, 0},
		{DOMAIN_SHUT_OFF, 1, 0, 0, 1, 0, 0, 0, WIRE_STATE_ABSENT},
		{DOMAIN_SHUT_OFF, 1, 1, 0, 1, 0, 0, -ENODATA, 0},
		{DOMAIN_SHUT_OFF, 1, 1, 0, 0, 1, 0, 0, WIRE_STATE_ABSENT},
		{DOMAIN_RUNNING, 1, 1, 0, 0, 0, 0, 0, WIRE_STATE_RUNNING},
		{DOMAIN_PAUSED_MIGRATION, 1, 1, 0, 0, 0, 0, 0, WIRE_STATE_INCOMING},
		{DOMAIN_PAUSED_MIGRATION, 1, 1, 1, 0, 0, 1, 0, WIRE_STATE_RUNNING},
		{DOMAIN_INCOMING, 1, 1, 0, 0, 0, 0, 0, WIRE_STATE_INCOMING},
	};

	return cr_make_param_array(struct answer_row, rows, sizeof(rows) / sizeof(*rows));
}

static void write_record(const struct answer_row *row)
{
	const struct record r = {.uuid = UUID,
				 .session = SESSION,
				 .host_uuid = HOST,
				 .released = row->released,
				 .resumed = row->resumed,
				 .defined_before = row->defined_before,
				 .never_ran = row->never_ran};
	struct guest_dir dir;

	cr_assert_eq(guest_dir_open(&dir, UUID, -1, -1, NULL), 0);
	if (row->record)
		cr_assert_eq(record_write(&dir, RECORD_INCOMING, &r, NULL), 0);
	if (row->outgoing)
		cr_assert_eq(record_write(&dir, RECORD_OUTGOING, &r, NULL), 0);
	guest_dir_close(&dir);
}

ParameterizedTest(struct answer_row *row, ownership, answers)
{
	const struct door_host self = this_one();
	const struct wire_query q = question();
	struct errtext err = {0};
	enum wire_state answer;

	own_run();
	setup(row->state, true);
	write_record(row);
	cr_assert_eq(ownership_answer(host, &q, &self, &answer, &err), row->ret, "%s", err.text);
	if (row->ret == 0)
		cr_assert_eq(answer, row->answer);
	teardown();
}

/* It knows a guest of that UUID, and even that it ran; but not by the migration that is meant. */
Test(ownership, a_question_that_is_for_another_host_or_migration)
{
	const struct answer_row row = {.record = true, .released = true, .resumed = true};
	const struct door_host self = this_one();
	struct wire_query other_host = question(), other_session = question(),
			  other_guest = question();
	struct errtext err = {0};
	enum wire_state answer;

	own_run();
	setup(DOMAIN_RUNNING, true);
	write_record(&row);
	other_host.host_uuid[3] ^= 1;
	other_session.session[15] ^= 1;
	other_guest.uuid[0] ^= 1;
	cr_expect_eq(ownership_answer(host, &other_host, &self, &answer, &err), -ENODATA);
	cr_expect(strstr(err.text, "went to another host"), "%s", err.text);
	err = (struct errtext){0};
	cr_expect_eq(ownership_answer(host, &other_session, &self, &answer, &err), -ENODATA);
	cr_expect(strstr(err.text, "but of a later one"), "%s", err.text);
	cr_expect_eq(ownership_answer(host, &other_guest, &self, &answer, NULL), -ENODATA);
	teardown();
}

static void release_and_end(void *opaque, struct fake_libvirt *l, enum fake_call call)
{
	const struct answer_row *row = opaque;

	(void)l;
	if (call == FAKE_STATE)
		write_record(row);
}

/* It is released while libvirt is asked, runs, and has ended when libvirt answers. */
Test(ownership, what_happens_while_libvirt_is_asked_is_not_missed)
{
	const struct answer_row before = {.record = true};
	struct answer_row after = {.record = true, .released = true};
	const struct door_host self = this_one();
	const struct wire_query q = question();
	enum wire_state answer;

	own_run();
	setup(DOMAIN_ABSENT, true);
	write_record(&before);
	libvirt->before = release_and_end;
	libvirt->opaque = &after;
	cr_expect_eq(ownership_answer(host, &q, &self, &answer, NULL), -ENODATA);
	write_record(&before);
	after.resumed = true;
	cr_expect_eq(ownership_answer(host, &q, &self, &answer, NULL), 0);
	cr_expect_eq(answer, WIRE_STATE_ENDED);
	teardown();
}

Test(ownership, no_answer_without_libvirt)
{
	const struct answer_row row = {.record = true};
	const struct door_host self = this_one();
	const struct wire_query q = question();
	enum wire_state answer;

	own_run();
	setup(DOMAIN_RUNNING, true);
	write_record(&row);
	fake_libvirt_fail(libvirt, FAKE_STATE, 1, -EIO);
	cr_assert_eq(ownership_answer(host, &q, &self, &answer, NULL), -EIO);
	teardown();
}

/* ---- acting ---- */

struct retire_row {
	enum domain_state state;
	bool persistent, undefine;
	int ret;
	char did[64];
};

ParameterizedTestParameters(ownership, retiring)
{
	static struct retire_row rows[] = {
		{DOMAIN_ABSENT, true, true, 0, ""},
		{DOMAIN_SHUT_OFF, true, true, 0, "undefine web"},
		{DOMAIN_SHUT_OFF, true, false, 0, ""},
		{DOMAIN_RUNNING, true, true, -EEXIST, ""},
		{DOMAIN_PAUSED_USER, true, true, 0, "destroy web; undefine web"},
		{DOMAIN_PAUSED_USER, false, false, 0, "destroy web"},
		{DOMAIN_PAUSED_MIGRATION, true, true, 0, "destroy web; undefine web"},
		{DOMAIN_PAUSED_MIGRATION, true, false, 0, "destroy web"},
		{DOMAIN_PAUSED_MIGRATION, false, true, 0, "destroy web"},
		{DOMAIN_INCOMING, true, true, -EBUSY, ""},
		{DOMAIN_PAUSED_POSTCOPY, true, true, -EBUSY, ""},
	};

	return cr_make_param_array(struct retire_row, rows, sizeof(rows) / sizeof(*rows));
}

ParameterizedTest(struct retire_row *row, ownership, retiring)
{
	struct errtext err = {0};

	setup(row->state, row->persistent);
	cr_assert_eq(ownership_retire(host, UUID, row->undefine, &err), row->ret, "%s", err.text);
	cr_assert_str_eq(fake_libvirt_did(libvirt), row->did);
	cr_assert_eq(row->ret < 0, err.text[0] != 0);
	teardown();
}

Test(ownership, retiring_ends_at_the_first_failure)
{
	setup(DOMAIN_PAUSED_MIGRATION, true);
	fake_libvirt_fail(libvirt, FAKE_DESTROY, 1, -EIO);
	cr_assert_eq(ownership_retire(host, UUID, true, NULL), -EIO);
	cr_assert_str_eq(fake_libvirt_did(libvirt), "", "a definition without its guest");
	fake_libvirt_fail(libvirt, FAKE_UNDEFINE, 1, -EIO);
	cr_assert_eq(ownership_retire(host, UUID, true, NULL), -EIO);
	cr_assert_eq(ownership_retire(host, UUID, true, NULL), 0, "and goes on from there");
	cr_assert_str_eq(fake_libvirt_did(libvirt), "destroy web; undefine web");
	teardown();
}

Test(ownership, a_job_is_waited_for)
{
	struct domain_info info;
	struct errtext err = {0};

	setup(DOMAIN_PAUSED_MIGRATION, true);
	web->info.job = true;
	fake_domain_then(web, 3, DOMAIN_RUNNING);
	cr_assert_eq(ownership_wait_job(host, UUID, 60000, &info, NULL), 0);
	cr_assert_eq(info.state, DOMAIN_RUNNING);
	web->info.job = true;
	cr_assert_eq(ownership_wait_job(host, UUID, 0, &info, &err), -EBUSY);
	cr_assert(strstr(err.text, "virsh domjobinfo web"), "%s", err.text);
	fake_libvirt_fail(libvirt, FAKE_STATE, 1, -EIO);
	cr_assert_eq(ownership_wait_job(host, UUID, 60000, &info, NULL), -EIO);
	teardown();
}

Test(ownership, a_capability_that_was_set_is_taken_back)
{
	struct record r = {0};

	setup(DOMAIN_RUNNING, true);
	cr_assert_eq(ownership_tidy_running(host, &web->info, &r, NULL), 0);
	cr_assert_str_eq(fake_libvirt_did(libvirt), "", "there is nothing to do");
	web->ignore_shared = true;
	cr_assert_eq(ownership_tidy_running(host, &web->info, &r, NULL), 0);
	cr_assert_str_eq(fake_libvirt_did(libvirt), "ignore_shared=off web");
	fake_libvirt_fail(libvirt, FAKE_GET_IGNORE_SHARED, 1, -EIO);
	cr_assert_eq(ownership_tidy_running(host, &web->info, &r, NULL), -EIO);
	teardown();
}

Test(ownership, what_the_record_holds_as_borrowed_is_given_back)
{
	struct record r = {.discard = "pc.ram"};

	setup(DOMAIN_RUNNING, true);
	web->backends[0] = (struct fake_backend){.id = "pc.ram"};
	cr_assert_eq(ownership_tidy_running(host, &web->info, &r, NULL), 0);
	cr_assert_str_eq(fake_libvirt_did(libvirt), "discard=on pc.ram");
	fake_libvirt_fail(libvirt, FAKE_MONITOR, 1, -EIO);
	cr_assert_eq(ownership_tidy_running(host, &web->info, &r, NULL), -EIO);
	teardown();
}

/* ---- a job that libvirt does not end ---- */

Test(ownership, a_job_that_does_not_end_is_helped)
{
	struct domain_info info;

	setup(DOMAIN_RUNNING, true);
	web->info.job = web->stuck = true;
	cr_expect_eq(ownership_wait_departure(host, UUID, 100, &info, NULL), 0);
	cr_expect_eq(info.state, DOMAIN_RUNNING);
	cr_expect_str_eq(fake_libvirt_did(libvirt), "unstick web");
	teardown();
}

Test(ownership, it_runs_afterwards_whatever_libvirt_does)
{
	struct domain_info info;

	setup(DOMAIN_RUNNING, true);
	web->info.job = web->stuck = web->stays_suspended = true;
	cr_expect_eq(ownership_wait_departure(host, UUID, 100, &info, NULL), 0);
	cr_expect_eq(info.state, DOMAIN_RUNNING);
	cr_expect_str_eq(fake_libvirt_did(libvirt), "unstick web; resume web");
	teardown();
}

Test(ownership, a_job_is_helped_again)
{
	struct domain_info info;

	setup(DOMAIN_RUNNING, true);
	web->info.job = web->stuck = true;
	web->too_early = 1;
	cr_expect_eq(ownership_unstick(host, UUID, 800, &info, NULL), 0);
	cr_expect_eq(info.state, DOMAIN_RUNNING);
	cr_expect_str_eq(fake_libvirt_did(libvirt), "suspend web; run web; unstick web");
	teardown();
}

Test(ownership, it_runs_also_if_the_job_never_ends)
{
	struct errtext err = {0};
	struct domain_info info;

	setup(DOMAIN_RUNNING, true);
	web->info.job = web->stuck = true;
	web->too_early = 99;
	cr_expect_eq(ownership_unstick(host, UUID, 100, &info, &err), -EBUSY);
	cr_expect_eq(web->info.state, DOMAIN_RUNNING);
	cr_expect(strstr(err.text, "still has a job"), "%s", err.text);
	teardown();
}

Test(ownership, another_job_is_only_waited_for)
{
	struct errtext err = {0};
	struct domain_info info;

	setup(DOMAIN_RUNNING, true);
	web->info.job = true;
	cr_expect_eq(ownership_wait_departure(host, UUID, 100, &info, &err), -EBUSY);
	cr_expect_str_eq(fake_libvirt_did(libvirt), "");
	teardown();
}
