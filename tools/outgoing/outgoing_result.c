// SPDX-License-Identifier: Apache-2.0
// What a migration came to.
#include "outgoing_result.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include "outgoing_private.h"
#include "outgoing_progress.h"
#include "outgoing_round.h"

enum exit_status outgoing_result_status(enum phase phase, bool for_operator)
{
	switch (phase) {
	case PHASE_COMPLETED:
		return for_operator ? EXIT_OPERATOR : EXIT_COMPLETED;
	case PHASE_LOST:
		return EXIT_OPERATOR;
	case PHASE_ABORTED:
		return for_operator ? EXIT_OPERATOR : EXIT_ABORTED;
	default:
		return for_operator ? EXIT_OPERATOR : EXIT_FAILED;
	}
}

const char *outgoing_result_word(enum phase phase, bool for_operator)
{
	if (for_operator)
		return "lost";
	switch (phase) {
	case PHASE_COMPLETED:
		return "completed";
	case PHASE_ABORTED:
		return "aborted";
	case PHASE_LOST:
		return "lost";
	default:
		return "failed";
	}
}

bool outgoing_result_is_passing(int code)
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

static void fill_times(const struct outgoing *o, struct report_result *r)
{
	uint64_t now = o->world->now_us();

	r->total_ms = ((o->stop.resumed_us ? o->stop.resumed_us : now) - o->status.begun_us) / 1000;
	r->tidy_ms = o->stop.resumed_us ? (now - o->stop.resumed_us) / 1000 : 0;
	r->setup_ms =
		((o->precopy.begun_us ? o->precopy.begun_us : now) - o->status.begun_us) / 1000;
	if (o->stop.resume_us > o->stop.stop_us && o->stop.stop_us)
		r->downtime_ms = (double)(o->stop.resume_us - o->stop.stop_us) / 1000;
	r->predicted_downtime_ms = (double)o->parts.table.predicted_us / 1000;
	r->stop_known = o->parts.complete && o->stop.resume_us;
	r->stop = o->parts.table;
}

static void fill_pages(struct outgoing *o, struct report_result *r)
{
	struct source_stats stats = {0};

	if (o->rounds.source) {
		o->world->source.stats(o->rounds.source, &stats);
		r->compression = outgoing_round_compression(o);
	}
	r->pages_sent = stats.pages_sent;
	r->pages_zero = stats.pages_zero;
	r->pages_skipped = stats.pages_skipped;
	r->compressed = stats.compressed;
	r->direct_disks = o->guest.direct_disks > 0;
	r->rounds_drained = o->disks.drained;
	r->rounds_undrained = o->disks.undrained;
	r->pages_resent = stats.pages_resent;
	if (!o->postcopy.link)
		return;
	o->world->link.result(o->postcopy.link, &r->post_copy);
	o->world->link.proof(o->postcopy.link, &r->proven);
	r->proof = o->opt->verify;
}

/* A guest that has never been found is nowhere that we know of. */
static const char *guest_on(const struct outgoing *o)
{
	if (!o->guest.info.name[0])
		return phase_owner_name(OWNER_UNKNOWN);
	return o->guest.ended ? "none" : phase_owner_name(phase_owner(o->phase));
}

void outgoing_result_fill(struct outgoing *o, const char *word, struct report_result *r)
{
	*r = (struct report_result){
		.result = word,
		.lane = o->status.shown.lane,
		.mode = o->status.shown.mode,
		.rounds = o->rounds.number,
		.ram_bytes = ram_map_bytes(&o->guest.ram),
		.wire_bytes = outgoing_progress_bytes(o),
		.streams = o->opt->streams,
		.guest_on = guest_on(o),
		.host = o->opt->destination,
		.throttle_percent = o->precopy.most_throttled,
		.stopped = o->stop.since_us != 0,
		.tls = o->opt->tls_dir[0] != 0,
	};
	snprintf(r->domain, sizeof(r->domain), "%s",
		 o->guest.info.name[0] ? o->guest.info.name : o->opt->domain);
	snprintf(r->uuid, sizeof(r->uuid), "%s", o->guest.info.uuid);
	/* What went wrong on the way to a good end is nobody's reason. */
	if (o->phase != PHASE_COMPLETED || o->postcopy.damaged)
		snprintf(r->reason, sizeof(r->reason), "%s", o->err.text);
	memcpy(r->verified, o->proof.verified, sizeof(r->verified));
	fill_times(o, r);
	fill_pages(o, r);
}
