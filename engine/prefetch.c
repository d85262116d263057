// SPDX-License-Identifier: Apache-2.0
// Guesses which pages the guest will need next.
#include "prefetch.h"

#include <stdbool.h>

/* Thread 0 is as good a thread as any, but 0 marks an empty track. */
static uint32_t key_of(uint32_t thread)
{
	return thread ? thread : UINT32_MAX;
}

static struct prefetch_track *find_track(struct prefetch *p, uint32_t thread, uint32_t block)
{
	struct prefetch_track *oldest = &p->tracks[0];

	for (unsigned int i = 0; i < PREFETCH_THREADS; i++) {
		struct prefetch_track *t = &p->tracks[i];

		if (t->thread == key_of(thread) && t->block == block)
			return t;
		if (t->used < oldest->used)
			oldest = t;
	}
	*oldest = (struct prefetch_track){.thread = key_of(thread), .block = block};
	return oldest;
}

/* Fetched already, or on its way: the guest was faster than the run. */
static bool inside_run(const struct prefetch_track *t, uint64_t unit)
{
	int64_t ahead = t->stride > 0 ? (int64_t)(t->next - unit) : (int64_t)(unit - t->next);
	int64_t step = t->stride > 0 ? t->stride : -t->stride;

	return t->window && ahead > 0 && ahead <= step * (int64_t)t->window && ahead % step == 0;
}

static bool starts_run(const struct prefetch_track *t, int64_t step)
{
	if (step == 0 || step > (int64_t)PREFETCH_STEP_MAX || step < -(int64_t)PREFETCH_STEP_MAX)
		return false;
	return step == 1 || step == t->step;
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

struct prefetch_run prefetch_fault(struct prefetch *p, uint32_t thread, uint32_t block,
				   uint64_t unit, uint64_t units, uint32_t window_max)
{
	struct prefetch_track *t = find_track(p, thread, block);
	bool first = t->used == 0;
	int64_t step = first ? 0 : (int64_t)(unit - t->last);
	struct prefetch_run run = {0};

	t->used = ++p->faults;
	t->last = unit;
	if (inside_run(t, unit))
		return run;
	if (t->window && unit == t->next) {
		p->used += t->window;
		t->window = t->window * 2 < window_max ? t->window * 2 : window_max;
		run = extend(t, unit, units);
	} else if (starts_run(t, step)) {
		t->stride = step;
		t->window = PREFETCH_START < window_max ? PREFETCH_START : window_max;
		run = extend(t, unit, units);
	} else {
		t->window /= 2;
	}
	t->step = step;
	p->guessed += run.count;
	return run;
}
