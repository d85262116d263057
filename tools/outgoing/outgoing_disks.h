// SPDX-License-Identifier: Apache-2.0
// The guest's disks that are read straight into its memory: may a round wait for what is in flight?
//
// Whoever quiesces, a worker, has the part to itself while a round is under way, the driving thread
// between rounds.
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include "disk_flight.h"

struct errtext;
struct outgoing;
struct source_round;

/* What a round did about reads in flight. */
enum outgoing_disks_way {
	OUTGOING_DISKS_NONE, /* the guest has no such disks, or it was no live round */
	OUTGOING_DISKS_IDLE, /* none was in flight */
	OUTGOING_DISKS_DRAINED,
	OUTGOING_DISKS_UNDRAINED, /* left: the round's pages are suspect (source.h) */
};

struct outgoing_disks {
	struct disk_flight *flight;   /* owned; NULL: QEMU is not asked */
	enum outgoing_disks_way way;  /* of the round under way, or the latest */
	struct disk_flight_view seen; /* at last */
	bool hanging;		      /* so it was told */
	bool forsaken;		      /* QEMU is not asked any more: a drain has taken too long */
	bool told;
	unsigned int unanswered;     /* looks in a row */
	uint64_t suspects;	     /* pages, after the latest round */
	uint64_t drained, undrained; /* rounds */
};

/* Before the first round. Negative errno. */
int outgoing_disks_new(struct outgoing *o);
void outgoing_disks_release(struct outgoing *o);
/* The source's quiesce (source.h). */
int outgoing_disks_quiesce(void *o, bool *settled, struct errtext *err);
/* A round is over; by the worker that says so. */
void outgoing_disks_note_round(struct outgoing *o, const struct source_round *round);
/* Count it, and tell what there is to tell. Returns its way's name, or NULL. */
const char *outgoing_disks_account(struct outgoing *o);
/* QEMU would stop the guest now, and wait for disk requests that do not end: so not yet. True: it
 * was waited a little, and told. Driving thread. */
bool outgoing_disks_hold(struct outgoing *o);
/* How long it would take in the stop to look at all suspects again, microseconds. */
uint64_t outgoing_disks_settle_us(const struct outgoing *o);
