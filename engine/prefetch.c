// SPDX-License-Identifier: Apache-2.0
// Guesses which pages the guest will need next.
#include "prefetch.h"

#include <stdbool.h>
#include <stddef.h>

void prefetch_init(struct prefetch *p)
{
	*p = (struct prefetch){.credit = PREFETCH_CREDIT};
}

/* ---- tracks ---- */

static struct prefetch_thread *find_thread(struct prefetch *p, uint32_t thread)
{
	struct prefetch_thread *oldest = &p->threads[0];

	for (unsigned int i = 0; i < PREFETCH_THREADS; i++) {
		struct prefetch_thread *t = &p->threads[i];

		if (t->used && t->thread == thread)
			return t;
		if (t->used < oldest->used)
			oldest = t;
	}
	*oldest = (struct prefetch_thread){.thread = thread};
	return oldest;
}

static uint64_t distance(uint64_t a, uint64_t b)
{
	return a > b ? a - b : b - a;
}

static bool is_near(const struct prefetch_track *t, uint32_t block, uint64_t unit)
{
	return t->used && t->block == block &&
	       (distance(unit, t->last) <= PREFETCH_STEP_MAX || (t->window && unit == t->next));
}

/* The nearest, or the one unused for longest, begun anew. */
static struct prefetch_track *find_track(struct prefetch_thread *thread, uint32_t block,
					 uint64_t unit)
{
	struct prefetch_track *nearest = NULL, *oldest = &thread->tracks[0];

	for (unsigned int i = 0; i < PREFETCH_TRACKS; i++) {
		struct prefetch_track *t = &thread->tracks[i];

		if (is_near(t, block, unit) &&
		    (!nearest || distance(unit, t->last) < distance(unit, nearest->last)))
			nearest = t;
		if (t->used < oldest->used)
			oldest = t;
	}
	if (nearest)
		return nearest;
	*oldest = (struct prefetch_track){.block = block, .last = unit};
	return oldest;
}

/* ---- runs ---- */

/* Fetched already, or on its way: the guest was faster than the run. */
static bool inside_run(const struct prefetch_track *t, uint64_t unit)
{
	int64_t ahead = t->stride > 0 ? (int64_t)(t->next - unit) : (int64_t)(unit - t->next);
	int64_t step = t->stride > 0 ? t->stride : -t->stride;

	return t->window && ahead > 0 && ahead <= step * (int64_t)t->window && ahead % step == 0;
}

/* Past the run's end, with nothing left out that the guest would have had to wait for. */
static bool beyond_run(const struct prefetch_track *t, uint64_t unit,
		       const struct atomic_bitmap *unsent)
{
	int64_t past = t->stride > 0 ? (int64_t)(unit - t->next) : (int64_t)(t->next - unit);
	int64_t step = t->stride > 0 ? t->stride : -t->stride;

	if (!t->window || past <= 0 || past > (int64_t)PREFETCH_STEP_MAX || past % step)
		return false;
	for (uint64_t at = t->next; at != unit; at += (uint64_t)t->stride)
		if (atomic_bitmap_test(unsent, at))
			return false;
	return true;
}

static bool starts_run(const struct prefetch_track *t, int64_t step)
{
	return step == 1 || (step != 0 && step == t->step);
}

/* As many units behind `unit` as the block has, up to window. */
static struct prefetch_run extend(struct prefetch_track *t, uint64_t unit, uint64_t units)
{
	struct prefetch_run run = {.stride = t->stride};
	int64_t at = (int64_t)unit;

	while (run.count < t->window && at + t->stride >= 0 && at + t->stride < (int64_t)units) {
		at += t->stride;
		run.count++;
	}
	run.first = run.count ? (uint64_t)((int64_t)unit + t->stride) : 0;
	t->next = (uint64_t)(at + t->stride); /* at the block's edge: nowhere */
	t->window = run.count;
	return run;
}

static void pay_back(struct prefetch *p, uint32_t units)
{
	p->used += units;
	p->credit += 2 * units;
	if (p->credit > PREFETCH_CREDIT)
		p->credit = PREFETCH_CREDIT;
}

/* Is there credit for so many? One run in a while is free. */
static bool afford(struct prefetch *p, uint32_t units)
{
	if (p->credit < units && p->faults >= p->retry) {
		p->credit = units;
		p->retry = p->faults + PREFETCH_RETRY;
	}
	if (p->credit < units)
		return false;
	p->credit -= units;
	return true;
}

static struct prefetch_run fault_on_track(struct prefetch *p, struct prefetch_track *t,
					  uint64_t unit, const struct atomic_bitmap *unsent,
					  uint32_t window_max)
{
	int64_t step = (int64_t)(unit - t->last);
	struct prefetch_run run = {0};

	t->last = unit;
	if (inside_run(t, unit))
		return run;
	if (t->window && unit == t->next) {
		pay_back(p, t->window);
		t->window = t->window * 2 < window_max ? t->window * 2 : window_max;
		run = extend(t, unit, unsent->bits);
	} else if (beyond_run(t, unit, unsent)) {
		pay_back(p, t->window);
		run = extend(t, unit, unsent->bits);
	} else if (starts_run(t, step)) {
		t->stride = step;
		t->window = PREFETCH_START < window_max ? PREFETCH_START : window_max;
		run = extend(t, unit, unsent->bits);
	} else {
		t->window /= 2;
	}
	t->step = step;
	if (run.count && !afford(p, run.count)) {
		t->window = 0;
		run.count = 0;
	}
	p->guessed += run.count;
	return run;
}

struct prefetch_run prefetch_fault(struct prefetch *p, uint32_t thread, uint32_t block,
				   uint64_t unit, const struct atomic_bitmap *unsent,
				   uint32_t window_max)
{
	struct prefetch_thread *th = find_thread(p, thread);
	struct prefetch_track *t = find_track(th, block, unit);

	t->used = th->used = ++p->faults;
	return fault_on_track(p, t, unit, unsent, window_max);
}
