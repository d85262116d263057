// SPDX-License-Identifier: Apache-2.0
// A bandwidth cap: an absolute schedule, and a queue of those who wait for it.
//
// The schedule is one number: the time at which all that went so far has been paid for at the
// given rate (next_ns). A take may go once that time has come, and moves it by its own cost.
// Since it moves by cost and not from "now", waking up late is made good by the following takes:
// the average is exact. That credit, which is also what is left of idle time, is limited to
// SLACK_NS, or it would go out as a burst.
//
//     takes |##        ##  ####      ##      (2nd late, so 3rd follows at once)
//     next      |----|----|----|----|
//
// A taker that a busy host wakes up later than that has lost time although there was demand. This
// is made good too, but slowly: takes cost 1/REPAY less until then.
//
// In any window of W, what goes is at most rate * (W + slack) * (1 + 1/REPAY) plus one take: rate *
// 108.4 ms for 100 ms with quanta of QUANTUM_NS. What is left of the promised 1.1 is for what a
// network that stalls keeps in the socket buffers, about a quantum per connection: hence quanta
// much shorter than the slack. They still cost no more than 5000 takes per second at any rate.
//
// Alternative rejected: a reservation per taker (add the cost first, then sleep until the slot).
// Takers that all wake late would go at once, without limit, and pacer_set could not
// recall the slots given out.
//
// Waiters queue in order of arrival; only the head watches the clock, each sleeps on a condition
// of its own: no herd at each grant. Whoever is awake grants, to all whose turn has come and not
// only to itself: on a busy host each may take long to get a CPU, and must not do so in turns.
#include <errno.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdlib.h>
#include <time.h>
#include "cleanup.h"
#include "pacer.h"
#include "clock.h"

#define NS_PER_S 1000000000ull
#define SLACK_NS 6000000ull
#define REPAY 50
#define LOST_MAX_NS                                                                                \
	200000000ull /* a process that was stopped for long does not race for minutes              \
		      */
#define QUANTUM_NS 250000ull
#define QUANTUM_MIN ((size_t)1448)	/* a full TCP segment of an Ethernet frame */
#define QUANTUM_MAX ((size_t)256 << 10) /* beyond, nothing is gained by larger sends */
#define PPM 1000000u

/* ---- the schedule ---- */

static uint64_t earliest_start(const struct pacer_schedule *s, uint64_t now_ns)
{
	uint64_t oldest = now_ns > SLACK_NS ? now_ns - SLACK_NS : 0;

	return s->next_ns > oldest ? s->next_ns : oldest;
}

void pacer_schedule_set(struct pacer_schedule *s, uint64_t rate, uint64_t now_ns)
{
	uint64_t debt_ns = s->rate && s->next_ns > now_ns ? s->next_ns - now_ns : 0;

	/* What is owed is bytes, not time: at the new rate it takes the longer or the shorter. But
	 * the last take was within the old rate, and one made at 10 Gbit/s would, at 1 MiB/s, stop
	 * everybody for a quarter of a second. */
	s->next_ns = now_ns;
	s->owed = 0;
	s->lost_ns = 0;
	if (rate && debt_ns) {
		unsigned __int128 bytes = (unsigned __int128)debt_ns * s->rate / NS_PER_S;
		size_t last = rate < s->rate ? pacer_schedule_quantum(s->rate) : 0;

		bytes -= bytes < last ? bytes : last;
		s->next_ns += (uint64_t)(bytes * NS_PER_S / rate);
	}
	s->rate = rate;
}

uint64_t pacer_schedule_wait(const struct pacer_schedule *s, uint64_t now_ns)
{
	return s->rate && s->next_ns > now_ns ? s->next_ns - now_ns : 0;
}

void pacer_schedule_charge(struct pacer_schedule *s, uint64_t bytes, uint64_t now_ns)
{
	unsigned __int128 cost;
	uint64_t ns, repaid;

	if (!s->rate)
		return;
	/* The remainder is carried along: takes of a few bytes must not be free. */
	cost = (unsigned __int128)bytes * (s->ppm ? s->ppm : PPM) * (NS_PER_S / PPM) + s->owed;
	ns = (uint64_t)(cost / s->rate);
	repaid = ns / REPAY < s->lost_ns ? ns / REPAY : s->lost_ns;
	s->lost_ns -= repaid;
	s->next_ns = earliest_start(s, now_ns) + ns - repaid;
	s->owed = (uint64_t)(cost % s->rate);
}

void pacer_schedule_late(struct pacer_schedule *s, uint64_t late_ns)
{
	if (late_ns > SLACK_NS)
		s->lost_ns += late_ns - SLACK_NS;
	if (s->lost_ns > LOST_MAX_NS)
		s->lost_ns = LOST_MAX_NS;
}

size_t pacer_schedule_quantum(uint64_t rate)
{
	uint64_t bytes = rate / (NS_PER_S / QUANTUM_NS);

	if (!rate)
		return SIZE_MAX;
	if (bytes < QUANTUM_MIN)
		return QUANTUM_MIN;
	return bytes > QUANTUM_MAX ? QUANTUM_MAX : (size_t)bytes;
}

/* ---- waiting for it ---- */

struct waiter {
	struct waiter *next;
	pthread_cond_t wake;
	uint64_t entered_ns;
	size_t bytes; /* wanted, and then granted */
	bool part;    /* a quantum of them will do */
	bool granted; /* and out of the queue */
};

struct pacer {
	/* copy of schedule.rate for those without the lock; relaxed: a late reader is paced by the
	 * old rate for one take */
	_Atomic uint64_t rate;

	pthread_mutex_t lock;
	/* under lock */
	struct pacer_schedule schedule;
	struct waiter *head, **tail;
	bool stopped;
};

static uint64_t now_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * NS_PER_S + (uint64_t)now.tv_nsec;
}

int pacer_new(uint64_t bytes_per_s, struct pacer **out)
{
	struct pacer *p = calloc(1, sizeof(*p));

	if (!p)
		return -ENOMEM;
	pthread_mutex_init(&p->lock, NULL);
	p->tail = &p->head;
	pacer_set(p, bytes_per_s);
	*out = p;
	return 0;
}

void pacer_destroy(struct pacer *p)
{
	if (!p)
		return;
	pthread_mutex_destroy(&p->lock);
	free(p);
}

static void wake_all(struct pacer *p)
{
	for (struct waiter *w = p->head; w; w = w->next)
		pthread_cond_signal(&w->wake);
}

void pacer_set(struct pacer *p, uint64_t bytes_per_s)
{
	pthread_mutex_lock(&p->lock);
	pacer_schedule_set(&p->schedule, bytes_per_s, now_ns());
	atomic_store_explicit(&p->rate, bytes_per_s, memory_order_relaxed);
	wake_all(p);
	pthread_mutex_unlock(&p->lock);
}

void pacer_set_cost(struct pacer *p, uint32_t ppm)
{
	pthread_mutex_lock(&p->lock);
	p->schedule.ppm = ppm;
	pthread_mutex_unlock(&p->lock);
}

uint64_t pacer_rate(const struct pacer *p)
{
	return atomic_load_explicit(&p->rate, memory_order_relaxed);
}

size_t pacer_quantum(const struct pacer *p)
{
	return pacer_schedule_quantum(pacer_rate(p));
}

static void waiter_add(struct pacer *p, struct waiter *w)
{
	clock_cond_init(&w->wake);
	w->next = NULL;
	*p->tail = w;
	p->tail = &w->next;
}

static void waiter_remove(struct pacer *p, struct waiter *w)
{
	struct waiter **at = &p->head;

	while (*at != w)
		at = &(*at)->next;
	*at = w->next;
	if (!w->next)
		p->tail = at;
}

static void grant(struct pacer *p, struct waiter *w, uint64_t now)
{
	uint64_t due = p->schedule.next_ns > w->entered_ns ? p->schedule.next_ns : w->entered_ns;
	size_t quantum = pacer_schedule_quantum(p->schedule.rate);

	if (w->part && w->bytes > quantum)
		w->bytes = quantum;
	pacer_schedule_late(&p->schedule, now > due ? now - due : 0);
	pacer_schedule_charge(&p->schedule, w->bytes, now);
	w->granted = true;
	waiter_remove(p, w);
	pthread_cond_signal(&w->wake);
}

/* The new head is told that the clock is now its to watch. */
static void grant_due(struct pacer *p, uint64_t now)
{
	struct waiter *first = p->head;

	while (p->head && !pacer_schedule_wait(&p->schedule, now))
		grant(p, p->head, now);
	if (p->head && p->head != first)
		pthread_cond_signal(&p->head->wake);
}

static bool cancelled(const struct pacer *p, const atomic_bool *cancel)
{
	/* acquire: what the canceller did before is seen by whoever gives up */
	return p->stopped || (cancel && atomic_load_explicit(cancel, memory_order_acquire));
}

static void wait_turn(struct pacer *p, struct waiter *w, uint64_t wait_ns, uint64_t now)
{
	uint64_t until = now + wait_ns;
	struct timespec at = {(time_t)(until / NS_PER_S), (long)(until % NS_PER_S)};

	if (p->head == w)
		pthread_cond_timedwait(&w->wake, &p->lock, &at);
	else
		pthread_cond_wait(&w->wake, &p->lock);
}

/* *bytes: wanted, and granted. */
static int take(struct pacer *p, size_t *bytes, bool part, const atomic_bool *cancel)
{
	struct waiter self = {.entered_ns = now_ns(), .bytes = *bytes, .part = part};
	uint64_t now;
	int ret = 0;

	pthread_mutex_lock(&p->lock);
	waiter_add(p, &self);
	while (!self.granted && !cancelled(p, cancel)) {
		now = now_ns();
		grant_due(p, now);
		if (!self.granted)
			wait_turn(p, &self, pacer_schedule_wait(&p->schedule, now), now);
	}
	if (!self.granted) {
		waiter_remove(p, &self);
		if (p->head)
			pthread_cond_signal(&p->head->wake);
		ret = -ECANCELED;
	}
	*bytes = self.bytes;
	pthread_cond_destroy(&self.wake);
	pthread_mutex_unlock(&p->lock);
	return ret;
}

int pacer_take(struct pacer *p, size_t bytes)
{
	return take(p, &bytes, false, NULL);
}

int pacer_take_part(struct pacer *p, size_t most, const atomic_bool *cancel, size_t *granted)
{
	*granted = most;
	return take(p, granted, true, cancel);
}

void pacer_kick(struct pacer *p)
{
	pthread_mutex_lock(&p->lock);
	wake_all(p);
	pthread_mutex_unlock(&p->lock);
}

void pacer_charge(struct pacer *p, size_t bytes)
{
	pthread_mutex_lock(&p->lock);
	pacer_schedule_charge(&p->schedule, bytes, now_ns());
	pthread_mutex_unlock(&p->lock);
}

void pacer_stop(struct pacer *p)
{
	pthread_mutex_lock(&p->lock);
	p->stopped = true;
	wake_all(p);
	pthread_mutex_unlock(&p->lock);
}
