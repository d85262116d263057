// SPDX-License-Identifier: Apache-2.0
// The rounds over guest memory: what finds written pages, what sends them, and one round from its
// start to the destination's acknowledgement. Driving thread only; negative errno, recorded, unless
// it says otherwise.
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include "byte_stream.h"
#include "source.h"
#include "tracker.h"

struct mail;
struct outgoing;
struct wire_message;

struct outgoing_rounds {
	/* owned, NULL until made */
	struct byte_stream **streams; /* as many as the options say */
	struct tracker *tracker;
	struct source *source;
	/* the round under way, or the latest */
	uint32_t number;	   /* 0: there was none yet */
	bool running;		   /* the source still works at it */
	unsigned int synced;	   /* streams on which the destination has all of it */
	uint64_t pages;		   /* sent as data in it; of a stale round: found stale */
	uint64_t scan_us, read_us; /* what it cost: source.h */
	uint64_t begin;		   /* bytes of RAM that were dealt with before it */
	uint64_t started_us;	   /* CLOCK_MONOTONIC */
	uint64_t last_us;	   /* how long the latest took */
};

/* Connect the RAM streams. */
int outgoing_round_open_streams(struct outgoing *o);
/* What pages are compressed by: nothing where the destination does not know it. */
struct compression outgoing_round_compression(const struct outgoing *o);
/* Begin to track what the guest writes. */
int outgoing_round_attach(struct outgoing *o);

void outgoing_round_start(struct outgoing *o, enum source_round_kind kind);
/* Wait for the end of a round that began while the guest ran, and may have stopped since.
 * -ETIMEDOUT without a failure recorded: timeout_ms are over, and the round goes on. */
int outgoing_round_await(struct outgoing *o, uint64_t timeout_ms);
/* The same while the guest stands still: for as long as that may take. */
int outgoing_round_await_stopped(struct outgoing *o, const char *what);
/* One round to its end, while the guest runs or has just stopped. */
int outgoing_round(struct outgoing *o, enum source_round_kind kind, uint64_t timeout_ms);
/* The guest has stopped and all was sent: -EAGAIN if its memory was written since. */
int outgoing_round_check(struct outgoing *o);
/* After the hand-over, while QEMU stands here: pages that were written since the stop. 0 also if it
 * cannot be told. */
uint64_t outgoing_round_late(struct outgoing *o);
/* Let a live round end early: the guest stands still, or the time is up. */
void outgoing_round_hurry(struct outgoing *o);
/* What is sent from now on must not wait for the cap. No round may be under way. */
void outgoing_round_hasten(struct outgoing *o);

/* Bytes on the RAM streams so far; bytes of RAM that the round has dealt with; bytes of them that
 * the destination's kernel has. */
uint64_t outgoing_round_bytes(const struct outgoing *o);
uint64_t outgoing_round_moved(const struct outgoing *o);
uint64_t outgoing_round_acked(const struct outgoing *o);
/* Tell the pacer what headers cost. */
void outgoing_round_account(struct outgoing *o);

/* Make the round under way, if any, fail, and wait for that. */
void outgoing_round_stop(struct outgoing *o);
void outgoing_round_untrack(struct outgoing *o);
/* Give back the tracker and what uses it; and the streams. */
void outgoing_round_release(struct outgoing *o);
void outgoing_round_close_streams(struct outgoing *o);

/* MAIL_ROUND_DONE; SYNCED */
void outgoing_round_take_done(struct outgoing *o, struct mail *mail);
void outgoing_round_take_synced(struct outgoing *o, struct wire_message *m);
