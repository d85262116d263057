// SPDX-License-Identifier: Apache-2.0
// One migration, as the source drives it: the phases in order, and the mail between.
//
// The driving thread walks down the table below. Inside a phase it waits for mail; whatever goes
// wrong arrives as mail too, is recorded once, and ends the wait. A failure before hand-over
// leads to roll-back; after it, outgoing_handover finds out who has the guest.
#include "outgoing_private.h"

#include <errno.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include "cleanup.h"
#include "clock.h"
#include "exit_status.h"
#include "uring_stream.h"

static const struct {
	enum phase phase;
	int (*run)(struct outgoing *o);
} steps[] = {
	{PHASE_PREPARE, outgoing_prepare},     {PHASE_ATTACH, outgoing_attach},
	{PHASE_PRECOPY, outgoing_precopy},     {PHASE_SWITCHOVER, outgoing_switchover},
	{PHASE_LAST_PASS, outgoing_last_pass}, {PHASE_VERIFY, outgoing_verify},
	{PHASE_HANDOVER, outgoing_handover},   {PHASE_POSTCOPY, outgoing_postcopy},
	{PHASE_FINISH, outgoing_finish},
};

void outgoing_defaults(struct outgoing_options *o)
{
	long cores = sysconf(_SC_NPROCESSORS_ONLN);

	*o = (struct outgoing_options){
		.streams = cores < 1 ? 1 : (cores > 8 ? 8 : (unsigned int)cores),
		.limits = {.max_downtime_ms = 300},
		.completion_s_per_gib = 150,
		.progress_s = 150,
		.max_outbound = 2,
		.queue_s = 900,
		.connect_ms = 10000,
		.silence_ms = 10000,
		.stopped_ms = 2000,
		.resolve_ms = 30000,
	};
	strcpy(o->socket.congestion, "cubic");
}

int outgoing_fail(struct outgoing *o, int code, const char *fmt, ...)
{
	char text[ERRTEXT_SIZE];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	errtext_set(&o->err, code, "%s", text);
	if (o->failed == 0)
		o->failed = code;
	return code;
}

void outgoing_enter(struct outgoing *o, enum phase phase)
{
	if (phase_move(&o->phase, phase) < 0)
		abort(); /* the table above is wrong */
	report_event(o->report, "phase", phase, phase_name(phase));
	outgoing_show(o);
}

uint64_t outgoing_wire_bytes(struct outgoing *o)
{
	uint64_t bytes = 0;

	for (unsigned int i = 0; o->streams && i < o->opt->streams; i++)
		if (o->streams[i])
			bytes += uring_stream_bytes(o->streams[i]);
	bytes += o->link ? page_link_bytes(o->link) : 0;
	bytes += o->tunnel ? forward_bytes(o->tunnel) : 0;
	bytes += o->relay ? forward_bytes(o->relay) : 0;
	return bytes;
}

static void fill_result(struct outgoing *o, const char *result, struct report_result *r)
{
	struct source_stats stats = {0};
	uint64_t now = clock_monotonic_us();

	*r = (struct report_result){
		.result = result,
		.lane = "direct",
		.mode = o->mode,
		.total_ms = ((o->resumed_us ? o->resumed_us : now) - o->begun_us) / 1000,
		.tidy_ms = o->resumed_us ? (now - o->resumed_us) / 1000 : 0,
		.setup_ms = ((o->precopy_us ? o->precopy_us : now) - o->begun_us) / 1000,
		.rounds = o->round,
		.ram_bytes = ram_map_bytes(&o->ram),
		.wire_bytes = outgoing_wire_bytes(o),
		.streams = o->opt->streams,
		.guest_on = phase_owner_name(phase_owner(o->phase)),
		.host = o->opt->destination,
		.throttle_percent = o->most_throttled,
	};
	snprintf(r->domain, sizeof(r->domain), "%s",
		 o->guest.name[0] ? o->guest.name : o->opt->domain);
	snprintf(r->uuid, sizeof(r->uuid), "%s", o->guest.uuid);
	snprintf(r->reason, sizeof(r->reason), "%s", o->err.text);
	memcpy(r->verified, o->verified, sizeof(r->verified));
	if (o->link) {
		page_link_result(o->link, &r->post_copy);
		page_link_proof(o->link, &r->proven);
		r->proof = o->opt->verify;
	}
	if (o->source)
		source_stats(o->source, &stats);
	r->pages_sent = stats.pages_sent;
	r->pages_zero = stats.pages_zero;
	r->pages_skipped = stats.pages_skipped;
	if (o->resume_us > o->stop_us && o->stop_us)
		r->downtime_ms = (double)(o->resume_us - o->stop_us) / 1000;
}

/* Walk the phases. Returns the exit status with o->phase final. */
static int walk(struct outgoing *o)
{
	int ret = outgoing_connect(o);

	for (size_t i = 0; ret == 0 && i < sizeof(steps) / sizeof(*steps); i++) {
		if ((steps[i].phase == PHASE_VERIFY && (!o->opt->verify || o->post_copy)) ||
		    (steps[i].phase == PHASE_POSTCOPY && !o->post_copy))
			continue;
		if (steps[i].phase != PHASE_HANDOVER)
			outgoing_enter(o, steps[i].phase);
		ret = steps[i].run(o);
	}
	if (ret == 0) {
		outgoing_enter(o, PHASE_COMPLETED);
		return o->damaged ? EXIT_OPERATOR : EXIT_COMPLETED;
	}
	if (phase_is_final(o->phase)) /* hand-over, or post-copy, found out where the guest is */
		return o->phase == PHASE_LOST ? EXIT_OPERATOR : EXIT_FAILED;
	outgoing_rollback(o);
	return o->cancelled ? EXIT_ABORTED : EXIT_FAILED;
}

static const char *result_word(const struct outgoing *o)
{
	switch (o->phase) {
	case PHASE_COMPLETED:
		return o->damaged ? "lost" : "completed";
	case PHASE_ABORTED:
		return "aborted";
	case PHASE_LOST:
		return "lost";
	default:
		return "failed";
	}
}

/* Bad usage stays bad; a receiver that does not answer may do so later. */
static bool is_passing(int code)
{
	switch (code) {
	case -ECONNREFUSED:
	case -ECONNRESET:
	case -EHOSTUNREACH:
	case -ENETUNREACH:
	case -ETIMEDOUT:
	case -ECONNABORTED: /* it may still tidy up after the attempt before */
	case -ENODATA:
	case -EPIPE:
	case -EAGAIN:
		return true;
	default:
		return false;
	}
}

static int run(struct outgoing *o, struct report_result *result, bool *may_pass)
{
	bool refused;
	int status;

	*may_pass = false;
	if (outgoing_check(o) < 0) {
		report_event(o->report, "refused", o->phase, o->err.text);
		fill_result(o, "failed", result);
		return EXIT_REFUSED;
	}
	status = walk(o);
	/* A receiver that cannot be reached, or will not do, is found before anything is touched.
	 */
	refused = status == EXIT_FAILED && !o->got_prepared && !o->ignore_shared && !o->job;
	*may_pass = status == EXIT_FAILED && (!refused || is_passing(o->failed));
	fill_result(o, result_word(o), result);
	return refused ? EXIT_REFUSED : status;
}

int outgoing_run(const struct outgoing_options *options, struct steering *steering,
		 struct report *report, struct report_result *result, bool *may_pass)
{
	struct outgoing *o = calloc(1, sizeof(*o));
	int status;

	if (!o || mailbox_new(&o->mail) < 0)
		abort();
	o->opt = options;
	o->report = report;
	o->steering = steering;
	o->mode = "PreCopy";
	o->guard = -1;
	o->dir.lock = -1;
	o->begun_us = clock_monotonic_us();
	o->peer.socket = options->socket;
	o->peer.socket.user_timeout_ms = 2 * options->silence_ms;
	steering_limits(steering, &o->limits);
	if (pacer_new(o->limits.bandwidth, &o->pacer) < 0 ||
	    getrandom(o->peer.session, sizeof(o->peer.session), 0) < 0)
		abort();
	steering_attach(steering, o->mail);
	status = run(o, result, may_pass);
	steering_attach(steering, NULL);
	if (outgoing_release_all(o)) {
		pacer_destroy(o->pacer);
		mailbox_destroy(o->mail);
		free(o);
	}
	return status;
}
