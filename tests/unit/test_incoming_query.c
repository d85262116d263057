// SPDX-License-Identifier: Apache-2.0
// Recover connections: what the destination answers, and when it gives a guest up.
#include "incoming.h"

#include <criterion/criterion.h>
#include <criterion/parameterized.h>
#include "fake_destination.h"

TestSuite(incoming_query, .timeout = 20);

struct question {
	enum domain_state state;
	enum wire_type type;
	int answer; /* 0: none */
	char did[32];
};

/* There is no record, as after a reboot: an absent guest may have ended. */
ParameterizedTestParameters(incoming_query, answers)
{
	static struct question rows[] = {
		{DOMAIN_RUNNING, WIRE_QUERY, WIRE_STATE_RUNNING, ""},
		{DOMAIN_RUNNING, WIRE_DISCARD, WIRE_STATE_RUNNING, ""},
		{DOMAIN_PAUSED_USER, WIRE_DISCARD, WIRE_STATE_RUNNING, ""},
		{DOMAIN_PAUSED_POSTCOPY, WIRE_DISCARD, WIRE_STATE_RUNNING, ""},
		{DOMAIN_INCOMING, WIRE_QUERY, WIRE_STATE_INCOMING, ""},
		{DOMAIN_INCOMING, WIRE_DISCARD, 0, "destroy web"},
		{DOMAIN_PAUSED_MIGRATION, WIRE_DISCARD, 0, "destroy web"},
		{DOMAIN_ABSENT, WIRE_QUERY, 0, ""},
		{DOMAIN_SHUT_OFF, WIRE_DISCARD, 0, ""},
		{DOMAIN_INCOMING, WIRE_PREPARED, 0, ""},
	};

	return cr_make_param_array(struct question, rows, sizeof(rows) / sizeof(*rows));
}

/* WIRE_STATE's, or 0 if the connection was closed without an answer. */
static int ask(struct fake_destination *d, enum wire_type type)
{
	struct wire_message m = {.type = type};
	int pair[2], answer = 0;

	cr_assert_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
	if (type != WIRE_PREPARED)
		cr_assert_eq(uuid_parse(FAKE_UUID, m.query.uuid), 0);
	fake_send(pair[1], &m);
	incoming_query(d->receiver, pair[0]);
	if (control_read_one(pair[1], 1000, &m, NULL) == 0) {
		cr_assert_eq(m.type, WIRE_STATE);
		answer = (int)m.state.state;
		wire_message_destroy(&m);
	}
	close(pair[1]);
	return answer;
}

ParameterizedTest(struct question *row, incoming_query, answers)
{
	struct fake_destination *d = fake_destination_new();

	fake_libvirt_add(d->libvirt, "web", FAKE_UUID, row->state);
	cr_expect_eq(ask(d, row->type), row->answer);
	cr_expect_str_eq(fake_libvirt_did(d->libvirt), row->did);
	fake_destination_destroy(d);
}

Test(incoming_query, libvirt_does_not_answer)
{
	struct fake_destination *d = fake_destination_new();

	fake_libvirt_add(d->libvirt, "web", FAKE_UUID, DOMAIN_RUNNING);
	fake_libvirt_fail(d->libvirt, FAKE_OPEN, 1, -EIO);
	cr_assert_eq(ask(d, WIRE_QUERY), 0);
	fake_libvirt_fail(d->libvirt, FAKE_STATE, 1, -EIO);
	cr_assert_eq(ask(d, WIRE_QUERY), 0);
	cr_assert_eq(ask(d, WIRE_QUERY), WIRE_STATE_RUNNING);
	fake_destination_destroy(d);
}
