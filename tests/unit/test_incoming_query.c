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
	};

	return cr_make_param_array(struct question, rows, sizeof(rows) / sizeof(*rows));
}

/* WIRE_STATE's, or 0 if the connection was closed without an answer. */
static int ask(struct fake_destination *d, enum wire_type type)
{
	const struct record about = {.session = SESSION};
	struct wire_message m = {.type = type};
	int pair[2], answer = 0;

	cr_assert_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
	if (type != WIRE_PREPARED) {
		cr_assert_eq(uuid_parse(FAKE_UUID, m.query.uuid), 0);
		record_session_bytes(&about, m.query.session);
	}
	fake_send(pair[1], &m);
	incoming_query(d->receiver, pair[0]);
	if (control_read_one(pair[1], 1000, &m, NULL) == 0) {
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
