// SPDX-License-Identifier: Apache-2.0
// A receiver's lines.
#include "receiver_report.h"

#include <stdio.h>
#include <string.h>
#include "incoming.h"
#include "lane.h"
#include "socket.h"

#define SECOND_US 1000000

void receiver_report_init(struct receiver_report *r, const struct report *report)
{
	*r = (struct receiver_report){.report = *report, .room = RECEIVER_REPORT_REFUSED};
	pthread_mutex_init(&r->lock, NULL);
}

void receiver_report_destroy(struct receiver_report *r)
{
	pthread_mutex_destroy(&r->lock);
}

static void event(struct receiver_report *r, const char *name, enum phase phase, const char *text)
{
	pthread_mutex_lock(&r->lock);
	report_event(&r->report, name, phase, text);
	pthread_mutex_unlock(&r->lock);
}

void receiver_report_listening(struct receiver_report *r, uint16_t port)
{
	char text[64];

	snprintf(text, sizeof(text), "waiting for guests on port %u", port);
	event(r, "listening", PHASE_CONNECT, text);
}

static void result_of(struct receiver_report *r, const char *peer, bool tls,
		      const struct incoming_result *in)
{
	struct report_result result = {
		.result = in->arrived ? "completed" : "failed",
		.lane = LANE_DIRECT,
		.mode = in->post_copy ? "PostCopy" : "PreCopy",
		.post_copy = in->told,
		.total_ms = in->total_ms,
		.ram_bytes = in->ram_bytes,
		.wire_bytes = in->wire_bytes,
		.streams = in->streams,
		.tls = tls,
		.guest_on = in->arrived ? "destination" : (in->unknown ? "unknown" : "source"),
		.host = peer,
	};

	snprintf(result.domain, sizeof(result.domain), "%s", in->domain);
	snprintf(result.reason, sizeof(result.reason), "%s", in->reason);
	pthread_mutex_lock(&r->lock);
	report_result(&r->report, &result);
	pthread_mutex_unlock(&r->lock);
}

void receiver_report_session(struct receiver_report *r, const char *peer, bool tls,
			     const struct incoming_result *in)
{
	char text[ERRTEXT_SIZE + WIRE_NAME_MAX + SOCKET_PEER_SIZE + 64];

	if (r->report.json) {
		result_of(r, peer, tls, in);
		return;
	}
	snprintf(text, sizeof(text), "%s from %s: %s%s", in->domain, peer,
		 in->arrived ? "arrived" : "did not arrive: ", in->reason);
	event(r, "result", PHASE_FINISH, text);
}

void receiver_report_trial(struct receiver_report *r, const char *peer,
			   const struct incoming_result *in)
{
	char text[ERRTEXT_SIZE + WIRE_NAME_MAX + SOCKET_PEER_SIZE + 64];

	snprintf(text, sizeof(text), "%s from %s, asked for by dray check: %s", in->domain, peer,
		 in->reason);
	event(r, "checked", PHASE_PREPARE, text);
}

/* Under the lock. */
static bool has_room(struct receiver_report *r, uint64_t now_us)
{
	uint64_t seconds = (now_us - r->room_us) / SECOND_US;

	if (seconds) {
		r->room_us = now_us;
		r->room = r->room + seconds > RECEIVER_REPORT_REFUSED
				  ? RECEIVER_REPORT_REFUSED
				  : r->room + (unsigned int)seconds;
	}
	if (r->room == 0) {
		r->untold++;
		return false;
	}
	r->room--;
	return true;
}

void receiver_report_refused(struct receiver_report *r, const char *peer, const char *why,
			     uint64_t now_us)
{
	char text[ERRTEXT_SIZE + SOCKET_PEER_SIZE + 64];

	pthread_mutex_lock(&r->lock);
	if (has_room(r, now_us)) {
		size_t n = (size_t)snprintf(text, sizeof(text), "%s: %s", peer, why);

		if (r->untold)
			snprintf(text + n, sizeof(text) - n, " (and %u more since the last one)",
				 r->untold);
		r->untold = 0;
		report_event(&r->report, "refused", PHASE_CONNECT, text);
	}
	pthread_mutex_unlock(&r->lock);
}

void receiver_report_waiting(struct receiver_report *r, const char *domain, const char *what_for)
{
	char text[ERRTEXT_SIZE + WIRE_NAME_MAX + 32];

	snprintf(text, sizeof(text), "%s waits: %s", domain, what_for);
	event(r, "waiting", PHASE_POSTCOPY, text);
}
