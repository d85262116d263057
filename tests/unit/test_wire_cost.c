// SPDX-License-Identifier: Apache-2.0
// The cost of a byte: the decision as a table, and its readers against loopback.
#include <criterion/criterion.h>
#include <criterion/parameterized.h>
#include <errno.h>
#include <net/if.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>
#include "clock.h"
#include "egress.h"
#include "pacer.h"
#include "socket.h"
#include "wire_cost.h"

#define MSS 1448u
#define HEADER 66u
#define UNKNOWN UINT64_MAX
#define FULL 1045580u /* full segments, in parts per million */

TestSuite(wire_cost, .timeout = 60);

/* ---- between two readings ---- */

struct row {
	const char *what;
	uint64_t segments;  /* of MSS bytes each, sent meanwhile */
	uint64_t interface; /* what its counter grew by */
	bool asked;
	uint32_t expected;
};

ParameterizedTestParameters(wire_cost, between)
{
	static struct row rows[] = {
		{"a card: headers on every segment", 1000, 1000 * (MSS + HEADER), true, FULL},
		{"super-packets: hardly any", 1000, 1000 * MSS + 23 * HEADER, true, 1001048},
		{"others send too: no more than TCP says", 1000, 9000 * MSS, true, FULL},
		{"somebody sends a little", 1000, 1000 * MSS + 500 * HEADER, true, 1022790},
		{"not our interface", 1000, 500 * MSS, true, FULL},
		{"interface not believed", 1000, 1000 * MSS, false, FULL},
		{"no interface", 1000, UNKNOWN, true, FULL},
		{"too little to tell", 10, 10 * MSS, true, 0},
		{"nothing", 0, 0, true, 0},
	};

	return cr_make_param_array(struct row, rows, sizeof(rows) / sizeof(rows[0]));
}

ParameterizedTest(struct row *r, wire_cost, between)
{
	/* Segments are counted modulo 2^32: begin before the turn. */
	struct wire_reading from = {.tcp = {.sent = 5, .segments = UINT32_MAX, .header = HEADER},
				    .interface = 77};
	struct wire_reading to = from;

	to.tcp.sent += r->segments * MSS;
	to.tcp.segments += (uint32_t)r->segments;
	to.interface = r->interface == UNKNOWN ? UNKNOWN : from.interface + r->interface;
	cr_assert_eq(wire_cost_between(&from, &to, r->asked), r->expected, "%s: %u", r->what,
		     wire_cost_between(&from, &to, r->asked));
}

Test(wire_cost, tiny_segments_cost_twice_at_most)
{
	struct wire_reading from = {}, to = {.interface = UNKNOWN};

	to.tcp = (struct wire_totals){.sent = 100000, .segments = 100000, .header = HEADER};
	cr_assert_eq(wire_cost_between(&from, &to, true), 2000000);
}

/* ---- over time ---- */

/* One tick more: so many full segments, and so many headers on the interface. */
static uint32_t tick(struct wire_history *h, struct wire_reading *at, unsigned int segments,
		     unsigned int headers)
{
	at->tcp.header = HEADER;
	at->tcp.sent += segments * MSS;
	at->tcp.segments += segments;
	at->interface += segments * MSS + headers * HEADER;
	return wire_history_add(h, at);
}

Test(wire_cost, lowest_of_late_counts)
{
	struct wire_history h = {};
	struct wire_reading at = {};

	cr_assert_eq(tick(&h, &at, 1000, 1000), 0);
	cr_assert_eq(tick(&h, &at, 1000, 0), 1000000);
	/* Others send a while; then the quiet tick is forgotten. */
	for (int i = 0; i < WIRE_COST_RECENT - 1; i++)
		cr_assert_eq(tick(&h, &at, 1000, 1000), 1000000);
	for (int i = 0; i < WIRE_COST_WINDOW; i++)
		tick(&h, &at, 1000, 1000);
	cr_assert_eq(tick(&h, &at, 1000, 1000), FULL);
	cr_assert_eq(tick(&h, &at, 0, 0), FULL);
}

Test(wire_cost, a_counter_that_stands_still_is_not_believed)
{
	struct wire_history h = {};
	struct wire_reading at = {};

	tick(&h, &at, 1000, 20);
	cr_assert_lt(tick(&h, &at, 1000, 20), 1002000);
	/* A card's counter fetched every second: nothing for three ticks, then all of it. */
	for (int i = 0; i < 40; i++) {
		uint64_t shown = at.interface;
		struct wire_reading seen;
		uint32_t cost;

		at.tcp.sent += 1000 * MSS;
		at.tcp.segments += 1000;
		at.interface += 1000 * MSS;
		seen = at;
		seen.interface = i % 4 == 3 ? at.interface : shown - shown % (4000 * MSS);
		cost = wire_history_add(&h, &seen);
		if (i > 0)
			cr_assert_eq(cost, FULL, "tick %d: %u", i, cost);
	}
}

Test(wire_cost, a_connection_that_went_begins_anew)
{
	struct wire_history h = {};
	struct wire_reading at = {};

	tick(&h, &at, 1000, 1000);
	cr_assert_eq(tick(&h, &at, 1000, 1000), FULL);
	at.tcp.sent = 0;
	at.tcp.segments = 0;
	cr_assert_eq(wire_history_add(&h, &at), FULL);
	cr_assert_eq(h.reading_count, 1);
}

/* ---- against real sockets ---- */

static void tcp_pair(const char *address, int fds[2])
{
	struct socket_options opt = {};
	struct errtext err = {};
	char peer[SOCKET_PEER_SIZE];
	uint16_t port;
	int listener;

	cr_assert_eq(socket_listen(&opt, 0, &listener, &err), 0, "%s", err.text);
	cr_assert_eq(socket_port(listener, &port), 0);
	cr_assert_eq(socket_connect(address, port, NULL, 5000, &fds[0], &err), 0, "%s", err.text);
	cr_assert_eq(socket_accept(listener, NULL, &fds[1], peer, &err), 0, "%s", err.text);
	close(listener);
}

static void expect_loopback(int fd)
{
	struct errtext err = {};
	struct egress *e;

	cr_assert_eq(egress_new(fd, &e, &err), 0, "%s", err.text);
	cr_assert_eq(egress_interface(e), if_nametoindex("lo"));
	egress_destroy(e);
}

/* The accepted end has a mapped address where the listener is dual-stack. */
Test(wire_cost, loopback_is_found_from_either_end)
{
	int fds[2];

	tcp_pair("127.0.0.1", fds);
	expect_loopback(fds[0]);
	expect_loopback(fds[1]);
	close(fds[0]);
	close(fds[1]);
}

Test(wire_cost, interface_counts_what_is_sent)
{
	struct errtext err = {};
	struct egress *e;
	uint64_t before, after;
	char buf[10000] = {};
	int fds[2];

	tcp_pair("127.0.0.1", fds);
	cr_assert_eq(egress_new(fds[0], &e, &err), 0, "%s", err.text);
	cr_assert_eq(egress_tx_bytes(e, &before), 0);
	cr_assert_eq(socket_write_full(fds[0], buf, sizeof(buf), -1), 0);
	cr_assert_eq(socket_read_full(fds[1], buf, sizeof(buf), -1), 0);
	cr_assert_eq(egress_tx_bytes(e, &after), 0);
	cr_assert_geq(after - before, sizeof(buf));
	egress_destroy(e);
	close(fds[0]);
	close(fds[1]);
}

Test(wire_cost, totals_add_up_over_connections)
{
	struct wire_totals totals = {};
	char buf[10000] = {};
	int a[2], b[2];

	tcp_pair("127.0.0.1", a);
	tcp_pair("127.0.0.1", b);
	cr_assert_eq(socket_write_full(a[0], buf, sizeof(buf), -1), 0);
	cr_assert_eq(socket_read_full(a[1], buf, sizeof(buf), -1), 0);
	cr_assert_eq(socket_write_full(b[0], buf, 1000, -1), 0);
	cr_assert_eq(socket_read_full(b[1], buf, 1000, -1), 0);
	wire_totals_add(&totals, a[0]);
	wire_totals_add(&totals, b[0]);
	cr_assert_geq(totals.sent - totals.retransmitted, sizeof(buf) + 1000);
	cr_assert_geq(totals.segments, 4);
	cr_assert_geq(totals.header, 54);
	cr_assert_gt(totals.began_us, 0);
	for (int i = 0; i < 2; i++) {
		close(a[i]);
		close(b[i]);
	}
}

Test(wire_cost, without_tcp_a_byte_costs_a_byte)
{
	struct wire_totals totals = {};
	struct errtext err = {};
	struct wire_cost *w;
	struct egress *e;
	struct pacer *p;
	int fds[2];

	cr_assert_eq(socketpair(AF_UNIX, SOCK_STREAM, 0, fds), 0);
	cr_assert_eq(pacer_new(1000, &p), 0);
	cr_assert_eq(egress_new(fds[0], &e, &err), -EAFNOSUPPORT);
	cr_assert_neq(err.text[0], 0);
	cr_assert_eq(wire_cost_new(fds[0], p, &w), 0);
	cr_assert_eq(wire_cost_interface(w), 0);
	wire_totals_add(&totals, fds[0]);
	cr_assert_eq(totals.sent, 0);
	cr_assert_eq(wire_cost_tick(w, &totals), 1000000);
	wire_cost_destroy(w);
	pacer_destroy(p);
	close(fds[0]);
	close(fds[1]);
}

Test(wire_cost, a_new_cap_forgets_the_cost)
{
	struct wire_totals totals = {};
	struct wire_cost *w;
	struct pacer *p;
	int fds[2];
	uint32_t full;

	tcp_pair("127.0.0.1", fds);
	cr_assert_eq(pacer_new(1000, &p), 0);
	cr_assert_eq(wire_cost_new(fds[0], p, &w), 0);
	full = wire_cost_full_segments(fds[0]);
	cr_assert_gt(full, 1000000);
	for (int i = 0; i < 2; i++) {
		totals.sent += 100000;
		totals.segments += 1000;
		totals.header = HEADER;
		totals.began_us = clock_monotonic_us() + 3600000000; /* never too old */
		wire_cost_tick(w, &totals);
	}
	cr_assert_gt(wire_cost_tick(w, &totals), full);
	pacer_set(p, 2000);
	cr_assert_eq(wire_cost_tick(w, &totals), full);
	wire_cost_destroy(w);
	pacer_destroy(p);
	close(fds[0]);
	close(fds[1]);
}
