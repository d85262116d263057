// SPDX-License-Identifier: Apache-2.0
// Recover connections: what the destination answers, and when it gives a guest up.
#include "incoming.h"

#include <criterion/criterion.h>
#include <criterion/parameterized.h>
#include "fake_destination.h"
#include "own_run.h"

TestSuite(incoming_query, .timeout = 20);

#define SESSION "00112233445566778899aabbccddeeff"

struct question {
	enum domain_state state;
	enum wire_type type;
	int answer; /* 0: none */
	bool not_released, not_ours, has_run;
	bool of_another;    /* of another libvirt than the receiver's */
	bool lives;	    /* its QEMU */
	unsigned int ended; /* the guest's QEMU, so many times */
	char did[32];	    /* by libvirt */
};

ParameterizedTestParameters(incoming_query, answers)
{
	static struct question rows[] = {
		{DOMAIN_RUNNING, WIRE_QUERY, WIRE_STATE_RUNNING},
		{DOMAIN_RUNNING, WIRE_DISCARD, WIRE_STATE_RUNNING},
		{DOMAIN_PAUSED_USER, WIRE_DISCARD, WIRE_STATE_RUNNING},
		{DOMAIN_PAUSED_POSTCOPY, WIRE_DISCARD, WIRE_STATE_RUNNING},
		{DOMAIN_INCOMING, WIRE_QUERY, WIRE_STATE_INCOMING},
		/* there is no log of QEMU's */
		{DOMAIN_INCOMING, WIRE_DISCARD, WIRE_STATE_UNKNOWN, .ended = 1, .did = "kill web"},
		{DOMAIN_PAUSED_MIGRATION, WIRE_DISCARD, WIRE_STATE_UNKNOWN, .ended = 1,
		 .did = "kill web"},
		{DOMAIN_INCOMING, WIRE_DISCARD, WIRE_STATE_ABSENT, .not_released = true, .ended = 1,
		 .did = "kill web"},
		{DOMAIN_INCOMING, WIRE_DISCARD, WIRE_STATE_INCOMING, .has_run = true},
		/* its user may just be starting it */
		{DOMAIN_INCOMING, WIRE_DISCARD, WIRE_STATE_UNKNOWN, .not_ours = true},
		{DOMAIN_RUNNING, WIRE_QUERY, WIRE_STATE_UNKNOWN, .not_ours = true},
		{DOMAIN_ABSENT, WIRE_QUERY, WIRE_STATE_UNKNOWN, .not_ours = true},
		{DOMAIN_ABSENT, WIRE_QUERY, WIRE_STATE_UNKNOWN},
		{DOMAIN_ABSENT, WIRE_QUERY, WIRE_STATE_ABSENT, .not_released = true},
		{DOMAIN_SHUT_OFF, WIRE_DISCARD, WIRE_STATE_UNKNOWN},
		{DOMAIN_INCOMING, WIRE_PREPARED, 0},
		/* what our libvirt says is of no guest of another's */
		{DOMAIN_ABSENT, WIRE_QUERY, WIRE_STATE_UNKNOWN, .of_another = true, .has_run = true,
		 .lives = true},
		{DOMAIN_RUNNING, WIRE_QUERY, WIRE_STATE_ENDED, .of_another = true, .has_run = true},
		{DOMAIN_RUNNING, WIRE_DISCARD, WIRE_STATE_ENDED, .of_another = true,
		 .has_run = true},
		{DOMAIN_ABSENT, WIRE_QUERY, WIRE_STATE_UNKNOWN, .of_another = true},
		{DOMAIN_RUNNING, WIRE_QUERY, WIRE_STATE_ABSENT, .of_another = true,
		 .not_released = true},
	};

	return cr_make_param_array(struct question, rows, sizeof(rows) / sizeof(*rows));
}

/* WIRE_STATE's, or 0 if the connection was closed without an answer. */
static int ask(struct fake_destination *d, enum wire_type type)
{
	const struct record about = {.session = SESSION};
	const struct door_terms terms = {0};
	struct wire_message m = {.type = type};
	int pair[2], answer = 0;

	cr_assert_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
	if (type != WIRE_PREPARED) {
		cr_assert_eq(uuid_parse(FAKE_UUID, m.query.uuid), 0);
		record_session_bytes(&about, m.query.session);
	}
	fake_send(pair[1], &m);
	incoming_query(d->receiver, line_plain(pair[0]), &terms);
	if (control_read_one(line_plain(pair[1]), 1000, &m, NULL) == 0) {
		cr_assert_eq(m.type, WIRE_STATE);
		answer = (int)m.state.state;
		cr_expect_eq(m.state.text[0] != 0, answer == WIRE_STATE_UNKNOWN, "%s",
			     m.state.text);
		wire_message_destroy(&m);
	}
	close(pair[1]);
	return answer;
}

static void write_record(const struct question *row)
{
	struct record r = {.uuid = FAKE_UUID,
			   .session = SESSION,
			   .released = !row->not_released,
			   .resumed = row->has_run,
			   .qemu = 4711};
	const struct door_host self = {0}; /* the fake receiver's */
	struct guest_dir dir;

	if (row->not_ours)
		r.session[0] = '1';
	if (row->of_another)
		strcpy(r.daemon, FAKE_UUID);
	if (row->lives) {
		r.qemu = getpid();
		cr_assert_eq(process_started(r.qemu, &r.qemu_started, NULL), 0);
	}
	record_set_host(&r, &self);
	cr_assert_eq(guest_dir_open(&dir, FAKE_UUID, -1, -1, NULL), 0);
	cr_assert_eq(record_write(&dir, RECORD_INCOMING, &r, NULL), 0);
	guest_dir_close(&dir);
}

ParameterizedTest(struct question *row, incoming_query, answers)
{
	struct fake_destination *d;

	own_run();
	d = fake_destination_new();
	write_record(row);
	fake_libvirt_add(d->libvirt, "web", FAKE_UUID, row->state);
	cr_expect_eq(ask(d, row->type), row->answer);
	cr_expect_eq(d->ended, row->ended);
	cr_expect_str_eq(fake_libvirt_did(d->libvirt), row->did);
	fake_destination_destroy(d);
}

Test(incoming_query, libvirt_does_not_answer)
{
	const struct question row = {0};
	struct fake_destination *d;

	own_run();
	d = fake_destination_new();
	write_record(&row);
	fake_libvirt_add(d->libvirt, "web", FAKE_UUID, DOMAIN_RUNNING);
	fake_libvirt_fail(d->libvirt, FAKE_OPEN, 1, -EIO);
	cr_assert_eq(ask(d, WIRE_QUERY), 0);
	fake_libvirt_fail(d->libvirt, FAKE_STATE, 1, -EIO);
	cr_assert_eq(ask(d, WIRE_QUERY), 0);
	cr_assert_eq(ask(d, WIRE_QUERY), WIRE_STATE_RUNNING);
	fake_destination_destroy(d);
}

/* A launcher that was removed, and its libvirt with it. */
Test(incoming_query, its_launcher_has_vanished)
{
	struct record r = {.uuid = FAKE_UUID,
			   .session = SESSION,
			   .released = true,
			   .resumed = true,
			   .qemu = getpid()};
	const struct door_host self = {0};
	struct fake_destination *d;
	struct guest_dir dir;

	own_run();
	d = fake_destination_new();
	cr_assert_eq(chown(d->path, 107, 107), 0); /* no daemon of root's */
	record_set_daemon(&r, d->socket);
	record_set_host(&r, &self);
	cr_assert_eq(process_started(r.qemu, &r.qemu_started, NULL), 0);
	cr_assert_eq(guest_dir_open(&dir, FAKE_UUID, -1, -1, NULL), 0);
	cr_assert_eq(record_write(&dir, RECORD_INCOMING, &r, NULL), 0);
	for (unsigned int i = 1; i <= 2; i++)
		fake_libvirt_fail(d->libvirt, FAKE_OPEN, i, -ECONNREFUSED);
	cr_assert_eq(ask(d, WIRE_QUERY), 0, "its QEMU lives: libvirt may yet answer");
	r.qemu_started = 1;
	cr_assert_eq(record_write(&dir, RECORD_INCOMING, &r, NULL), 0);
	cr_assert_eq(ask(d, WIRE_QUERY), WIRE_STATE_ENDED);
	guest_dir_close(&dir);
	fake_destination_destroy(d);
}

/* ---- the record alone ---- */

struct silence {
	bool released, has_run, locked;
	bool session, ending, let_go; /* there is one in this process */
	bool answered;
};

ParameterizedTestParameters(incoming_query, silences)
{
	static struct silence rows[] = {
		{.answered = true},
		{.released = true},
		{.has_run = true},
		{.locked = true},
		{.session = true, .locked = true},
		{.session = true, .locked = true, .ending = true, .answered = true},
		{.session = true, .locked = true, .ending = true, .let_go = true},
	};

	return cr_make_param_array(struct silence, rows, sizeof(rows) / sizeof(*rows));
}

static struct incoming *session_of(struct fake_destination *d, const struct silence *row)
{
	const struct record about = {.session = SESSION};
	struct incoming *in = calloc(1, sizeof(*in));

	cr_assert_not_null(in);
	in->receiver = d->receiver;
	record_session_bytes(&about, in->session);
	in->joined.ending = row->ending;
	in->joined.released = row->let_go;
	cr_assert_eq(receiver_add(in), 0);
	return in;
}

/* What was never released is not here, once nobody can release it any more. */
ParameterizedTest(struct silence *row, incoming_query, silences)
{
	const struct question written = {.not_released = !row->released, .has_run = row->has_run};
	struct incoming *in = NULL;
	struct fake_destination *d;

	own_run();
	d = fake_destination_new();
	d->locked = row->locked;
	write_record(&written);
	if (row->session)
		in = session_of(d, row);
	fake_libvirt_add(d->libvirt, "web", FAKE_UUID, DOMAIN_INCOMING);
	fake_libvirt_fail(d->libvirt, FAKE_OPEN, 1, -EIO);
	cr_expect_eq(ask(d, WIRE_QUERY), row->answered ? WIRE_STATE_ABSENT : 0);
	fake_libvirt_fail(d->libvirt, FAKE_STATE, 1, -EIO);
	cr_expect_eq(ask(d, WIRE_DISCARD), row->answered ? WIRE_STATE_ABSENT : 0);
	cr_expect_eq(d->ended, row->answered, "its QEMU");
	cr_expect_eq(ask(d, WIRE_QUERY), row->answered ? WIRE_STATE_ABSENT : WIRE_STATE_INCOMING,
		     "libvirt's word counts");
	if (in)
		receiver_remove(in);
	free(in);
	fake_destination_destroy(d);
}

static int asked_meanwhile;

static void hang(void *opaque, struct fake_libvirt *l, enum fake_call call)
{
	struct fake_destination *d = opaque;

	if (call != FAKE_STATE)
		return;
	l->before = NULL;
	d->now_us += 1000000;
	cr_expect_eq(ask(d, WIRE_QUERY), WIRE_STATE_INCOMING, "it may just be slow");
	d->now_us += 2500000;
	fake_libvirt_fail(l, FAKE_OPEN, 0, -EIO); /* nobody asks it */
	asked_meanwhile = ask(d, WIRE_QUERY);
	fake_libvirt_heal(l);
}

Test(incoming_query, libvirt_hangs)
{
	for (int released = 0; released < 2; released++) {
		const struct question row = {.not_released = !released};
		struct fake_destination *d;

		own_run();
		d = fake_destination_new();
		write_record(&row);
		fake_libvirt_add(d->libvirt, "web", FAKE_UUID, DOMAIN_INCOMING);
		d->libvirt->before = hang;
		d->libvirt->opaque = d;
		cr_expect_eq(ask(d, WIRE_QUERY), WIRE_STATE_INCOMING);
		cr_expect_eq(asked_meanwhile, released ? 0 : WIRE_STATE_ABSENT);
		fake_destination_destroy(d);
	}
}
