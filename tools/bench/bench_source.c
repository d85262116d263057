// SPDX-License-Identifier: Apache-2.0
// The source of a bench: one synthetic guest, moved by the engine.
#include "bench_source.h"

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>
#include "bench_guest.h"
#include "bench_usage.h"
#include "bench_words.h"
#include "clock.h"
#include "convergence.h"
#include "json_field.h"
#include "source.h"
#include "cleanup.h"
#include "tracker.h"
#include "uring_stream.h"

#define TICK_US 250000
/* A guest that never fits is stopped after so long, for as long as it takes. */
#define PATIENCE_S 60

struct bench_source {
	/* constant after init */
	const struct bench_options *opt;
	struct line control;
	/* owned, NULL until made */
	struct bench_guest *guest;
	struct ram_map ram;
	struct tracker *tracker;
	struct source *source;
	struct byte_stream *streams[BENCH_STREAMS_MAX];
	/* private to the driving thread */
	struct bench_figures *figures;
	struct convergence convergence;
	uint32_t round;
	uint64_t begun_us, memory; /* the latter: the most */

	pthread_mutex_t lock;
	pthread_cond_t over;
	/* under lock */
	bool done;
	struct source_round last;
};

/* ---- a round ---- */

static void on_done(void *opaque, const struct source_round *round)
{
	struct bench_source *b = opaque;

	pthread_mutex_lock(&b->lock);
	b->last = *round;
	b->done = true;
	pthread_cond_signal(&b->over);
	pthread_mutex_unlock(&b->lock);
}

static void show(struct bench_source *b)
{
	uint64_t now = bench_usage_memory();
	struct source_stats stats;

	if (now > b->memory)
		b->memory = now;
	if (b->opt->json || !isatty(STDERR_FILENO))
		return;
	source_stats(b->source, &stats);
	fprintf(stderr, "\r\033[Kround %u, %.1f s, %.1f MiB sent, %llu pages zero", b->round,
		(double)(clock_monotonic_us() - b->begun_us) / 1e6,
		(double)stats.pages_sent * RAM_PAGE_SIZE / (1 << 20),
		(unsigned long long)stats.pages_zero);
}

static void clear(const struct bench_source *b)
{
	if (!b->opt->json && isatty(STDERR_FILENO))
		fputs("\r\033[K", stderr);
}

static void await_done(struct bench_source *b)
{
	pthread_mutex_lock(&b->lock);
	while (!b->done) {
		struct timespec until = clock_timespec(clock_monotonic_us() + TICK_US);

		pthread_cond_timedwait(&b->over, &b->lock, &until);
		pthread_mutex_unlock(&b->lock);
		show(b);
		pthread_mutex_lock(&b->lock);
	}
	pthread_mutex_unlock(&b->lock);
}

static int await_synced(struct bench_source *b, struct errtext *err)
{
	_cleanup_json_ json_object *word = NULL;
	double round;
	int ret = bench_link_hear(b->control, &word, err);

	if (ret < 0)
		return ret;
	return json_field_number(word, "round", &round) && (uint32_t)round == b->round
		       ? 0
		       : errtext_set(err, -EPROTO, "the other end is out of step");
}

/* Until the destination has all of it; *took_us. */
static int run_round(struct bench_source *b, enum source_round_kind kind, uint64_t *took_us,
		     struct errtext *err)
{
	uint64_t begun = clock_monotonic_us();

	b->done = false;
	b->round += kind != SOURCE_ROUND_CHECK;
	source_round_start(b->source, b->round, kind);
	await_done(b);
	if (b->last.result < 0) {
		/* Its own word is the cause, if it has left one. */
		if (await_synced(b, err) != -EREMOTEIO)
			*err = b->last.err;
		return b->last.result;
	}
	if (kind != SOURCE_ROUND_CHECK && await_synced(b, err) < 0)
		return -EREMOTEIO;
	*took_us = clock_monotonic_us() - begun;
	return 0;
}

/* ---- all rounds ---- */

static bool fits(struct bench_source *b, uint64_t took_us)
{
	const struct convergence_limits limits = {.max_downtime_ms = b->opt->max_downtime_ms,
						  .completion_s = PATIENCE_S,
						  .disruption = true};
	const struct convergence_round round = {
		.round = b->round,
		.bytes = b->last.pages * RAM_PAGE_SIZE,
		.duration_us = took_us,
		.elapsed_us = clock_monotonic_us() - b->begun_us,
		.read_us = b->last.read_us,
		.fixed_us = 2 * b->last.scan_us,
	};

	return convergence_decide(&b->convergence, &limits, &round) != CONVERGENCE_CONTINUE;
}

static int run_live(struct bench_source *b, struct errtext *err)
{
	uint64_t took = 0;
	int ret;

	do {
		ret = run_round(b, SOURCE_ROUND_LIVE, &took, err);
		if (ret == 0 && b->round == 1)
			b->figures->of[BENCH_FIRST_BYTES_PER_S] =
				(double)b->last.pages * RAM_PAGE_SIZE * 1e6 / (double)(took | 1);
	} while (ret == 0 && !fits(b, took));
	return ret;
}

static int run_stop(struct bench_source *b, struct errtext *err)
{
	uint64_t begun, took = 0;
	int ret = bench_guest_stop(b->guest);

	if (ret < 0)
		return errtext_set(err, ret, "the guest has ended");
	begun = clock_monotonic_us();
	ret = run_round(b, SOURCE_ROUND_LAST, &took, err);
	if (ret == 0)
		ret = run_round(b, SOURCE_ROUND_CHECK, &took, err);
	if (ret == 0 && b->last.pages)
		ret = errtext_set(err, -EBADMSG, "pages were written after the guest had stopped");
	b->figures->of[BENCH_STOP_S] = (double)(clock_monotonic_us() - begun) / 1e6;
	return ret;
}

static void note_stats(struct bench_source *b, uint64_t cpu_us)
{
	double *of = b->figures->of, gib;
	struct source_stats stats;

	source_stats(b->source, &stats);
	gib = (double)stats.pages_sent * RAM_PAGE_SIZE / (1 << 30);
	of[BENCH_TOTAL_S] = (double)(clock_monotonic_us() - b->begun_us) / 1e6;
	of[BENCH_ROUNDS] = b->round;
	of[BENCH_PAGES_SENT] = (double)stats.pages_sent;
	of[BENCH_PAGES_ZERO] = (double)stats.pages_zero;
	of[BENCH_PAGES_SKIPPED] = (double)stats.pages_skipped;
	of[BENCH_SOURCE_CPU] = gib > 0 ? (double)cpu_us / 1e6 / gib : 0;
	of[BENCH_WIRE_BYTES] = 0;
	for (unsigned int i = 0; i < b->opt->streams; i++)
		of[BENCH_WIRE_BYTES] += (double)uring_stream_bytes_sent(b->streams[i]);
}

static int run_rounds(struct bench_source *b, struct errtext *err)
{
	uint64_t cpu = bench_usage_cpu_us();
	int ret;

	b->begun_us = clock_monotonic_us();
	bench_guest_run(b->guest);
	ret = run_live(b, err);
	if (ret == 0)
		ret = run_stop(b, err);
	show(b);
	clear(b);
	if (ret == 0)
		note_stats(b, bench_usage_cpu_us() - cpu);
	b->figures->of[BENCH_SOURCE_MEMORY] = (double)b->memory;
	return ret;
}

/* ---- around them ---- */

static int compare(struct bench_source *b, json_object *theirs, struct errtext *err)
{
	_cleanup_json_ json_object *ours = json_object_new_object();
	char here[BENCH_DIGEST_SIZE], there[BENCH_DIGEST_SIZE];
	int ret = bench_words_digest(&b->ram, b->opt->streams, ours, err);

	if (ret < 0)
		return errtext_set(err, ret, "the guest's memory cannot be read: %s",
				   strerror(-ret));
	json_field_text(ours, "digest", here, sizeof(here));
	json_field_text(theirs, "digest", there, sizeof(there));
	return strcmp(here, there) == 0
		       ? 0
		       : errtext_set(err, -EBADMSG,
				     "the destination's memory differs from the guest's: please "
				     "report this as a bug in dray");
}

/* The streams' end is that of the destination's run. */
static int conclude(struct bench_source *b, struct errtext *err)
{
	_cleanup_json_ json_object *word = NULL;
	double cpu = 0, memory = 0, *of = b->figures->of;
	double gib = of[BENCH_PAGES_SENT] * RAM_PAGE_SIZE / (1 << 30);
	int ret;

	source_destroy(steal_ptr(&b->source));
	bench_link_close_streams(b->opt->streams, b->streams);
	ret = bench_link_hear(b->control, &word, err);
	if (ret < 0)
		return ret;
	json_field_number(word, "cpu_us", &cpu);
	json_field_number(word, "memory", &memory);
	of[BENCH_DESTINATION_CPU] = gib > 0 ? cpu / 1e6 / gib : 0;
	of[BENCH_DESTINATION_MEMORY] = memory;
	return compare(b, word, err);
}

static int prepare(struct bench_source *b, const struct bench_link *link, struct errtext *err)
{
	struct source_options options = {.ram = &b->ram,
					 .streams = b->streams,
					 .stream_count = b->opt->streams,
					 .round_done = on_done,
					 .opaque = b};
	_cleanup_json_ json_object *ready = NULL, *word = json_object_new_object();
	int uffd, ret = bench_guest_new(b->opt, &b->ram, &b->guest, err);

	if (ret < 0)
		return ret;
	json_put_text(word, "run", "engine");
	ret = bench_link_say(b->control, steal_ptr(&word), err);
	if (ret == 0)
		ret = bench_link_hear(b->control, &ready, err);
	if (ret == 0)
		ret = bench_link_open_streams(link, b->opt->streams, b->streams, err);
	if (ret < 0)
		return ret;
	uffd = bench_guest_userfaultfd(b->guest, err);
	ret = uffd < 0 ? uffd
		       : tracker_new(uffd, bench_guest_pid(b->guest), &b->ram, &b->tracker, err);
	options.tracker = b->tracker;
	return ret < 0 ? ret : source_new(&options, &b->source, err);
}

static void release(struct bench_source *b)
{
	if (b->source)
		source_abort(b->source);
	source_destroy(b->source);
	tracker_destroy(b->tracker);
	bench_link_close_streams(b->opt->streams, b->streams);
	bench_guest_destroy(b->guest);
	ram_map_destroy(&b->ram);
	pthread_cond_destroy(&b->over);
	pthread_mutex_destroy(&b->lock);
}

int bench_source_run(const struct bench_options *o, const struct bench_link *link,
		     struct line control, struct bench_figures *f, struct errtext *err)
{
	struct bench_source b = {
		.opt = o, .control = control, .figures = f, .lock = PTHREAD_MUTEX_INITIALIZER};
	int ret;

	clock_cond_init(&b.over);
	ret = prepare(&b, link, err);
	if (ret == 0)
		ret = run_rounds(&b, err);
	if (ret == 0)
		ret = conclude(&b, err);
	release(&b);
	return ret;
}
