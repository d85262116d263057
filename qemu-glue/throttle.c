// SPDX-License-Identifier: Apache-2.0
// Slow a guest down by stopping its vCPU threads for a share of each period.
//
//     |<------------- period, 40 ms ------------->|
//     |  held: percent of it  |       free        |
//     hold all                release all         hold all ...
//
// One thread is the tracer; what it does to the vCPUs is told in vcpus.c. Between two holds nothing
// is traced.
//
// All vCPUs are held at the same time. One after the other would keep the guest more responsive but
// its spinlocks would be held by a vCPU that stands still while others burn their share waiting for
// it, and the dirty rate would fall by less than promised.
//
// The period is short because a vCPU may be stopped while it holds QEMU's big lock: then the
// monitor and all devices wait until the hold ends. QEMU's own throttle picks its moments (it
// sleeps with the lock dropped) and can afford to hold for a second at 99 %; here it is 40 ms.
//
// Rejected: the CPU controller of cgroup v2 (cpu.max, libvirt's vcpu_quota). It outlives a dray
// that is killed, so that the guest would stay slow until somebody noticed; containers often see
// their cgroup read-only; and it would overwrite a quota of the administrator's. Nor QEMU's
// auto-converge: that is part of its own RAM migration, which has nothing to do here.
#include "throttle.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include "clock.h"
#include "vcpus.h"

#define PERIOD_US (THROTTLE_PERIOD_MS * 1000ull)
#define SCAN_US 1000000ull
#define POLL_US 1000ull /* for a thread that has not stopped when it is to be let go */
#define FAILURES_MAX 25 /* periods in a row */
#define LET_GO_US 1000000ull

struct throttle {
	pthread_t thread;

	/* private to the thread */
	struct vcpus vcpus;
	uint64_t next_scan_us;
	unsigned int failures;

	pthread_mutex_t lock;
	pthread_cond_t changed; /* monotonic */
	/* under lock */
	unsigned int percent;
	bool end;
	int result;
	struct errtext result_text;
};

/* Under lock. The thread has no reason to hold, or to go on holding. */
static bool is_off(const struct throttle *t)
{
	return t->end || t->percent == 0 || t->result < 0;
}

/* Under lock; may return early. */
static void wait_changed(struct throttle *t, uint64_t until_us)
{
	struct timespec at = clock_timespec(until_us);

	pthread_cond_timedwait(&t->changed, &t->lock, &at);
}

static void wait_unless_off(struct throttle *t, uint64_t until_us)
{
	pthread_mutex_lock(&t->lock);
	while (!is_off(t) && clock_monotonic_us() < until_us)
		wait_changed(t, until_us);
	pthread_mutex_unlock(&t->lock);
}

static void break_down(struct throttle *t, int ret, const struct errtext *text)
{
	pthread_mutex_lock(&t->lock);
	t->result = ret;
	t->result_text = *text;
	pthread_mutex_unlock(&t->lock);
}

static void explain(const struct throttle *t, int ret, pid_t tid, struct errtext *text)
{
	pid_t tracer = vcpus_tracer(&t->vcpus, tid);

	if (ret == -EPERM && tracer > 0)
		errtext_set(text, ret,
			    "process %d is being traced by process %d: cannot slow its vCPUs; end "
			    "that first",
			    t->vcpus.pid, tracer);
	else
		errtext_set(text, ret, "process %d: cannot stop its thread %d: %s%s", t->vcpus.pid,
			    tid, strerror(-ret), ret == -EPERM ? " (run as root)" : "");
}

/* False if it has broken down. */
static bool hold(struct throttle *t)
{
	struct errtext text = {0};
	pid_t failed = 0;
	int ret = 0;

	if (clock_monotonic_us() >= t->next_scan_us) {
		ret = vcpus_scan(&t->vcpus, &text);
		t->next_scan_us = clock_monotonic_us() + SCAN_US;
	}
	if (ret == 0) {
		ret = vcpus_hold(&t->vcpus, &failed);
		t->failures = ret < 0 ? t->failures + 1 : 0;
		if (t->failures <= FAILURES_MAX)
			return true;
		explain(t, ret, failed, &text);
	}
	break_down(t, ret, &text);
	return false;
}

/* Those that stop late are let go while the others run. Off or not, it ends by until_us. */
static void release(struct throttle *t, uint64_t until_us)
{
	while (vcpus_release(&t->vcpus) > 0 && clock_monotonic_us() < until_us) {
		pthread_mutex_lock(&t->lock);
		wait_changed(t, clock_monotonic_us() + POLL_US);
		pthread_mutex_unlock(&t->lock);
	}
}

static void period(struct throttle *t, unsigned int percent)
{
	uint64_t held_us = PERIOD_US * percent / 100;
	uint64_t free_until_us;

	if (hold(t))
		wait_unless_off(t, clock_monotonic_us() + held_us);
	/* From now, not from the beginning: a tracer that wakes up late must not starve the guest.
	 */
	free_until_us = clock_monotonic_us() + PERIOD_US - held_us;
	release(t, free_until_us);
	wait_unless_off(t, free_until_us);
}

/* The percent in force, once there is one; -1: the end. */
static int await_work(struct throttle *t)
{
	int percent;

	pthread_mutex_lock(&t->lock);
	while (is_off(t) && !t->end) {
		/* A thread may still be on its way to the stop that it is to be released from. */
		if (vcpus_release(&t->vcpus) > 0)
			wait_changed(t, clock_monotonic_us() + POLL_US);
		else
			pthread_cond_wait(&t->changed, &t->lock);
	}
	percent = t->end ? -1 : (int)t->percent;
	pthread_mutex_unlock(&t->lock);
	return percent;
}

static void *throttle_main(void *opaque)
{
	struct throttle *t = opaque;
	int percent;

	while ((percent = await_work(t)) >= 0)
		period(t, (unsigned int)percent);
	release(t, clock_monotonic_us() + LET_GO_US);
	return NULL;
}

/* Signals are for the program's other threads. */
static int start_thread(struct throttle *t)
{
	sigset_t all, before;
	int ret;

	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	ret = -pthread_create(&t->thread, NULL, throttle_main, t);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	return ret;
}

static void throttle_free(struct throttle *t)
{
	vcpus_close(&t->vcpus);
	pthread_cond_destroy(&t->changed);
	pthread_mutex_destroy(&t->lock);
	free(t);
}

static struct throttle *throttle_alloc(void)
{
	struct throttle *t = calloc(1, sizeof(*t));

	if (!t)
		return NULL;
	pthread_mutex_init(&t->lock, NULL);
	clock_cond_init(&t->changed);
	t->vcpus.task_fd = -1;
	return t;
}

int throttle_new(pid_t qemu, struct throttle **out, struct errtext *err)
{
	struct throttle *t = throttle_alloc();
	int ret;

	if (!t)
		return errtext_set(err, -ENOMEM, "out of memory");
	ret = vcpus_open(&t->vcpus, qemu, err);
	if (ret == 0) {
		ret = start_thread(t);
		if (ret < 0)
			errtext_set(err, ret, "cannot start a thread: %s", strerror(-ret));
	}
	if (ret < 0) {
		throttle_free(t);
		return ret;
	}
	*out = t;
	return 0;
}

void throttle_set(struct throttle *t, unsigned int percent)
{
	pthread_mutex_lock(&t->lock);
	t->percent = percent < THROTTLE_MAX ? percent : THROTTLE_MAX;
	pthread_cond_signal(&t->changed);
	pthread_mutex_unlock(&t->lock);
}

int throttle_result(struct throttle *t, struct errtext *err)
{
	int ret;

	pthread_mutex_lock(&t->lock);
	ret = t->result;
	if (ret < 0)
		errtext_set(err, ret, "%s", t->result_text.text);
	pthread_mutex_unlock(&t->lock);
	return ret;
}

void throttle_destroy(struct throttle *t)
{
	if (!t)
		return;
	pthread_mutex_lock(&t->lock);
	t->end = true;
	pthread_cond_signal(&t->changed);
	pthread_mutex_unlock(&t->lock);
	pthread_join(t->thread, NULL);
	throttle_free(t);
}
