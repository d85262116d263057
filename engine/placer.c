// SPDX-License-Identifier: Apache-2.0
// Puts pages that arrive in post-copy where the guest waits for them.
//
// A zero page that nobody asked for needs no memory: it only stops being owed. Should the guest
// touch it, that is a fault on a hole. Whoever waits for it right now is woken to fault again.
//
// A fault answer always ends in a wake of its range, after the range stopped being owed:
//
//   push                 the guest            fault handler
//   places page 7
//                        runs on; its balloon punches page 7; a CPU touches it
//                                             takes the fault: still owed, and already asked for
//   7 is not owed
//                                             the answer comes: not owed, nothing to place
//                        waits for ever, unless the answer wakes it: the new fault is a hole
#include "placer.h"

#include <errno.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include "clock.h"
#include "missing.h"
#include "ram_room.h"

/* Between two tries, while there is no memory. */
#define PAUSE_FIRST_US 10000u
#define PAUSE_MOST_US 1000000u

struct placer {
	/* constant after init */
	struct placer_options opt;
	const uint8_t *zeroes; /* the largest page of them, where UFFDIO_ZEROPAGE will not do */
	size_t zeroes_size;

	pthread_mutex_t lock;
	pthread_cond_t hurried; /* CLOCK_MONOTONIC */
	unsigned int hurries;	/* under lock: so many want it */

	atomic_bool completed;
	/* relaxed: independent counters */
	atomic_uint_least64_t pages[PLACER_CAUSES_], late, holes;
};

static void count_up(atomic_uint_least64_t *counter, uint64_t n)
{
	atomic_fetch_add_explicit(counter, n, memory_order_relaxed);
}

/* hugetlbfs has no UFFDIO_ZEROPAGE, and that knows no tracking. A private mapping that nobody
 * writes costs no memory. */
static bool must_copy_zeroes(const struct placer *p, const struct ram_block *b)
{
	return p->opt.tracked || b->page_size > RAM_PAGE_SIZE;
}

static int map_zeroes(struct placer *p, struct errtext *err)
{
	const struct ram_map *ram = p->opt.ram;
	void *at;

	for (unsigned int i = 0; i < ram->count; i++)
		if (must_copy_zeroes(p, &ram->blocks[i]) &&
		    ram->blocks[i].page_size > p->zeroes_size)
			p->zeroes_size = ram->blocks[i].page_size;
	if (p->zeroes_size == 0)
		return 0;
	at = mmap(NULL, p->zeroes_size, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (at == MAP_FAILED)
		return errtext_set(err, -errno, "out of memory");
	p->zeroes = at;
	return 0;
}

int placer_new(const struct placer_options *options, struct placer **out, struct errtext *err)
{
	struct placer *p = calloc(1, sizeof(*p));
	int ret;

	if (!p)
		return errtext_set(err, -ENOMEM, "out of memory");
	p->opt = *options;
	pthread_mutex_init(&p->lock, NULL);
	clock_cond_init(&p->hurried);
	ret = map_zeroes(p, err);
	if (ret < 0) {
		placer_destroy(p);
		return ret;
	}
	*out = p;
	return 0;
}

void placer_destroy(struct placer *p)
{
	if (!p)
		return;
	if (p->zeroes)
		munmap((void *)p->zeroes, p->zeroes_size);
	pthread_cond_destroy(&p->hurried);
	pthread_mutex_destroy(&p->lock);
	free(p);
}

static void complete_once(struct placer *p)
{
	if (owed_left(p->opt.owed) == 0 &&
	    !atomic_exchange_explicit(&p->completed, true, memory_order_acq_rel))
		p->opt.complete(p->opt.opaque);
}

int placer_begin(struct placer *p, struct errtext *err)
{
	for (unsigned int i = 0; i < p->opt.ram->count; i++) {
		const struct ram_block *b = &p->opt.ram->blocks[i];
		int ret = missing_wake(p->opt.uffd, b, 0, ram_block_pages(b), err);

		if (ret < 0)
			return ret;
	}
	complete_once(p);
	return 0;
}

/* ---- waiting for memory ---- */

void placer_hurry(struct placer *p, bool hurry)
{
	pthread_mutex_lock(&p->lock);
	p->hurries += hurry ? 1 : -1;
	pthread_cond_broadcast(&p->hurried);
	pthread_mutex_unlock(&p->lock);
}

/* False: nobody may wait. */
static bool pause_us(struct placer *p, uint64_t us)
{
	const struct timespec end = clock_timespec(clock_monotonic_us() + us);
	bool hurry;
	int ret = 0;

	pthread_mutex_lock(&p->lock);
	while (!p->hurries && ret == 0)
		ret = pthread_cond_timedwait(&p->hurried, &p->lock, &end);
	hurry = p->hurries;
	pthread_mutex_unlock(&p->lock);
	return !hurry;
}

typedef int place_fn(struct placer *p, const struct ram_block *b, uint64_t first, uint64_t count,
		     const uint8_t *content, struct errtext *err);

/* Pages that one try has placed are there in the next, which passes them by. */
static int place_patiently(struct placer *p, place_fn *place, const struct ram_block *b,
			   uint64_t first, uint64_t count, const uint8_t *content,
			   struct errtext *err)
{
	for (uint64_t pause = PAUSE_FIRST_US;; pause *= 2) {
		struct errtext why = {0}, lack = {0};
		int ret = place(p, b, first, count, content, &why);

		if (ret == 0)
			return 0;
		if (ret != -ENOMEM && ret != -ENOSPC)
			return errtext_set(err, ret, "%s", why.text);
		(void)ram_room_lacks(b, -ENOMEM, &lack);
		if (p->opt.lacking)
			p->opt.lacking(p->opt.opaque, lack.text);
		pause = pause < PAUSE_MOST_US ? pause : PAUSE_MOST_US;
		if (!pause_us(p, pause))
			return errtext_set(err, -ENOMEM, "%s", lack.text);
	}
}

/* ---- placing ---- */

static int fill_copy(struct placer *p, const struct ram_block *b, uint64_t first, uint64_t count,
		     const uint8_t *content, struct errtext *err)
{
	return missing_copy(p->opt.uffd, b, first, count, content, p->opt.tracked, err);
}

static int fill_zero(struct placer *p, const struct ram_block *b, uint64_t first, uint64_t count,
		     const uint8_t *content, struct errtext *err)
{
	uint64_t unit = b->page_size >> RAM_PAGE_SHIFT;
	int ret = 0;

	(void)content;
	if (!must_copy_zeroes(p, b))
		return missing_zero(p->opt.uffd, b, first, count, err);
	for (; count && ret == 0; first += unit, count -= unit)
		ret = missing_copy(p->opt.uffd, b, first, unit, p->zeroes, p->opt.tracked, err);
	return ret;
}

int placer_hole(struct placer *p, unsigned int block, uint64_t page, struct errtext *err)
{
	uint64_t unit = owed_unit(p->opt.owed, block);

	count_up(&p->holes, 1);
	return place_patiently(p, fill_zero, &p->opt.ram->blocks[block], page / unit * unit, unit,
			       NULL, err);
}

/* They are there, and no longer owed. */
static int note_placed(struct placer *p, unsigned int block, uint64_t first, uint64_t count,
		       enum placer_cause cause, const uint8_t *content, struct errtext *err)
{
	const struct ram_block *b = &p->opt.ram->blocks[block];
	uint64_t pages = owed_clear(p->opt.owed, block, first, count);

	count_up(&p->pages[cause], pages);
	count_up(&p->late, count - pages);
	if (!content && cause != PLACER_FAULT)
		return missing_wake(p->opt.uffd, b, first, count, err);
	return 0;
}

/* Where memory lacks: one after the other. What has been placed is no longer owed while the rest
 * waits: the guest may give it back meanwhile, and must not get its old content again. */
static int place_singly(struct placer *p, unsigned int block, uint64_t first, uint64_t count,
			enum placer_cause cause, const uint8_t *content, struct errtext *err)
{
	const struct ram_block *b = &p->opt.ram->blocks[block];
	uint64_t unit = owed_unit(p->opt.owed, block);
	place_fn *fill = content ? fill_copy : fill_zero;
	int ret = 0;

	for (uint64_t at = 0; at < count && ret == 0; at += unit) {
		const uint8_t *of_unit = content ? content + (at << RAM_PAGE_SHIFT) : NULL;

		ret = place_patiently(p, fill, b, first + at, unit, of_unit, err);
		if (ret == 0)
			ret = note_placed(p, block, first + at, unit, cause, of_unit, err);
	}
	return ret;
}

/* [first, first + count), all of it owed a moment ago. content NULL: zero. */
static int place(struct placer *p, unsigned int block, uint64_t first, uint64_t count,
		 enum placer_cause cause, const uint8_t *content, struct errtext *err)
{
	const struct ram_block *b = &p->opt.ram->blocks[block];
	struct errtext why = {0};
	int ret = 0;

	if (content)
		ret = fill_copy(p, b, first, count, content, &why);
	else if (cause == PLACER_FAULT)
		ret = fill_zero(p, b, first, count, NULL, &why);
	if (ret == 0)
		return note_placed(p, block, first, count, cause, content, err);
	if (ret == -ENOMEM || ret == -ENOSPC)
		return place_singly(p, block, first, count, cause, content, err);
	return errtext_set(err, ret, "%s", why.text);
}

static int place_owed(struct placer *p, unsigned int block, const struct wire_run *run,
		      enum placer_cause cause, const uint8_t *content, struct errtext *err)
{
	uint64_t end = run->first + run->count, from = run->first, clear;
	struct owed *owed = p->opt.owed;
	uint64_t placed = 0;
	int ret = 0;

	while (ret == 0 && (from = owed_next(owed, block, from, end)) < end) {
		const uint8_t *at =
			content ? content + ((from - run->first) << RAM_PAGE_SHIFT) : NULL;

		clear = owed_next_clear(owed, block, from, end);
		ret = place(p, block, from, clear - from, cause, at, err);
		placed += clear - from;
		from = clear;
	}
	count_up(&p->late, run->count - placed);
	return ret;
}

static int place_run(struct placer *p, unsigned int block, const struct wire_run *run,
		     enum placer_cause cause, const uint8_t *content, struct errtext *err)
{
	int ret = place_owed(p, block, run, cause, content, err);

	/* Pushed pages are not what a fault handler has asked for. */
	if (ret < 0 || cause == PLACER_PUSH)
		return ret;
	return missing_wake(p->opt.uffd, &p->opt.ram->blocks[block], run->first, run->count, err);
}

static int check_units(const struct placer *p, const struct wire_frame *f, struct errtext *err)
{
	uint32_t unit = owed_unit(p->opt.owed, f->block);

	for (unsigned int i = 0; i < f->runs; i++)
		if (f->run[i].first % unit || f->run[i].count % unit)
			return errtext_set(err, -EPROTO,
					   "RAM block %s: %" PRIu32 " pages from %" PRIu64
					   " came, which are no whole huge pages here",
					   p->opt.ram->blocks[f->block].name, f->run[i].count,
					   f->run[i].first);
	return 0;
}

int placer_frame(struct placer *p, const struct wire_frame *f, enum placer_cause cause,
		 const uint8_t *content, struct errtext *err)
{
	int ret = check_units(p, f, err);

	if (f->type == WIRE_FRAME_ZERO)
		content = NULL;
	for (unsigned int i = 0; i < f->runs && ret == 0; i++) {
		ret = place_run(p, f->block, &f->run[i], cause, content, err);
		content += content ? (size_t)f->run[i].count << RAM_PAGE_SHIFT : 0;
	}
	if (ret == 0)
		complete_once(p);
	return ret;
}

void placer_stats(const struct placer *p, struct placer_stats *stats)
{
	for (unsigned int i = 0; i < PLACER_CAUSES_; i++)
		stats->pages[i] = atomic_load_explicit(&p->pages[i], memory_order_relaxed);
	stats->pages_late = atomic_load_explicit(&p->late, memory_order_relaxed);
	stats->holes = atomic_load_explicit(&p->holes, memory_order_relaxed);
	stats->pages_left = owed_left(p->opt.owed);
}
