// SPDX-License-Identifier: Apache-2.0
// Background work that gives way to urgent work.
#include "urgency.h"

#include <errno.h>
#include <time.h>
#include "clock.h"

/* Background work that is held is woken when it may go on; it also looks by itself so often, should
 * the waking ever be missed. */
#define URGENCY_LOOK_US 100000

void urgency_mutex_init(pthread_mutex_t *mutex)
{
	pthread_mutexattr_t attr;

	pthread_mutexattr_init(&attr);
	pthread_mutexattr_setprotocol(&attr, PTHREAD_PRIO_INHERIT);
	pthread_mutex_init(mutex, &attr);
	pthread_mutexattr_destroy(&attr);
}

void urgency_init(struct urgency *u)
{
	*u = (struct urgency){.quiet_since = clock_monotonic_us()};
	urgency_mutex_init(&u->lock);
	clock_cond_init(&u->calm);
}

void urgency_destroy(struct urgency *u)
{
	pthread_cond_destroy(&u->calm);
	pthread_mutex_destroy(&u->lock);
}

void urgency_begin(struct urgency *u)
{
	pthread_mutex_lock(&u->lock);
	u->active++;
	pthread_mutex_unlock(&u->lock);
}

/* Who waits for a grace sees to it by the clock: waking it here would cost the urgent thread a
 * system call each time. */
void urgency_end(struct urgency *u)
{
	pthread_mutex_lock(&u->lock);
	if (--u->active == 0)
		u->quiet_since = clock_monotonic_us();
	pthread_mutex_unlock(&u->lock);
}

/* 0: now. Else when to look again, at the latest. Under lock. */
static uint64_t look_at(const struct urgency *u, uint64_t now, uint64_t grace_us)
{
	if (u->stopped)
		return 0;
	if (u->held)
		return now + URGENCY_LOOK_US;
	if (u->active)
		return now + (grace_us ? grace_us : URGENCY_LOOK_US);
	return u->quiet_since + grace_us > now ? u->quiet_since + grace_us : 0;
}

static void wait_until(struct urgency *u, uint64_t us)
{
	const struct timespec at = clock_timespec(us);

	u->waiting++;
	pthread_cond_timedwait(&u->calm, &u->lock, &at);
	u->waiting--;
}

int urgency_give_way(struct urgency *u, uint64_t grace_us, uint64_t patience_us)
{
	uint64_t now = clock_monotonic_us(), give_up = patience_us ? now + patience_us : UINT64_MAX;
	uint64_t look;
	int ret;

	pthread_mutex_lock(&u->lock);
	while ((now < give_up || u->held) && (look = look_at(u, now, grace_us))) {
		wait_until(u, look < give_up || u->held ? look : give_up);
		now = clock_monotonic_us();
	}
	ret = u->stopped ? -ECANCELED : 0;
	pthread_mutex_unlock(&u->lock);
	return ret;
}

void urgency_hold(struct urgency *u, bool held)
{
	pthread_mutex_lock(&u->lock);
	u->held = held;
	pthread_cond_broadcast(&u->calm);
	pthread_mutex_unlock(&u->lock);
}

void urgency_stop(struct urgency *u)
{
	pthread_mutex_lock(&u->lock);
	u->stopped = true;
	pthread_cond_broadcast(&u->calm);
	pthread_mutex_unlock(&u->lock);
}
