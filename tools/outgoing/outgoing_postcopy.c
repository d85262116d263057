// SPDX-License-Identifier: Apache-2.0
// Post-copy on the source: before the stop, and from the hand-over to the last page.
#include "outgoing_postcopy.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include "connection.h"
#include "outgoing_await.h"
#include "outgoing_limits.h"
#include "outgoing_private.h"
#include "outgoing_round.h"
#include "outgoing_state.h"
#include "outgoing_status.h"
#include "ram_kept.h"

#define STALE_MS 60000
#define STALE_ROUNDS 8
#define FEW_PAGES 256

/* ---- before the stop ---- */

static bool has_listening(const struct outgoing *o)
{
	return o->postcopy.listening;
}

static void on_link(void *opaque, enum page_link_state state, const char *text)
{
	struct outgoing *o = opaque;

	mailbox_note(o->mail.box, MAIL_LINK, (int)state, text);
}

static int open_link(struct outgoing *o)
{
	struct page_link_options options = {.peer = &o->peer.at,
					    .ram = &o->guest.ram,
					    .pacer = o->peer.pacer,
					    .faults = PAGE_LINK_FAULTS,
					    .pushes = o->opt->streams,
					    .silence_ms = o->opt->silence_ms,
					    .no_prefetch = o->opt->no_prefetch,
					    .gives_back = o->guest.gives_back,
					    .balloon = o->guest.balloon,
					    .changed = on_link,
					    .opaque = o};

	if (options.pushes > PAGE_LINK_STREAMS_MAX)
		options.pushes = PAGE_LINK_STREAMS_MAX;
	return o->world->link.new(&options, &o->postcopy.link, &o->err);
}

void outgoing_postcopy_refuse(struct outgoing *o, const char *why)
{
	o->postcopy.refused = true;
	if (o->opt->post_copy_now || o->precopy.limits.post_copy)
		report_event(o->report, "warning", o->phase, why);
}

int outgoing_postcopy_listen(struct outgoing *o)
{
	const struct wire_message listen = {.type = WIRE_LISTEN,
					    .listen = {.prove = o->opt->verify}};
	int ret = o->world->control.send(o->peer.control, &listen);

	if (ret == 0)
		ret = outgoing_await(o, has_listening, CONNECTION_ANSWER_MS,
				     "the destination to get ready for post-copy");
	if (ret < 0)
		return outgoing_fail(o, ret, "cannot switch to post-copy");
	if (o->postcopy.refusal[0]) {
		outgoing_postcopy_refuse(o, o->postcopy.refusal);
		return 0;
	}
	ret = ram_kept_choose(&o->guest.ram, &o->err);
	if (ret == 0)
		ret = open_link(o);
	if (ret < 0)
		return outgoing_fail(o, ret, "cannot switch to post-copy");
	o->postcopy.decided = true;
	outgoing_status_set_mode(o, "PostCopy");
	/* What is known before the stop need not be done in it. */
	for (int i = 0; ret == 0 && i < STALE_ROUNDS && (i == 0 || o->rounds.pages > FEW_PAGES);
	     i++)
		ret = outgoing_round(o, SOURCE_ROUND_STALE, STALE_MS);
	return ret < 0 ? outgoing_fail(o, ret, "cannot tell the destination what it lacks") : 1;
}

void outgoing_postcopy_take_listening(struct outgoing *o, struct wire_message *m)
{
	snprintf(o->postcopy.refusal, sizeof(o->postcopy.refusal), "%s", m->listening.text);
	o->postcopy.listening = true;
}

/* ---- from the stop on ---- */

int outgoing_postcopy_serve(struct outgoing *o)
{
	int ret = ram_kept_note(&o->guest.ram, &o->err);

	if (ret == 0)
		ret = o->world->link.serve(o->postcopy.link, o->rounds.source, o->guest.gives_back,
					   &o->err);
	return ret < 0 ? outgoing_fail(o, ret, "cannot serve pages") : 0;
}

void outgoing_postcopy_push(struct outgoing *o)
{
	if (o->postcopy.link)
		o->world->link.push(o->postcopy.link);
}

static bool link_is_over(const struct outgoing *o)
{
	return o->postcopy.over;
}

/* The migration is over all the same, and is tidied up; but an operator must see to the guest. */
static void judge_proof(struct outgoing *o)
{
	struct proof_result r;

	o->world->link.proof(o->postcopy.link, &r);
	o->postcopy.damaged = o->world->link.judge(o->postcopy.link, o->guest.info.name,
						   o->opt->destination, &o->err) < 0;
	if (!o->postcopy.damaged && !r.complete)
		report_event(o->report, "warning", o->phase,
			     "all memory has arrived, but it could not be proven to be the same");
}

/* The main loop of the QEMU here runs on, and takes input from the host for the guest as it did
 * before (outgoing_round_check). What it writes into memory that stays in it alone may come to a
 * page that has not gone yet. Rejected: to stop that process for as long. libvirt's calls for the
 * guest would wait for its monitor, and keep the daemon's few threads from all other guests. */
static void look_for_late_writes(struct outgoing *o)
{
	uint64_t pages = ram_map_has_private(&o->guest.ram) ? outgoing_round_late(o) : 0;
	char text[ERRTEXT_SIZE];

	if (!pages)
		return;
	snprintf(text, sizeof(text),
		 "a device of the QEMU here wrote %" PRIu64
		 " pages of guest memory after the guest had left it (input on a virtio console?): "
		 "the guest has lost that input, or part of it, and may have got memory that does "
		 "not fit its devices: see what it does with that device",
		 pages);
	report_event(o->report, "warning", o->phase, text);
}

int outgoing_postcopy(struct outgoing *o)
{
	o->world->link.push(o->postcopy.link);
	while (!link_is_over(o))
		outgoing_await(o, link_is_over, OUTGOING_NO_LIMIT_MS, NULL);
	if (!o->postcopy.ended) {
		outgoing_peer_note_finished(o);
		look_for_late_writes(o);
		if (o->opt->verify)
			judge_proof(o);
		return 0;
	}
	outgoing_status_enter(o, PHASE_LOST);
	return outgoing_fail(o, -ECONNABORTED,
			     "post-copy of domain %s cannot be finished: %s. What it had not "
			     "fetched is held here no longer; see whether it runs on %s, and start "
			     "it anew from its disks if not",
			     o->guest.info.name, o->postcopy.text, o->opt->destination);
}

void outgoing_postcopy_take_link(struct outgoing *o, struct mail *mail)
{
	switch ((enum page_link_state)mail->result) {
	case PAGE_LINK_BROKEN:
		o->postcopy.broken = true;
		if (!outgoing_is_handed_over(o))
			outgoing_fail(o, -ECONNRESET, "post-copy's connections broke: %s",
				      mail->text);
		else
			report_event(o->report, "disconnected", o->phase, mail->text);
		break;
	case PAGE_LINK_RESUMED:
		o->postcopy.broken = false;
		report_event(o->report, "reconnected", o->phase, mail->text);
		break;
	case PAGE_LINK_WAITING:
		report_event(o->report, "waiting", o->phase, mail->text);
		break;
	case PAGE_LINK_ENDED:
		o->postcopy.ended = true;
		snprintf(o->postcopy.text, sizeof(o->postcopy.text), "%s", mail->text);
		/* fall through */
	case PAGE_LINK_COMPLETE:
		o->postcopy.over = true;
		break;
	}
}

void outgoing_postcopy_release(struct outgoing *o)
{
	o->world->link.destroy(o->postcopy.link);
	o->postcopy.link = NULL;
}
