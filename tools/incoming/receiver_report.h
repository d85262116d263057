// SPDX-License-Identifier: Apache-2.0
// What a receiver tells people and programs: who came, who was turned away, who waits.
//
// Any thread; a lock inside keeps the lines apart.
#pragma once

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include "errtext.h"
#include "report.h"

struct incoming_result;

/* Whoever reaches the port can be turned away as often as it likes, and must not fill a log by it:
 * so many lines at once, and then one each second. */
#define RECEIVER_REPORT_REFUSED 100

struct receiver_report {
	pthread_mutex_t lock;
	/* under lock */
	struct report report;
	unsigned int room;   /* for lines about those that were turned away */
	unsigned int untold; /* of them, since the last line */
	uint64_t room_us;    /* when there was last more room */
};

void receiver_report_init(struct receiver_report *r, const struct report *report);
void receiver_report_destroy(struct receiver_report *r);

void receiver_report_listening(struct receiver_report *r, uint16_t port);
/* How a session from `peer` has ended. */
void receiver_report_session(struct receiver_report *r, const char *peer, bool tls,
			     const struct incoming_result *in);
/* The same of one that `dray check --destination` made. */
void receiver_report_trial(struct receiver_report *r, const char *peer,
			   const struct incoming_result *in);
/* Whoever asks why nothing arrives reads it here. */
void receiver_report_refused(struct receiver_report *r, const char *peer, const char *why,
			     uint64_t now_us);
/* A guest that runs here waits for its memory. */
void receiver_report_waiting(struct receiver_report *r, const char *domain, const char *what_for);
