// SPDX-License-Identifier: Apache-2.0
// The source's connections in post-copy.
//
// One thread keeps the set: it sleeps until something breaks or all is over. A set's other threads
// live and die with it.
#include "page_link.h"

#include <errno.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include "cleanup.h"
#include "clock.h"
#include "connection.h"
#include "control.h"
#include "pacer.h"
#include "ram_kept.h"
#include "scheduling.h"
#include "tls_stream.h"
#include "uring_stream.h"
#include "wire_cost.h"

#define PAUSE_FIRST_MS 50
#define PAUSE_MOST_MS 5000
#define SET_LASTS_US 1000000
#define REASON_MS 3000
/* Of the SYNC that ends the push; nobody counts rounds here. */
#define PUSH_ROUND UINT32_MAX

struct page_stream {
	struct page_link *link;
	unsigned int index;
	bool urgent; /* a fault connection */
	struct byte_stream *stream;
	pthread_t thread;
	bool started;
};

struct page_link {
	/* constant after init */
	struct page_link_options opt;
	bool resumed; /* nobody else has a connection by which to find what a byte costs */
	pthread_t keeper;
	bool kept; /* there is one; the caller's, not the threads' */
	int seal;  /* of RAM, ram_kept.h; -1: none */

	/* of the present set; private to the keeper, or to who calls new and serve */
	struct control *control;
	struct proof *proof; /* its reader's; NULL until asked for one */
	struct page_stream streams[2 * PAGE_LINK_STREAMS_MAX];
	uint64_t made_us;  /* the set: CLOCK_MONOTONIC */
	uint64_t pause_ms; /* before the next one */

	pthread_mutex_t lock;
	pthread_cond_t changed; /* CLOCK_MONOTONIC */
	/* under lock */
	struct page_server *server;
	uint64_t bytes; /* of earlier sets */
	struct wire_complete result;
	struct proof_result proven;
	bool owed_known, broken, complete, ended, quit;
	bool damaged;		      /* ended by us: our pages cannot be served */
	char text[WIRE_TEXT_MAX + 1]; /* why it broke, or ended */
};

/* ---- what happens ---- */

static bool is_over(const struct page_link *l)
{
	return l->complete || l->ended || l->quit;
}

static bool is_broken_or_over(const struct page_link *l)
{
	return l->broken || is_over(l);
}

/* Under lock: wait until the deadline or `until`. */
static bool wait_until(struct page_link *l, bool (*until)(const struct page_link *l), uint64_t ms)
{
	uint64_t end_us = clock_monotonic_us() + ms * 1000;
	const struct timespec end = clock_timespec(end_us);

	while (!until(l))
		if (pthread_cond_timedwait(&l->changed, &l->lock, &end) == ETIMEDOUT)
			return until(l);
	return true;
}

/* Under lock. */
static void break_off(struct page_link *l, const char *text)
{
	if (!l->broken && !is_over(l))
		snprintf(l->text, sizeof(l->text), "%s", text);
	l->broken = true;
	pthread_cond_broadcast(&l->changed);
}

static void note_broken(struct page_link *l, const char *text)
{
	pthread_mutex_lock(&l->lock);
	break_off(l, text);
	pthread_mutex_unlock(&l->lock);
}

/* The destination was started again: with it the guest has ended, whatever it still lacked. */
static void note_ended(struct page_link *l, const char *why)
{
	pthread_mutex_lock(&l->lock);
	snprintf(l->text, sizeof(l->text),
		 "%.900s: the guest has ended there, before all of its memory had come", why);
	l->ended = true;
	pthread_cond_broadcast(&l->changed);
	pthread_mutex_unlock(&l->lock);
}

/* Memory is lost: to connect anew would not bring it back. */
static void note_damaged(struct page_link *l, const char *text)
{
	pthread_mutex_lock(&l->lock);
	if (!is_over(l)) {
		snprintf(l->text, sizeof(l->text), "%s", text);
		l->ended = l->damaged = true;
	}
	pthread_cond_broadcast(&l->changed);
	pthread_mutex_unlock(&l->lock);
}

/* The destination closes them before it says COMPLETE, or why it gives up: let it say so. */
static void note_stream_ended(struct page_link *l, const char *text)
{
	pthread_mutex_lock(&l->lock);
	if (!wait_until(l, is_broken_or_over, REASON_MS))
		break_off(l, text);
	pthread_mutex_unlock(&l->lock);
}

/* Under lock. */
static void take_owed(struct page_link *l, const struct wire_owed *owed)
{
	for (unsigned int i = 0; i < owed->count; i++) {
		const struct wire_run *run = &owed->run[i];
		uint64_t pages = 0;

		if (owed->block < l->opt.ram->count)
			pages = ram_block_pages(&l->opt.ram->blocks[owed->block]);
		if (run->first >= pages || run->count > pages - run->first) {
			snprintf(l->text, sizeof(l->text), "it is owed pages that do not exist");
			l->broken = true;
			return;
		}
		if (l->server && !l->owed_known)
			page_server_owe_run(l->server, owed->block, run);
	}
}

/* Nobody else waits for this thread, which only reads messages. */
static void take_proof(struct page_link *l, const struct wire_proof *piece)
{
	struct wire_message answer = {.type = WIRE_PROVEN};
	struct proof_result result;
	struct errtext err = {0};
	int ret = l->proof ? 0 : proof_new(l->opt.ram, NULL, &l->proof, &err);

	if (ret == 0)
		ret = proof_compare(l->proof, piece, &err);
	if (ret < 0) {
		note_broken(l, err.text);
		return;
	}
	proof_result(l->proof, &result);
	pthread_mutex_lock(&l->lock);
	if (!l->proven.unequal)
		l->proven = result;
	pthread_mutex_unlock(&l->lock);
	answer.proven.equal = result.equal;
	answer.proven.unequal = result.unequal;
	control_send(l->control, &answer);
}

static bool on_message(void *opaque, struct wire_message *m, uint64_t deadline_us)
{
	struct page_link *l = opaque;

	(void)deadline_us;
	if (m->type == WIRE_PROOF) {
		take_proof(l, m->proof);
		return true;
	}
	if (m->type == WIRE_WAITING) {
		l->opt.changed(l->opt.opaque, PAGE_LINK_WAITING, m->abort.text);
		return true;
	}
	pthread_mutex_lock(&l->lock);
	switch (m->type) {
	case WIRE_OWED:
		take_owed(l, m->owed);
		break;
	case WIRE_OWED_END:
		l->owed_known = true;
		break;
	case WIRE_COMPLETE:
		l->result = m->complete;
		l->complete = true;
		break;
	case WIRE_ABORT:
		snprintf(l->text, sizeof(l->text), "%s", m->abort.text);
		l->ended = true;
		break;
	default:
		break; /* of a later version, perhaps */
	}
	pthread_cond_broadcast(&l->changed);
	pthread_mutex_unlock(&l->lock);
	return true;
}

static void on_lost(void *opaque, int result, const char *text)
{
	(void)result;
	note_broken(opaque, text);
}

/* ---- a set of connections ---- */

static void *page_stream_main(void *arg)
{
	struct page_stream *ps = arg;
	struct page_link *l = ps->link;
	struct errtext err = {0};
	int ret;

	if (ps->urgent) {
		scheduling_urgent();
		ret = page_server_serve(l->server, ps->index, ps->stream, &err);
	} else {
		scheduling_background();
		ret = page_server_push(l->server, ps->index, ps->stream, &err);
	}
	if (ret == -EUCLEAN)
		note_damaged(l, err.text);
	else if (ret < 0 || ps->urgent)
		note_stream_ended(l, ret < 0 ? err.text : "the destination closed a connection");
	return NULL;
}

static int open_stream(struct page_link *l, unsigned int i, struct errtext *err)
{
	struct page_stream ps = {.link = l, .urgent = i < l->opt.faults};
	struct uring_stream_options options = {.pacer = l->opt.pacer, .urgent = ps.urgent};
	_cleanup_line_ struct line line = LINE_NONE;
	int ret;

	ps.index = ps.urgent ? i : i - l->opt.faults;
	ret = door_dial(l->opt.peer, ps.urgent ? WIRE_KIND_FAULT : WIRE_KIND_PUSH, ps.index, &line,
			NULL, err);
	if (ret == 0 && l->resumed && l->opt.pacer)
		pacer_set_cost(l->opt.pacer, wire_cost_full_segments(line.fd));
	if (ret == 0)
		ret = tls_stream_new(line_steal(&line), &options, &ps.stream, err);
	if (ret < 0)
		return ret;
	pthread_mutex_lock(&l->lock);
	l->streams[i] = ps;
	pthread_mutex_unlock(&l->lock);
	return 0;
}

static int open_control(struct page_link *l, bool ask_owed, struct errtext *err)
{
	struct control_options options = {.silence_ms = l->opt.silence_ms,
					  .pacer = l->opt.pacer,
					  .message = on_message,
					  .lost = on_lost,
					  .opaque = l};
	int ret = door_dial(l->opt.peer, WIRE_KIND_LINK, ask_owed, &options.line, NULL, err);

	if (ret == -EOWNERDEAD)
		note_ended(l, err->text);
	return ret < 0 ? ret : control_new(&options, &l->control, err);
}

static int new_server(struct page_link *l, bool held, struct errtext *err)
{
	const struct page_server_options options = {.ram = l->opt.ram,
						    .round = PUSH_ROUND,
						    .held = held,
						    .no_prefetch = l->opt.no_prefetch};
	struct page_server *server;
	int ret = page_server_new(&options, &server, err);

	if (ret < 0)
		return ret;
	pthread_mutex_lock(&l->lock);
	l->server = server;
	l->broken = l->owed_known = false;
	pthread_mutex_unlock(&l->lock);
	return 0;
}

static unsigned int stream_count(const struct page_link *l)
{
	return l->opt.faults + l->opt.pushes;
}

static int open_streams(struct page_link *l, struct errtext *err)
{
	int ret = 0;

	for (unsigned int i = 0; ret == 0 && i < stream_count(l); i++)
		ret = open_stream(l, i, err);
	return ret;
}

static int start_streams(struct page_link *l, struct errtext *err)
{
	for (unsigned int i = 0; i < stream_count(l); i++) {
		struct page_stream *ps = &l->streams[i];
		int ret = -pthread_create(&ps->thread, NULL, page_stream_main, ps);

		if (ret < 0)
			return errtext_set(err, ret, "cannot start a thread: %s", strerror(-ret));
		ps->started = true;
	}
	return 0;
}

static void close_stream(struct page_link *l, struct page_stream *ps)
{
	uint64_t bytes;

	if (!ps->stream)
		return;
	if (ps->started)
		pthread_join(ps->thread, NULL);
	bytes = uring_stream_bytes(ps->stream);
	pthread_mutex_lock(&l->lock);
	l->bytes += bytes;
	ps->stream->ops->destroy(ps->stream);
	*ps = (struct page_stream){0};
	pthread_mutex_unlock(&l->lock);
}

static void close_set(struct page_link *l)
{
	struct page_server *server = l->server;

	if (server)
		page_server_stop(server);
	for (unsigned int i = 0; i < stream_count(l); i++)
		if (l->streams[i].stream)
			l->streams[i].stream->ops->shutdown(l->streams[i].stream);
	for (unsigned int i = 0; i < stream_count(l); i++)
		close_stream(l, &l->streams[i]);
	control_destroy(l->control);
	l->control = NULL;
	proof_destroy(l->proof);
	l->proof = NULL;
	pthread_mutex_lock(&l->lock);
	l->server = NULL;
	pthread_mutex_unlock(&l->lock);
	page_server_destroy(server);
}

/* ---- the keeper ---- */

static bool has_answer(const struct page_link *l)
{
	return l->owed_known || l->broken || is_over(l);
}

static bool learn_owed(struct page_link *l)
{
	bool known;

	pthread_mutex_lock(&l->lock);
	wait_until(l, has_answer, CONNECTION_ANSWER_MS);
	known = l->owed_known && !l->broken && !is_over(l);
	pthread_mutex_unlock(&l->lock);
	return known;
}

/* One try to connect anew. The destination's answer says that it is rid of the old connections. */
static bool connect_anew(struct page_link *l)
{
	struct errtext err = {0};

	if (new_server(l, false, &err) == 0 && open_control(l, true, &err) == 0 && learn_owed(l) &&
	    open_streams(l, &err) == 0 && start_streams(l, &err) == 0)
		return true;
	close_set(l);
	return false;
}

/* Before the next try; longer each time. False: it is over. */
static bool pause_before_try(struct page_link *l)
{
	bool over;

	pthread_mutex_lock(&l->lock);
	over = wait_until(l, is_over, l->pause_ms);
	pthread_mutex_unlock(&l->lock);
	l->pause_ms = l->pause_ms ? 2 * l->pause_ms : PAUSE_FIRST_MS;
	if (l->pause_ms > PAUSE_MOST_MS)
		l->pause_ms = PAUSE_MOST_MS;
	return !over;
}

/* At once, but a set that breaks as soon as it is made is no better than none: the destination may
 * be undoing the guest, or have no room for it. */
static void reconnect(struct page_link *l)
{
	if (clock_monotonic_us() - l->made_us > SET_LASTS_US)
		l->pause_ms = 0;
	while (pause_before_try(l)) {
		if (!connect_anew(l))
			continue;
		l->made_us = clock_monotonic_us();
		l->opt.changed(l->opt.opaque, PAGE_LINK_RESUMED,
			       "connected to the destination again");
		return;
	}
}

/* FINISH lets the destination go: it stays until it knows that COMPLETE has come. After ABORT it
 * stays, too, with a guest that waits, but its user knows why. */
static void say_over(struct page_link *l)
{
	const struct wire_message sorry = {.type = WIRE_ABORT, .abort = {l->text}};

	if (l->damaged && l->control)
		control_send(l->control, &sorry);
	if (l->complete && l->control)
		control_send_type(l->control, WIRE_FINISH);
	if (l->complete)
		l->opt.changed(l->opt.opaque, PAGE_LINK_COMPLETE, "every page has arrived");
	else if (l->ended)
		l->opt.changed(l->opt.opaque, PAGE_LINK_ENDED, l->text);
}

static void *keeper_main(void *arg)
{
	struct page_link *l = arg;

	for (;;) {
		bool over;

		pthread_mutex_lock(&l->lock);
		while (!is_broken_or_over(l))
			pthread_cond_wait(&l->changed, &l->lock);
		over = is_over(l);
		pthread_mutex_unlock(&l->lock);
		if (over)
			break;
		l->opt.changed(l->opt.opaque, PAGE_LINK_BROKEN, l->text);
		close_set(l);
		reconnect(l);
	}
	say_over(l);
	return NULL;
}

/* ---- */

static int link_init(const struct page_link_options *options, struct page_link **out,
		     struct errtext *err)
{
	struct page_link *l = *out = calloc(1, sizeof(*l));

	if (!l)
		return errtext_set(err, -ENOMEM, "out of memory");
	l->opt = *options;
	l->seal = -1;
	pthread_mutex_init(&l->lock, NULL);
	clock_cond_init(&l->changed);
	return ram_kept_seal(l->opt.ram, &l->seal, err);
}

static int start_keeper(struct page_link *l, struct errtext *err)
{
	int ret = -pthread_create(&l->keeper, NULL, keeper_main, l);

	if (ret < 0)
		return errtext_set(err, ret, "cannot start a thread: %s", strerror(-ret));
	l->kept = true;
	return 0;
}

static int give_up(struct page_link **out, int ret)
{
	page_link_destroy(*out);
	*out = NULL;
	return ret;
}

int page_link_new(const struct page_link_options *options, struct page_link **out,
		  struct errtext *err)
{
	int ret = link_init(options, out, err);

	if (ret == 0)
		ret = new_server(*out, true, err);
	if (ret == 0)
		ret = open_control(*out, false, err);
	if (ret == 0)
		ret = open_streams(*out, err);
	return ret < 0 ? give_up(out, ret) : 0;
}

int page_link_resume(const struct page_link_options *options, struct page_link **out,
		     struct errtext *err)
{
	int ret = link_init(options, out, err);

	if (ret < 0)
		return give_up(out, ret);
	(*out)->resumed = (*out)->broken = true;
	snprintf((*out)->text, sizeof((*out)->text), "dray ended");
	return start_keeper(*out, err);
}

int page_link_serve(struct page_link *l, struct source *source, bool gives_back,
		    struct errtext *err)
{
	bool broken;
	int ret;

	pthread_mutex_lock(&l->lock);
	broken = l->broken;
	pthread_mutex_unlock(&l->lock);
	if (broken)
		return errtext_set(err, -ECONNRESET, "post-copy's connections broke: %s", l->text);
	l->opt.gives_back = l->opt.gives_back || gives_back;
	for (unsigned int i = 0; i < l->opt.ram->count; i++)
		page_server_owe(l->server, i, source_stale(source, i));
	ret = start_streams(l, err);
	return ret < 0 ? ret : start_keeper(l, err);
}

void page_link_push(struct page_link *l)
{
	pthread_mutex_lock(&l->lock);
	if (l->server)
		page_server_go(l->server);
	pthread_mutex_unlock(&l->lock);
}

void page_link_destroy(struct page_link *l)
{
	if (!l)
		return;
	pthread_mutex_lock(&l->lock);
	l->quit = true;
	pthread_cond_broadcast(&l->changed);
	pthread_mutex_unlock(&l->lock);
	if (l->kept)
		pthread_join(l->keeper, NULL);
	close_set(l);
	cleanup_close(&l->seal);
	pthread_cond_destroy(&l->changed);
	pthread_mutex_destroy(&l->lock);
	free(l);
}

void page_link_stats(struct page_link *l, struct page_server_stats *stats)
{
	*stats = (struct page_server_stats){0};
	pthread_mutex_lock(&l->lock);
	if (l->server)
		page_server_stats(l->server, stats);
	pthread_mutex_unlock(&l->lock);
}

void page_link_result(struct page_link *l, struct wire_complete *result)
{
	pthread_mutex_lock(&l->lock);
	*result = l->result;
	pthread_mutex_unlock(&l->lock);
}

/* Before COMPLETE nobody knows yet. */
static bool may_have_given_back(const struct page_link *l)
{
	return l->opt.gives_back || (l->opt.balloon && !l->result.balloon_still);
}

void page_link_proof(struct page_link *l, struct proof_result *result)
{
	pthread_mutex_lock(&l->lock);
	*result = l->proven;
	if (!may_have_given_back(l))
		proof_deny_giving_back(result);
	pthread_mutex_unlock(&l->lock);
}

int page_link_judge(struct page_link *l, const char *domain, const char *host, struct errtext *err)
{
	struct proof_result r;

	page_link_proof(l, &r);
	if (r.unequal == 0)
		return 0;
	return errtext_set(err, -EBADMSG,
			   "the memory of domain %s is not what it was: %" PRIu64
			   " pages differ that it has not written since, the first of them page "
			   "%" PRIu64
			   " of RAM block %s. It runs on %s: stop it there, and start it "
			   "anew from its disks; please report this as a bug in dray",
			   domain, r.unequal, r.first_unequal.page,
			   l->opt.ram->blocks[r.first_unequal.block].name, host);
}

uint64_t page_link_bytes(struct page_link *l)
{
	uint64_t bytes;

	pthread_mutex_lock(&l->lock);
	bytes = l->bytes;
	for (unsigned int i = 0; i < stream_count(l); i++)
		if (l->streams[i].stream)
			bytes += uring_stream_bytes(l->streams[i].stream);
	pthread_mutex_unlock(&l->lock);
	return bytes;
}
