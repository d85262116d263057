// SPDX-License-Identifier: Apache-2.0
// The cost of a byte of payload, from TCP's own counters and from the interface's.
//
// Why not TCP's counters alone: they cannot tell whether the driver counts the headers of each
// segment or those of each super-packet. Why not the interface's alone: it has other users, and
// some drivers fetch their counters from the card only every second or two. Such a counter stands
// still during whole ticks although we send; once seen, it is not asked for a while.
//
// A new cap changes the size of sends and with it the cost, so the history begins anew; a cost
// lowest under the old cap would be held against the new one for seconds.
#include <errno.h>
#include <linux/tcp.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include "clock.h"
#include "egress.h"
#include "pacer.h"
#include "wire_cost.h"

#define PPM 1000000u
#define LEAST_PAYLOAD 16384 /* bytes; less is mostly rounding */
#define READ_MAX_US 1000    /* a reading that took longer is not of one moment */

#define ETHERNET_HEADER 14
#define IPV4_HEADER 20
#define IPV6_HEADER 40
#define TCP_HEADER 20
#define TCP_TIMESTAMPS 12

/* ---- TCP's counters ---- */

static bool tcp_info(int fd, struct tcp_info *info)
{
	socklen_t len = sizeof(*info);

	memset(info, 0, sizeof(*info));
	return !getsockopt(fd, IPPROTO_TCP, TCP_INFO, info, &len);
}

static uint32_t header_size(int fd, const struct tcp_info *info)
{
	struct sockaddr_in6 peer = {};
	socklen_t len = sizeof(peer);
	uint32_t ip = IPV4_HEADER;

	if (!getpeername(fd, (struct sockaddr *)&peer, &len) && peer.sin6_family == AF_INET6 &&
	    !IN6_IS_ADDR_V4MAPPED(&peer.sin6_addr))
		ip = IPV6_HEADER;
	return ETHERNET_HEADER + ip + TCP_HEADER +
	       ((info->tcpi_options & TCPI_OPT_TIMESTAMPS) != 0 ? TCP_TIMESTAMPS : 0);
}

void wire_totals_add(struct wire_totals *t, int fd)
{
	struct tcp_info info;
	uint32_t header;

	if (!t->began_us)
		t->began_us = clock_monotonic_us();
	if (!tcp_info(fd, &info))
		return;
	header = header_size(fd, &info);
	t->sent += info.tcpi_bytes_sent;
	t->retransmitted += info.tcpi_bytes_retrans;
	t->segments += info.tcpi_segs_out;
	t->header = header > t->header ? header : t->header;
}

uint32_t wire_cost_full_segments(int fd)
{
	struct tcp_info info;

	if (!tcp_info(fd, &info) || !info.tcpi_snd_mss)
		return PPM;
	return PPM + header_size(fd, &info) * PPM / info.tcpi_snd_mss;
}

/* ---- the decision ---- */

static uint64_t ppm_of(uint64_t bytes, uint64_t payload)
{
	return (uint64_t)((unsigned __int128)bytes * PPM / payload);
}

static bool interface_known(const struct wire_reading *from, const struct wire_reading *to)
{
	return from->interface != UINT64_MAX && to->interface != UINT64_MAX;
}

uint32_t wire_cost_between(const struct wire_reading *from, const struct wire_reading *to,
			   bool ask_interface)
{
	uint64_t payload = to->tcp.sent - from->tcp.sent;
	uint32_t segments = to->tcp.segments - from->tcp.segments;
	uint64_t by_tcp, by_interface;

	if (payload < LEAST_PAYLOAD)
		return 0;
	by_tcp = ppm_of(payload + (uint64_t)segments * to->tcp.header, payload);
	by_tcp = by_tcp < 2 * PPM ? by_tcp : 2 * PPM;
	if (!ask_interface || !interface_known(from, to))
		return (uint32_t)by_tcp;
	by_interface = ppm_of(to->interface - from->interface, payload);
	/* An interface that sends less than we did is not the one we sent by. */
	if (by_interface < PPM || by_interface > by_tcp)
		return (uint32_t)by_tcp;
	return (uint32_t)by_interface;
}

/* Whether the counter of the interface stood still while we sent. */
static bool stood_still(const struct wire_reading *from, const struct wire_reading *to)
{
	uint64_t payload = to->tcp.sent - from->tcp.sent;

	return payload >= LEAST_PAYLOAD && interface_known(from, to) &&
	       to->interface == from->interface;
}

static uint32_t lowest(const struct wire_history *h)
{
	unsigned int n = h->cost_count < WIRE_COST_RECENT ? h->cost_count : WIRE_COST_RECENT;
	uint32_t low = n ? UINT32_MAX : 0;

	for (unsigned int i = 0; i < n; i++)
		low = h->costs[i] < low ? h->costs[i] : low;
	return low;
}

static void note_reading(struct wire_history *h, const struct wire_reading *now)
{
	memmove(h->readings + 1, h->readings, WIRE_COST_WINDOW * sizeof(*now));
	h->readings[0] = *now;
	if (h->reading_count <= WIRE_COST_WINDOW)
		h->reading_count++;
}

uint32_t wire_history_add(struct wire_history *h, const struct wire_reading *now)
{
	uint32_t cost;

	/* A connection has gone, and its counts with it. */
	if (h->reading_count && now->tcp.sent < h->readings[0].tcp.sent)
		h->reading_count = 0;
	if (h->reading_count && stood_still(&h->readings[0], now)) {
		h->doubt = WIRE_COST_RECENT;
		h->cost_count = 0;
	}
	note_reading(h, now);
	if (h->reading_count < 2)
		return lowest(h);
	cost = wire_cost_between(&h->readings[h->reading_count - 1], now, !h->doubt);
	h->doubt -= h->doubt > 0;
	if (cost)
		h->costs[h->cost_count++ % WIRE_COST_RECENT] = cost;
	return lowest(h);
}

/* ---- the measuring ---- */

struct wire_cost {
	struct pacer *pacer;
	struct egress *egress; /* NULL: no interface */
	struct wire_history history;
	uint64_t rate;		/* of the history */
	uint64_t retransmitted; /* charged so far */
	uint32_t full, cost;	/* parts per million: at first, and in force */
};

int wire_cost_new(int fd, struct pacer *pacer, struct wire_cost **out)
{
	struct wire_cost *w = calloc(1, sizeof(*w));

	if (!w)
		return -ENOMEM;
	w->pacer = pacer;
	w->rate = pacer_rate(pacer);
	w->full = w->cost = wire_cost_full_segments(fd);
	if (egress_new(fd, &w->egress, NULL))
		w->egress = NULL;
	pacer_set_cost(pacer, w->full);
	*out = w;
	return 0;
}

void wire_cost_destroy(struct wire_cost *w)
{
	if (!w)
		return;
	egress_destroy(w->egress);
	free(w);
}

unsigned int wire_cost_interface(const struct wire_cost *w)
{
	return w->egress ? egress_interface(w->egress) : 0;
}

static void begin_anew(struct wire_cost *w, uint64_t rate)
{
	w->history = (struct wire_history){.doubt = w->history.doubt};
	w->rate = rate;
	w->cost = w->full;
}

static void charge_retransmitted(struct wire_cost *w, uint64_t total)
{
	if (total > w->retransmitted)
		pacer_charge(w->pacer, total - w->retransmitted);
	w->retransmitted = total;
}

uint32_t wire_cost_tick(struct wire_cost *w, const struct wire_totals *totals)
{
	struct wire_reading now = {.tcp = *totals, .interface = UINT64_MAX};
	uint64_t rate = pacer_rate(w->pacer);
	uint32_t cost;

	if (rate != w->rate)
		begin_anew(w, rate);
	if (w->egress && egress_tx_bytes(w->egress, &now.interface))
		now.interface = UINT64_MAX;
	charge_retransmitted(w, totals->retransmitted);
	if (clock_monotonic_us() <= totals->began_us + READ_MAX_US) {
		cost = wire_history_add(&w->history, &now);
		w->cost = cost ? cost : w->cost;
	}
	pacer_set_cost(w->pacer, w->cost);
	return w->cost;
}
