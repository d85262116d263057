// SPDX-License-Identifier: Apache-2.0
// The pacer: its promise under a fake clock, and the waking of those who really wait.
#include <criterion/criterion.h>
#include <criterion/parameterized.h>
#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <stdlib.h>
#include <time.h>
#include "pacer.h"

#define MS 1000000ull
#define S (1000 * MS)
#define RUN_S 10

TestSuite(pacer, .timeout = 120);

/* ---- the promise, simulated ---- */

struct load {
	uint64_t rate;
	unsigned int takers;
	uint64_t late_ns; /* a taker wakes up to so much late */
};

ParameterizedTestParameters(pacer, promise)
{
	static struct load rows[] = {
		{1 << 20, 1, 0},	 {1 << 20, 8, 0},	 {1 << 20, 8, 4 * MS},
		{10 << 20, 1, 100000},	 {10 << 20, 8, 4 * MS},	 {125000000, 1, 100000},
		{125000000, 8, 100000},	 {125000000, 8, 4 * MS}, {1250000000, 1, 0},
		{1250000000, 1, 4 * MS}, {1250000000, 8, 0},	 {1250000000, 8, 4 * MS},
	};

	return cr_make_param_array(struct load, rows, sizeof(rows) / sizeof(rows[0]));
}

static uint64_t random_below(uint64_t *state, uint64_t limit)
{
	*state = *state * 6364136223846793005ull + 1442695040888963407ull;
	return limit ? (*state >> 33) % limit : 0;
}

struct grant {
	uint64_t ns, total; /* when; bytes granted up to and including this one */
};

/* Takers in turn, each asking for a quantum or, where there are several, an odd part of one. */
static size_t simulate(const struct load *load, struct grant *grants, size_t max)
{
	size_t quantum = pacer_schedule_quantum(load->rate), n = 0;
	uint64_t now = 5 * S, end = now + RUN_S * S, total = 0, seed = 1;
	struct pacer_schedule s = {};

	pacer_schedule_set(&s, load->rate, now);
	for (unsigned int taker = 0;; taker = (taker + 1) % load->takers) {
		uint64_t bytes = quantum - (taker ? random_below(&seed, quantum / 2) : 0);
		uint64_t wait = pacer_schedule_wait(&s, now);

		if (wait)
			now += wait + random_below(&seed, load->late_ns);
		if (now >= end)
			return n;
		cr_assert_eq(pacer_schedule_wait(&s, now), 0);
		pacer_schedule_charge(&s, bytes, now);
		total += bytes;
		cr_assert_lt(n, max);
		grants[n++] = (struct grant){now - 5 * S, total};
	}
}

static uint64_t granted_before(const struct grant *grants, size_t n, uint64_t ns)
{
	size_t low = 0, high = n;

	while (low < high) {
		size_t mid = (low + high) / 2;

		if (grants[mid].ns < ns)
			low = mid + 1;
		else
			high = mid;
	}
	return low ? grants[low - 1].total : 0;
}

ParameterizedTest(struct load *load, pacer, promise)
{
	const size_t max = 100000;
	struct grant *grants = calloc(max, sizeof(*grants));
	size_t n = simulate(load, grants, max);
	double rate = (double)load->rate;

	for (size_t i = 0; i < n; i++) {
		uint64_t before = i ? grants[i - 1].total : 0;
		uint64_t window = granted_before(grants, n, grants[i].ns + 100 * MS) - before;

		cr_assert_leq((double)window, 1.1 * rate * 0.1, "window at %llu ns: %llu bytes",
			      (unsigned long long)grants[i].ns, (unsigned long long)window);
	}
	for (uint64_t s = 0; s < RUN_S; s++) {
		double second = (double)(granted_before(grants, n, (s + 1) * S) -
					 granted_before(grants, n, s * S));

		cr_assert(second > 0.97 * rate && second < 1.03 * rate, "second %llu: %.0f bytes",
			  (unsigned long long)s, second);
	}
	cr_assert((double)grants[n - 1].total > 0.99 * rate * RUN_S);
	cr_assert((double)grants[n - 1].total < 1.01 * rate * RUN_S);
	free(grants);
}

/* ---- single properties of the schedule ---- */

Test(pacer, no_cap_never_waits)
{
	struct pacer_schedule s = {};

	pacer_schedule_charge(&s, 1ull << 60, 1);
	cr_assert_eq(pacer_schedule_wait(&s, 1), 0);
	cr_assert_eq(pacer_schedule_quantum(0), SIZE_MAX);
}

Test(pacer, idle_time_is_not_saved_up)
{
	struct pacer_schedule s = {};
	uint64_t sent = 0;

	pacer_schedule_set(&s, 1000000, 0);
	while (!pacer_schedule_wait(&s, 3600 * S)) {
		pacer_schedule_charge(&s, 1000, 3600 * S);
		sent += 1000;
	}
	cr_assert_leq(sent, 10000);
}

Test(pacer, small_takes_are_not_free)
{
	struct pacer_schedule s = {};

	/* Each costs 0.8 ns, and the clock stands still. */
	pacer_schedule_set(&s, 1250000000, 100 * S);
	pacer_schedule_charge(&s, 1250000000, 100 * S);
	for (int i = 0; i < 1000000; i++)
		pacer_schedule_charge(&s, 1, 100 * S);
	cr_assert_geq(pacer_schedule_wait(&s, 100 * S), S + 800000 - 8 * MS);
	cr_assert_leq(pacer_schedule_wait(&s, 100 * S), S + 800000);
}

Test(pacer, new_rate_applies_to_what_is_owed)
{
	struct pacer_schedule s = {};
	uint64_t wait;

	pacer_schedule_set(&s, 1000, 10 * S);
	pacer_schedule_charge(&s, 1000, 10 * S);
	wait = pacer_schedule_wait(&s, 10 * S);
	pacer_schedule_set(&s, 10000, 10 * S);
	cr_assert_leq(pacer_schedule_wait(&s, 10 * S), wait / 10);
	cr_assert_geq(pacer_schedule_wait(&s, 10 * S), wait / 10 - MS);
	pacer_schedule_set(&s, 0, 10 * S);
	cr_assert_eq(pacer_schedule_wait(&s, 10 * S), 0);
}

/* A take of 10 Gbit/s, made just before, must not stop everybody at 1 MiB/s; other debts stay. */
Test(pacer, a_lower_rate_forgives_the_last_take)
{
	const uint64_t high = 1250000000, low = 1 << 20;
	size_t quantum = pacer_schedule_quantum(high);
	struct pacer_schedule s = {};

	pacer_schedule_set(&s, high, 10 * S);
	pacer_schedule_charge(&s, quantum, 10 * S);
	pacer_schedule_set(&s, low, 10 * S);
	cr_assert_eq(pacer_schedule_wait(&s, 10 * S), 0);
	s = (struct pacer_schedule){};
	pacer_schedule_set(&s, high, 10 * S);
	pacer_schedule_charge(&s, quantum + high, 10 * S);
	pacer_schedule_set(&s, low, 10 * S);
	cr_assert_geq(pacer_schedule_wait(&s, 10 * S), high * 99 / 100 / low * S);
}

/* 106 ms late at 1 MB/s: the 6 of slack come back at once, the 100 by 2 % of what follows. */
Test(pacer, lost_time_is_made_good_slowly)
{
	struct pacer_schedule s = {};

	pacer_schedule_set(&s, 1000000, 10 * S);
	pacer_schedule_late(&s, 5 * MS);
	cr_assert_eq(s.lost_ns, 0);
	pacer_schedule_late(&s, 106 * MS);
	cr_assert_eq(s.lost_ns, 100 * MS);
	pacer_schedule_charge(&s, 1000000, 10 * S);
	cr_assert_eq(pacer_schedule_wait(&s, 10 * S), 980 * MS);
	for (int i = 0; i < 4; i++)
		pacer_schedule_charge(&s, 1000000, 10 * S);
	cr_assert_eq(s.lost_ns, 0);
	cr_assert_eq(pacer_schedule_wait(&s, 10 * S), 4900 * MS);
	pacer_schedule_charge(&s, 1000000, 10 * S);
	cr_assert_eq(pacer_schedule_wait(&s, 10 * S), 5900 * MS);
	pacer_schedule_late(&s, 3600 * S);
	cr_assert_leq(s.lost_ns, 200 * MS);
}

Test(pacer, cost_of_a_byte)
{
	struct pacer_schedule plain = {}, dear = {.ppm = 1500000};

	pacer_schedule_set(&plain, 1000000, 10 * S);
	pacer_schedule_set(&dear, 1000000, 10 * S);
	for (int i = 0; i < 1000; i++) {
		pacer_schedule_charge(&plain, 1500, 10 * S);
		pacer_schedule_charge(&dear, 1000, 10 * S);
	}
	cr_assert_eq(pacer_schedule_wait(&plain, 10 * S), pacer_schedule_wait(&dear, 10 * S));
}

Test(pacer, highest_rates_do_not_overflow)
{
	struct pacer_schedule s = {};

	pacer_schedule_set(&s, 100000000000ull, S);
	pacer_schedule_charge(&s, 100000000000ull * 3600, S);
	cr_assert_geq(pacer_schedule_wait(&s, S), 3599 * S);
	cr_assert_leq(pacer_schedule_wait(&s, S), 3600 * S);
}

/* ---- waiting in earnest ---- */

struct taker {
	struct pacer *pacer;
	size_t bytes, granted;
	atomic_bool cancel;
	int result;
	pthread_t thread;
};

static void *take(void *arg)
{
	struct taker *t = arg;

	t->result = pacer_take_part(t->pacer, t->bytes, &t->cancel, &t->granted);
	return NULL;
}

#define TAKERS 8

/* Takers that would wait for hours. */
static void takers_start(struct taker t[TAKERS], struct pacer **p)
{
	cr_assert_eq(pacer_new(1, p), 0);
	pacer_charge(*p, 100000);
	for (int i = 0; i < TAKERS; i++) {
		t[i] = (struct taker){.pacer = *p, .bytes = 1000};
		cr_assert_eq(pthread_create(&t[i].thread, NULL, take, &t[i]), 0);
	}
}

static void takers_join(struct taker t[TAKERS], int expected)
{
	for (int i = 0; i < TAKERS; i++) {
		pthread_join(t[i].thread, NULL);
		cr_assert_eq(t[i].result, expected);
	}
}

Test(pacer, stop_ends_every_wait)
{
	struct taker t[TAKERS];
	struct pacer *p;

	takers_start(t, &p);
	pacer_stop(p);
	takers_join(t, -ECANCELED);
	cr_assert_eq(pacer_take(p, 1), -ECANCELED);
	pacer_destroy(p);
}

Test(pacer, set_reaches_those_who_wait)
{
	struct taker t[TAKERS];
	struct pacer *p;

	takers_start(t, &p);
	cr_assert_eq(pacer_rate(p), 1);
	pacer_set(p, 1000000000);
	takers_join(t, 0);
	for (int i = 0; i < TAKERS; i++)
		cr_assert_eq(t[i].granted, t[i].bytes);
	pacer_set(p, 0);
	cr_assert_eq(pacer_take(p, SIZE_MAX), 0);
	pacer_destroy(p);
}

Test(pacer, a_part_is_a_quantum_of_the_rate_when_granted)
{
	struct taker t = {.bytes = SIZE_MAX};

	cr_assert_eq(pacer_new(1, &t.pacer), 0);
	pacer_charge(t.pacer, 100000);
	cr_assert_eq(pthread_create(&t.thread, NULL, take, &t), 0);
	pacer_set(t.pacer, 1 << 30);
	pthread_join(t.thread, NULL);
	cr_assert_eq(t.result, 0);
	cr_assert_eq(t.granted, pacer_schedule_quantum(1 << 30));
	pacer_destroy(t.pacer);
}

Test(pacer, one_gives_up_and_the_queue_goes_on)
{
	struct taker t[TAKERS];
	struct pacer *p;

	takers_start(t, &p);
	for (int i = 0; i < TAKERS; i += 2) {
		atomic_store(&t[i].cancel, true);
		pacer_kick(p);
		pthread_join(t[i].thread, NULL);
		cr_assert_eq(t[i].result, -ECANCELED);
	}
	pacer_set(p, 0);
	for (int i = 1; i < TAKERS; i += 2) {
		pthread_join(t[i].thread, NULL);
		cr_assert_eq(t[i].result, 0);
	}
	pacer_destroy(p);
}

#define RACE_RATE ((size_t)64 << 20)
#define RACE_SHARE ((size_t)2 << 20)

static void *take_share(void *arg)
{
	struct pacer *p = arg;
	size_t quantum = pacer_quantum(p);

	for (size_t done = 0; done < RACE_SHARE; done += quantum)
		if (pacer_take(p, quantum))
			return p;
	return NULL;
}

/* Only the upper side is tested against the real clock: a busy machine may always be slower. */
Test(pacer, threads_together_keep_the_cap)
{
	pthread_t threads[TAKERS];
	struct timespec start, end;
	struct pacer *p;
	double elapsed;
	void *failed;

	clock_gettime(CLOCK_MONOTONIC, &start);
	cr_assert_eq(pacer_new(RACE_RATE, &p), 0);
	for (int i = 0; i < TAKERS; i++)
		cr_assert_eq(pthread_create(&threads[i], NULL, take_share, p), 0);
	for (int i = 0; i < TAKERS; i++) {
		pthread_join(threads[i], &failed);
		cr_assert_null(failed);
	}
	clock_gettime(CLOCK_MONOTONIC, &end);
	elapsed = (double)(end.tv_sec - start.tv_sec) + (double)(end.tv_nsec - start.tv_nsec) / 1e9;
	cr_assert_geq(elapsed, (double)(TAKERS * RACE_SHARE) / RACE_RATE - 0.01);
	pacer_destroy(p);
}
