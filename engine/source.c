// SPDX-License-Identifier: Apache-2.0
// The source's RAM sender: worker threads, and the order of a round.
//
// A worker's live round, granule by granule:
//
//   extents of the file      hole | data data | hole | data      (SEEK_DATA, SEEK_HOLE)
//   protect late                    scan+protect just before reading: writes up to here are
//                                   covered by this copy and never count as dirty
//   frames                   zero   pages, zero              straight out of guest RAM
//
// Where disks are read past the page cache (O_DIRECT) the kernel marks a page when the read
// STARTS; data that lands after scan and copy would be lost. There a round is: every worker scans
// all its granules into a bitmap; all meet; the last to come sees to it that no I/O is in flight
// any more that was at the scan (quiesce); then all copy. New I/O marks its pages anew, so this is
// exact, as an RCU grace period is. Such a round is settled.
//
// To wait for I/O stops the guest for its slowest request, or for good, where storage hangs: then
// quiesce does not, and the round's pages are SUSPECT once they are sent, with a hash of the very
// bytes that went (a copy). A later round that is settled, or the last one, which comes when QEMU
// has waited for its disks itself, looks at all suspects again, and sends those whose hash differs
// or is not known:
//
//   read into page P    starts: P marked                            lands, P is not marked
//                       |------------------------------------------|
//   rounds          1 scans P, sends it     2                          3 settled
//   P                   suspect, hash of what went                     differs: sent, no suspect
//
// No data is lost. Let a read into P land after P was sent for the last time. It had marked P at
// its start, so some scan k found P, and was not settled, as a settled round k sends P after the
// read. So P became a suspect in round k (or in a later one, if round k was cut short and left it
// in the bitmap). Only a settled round takes P from the suspects, and each of those, and the last
// round, comes with no read in flight that began before its scan: after the landing. It compares P
// with the hash of what the destination has and sends it. That hash is exact, as it is of a copy:
// of memory hashed first and sent then, the landing in between could not be seen, and if the guest
// had P as it was before once more, it would not be sent. A page that goes in a settled round from
// the memory itself loses its hash.
//
// Rejected: to hash memory and send it from where it is (see above); and to look only at pages that
// requests in flight write, of which QEMU tells nothing.
//
// On the way to post-copy come stale rounds: the same scan, but STALE frames instead of pages, and
// the destination makes the pages that they name missing. Nearly all is named while the guest still
// runs: by rounds until they find little, and by shorter ones while QEMU prepares to stop the
// guest. The last stale round, in the stop, names the rest.
//
// Rejected: one thread that scans and deals out pages. It would need a queue, and a barrier to
// keep the order of two versions of one page.
#include "source.h"

#include <assert.h>
#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include "bitmap.h"
#include "cleanup.h"
#include "clock.h"
#include "sender.h"

struct worker {
	/* constant after init */
	struct source *source;
	unsigned int index;
	pthread_t thread;
	bool started;
	/* private to the worker's thread while a round is under way */
	struct sender *sender;
	struct errtext err;
};

struct source {
	/* constant after init */
	struct source_options opt;
	struct worker *workers;
	struct bitmap *todo;  /* per block, only with quiesce: pages collected, not yet sent; dealt
			       * out by granule like everything else */
	struct bitmap *stale; /* per block; dealt out likewise */

	atomic_bool aborted;  /* relaxed: a hint; the streams' shutdown is what wakes */
	atomic_bool hurrying; /* relaxed: a hint */

	pthread_mutex_t lock;
	pthread_cond_t wake;
	/* under lock */
	uint32_t round;	     /* number of the round to run; 0: none yet */
	uint32_t generation; /* counts rounds started; a worker runs each once */
	enum source_round_kind kind;
	unsigned int busy;    /* workers in the round */
	unsigned int meeting; /* workers that reached the meeting point */
	uint32_t meetings;    /* meetings completed */
	int meeting_result;
	bool settled; /* as of the latest meeting */
	int result;
	struct errtext err;
	uint64_t started_us;
	bool quit;
};

static bool may_stop_early(const struct source *s, enum source_round_kind kind)
{
	return kind == SOURCE_ROUND_LIVE &&
	       atomic_load_explicit(&s->hurrying, memory_order_relaxed);
}

static bool is_aborted(const struct source *s)
{
	return atomic_load_explicit(&s->aborted, memory_order_relaxed);
}

/* The first failure is the reason; what it does to the others is not. Under lock. */
static void note_failure(struct worker *w, int ret)
{
	struct source *s = w->source;

	if (ret == 0 || s->result < 0)
		return;
	s->result = ret;
	s->err = w->err;
}

/* Who hurries sends nothing of what was collected: nothing has to be waited for. */
static int quiesce(struct worker *w, bool *settled)
{
	struct source *s = w->source;

	*settled = false;
	if (is_aborted(s))
		return -ECANCELED;
	return may_stop_early(s, SOURCE_ROUND_LIVE)
		       ? 0
		       : s->opt.quiesce(s->opt.opaque, settled, &w->err);
}

/* All workers meet; the last one quiesces on behalf of all. Returns its result everywhere. */
static int meet_and_quiesce(struct worker *w)
{
	struct source *s = w->source;
	bool settled;
	int ret;

	pthread_mutex_lock(&s->lock);
	if (++s->meeting == s->opt.stream_count) {
		pthread_mutex_unlock(&s->lock);
		ret = quiesce(w, &settled);
		pthread_mutex_lock(&s->lock);
		s->meeting = 0;
		s->settled = settled;
		s->meeting_result = ret;
		note_failure(w, ret);
		s->meetings++;
		pthread_cond_broadcast(&s->wake);
	} else {
		uint32_t seen = s->meetings;

		while (s->meetings == seen)
			pthread_cond_wait(&s->wake, &s->lock);
	}
	ret = s->meeting_result;
	if (!s->settled)
		sender_suspect(w->sender);
	pthread_mutex_unlock(&s->lock);
	return ret;
}

typedef int granule_fn(struct sender *sender, unsigned int block, uint64_t first, uint64_t count,
		       struct bitmap *todo, bool protect, struct errtext *err);

/* Run fn over each granule of this worker. A failed worker still has to come to the meeting, so
 * this never leaves the round by itself. */
static int each_granule(struct worker *w, granule_fn *fn, bool protect, bool cut_short)
{
	struct source *s = w->source;

	for (unsigned int b = 0; b < s->opt.ram->count; b++) {
		const struct ram_block *block = &s->opt.ram->blocks[b];
		uint64_t pages = ram_block_pages(block);
		uint64_t granule = sender_granule_pages(block);
		uint64_t step = granule * s->opt.stream_count;

		for (uint64_t at = granule * w->index; at < pages; at += step) {
			uint64_t count = pages - at < granule ? pages - at : granule;
			int ret;

			if (is_aborted(s))
				return -ECANCELED;
			if (cut_short && may_stop_early(s, SOURCE_ROUND_LIVE))
				return 0;
			ret = fn(w->sender, b, at, count, s->todo ? &s->todo[b] : NULL, protect,
				 &w->err);
			if (ret < 0)
				return ret;
		}
	}
	return 0;
}

/* All scan before anybody sends. */
static int run_collecting(struct worker *w, bool live)
{
	int ret = each_granule(w, sender_collect, true, live);

	if (live) {
		int met = meet_and_quiesce(w);

		ret = ret < 0 ? ret : met;
	}
	return ret < 0 ? ret : each_granule(w, sender_collected, true, live);
}

/* One worker's share of a round, SYNC included. */
static int run_round(struct worker *w, uint32_t round, enum source_round_kind kind)
{
	struct source *s = w->source;
	bool live = kind == SOURCE_ROUND_LIVE;
	int ret;

	sender_begin(w->sender, round, live);
	if (kind == SOURCE_ROUND_CHECK)
		return each_granule(w, sender_look, false, false);
	if (kind == SOURCE_ROUND_STALE || kind == SOURCE_ROUND_STALE_LAST) {
		ret = each_granule(w, sender_stale, true, false);
	} else if (!s->todo) {
		ret = each_granule(w, sender_granule, true, live);
	} else {
		ret = run_collecting(w, live);
	}
	if (ret == 0)
		ret = sender_sync(w->sender, &w->err);
	return ret < 0 && is_aborted(s) ? -ECANCELED : ret;
}

/* All have left the round. */
static void add_up(const struct source *s, struct source_round *done)
{
	for (unsigned int i = 0; i < s->opt.stream_count; i++) {
		const struct sender *sender = s->workers[i].sender;
		struct sender_costs costs = sender_costs(sender);

		done->pages += sender_round_pages(sender);
		done->suspects += sender_suspects(sender);
		if (costs.scan_us > done->scan_us)
			done->scan_us = costs.scan_us;
		if (costs.read_us > done->read_us)
			done->read_us = costs.read_us;
	}
}

/* The last worker to finish reports; without the lock, as the driver may call back at once. */
static void leave_round(struct worker *w, int ret)
{
	struct source *s = w->source;
	struct source_round done = {.result = 0};
	bool last;

	pthread_mutex_lock(&s->lock);
	note_failure(w, ret);
	pthread_mutex_unlock(&s->lock);
	if (ret < 0)
		source_abort(s); /* the others may be blocked on a peer that has gone */
	pthread_mutex_lock(&s->lock);
	last = --s->busy == 0;
	if (last) {
		done.round = s->round;
		done.duration_us = clock_monotonic_us() - s->started_us;
		done.live = s->kind == SOURCE_ROUND_LIVE;
		done.suspect = s->todo && done.live && !s->settled;
		done.result = s->result;
		done.err = s->err;
	}
	pthread_mutex_unlock(&s->lock);
	if (!last)
		return;
	add_up(s, &done);
	s->opt.round_done(s->opt.opaque, &done);
}

static void *worker_main(void *arg)
{
	struct worker *w = arg;
	struct source *s = w->source;
	uint32_t seen = 0;

	pthread_mutex_lock(&s->lock);
	for (;;) {
		uint32_t round;
		enum source_round_kind kind;

		while (!s->quit && s->generation == seen)
			pthread_cond_wait(&s->wake, &s->lock);
		if (s->quit)
			break;
		seen = s->generation;
		round = s->round;
		kind = s->kind;
		pthread_mutex_unlock(&s->lock);
		leave_round(w, run_round(w, round, kind));
		pthread_mutex_lock(&s->lock);
	}
	pthread_mutex_unlock(&s->lock);
	return NULL;
}

/* One bitmap a block. */
static int init_bitmaps(const struct ram_map *ram, struct bitmap **bitmaps)
{
	*bitmaps = calloc(ram->count, sizeof(**bitmaps));
	if (!*bitmaps)
		return -ENOMEM;
	for (unsigned int i = 0; i < ram->count; i++) {
		int ret = bitmap_init(&(*bitmaps)[i], ram_block_pages(&ram->blocks[i]));

		if (ret < 0)
			return ret;
	}
	return 0;
}

static void destroy_bitmaps(const struct ram_map *ram, struct bitmap *bitmaps)
{
	for (unsigned int i = 0; bitmaps && i < ram->count; i++)
		bitmap_destroy(&bitmaps[i]);
	free(bitmaps);
}

static int start_workers(struct source *s)
{
	s->workers = calloc(s->opt.stream_count, sizeof(*s->workers));
	if (!s->workers)
		return -ENOMEM;
	for (unsigned int i = 0; i < s->opt.stream_count; i++) {
		struct worker *w = &s->workers[i];
		int ret;

		w->source = s;
		w->index = i;
		ret = sender_new(s->opt.ram, s->opt.tracker, s->opt.streams[i], s->stale,
				 s->todo != NULL, &w->sender);
		if (ret == 0)
			ret = sender_compress(w->sender, &s->opt.compression);
		if (ret == 0)
			ret = -pthread_create(&w->thread, NULL, worker_main, w);
		if (ret < 0)
			return ret;
		w->started = true;
	}
	return 0;
}

int source_new(const struct source_options *options, struct source **out, struct errtext *err)
{
	struct source *s = calloc(1, sizeof(*s));
	int ret;

	if (!s)
		return errtext_set(err, -ENOMEM, "out of memory");
	s->opt = *options;
	pthread_mutex_init(&s->lock, NULL);
	pthread_cond_init(&s->wake, NULL);
	ret = init_bitmaps(s->opt.ram, &s->stale);
	if (ret == 0 && s->opt.quiesce)
		ret = init_bitmaps(s->opt.ram, &s->todo);
	if (ret == 0)
		ret = start_workers(s);
	if (ret < 0) {
		source_destroy(s);
		return errtext_set(err, ret, "cannot start the RAM senders: out of memory");
	}
	*out = s;
	return 0;
}

void source_round_start(struct source *s, uint32_t round, enum source_round_kind kind)
{
	pthread_mutex_lock(&s->lock);
	assert(s->busy == 0);
	s->round = round;
	s->kind = kind;
	s->busy = s->opt.stream_count;
	s->generation++;
	s->started_us = clock_monotonic_us();
	pthread_cond_broadcast(&s->wake);
	pthread_mutex_unlock(&s->lock);
}

void source_hurry(struct source *s)
{
	atomic_store_explicit(&s->hurrying, true, memory_order_relaxed);
}

void source_abort(struct source *s)
{
	atomic_store_explicit(&s->aborted, true, memory_order_relaxed);
	for (unsigned int i = 0; i < s->opt.stream_count; i++)
		s->opt.streams[i]->ops->shutdown(s->opt.streams[i]);
}

const struct bitmap *source_stale(const struct source *s, unsigned int block)
{
	return &s->stale[block];
}

void source_stats(const struct source *s, struct source_stats *stats)
{
	*stats = (struct source_stats){0};
	for (unsigned int i = 0; i < s->opt.stream_count; i++) {
		struct sender_stats one = sender_stats(s->workers[i].sender);

		stats->pages_sent += one.pages_sent;
		stats->pages_zero += one.pages_zero;
		stats->pages_skipped += one.pages_skipped;
		stats->pages_resent += one.pages_resent;
		stats->compressed.pages += one.compressed.pages;
		stats->compressed.bytes += one.compressed.bytes;
	}
}

static void join_workers(struct source *s)
{
	pthread_mutex_lock(&s->lock);
	s->quit = true;
	pthread_cond_broadcast(&s->wake);
	pthread_mutex_unlock(&s->lock);
	for (unsigned int i = 0; s->workers && i < s->opt.stream_count; i++) {
		if (s->workers[i].started)
			pthread_join(s->workers[i].thread, NULL);
		sender_destroy(s->workers[i].sender);
	}
}

void source_destroy(struct source *s)
{
	if (!s)
		return;
	join_workers(s);
	destroy_bitmaps(s->opt.ram, s->todo);
	destroy_bitmaps(s->opt.ram, s->stale);
	free(s->workers);
	pthread_cond_destroy(&s->wake);
	pthread_mutex_destroy(&s->lock);
	free(s);
}
