// SPDX-License-Identifier: Apache-2.0
// What the user sees: JSON lines, or one live line on a terminal and a summary.
//
// One thread. The JSON contract: one object a line with `event` and `time` (RFC 3339, UTC); the
// last is the result.
#pragma once

#include <json-c/json.h>
#include <stdbool.h>
#include <stdint.h>
#include "compressor.h"
#include "errtext.h"
#include "phase.h"
#include "proof.h"
#include "stop_table.h"
#include "wire.h"

struct report {
	bool json;
	bool terminal; /* standard error is one, and not json */
	bool live;     /* a live line stands on the terminal */
};

struct report_progress {
	enum phase phase;
	uint32_t round;
	uint64_t remaining_bytes, transferred_bytes, total_bytes;
	uint64_t dirty_bytes_per_s, bytes_per_s, eta_ms;
	bool dirty_known; /* after two rounds; a number before that is 0 */
};

struct report_result {
	const char *result; /* completed, aborted, failed, lost */
	const char *lane, *mode;
	char domain[256], uuid[37];
	char reason[ERRTEXT_SIZE];
	uint64_t total_ms; /* until the guest ran on the destination, or the end */
	uint64_t tidy_ms;  /* after that: libvirt removing the source's QEMU */
	uint64_t setup_ms, rounds, ram_bytes, wire_bytes;
	double downtime_ms, predicted_downtime_ms;
	bool stop_known; /* all parts of it are */
	struct stop_table stop;
	bool stopped; /* the guest stood still for it */
	uint64_t pages_sent, pages_zero, pages_skipped;
	bool direct_disks; /* then: */
	uint64_t rounds_drained, rounds_undrained, pages_resent;
	unsigned int streams;
	struct compression compression;
	struct compressor_stats compressed; /* of pages_sent */
	bool tls;
	const char *guest_on;		/* source, destination, none, unknown */
	const char *host;		/* the other one, as given */
	char verified[33];		/* empty, or the digest both sides agree on */
	struct wire_complete post_copy; /* zeroes without it */
	bool proof;			/* of post-copy's memory was asked for */
	struct proof_result proven;
	unsigned int throttle_percent; /* the most that the vCPUs were slowed by */
};

void report_init(struct report *r, bool json);
/* A plain event with a text, {"event":event,"phase":...,"message":text}. */
void report_event(struct report *r, const char *event, enum phase phase, const char *text);
void report_progress(struct report *r, const struct report_progress *p);
/* A round has ended: data bytes sent in it, and how long until the destination had them; what it
 * did about disk reads in flight, or NULL. */
void report_round(struct report *r, uint32_t round, uint64_t bytes, uint64_t duration_us,
		  const char *disks);
/* The guest runs again: what its stop was made of. Programs only; people see it in the result. */
void report_stop(struct report *r, const struct stop_table *t);
/* The migration waits for its turn on `where`; `ahead` of it so many. */
void report_queued(struct report *r, const char *where, unsigned int ahead);
/* An attempt has failed, and another will follow after a pause. */
void report_attempt(struct report *r, unsigned int attempt, unsigned int pause_s,
		    const char *reason);
/* The result event. The caller owns it. */
json_object *report_result_json(const struct report_result *x);
void report_result(struct report *r, const struct report_result *x);
/* An error before anything began: standard error, and with JSON an object as well. */
void report_error(struct report *r, const char *text);
