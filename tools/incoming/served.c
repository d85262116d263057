// SPDX-License-Identifier: Apache-2.0
// When a receiver ends.
#include "served.h"

#include <errno.h>
#include <sys/eventfd.h>
#include "cleanup.h"
#include "clock.h"

/* A source that may not have heard that all pages have come keeps its memory, and will ask: the
 * receiver stays that long to answer. */
#define LINGER_US (600ull * 1000000)

int served_init(struct served *s)
{
	*s = (struct served){.changed = eventfd(0, EFD_CLOEXEC)};
	if (s->changed < 0)
		return -errno;
	pthread_mutex_init(&s->lock, NULL);
	return 0;
}

void served_destroy(struct served *s)
{
	cleanup_close(&s->changed);
	pthread_mutex_destroy(&s->lock);
}

void served_enter(struct served *s)
{
	pthread_mutex_lock(&s->lock);
	s->under_way++;
	s->end_us = 0; /* not before this one has */
	pthread_mutex_unlock(&s->lock);
}

void served_leave(struct served *s)
{
	pthread_mutex_lock(&s->lock);
	s->under_way--;
	if (s->done && !s->under_way)
		s->end_us = clock_monotonic_us() + (s->untold ? LINGER_US : 0);
	pthread_mutex_unlock(&s->lock);
	eventfd_write(s->changed, 1);
}

void served_note(struct served *s, int status, bool untold)
{
	pthread_mutex_lock(&s->lock);
	s->done = true;
	if (status > s->status)
		s->status = status;
	s->untold += untold;
	pthread_mutex_unlock(&s->lock);
}

void served_tell(struct served *s)
{
	pthread_mutex_lock(&s->lock);
	if (s->untold)
		s->untold--;
	pthread_mutex_unlock(&s->lock);
}

int served_left_ms(struct served *s)
{
	uint64_t now = clock_monotonic_us(), end_us;

	pthread_mutex_lock(&s->lock);
	end_us = s->end_us;
	pthread_mutex_unlock(&s->lock);
	if (end_us == 0)
		return -1;
	return end_us <= now ? 0 : (int)((end_us - now) / 1000) + 1;
}

int served_status(struct served *s)
{
	int status;

	pthread_mutex_lock(&s->lock);
	status = s->status;
	pthread_mutex_unlock(&s->lock);
	return status;
}
