// SPDX-License-Identifier: Apache-2.0
// What a byte of payload costs on the wire: finds it, and tells the pacer.
//
// A cap is judged by the interface's count of bytes, which includes headers. How much they add
// differs: 4.6 % with full frames of MTU 1500 on a physical card; next to nothing on an interface
// that is handed, and counts, 64 KiB super-packets (veth, virtio); more when sends are smaller.
//
// Two measures, over the same second:
//   by TCP         payload + segments * header size: what goes over a physical wire
//   by interface   what its counter grew by; includes the traffic of others
// The cost is the lower of the two, and of these the lowest of late: what others send only adds.
// Not knowing the interface, or not believing its counter, leaves the first: the safe side, and
// right wherever headers really are sent.
//
// Retransmitted bytes are charged to the pacer when they are noticed.
//
// One thread at a time.
#pragma once

#include <stdbool.h>
#include <stdint.h>

struct pacer;
struct wire_cost;

/* What TCP has sent so far, in any number of connections together. Start from zeroes and add
 * every connection of weight: what others of ours send is taken for traffic of others. */
struct wire_totals {
	uint64_t sent;		/* bytes of payload put on the wire, the retransmitted included */
	uint64_t retransmitted; /* bytes */
	uint32_t segments;	/* modulo 2^32 */
	uint32_t header;	/* bytes per segment, Ethernet's included; the largest */
	uint64_t began_us;	/* monotonic clock: when the first was added */
};

/* fd: a connected TCP socket. One that is not TCP adds nothing. */
void wire_totals_add(struct wire_totals *t, int fd);

/* Cost in parts per million of sending full segments by fd: 1000000 if it is not TCP. */
uint32_t wire_cost_full_segments(int fd);

/* fd: any one of the connections, borrowed for the call. pacer: borrowed. Until the first ticks
 * have been, full segments are assumed. -ENOMEM. */
int wire_cost_new(int fd, struct pacer *pacer, struct wire_cost **out);
void wire_cost_destroy(struct wire_cost *w); /* NULL is fine */
/* The interface's index, 0 = none was found. */
unsigned int wire_cost_interface(const struct wire_cost *w);

/* Measure, and tell the pacer. Call it every WIRE_COST_TICK_MS or so. totals must have been
 * taken just before, since both counts are to be of the same moment; older ones are ignored.
 * Returns the cost in force, in parts per million. */
#define WIRE_COST_TICK_MS 250
uint32_t wire_cost_tick(struct wire_cost *w, const struct wire_totals *totals);

/* ---- the decision itself ---- */

#define WIRE_COST_WINDOW 4  /* ticks to measure over */
#define WIRE_COST_RECENT 32 /* measurements to take the lowest of */

struct wire_reading {
	struct wire_totals tcp;
	uint64_t interface; /* its bytes sent; UINT64_MAX = not known */
};

/* A zeroed history is a new one. */
struct wire_history {
	struct wire_reading readings[WIRE_COST_WINDOW + 1]; /* newest first */
	uint32_t costs[WIRE_COST_RECENT];
	unsigned int reading_count;
	unsigned int cost_count; /* ever, the ring holds the last of them */
	unsigned int doubt;	 /* measurements to come that do not ask the interface */
};

/* Cost in parts per million between two readings; 0 if too little was sent to tell. */
uint32_t wire_cost_between(const struct wire_reading *from, const struct wire_reading *to,
			   bool ask_interface);
/* Note a reading. Returns the cost, 0 if still unknown. */
uint32_t wire_history_add(struct wire_history *h, const struct wire_reading *now);
