// SPDX-License-Identifier: Apache-2.0
// Post-copy's connections at the destination: page links, one after the other.
//
// The source makes a page link, and when one connection of it breaks, another. A page link begins
// with its control connection, the link. The destination first ends the older page link as a whole,
// so that none of its streams is in the way of the new ones.
#include "incoming_link.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>
#include "clock.h"
#include "incoming_private.h"
#include "scheduling.h"

#define CONFIRM_MS 5000

static bool on_link_message(void *opaque, struct wire_message *m, uint64_t deadline_us)
{
	struct incoming_link *link = opaque;
	struct receiver *r = link->in->receiver;

	(void)deadline_us;
	if (m->type == WIRE_ABORT)
		mailbox_note(link->in->mail, MAIL_GIVEN_UP, 0, m->abort.text);
	pthread_mutex_lock(&r->lock);
	link->confirmed |= m->type == WIRE_FINISH;
	link->answers += m->type == WIRE_PROVEN;
	pthread_cond_broadcast(&r->changed);
	pthread_mutex_unlock(&r->lock);
	return true;
}

/* The source will make all connections anew: page streams of this page link that hang must end. */
static void on_link_lost(void *opaque, int result, const char *text)
{
	struct incoming_link *link = opaque;
	struct incoming *in = link->in;

	(void)result;
	(void)text;
	pthread_mutex_lock(&in->receiver->lock);
	link->lost = true;
	if (in->joined.link == link)
		incoming_stream_cut_pages(in);
	pthread_cond_broadcast(&in->receiver->changed);
	pthread_mutex_unlock(&in->receiver->lock);
}

static int send_owed_block(struct control *control, const struct owed *owed, unsigned int block,
			   uint64_t pages)
{
	struct wire_owed part = {.block = (uint16_t)block};
	const struct wire_message m = {.type = WIRE_OWED, .owed = &part};
	uint64_t at = 0, end;
	int ret = 0;

	while (ret == 0) {
		part.count = 0;
		while (part.count < WIRE_OWED_RUNS_MAX &&
		       (at = owed_next(owed, block, at, pages)) < pages) {
			struct wire_run *run = &part.run[part.count++];

			end = owed_next_clear(owed, block, at, pages);
			end = end - at > WIRE_RUN_PAGES_MAX ? at + WIRE_RUN_PAGES_MAX : end;
			*run = (struct wire_run){at, (uint32_t)(end - at)};
			at = end;
		}
		if (part.count == 0)
			break;
		ret = control_send(control, &m);
	}
	return ret;
}

static int send_owed(struct incoming *in, struct control *control)
{
	int ret = 0;

	for (unsigned int i = 0; ret == 0 && i < in->ram.count; i++)
		ret = send_owed_block(control, in->postcopy.owed, i,
				      ram_block_pages(&in->ram.blocks[i]));
	return ret < 0 ? ret : control_send_type(control, WIRE_OWED_END);
}

static void free_link(struct incoming_link *link)
{
	control_destroy(link->control);
	free(link);
}

/* The link's callbacks take the receiver's lock, so the caller must not hold it. */
static void end_older_link(struct receiver *r, struct incoming_link *older)
{
	control_shutdown(older->control);
	pthread_mutex_lock(&r->lock);
	while (older->serving || older->held)
		pthread_cond_wait(&r->changed, &r->lock);
	pthread_mutex_unlock(&r->lock);
	free_link(older);
}

/* Make this link the session's latest. The page streams of the one before end first: they are shut
 * down, and those who serve faults, who would notice that only when they next use their stream, are
 * stopped as well. */
static int replace_link(struct incoming *in, struct incoming_link *link, struct errtext *err)
{
	struct receiver *r = in->receiver;
	struct incoming_link *older;
	int ret = 0;

	pthread_mutex_lock(&r->lock);
	older = in->joined.link;
	in->joined.link = link;
	in->joined.links++;
	pthread_cond_broadcast(&r->changed);
	if (older) {
		fault_handler_stop(in->postcopy.faults);
		placer_hurry(in->postcopy.placer, true);
		incoming_stream_cut_pages(in);
		while (incoming_stream_has_pages(in))
			pthread_cond_wait(&r->changed, &r->lock);
		placer_hurry(in->postcopy.placer, false);
		if (!in->joined.ending)
			ret = incoming_postcopy_renew_handler(in, err);
	}
	pthread_mutex_unlock(&r->lock);
	if (older)
		end_older_link(r, older);
	return ret;
}

static void stop_serving(struct incoming_link *link)
{
	struct receiver *r = link->in->receiver;

	pthread_mutex_lock(&r->lock);
	link->serving = false; /* from here on it may be freed */
	pthread_cond_broadcast(&r->changed);
	pthread_mutex_unlock(&r->lock);
}

/* A source that asks what is owed carries on a post-copy: before the release there is none. */
static bool may_link(struct incoming *in, bool tell_owed)
{
	bool may;

	pthread_mutex_lock(&in->receiver->lock);
	may = in->postcopy.faults && (in->joined.released || !tell_owed);
	pthread_mutex_unlock(&in->receiver->lock);
	return may;
}

int incoming_link_serve(struct incoming *in, struct line line, bool tell_owed,
			const struct door_terms *terms, struct errtext *err)
{
	struct incoming_link *link = calloc(1, sizeof(*link));
	struct control_options options = {.line = line,
					  .silence_ms = in->prepare.silence_ms,
					  .message = on_link_message,
					  .lost = on_link_lost,
					  .opaque = link};
	int ret;

	if (!link || !may_link(in, tell_owed)) {
		line_close(&line);
		free(link);
		return errtext_set(err, -EPROTO, "post-copy has not been agreed on");
	}
	link->in = in;
	link->serving = true;
	ret = control_new(&options, &link->control, err);
	if (ret < 0) {
		free(link);
		return ret;
	}
	incoming_joined_renew_secret(in, &terms->secret);
	ret = replace_link(in, link, err);
	if (ret == 0 && tell_owed)
		ret = send_owed(in, link->control);
	if (ret < 0)
		control_shutdown(link->control); /* the source notices, and makes another */
	stop_serving(link);
	return ret;
}

static int run_fault(struct incoming *in, unsigned int index, struct byte_stream *stream,
		     struct errtext *err)
{
	scheduling_urgent();
	return fault_handler_serve(in->postcopy.faults, index, stream, err);
}

/* Pushed pages must not be received before the release: until then they would be written into
 * memory, and not placed. */
static int run_push(struct incoming *in, unsigned int index, struct byte_stream *stream,
		    struct errtext *err)
{
	struct receiver *r = in->receiver;
	bool ending;

	pthread_mutex_lock(&r->lock);
	while (!in->joined.released && !in->joined.ending)
		pthread_cond_wait(&r->changed, &r->lock);
	ending = in->joined.ending;
	pthread_mutex_unlock(&r->lock);
	scheduling_background();
	return ending ? 0 : destination_receive(in->joined.destination, index, stream, err);
}

/* A source that has pushed all of its pages into a stream may not notice that the stream has
 * broken, and the pages that were lost with it would never come. So one page stream that ends takes
 * the whole page link with it, and the source makes another. */
static int serve_stream(struct incoming *in, struct line line, unsigned int index,
			struct byte_stream **slots,
			int (*run)(struct incoming *in, unsigned int index,
				   struct byte_stream *stream, struct errtext *err),
			struct errtext *err)
{
	struct receiver *r = in->receiver;
	unsigned int links;
	int ret;

	pthread_mutex_lock(&r->lock);
	while (!in->joined.link &&
	       !in->joined.ending) /* it came first, but its thread may be slow */
		pthread_cond_wait(&r->changed, &r->lock);
	links = in->joined.links;
	pthread_mutex_unlock(&r->lock);
	ret = incoming_stream_serve(in, line, index, slots,
				    in->postcopy.faults ? INCOMING_PAGE_STREAMS_MAX : 0, run, err);
	pthread_mutex_lock(&r->lock);
	if (in->joined.link && in->joined.links == links && !in->joined.ending)
		control_shutdown(in->joined.link->control);
	pthread_mutex_unlock(&r->lock);
	return ret;
}

int incoming_link_serve_fault(struct incoming *in, struct line line, unsigned int index,
			      struct errtext *err)
{
	return serve_stream(in, line, index, in->joined.fault_streams, run_fault, err);
}

int incoming_link_serve_push(struct incoming *in, struct line line, unsigned int index,
			     struct errtext *err)
{
	return serve_stream(in, line, index, in->joined.push_streams, run_push, err);
}

/* ---- what the session's thread says ---- */

struct incoming_link *incoming_link_hold(struct incoming *in)
{
	struct incoming_link *link;

	pthread_mutex_lock(&in->receiver->lock);
	link = in->joined.link;
	if (link && link->lost)
		link = NULL;
	if (link)
		link->held = true;
	pthread_mutex_unlock(&in->receiver->lock);
	return link;
}

void incoming_link_let_go(struct incoming_link *link)
{
	struct receiver *r = link->in->receiver;

	pthread_mutex_lock(&r->lock);
	link->held = false; /* from here on it may be freed */
	pthread_cond_broadcast(&r->changed);
	pthread_mutex_unlock(&r->lock);
}

/* To close the socket while the source sends would make COMPLETE be lost. */
static bool await_confirmation(struct incoming *in, const struct incoming_link *link)
{
	struct receiver *r = in->receiver;
	uint64_t end_us = clock_realtime_us() + CONFIRM_MS * 1000ull;
	const struct timespec end = {.tv_sec = (time_t)(end_us / 1000000),
				     .tv_nsec = (long)(end_us % 1000000 * 1000)};
	bool confirmed;

	pthread_mutex_lock(&r->lock);
	while (!link->confirmed && !link->lost)
		if (pthread_cond_timedwait(&r->changed, &r->lock, &end) == ETIMEDOUT)
			break;
	confirmed = link->confirmed;
	pthread_mutex_unlock(&r->lock);
	return confirmed;
}

static void say_last(struct incoming *in, struct incoming_link *link, bool ended)
{
	const struct wire_message complete = {.type = WIRE_COMPLETE, .complete = in->postcopy.told};
	const struct wire_message sorry = {.type = WIRE_ABORT, .abort = {in->err.text}};

	if (in->place.record.complete || ended)
		control_send(link->control, in->place.record.complete ? &complete : &sorry);
}

bool incoming_link_tell_end(struct incoming *in, bool ended)
{
	struct incoming_link *link;
	bool confirmed;

	pthread_mutex_lock(&in->receiver->lock);
	link = in->joined.link;
	in->joined.link = NULL;
	pthread_mutex_unlock(&in->receiver->lock);
	if (!link)
		return false;
	say_last(in, link, ended);
	confirmed = in->place.record.complete && await_confirmation(in, link);
	free_link(link);
	return confirmed;
}
