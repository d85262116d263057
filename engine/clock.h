// SPDX-License-Identifier: Apache-2.0
// The two clocks: monotonic for intervals, realtime for what crosses hosts. In microseconds.
#pragma once

#include <pthread.h>
#include <stdint.h>
#include <time.h>

static inline uint64_t clock_ns(clockid_t id)
{
	struct timespec ts;

	clock_gettime(id, &ts);
	return (uint64_t)ts.tv_sec * 1000000000 + (uint64_t)ts.tv_nsec;
}

static inline uint64_t clock_us(clockid_t id)
{
	return clock_ns(id) / 1000;
}

static inline uint64_t clock_monotonic_us(void)
{
	return clock_us(CLOCK_MONOTONIC);
}

static inline uint64_t clock_monotonic_ns(void)
{
	return clock_ns(CLOCK_MONOTONIC);
}

static inline uint64_t clock_realtime_us(void)
{
	return clock_us(CLOCK_REALTIME);
}

/* A time of either clock, as waits with a deadline want it. */
static inline struct timespec clock_timespec(uint64_t us)
{
	return (struct timespec){.tv_sec = (time_t)(us / 1000000),
				 .tv_nsec = (long)(us % 1000000 * 1000)};
}

/* A condition whose deadlines are of the monotonic clock. */
static inline void clock_cond_init(pthread_cond_t *cond)
{
	pthread_condattr_t attr;

	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(cond, &attr);
	pthread_condattr_destroy(&attr);
}
