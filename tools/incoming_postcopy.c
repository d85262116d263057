// SPDX-License-Identifier: Apache-2.0
// Post-copy, as the destination serves it: the guest runs here, what it lacks is fetched.
//
// The userfaultfd stays open inside QEMU for as long as a page is missing, and the set of missing
// pages is a file: whatever becomes of this process, the guest waits for a page rather than read
// zeroes, and another dray can carry on (incoming_adopt.c).
#include "incoming_private.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include "attach.h"
#include "cleanup.h"
#include "clock.h"
#include "missing.h"
#include "process.h"
#include "scheduling.h"
#include "uring_stream.h"

#define CONFIRM_MS 5000

/* ---- begin ---- */

static void on_complete(void *opaque)
{
	struct incoming *in = opaque;

	mailbox_note(in->mail, MAIL_COMPLETE, 0, NULL);
}

int incoming_new_handlers(struct incoming *in)
{
	struct placer_options placing = {.uffd = in->uffd,
					 .ram = &in->ram,
					 .owed = in->owed,
					 .tracked = in->record.prove,
					 .complete = on_complete,
					 .opaque = in};
	struct fault_handler_options handling = {
		.uffd = in->uffd, .ram = &in->ram, .owed = in->owed};
	int ret = placer_new(&placing, &in->placer, &in->err);

	handling.placer = in->placer;
	if (ret == 0)
		ret = fault_handler_new(&handling, &in->faults, &in->err);
	return ret;
}

/* A huge folio over a hole would be there as a whole; not where one page of it is missing. */
static void keep_folios_small(const struct ram_map *ram)
{
	for (unsigned int i = 0; i < ram->count; i++)
		if (ram->blocks[i].page_size == RAM_PAGE_SIZE)
			madvise(ram->blocks[i].map, ram->blocks[i].size, MADV_NOHUGEPAGE);
}

/* The source pushes in units of its own. */
static int check_page_sizes(struct incoming *in)
{
	for (unsigned int i = 0; i < in->ram.count; i++)
		if (in->ram.blocks[i].page_size != in->prepare.ram.blocks[i].page_size)
			return errtext_set(
				&in->err, -ENOTSUP,
				"post-copy is not possible: RAM block %s has pages of %u "
				"KiB on the destination and %u KiB on the source",
				in->ram.blocks[i].name, in->ram.blocks[i].page_size >> 10,
				in->prepare.ram.blocks[i].page_size >> 10);
	return 0;
}

static int get_ready(struct incoming *in)
{
	int ret = check_page_sizes(in);

	if (ret < 0)
		return ret;
	in->qemu = qmp_peer_pid(in->monitor);
	ret = process_started(in->qemu, &in->qemu_started, &in->err);
	if (ret < 0)
		return ret;
	keep_folios_small(&in->ram);
	ret = attach_userfaultfd(in->qemu,
				 in->record.prove ? MISSING_TRACKED_FEATURES : MISSING_FEATURES,
				 true, &in->uffd, &in->uffd_inside, &in->err);
	if (ret == 0)
		ret = owed_create(in->dir.owed, &in->ram, &in->owed, &in->err);
	if (ret == 0)
		ret = missing_register(in->uffd, &in->ram, in->record.prove, &in->err);
	if (ret == 0)
		ret = incoming_new_handlers(in);
	if (ret == 0)
		destination_expect_stale(in->destination, in->owed);
	return ret;
}

void incoming_listen(struct incoming *in, bool prove)
{
	struct wire_message *m = calloc(1, sizeof(*m));

	if (!m)
		abort();
	in->record.prove = prove;
	m->type = WIRE_LISTENING;
	if (get_ready(in) < 0) {
		snprintf(m->listening.text, sizeof(m->listening.text), "%s", in->err.text);
		incoming_release_postcopy(in);
		in->err = (struct errtext){0}; /* pre-copy goes on */
	}
	control_send(in->control, m);
	free(m);
}

int incoming_begin_postcopy(struct incoming *in)
{
	in->released_us = clock_monotonic_us();
	owed_seal(in->owed);
	destination_place(in->destination, in->placer);
	return placer_begin(in->placer, &in->err);
}

/* ---- connections ---- */

static void shut(struct byte_stream **slots)
{
	for (unsigned int i = 0; i < INCOMING_LANES_MAX; i++)
		if (slots[i])
			slots[i]->ops->shutdown(slots[i]);
}

void incoming_cut_lanes(struct incoming *in)
{
	shut(in->fault_streams);
	shut(in->push_streams);
}

static bool has_lanes(const struct incoming *in)
{
	for (unsigned int i = 0; i < INCOMING_LANES_MAX; i++)
		if (in->fault_streams[i] || in->push_streams[i])
			return true;
	return false;
}

static void on_link_message(void *opaque, struct wire_message *m)
{
	struct link *link = opaque;
	struct receiver *r = link->in->receiver;

	pthread_mutex_lock(&r->lock);
	link->confirmed |= m->type == WIRE_FINISH;
	link->answers += m->type == WIRE_PROVEN;
	pthread_cond_broadcast(&r->changed);
	pthread_mutex_unlock(&r->lock);
	wire_message_destroy(m);
}

/* The source makes all of its connections anew; those that hang must go. */
static void on_link_lost(void *opaque, int result, const char *text)
{
	struct link *link = opaque;
	struct incoming *in = link->in;

	(void)result;
	(void)text;
	pthread_mutex_lock(&in->receiver->lock);
	link->lost = true;
	if (in->link == link)
		incoming_cut_lanes(in);
	pthread_cond_broadcast(&in->receiver->changed);
	pthread_mutex_unlock(&in->receiver->lock);
}

static int send_owed_block(struct control *control, const struct owed *owed, unsigned int block,
			   uint64_t pages)
{
	struct wire_message *m = calloc(1, sizeof(*m));
	uint64_t at = 0, end;
	int ret = m ? 0 : -ENOMEM;

	while (ret == 0) {
		m->type = WIRE_OWED;
		m->owed.block = (uint16_t)block;
		m->owed.count = 0;
		while (m->owed.count < WIRE_OWED_RUNS_MAX &&
		       (at = owed_next(owed, block, at, pages)) < pages) {
			struct wire_run *run = &m->owed.run[m->owed.count++];

			end = owed_next_clear(owed, block, at, pages);
			end = end - at > WIRE_RUN_PAGES_MAX ? at + WIRE_RUN_PAGES_MAX : end;
			*run = (struct wire_run){at, (uint32_t)(end - at)};
			at = end;
		}
		if (m->owed.count == 0)
			break;
		ret = control_send(control, m);
	}
	free(m);
	return ret;
}

static int send_owed(struct incoming *in, struct control *control)
{
	int ret = 0;

	for (unsigned int i = 0; ret == 0 && i < in->ram.count; i++)
		ret = send_owed_block(control, in->owed, i, ram_block_pages(&in->ram.blocks[i]));
	return ret < 0 ? ret : control_send_type(control, WIRE_OWED_END);
}

/* A handler that was stopped stays so. Whoever waits for a page faults again. */
static int renew_handler(struct incoming *in, struct errtext *err)
{
	struct fault_handler_options handling = {
		.uffd = in->uffd, .ram = &in->ram, .owed = in->owed, .placer = in->placer};
	struct fault_handler_stats stats;
	struct fault_handler *fresh;
	int ret = fault_handler_new(&handling, &fresh, err);

	if (ret < 0)
		return ret;
	fault_handler_stats(in->faults, &stats);
	fault_handler_latency(in->faults, &in->latency);
	in->faults_before += stats.faults;
	fault_handler_destroy(in->faults);
	in->faults = fresh;
	return placer_begin(in->placer, err);
}

static void free_link(struct link *link)
{
	control_destroy(link->control);
	free(link);
}

/* Its callbacks need the receiver's lock, which we must not hold. */
static void end_older_link(struct receiver *r, struct link *older)
{
	control_shutdown(older->control);
	pthread_mutex_lock(&r->lock);
	while (older->serving || older->proving)
		pthread_cond_wait(&r->changed, &r->lock);
	pthread_mutex_unlock(&r->lock);
	free_link(older);
}

/* From now on the source's latest; what hangs on the one before goes first. Only the shut down
 * streams' next use ends a fault thread, so they are stopped as well. */
static int replace_link(struct incoming *in, struct link *link, struct errtext *err)
{
	struct receiver *r = in->receiver;
	struct link *older;
	int ret = 0;

	pthread_mutex_lock(&r->lock);
	older = in->link;
	in->link = link;
	in->links++;
	if (older) {
		fault_handler_stop(in->faults);
		incoming_cut_lanes(in);
		while (has_lanes(in))
			pthread_cond_wait(&r->changed, &r->lock);
		if (!in->ending)
			ret = renew_handler(in, err);
	}
	pthread_mutex_unlock(&r->lock);
	if (older)
		end_older_link(r, older);
	return ret;
}

static void stop_serving(struct link *link)
{
	struct receiver *r = link->in->receiver;

	pthread_mutex_lock(&r->lock);
	link->serving = false; /* from here on it may be freed */
	pthread_cond_broadcast(&r->changed);
	pthread_mutex_unlock(&r->lock);
}

/* Whoever asks what is owed carries on: before the release there is nothing to carry on. */
static bool may_link(struct incoming *in, bool tell_owed)
{
	bool may;

	pthread_mutex_lock(&in->receiver->lock);
	may = in->faults && (in->released || !tell_owed);
	pthread_mutex_unlock(&in->receiver->lock);
	return may;
}

int incoming_serve_link(struct incoming *in, int fd, bool tell_owed, struct errtext *err)
{
	struct link *link = calloc(1, sizeof(*link));
	struct control_options options = {.fd = fd,
					  .silence_ms = in->prepare.silence_ms,
					  .message = on_link_message,
					  .lost = on_link_lost,
					  .opaque = link};
	int ret;

	if (!link || !may_link(in, tell_owed)) {
		close(fd);
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
	ret = replace_link(in, link, err);
	if (ret == 0 && tell_owed)
		ret = send_owed(in, link->control);
	if (ret < 0)
		control_shutdown(link->control); /* the source comes again */
	stop_serving(link);
	return ret;
}

static int run_fault(struct incoming *in, unsigned int index, struct byte_stream *stream,
		     struct errtext *err)
{
	scheduling_urgent();
	return fault_handler_serve(in->faults, index, stream, err);
}

/* Its pages are to be placed, not written. */
static int run_push(struct incoming *in, unsigned int index, struct byte_stream *stream,
		    struct errtext *err)
{
	struct receiver *r = in->receiver;
	bool ending;

	pthread_mutex_lock(&r->lock);
	while (!in->released && !in->ending)
		pthread_cond_wait(&r->changed, &r->lock);
	ending = in->ending;
	pthread_mutex_unlock(&r->lock);
	scheduling_background();
	return ending ? 0 : destination_receive(in->destination, index, stream, err);
}

/* The source may not notice that one has ended which it has pushed all of its pages into: then
 * those that were lost with it would never come. So a set ends as a whole. */
static int serve_lane(struct incoming *in, int fd, unsigned int index, struct byte_stream **slots,
		      int (*run)(struct incoming *in, unsigned int index,
				 struct byte_stream *stream, struct errtext *err),
		      struct errtext *err)
{
	struct receiver *r = in->receiver;
	unsigned int links;
	int ret;

	pthread_mutex_lock(&r->lock);
	links = in->links;
	pthread_mutex_unlock(&r->lock);
	ret = incoming_serve_stream(in, fd, index, slots, in->faults ? INCOMING_LANES_MAX : 0, run,
				    err);
	pthread_mutex_lock(&r->lock);
	if (in->link && in->links == links && !in->ending)
		control_shutdown(in->link->control);
	pthread_mutex_unlock(&r->lock);
	return ret;
}

int incoming_serve_fault(struct incoming *in, int fd, unsigned int index, struct errtext *err)
{
	return serve_lane(in, fd, index, in->fault_streams, run_fault, err);
}

int incoming_serve_push(struct incoming *in, int fd, unsigned int index, struct errtext *err)
{
	return serve_lane(in, fd, index, in->push_streams, run_push, err);
}

/* ---- end ---- */

static void sum_up(struct incoming *in)
{
	struct fault_handler_stats faults;
	struct placer_stats pages;

	fault_handler_stats(in->faults, &faults);
	fault_handler_latency(in->faults, &in->latency);
	placer_stats(in->placer, &pages);
	in->told = (struct wire_complete){
		.faults = in->faults_before + faults.faults,
		.fault_p50_us = histogram_percentile(&in->latency, 500),
		.fault_p99_us = histogram_percentile(&in->latency, 990),
		.fault_max_us = histogram_max(&in->latency),
		.pages_fault = pages.pages[PLACER_FAULT],
		.pages_push = pages.pages[PLACER_PUSH],
		.pages_prefetch = pages.pages[PLACER_PREFETCH],
		.holes = pages.holes,
		.duration_us = clock_monotonic_us() - in->released_us,
	};
}

int incoming_end_postcopy(struct incoming *in)
{
	int ret;

	incoming_stop_streams(in);
	sum_up(in);
	ret = missing_unregister(in->uffd, &in->ram, &in->err);
	if (ret == 0)
		ret = attach_close_inside(in->qemu, in->uffd_inside, &in->err);
	in->uffd_inside = -1;
	return ret;
}

void incoming_release_postcopy(struct incoming *in)
{
	fault_handler_destroy(in->faults);
	in->faults = NULL;
	placer_destroy(in->placer);
	in->placer = NULL;
	owed_close(in->owed);
	in->owed = NULL;
	/* Before the release QEMU is about to end, or goes on without. */
	if (in->uffd_inside >= 0 && !in->released)
		attach_close_inside(in->qemu, in->uffd_inside, NULL);
	in->uffd_inside = -1;
	cleanup_close(&in->uffd);
	in->uffd = -1;
}

/* To close while it sends would take COMPLETE back. */
static bool await_confirmation(struct incoming *in, const struct link *link)
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

static void say_last(struct incoming *in, struct link *link)
{
	struct wire_message *m = calloc(1, sizeof(*m));

	if (!m)
		abort();
	m->type = in->record.complete ? WIRE_COMPLETE : WIRE_ABORT;
	if (in->record.complete)
		m->complete = in->told;
	else
		snprintf(m->abort.text, sizeof(m->abort.text), "%s", in->err.text);
	if (in->record.complete || in->ended)
		control_send(link->control, m);
	free(m);
}

bool incoming_tell_link(struct incoming *in)
{
	struct link *link;
	bool confirmed;

	pthread_mutex_lock(&in->receiver->lock);
	link = in->link;
	in->link = NULL;
	pthread_mutex_unlock(&in->receiver->lock);
	if (!link)
		return false;
	say_last(in, link);
	confirmed = in->record.complete && await_confirmation(in, link);
	free_link(link);
	return confirmed;
}
