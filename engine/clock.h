// SPDX-License-Identifier: Apache-2.0
// The two clocks, in microseconds: monotonic for intervals, realtime for what crosses hosts.
#pragma once

#include <stdint.h>
#include <time.h>

static inline uint64_t clock_us(clockid_t id)
{
	struct timespec ts;

	clock_gettime(id, &ts);
	return (uint64_t)ts.tv_sec * 1000000 + ts.tv_nsec / 1000;
}

static inline uint64_t clock_monotonic_us(void)
{
	return clock_us(CLOCK_MONOTONIC);
}

static inline uint64_t clock_realtime_us(void)
{
	return clock_us(CLOCK_REALTIME);
}
