// SPDX-License-Identifier: Apache-2.0
// A point on CLOCK_MONOTONIC by which a call with several waits must have ended.
#pragma once

#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <stdint.h>
#include <time.h>

struct deadline {
	int64_t at_ms; /* -1 = never */
};

static inline int64_t deadline_now_ms(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

/* timeout_ms as poll(2) takes it: negative = none. */
static inline void deadline_set(struct deadline *d, int timeout_ms)
{
	d->at_ms = timeout_ms < 0 ? -1 : deadline_now_ms() + timeout_ms;
}

/* For poll(2): -1 = no limit, 0 = over. */
static inline int deadline_left_ms(const struct deadline *d)
{
	int64_t left;

	if (d->at_ms < 0)
		return -1;
	left = d->at_ms - deadline_now_ms();
	if (left < 0)
		return 0;
	return left > INT_MAX ? INT_MAX : (int)left;
}

/* Wait for events of poll(2). 0: fd is ready, or broken, which the transfer that follows tells;
 * -ETIMEDOUT. */
static inline int deadline_await(const struct deadline *deadline, int fd, short events)
{
	struct pollfd p = {.fd = fd, .events = events};
	int n;

	do
		n = poll(&p, 1, deadline_left_ms(deadline));
	while (n < 0 && errno == EINTR);
	if (n < 0)
		return -errno;
	return n ? 0 : -ETIMEDOUT;
}
