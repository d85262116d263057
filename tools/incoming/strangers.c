// SPDX-License-Identifier: Apache-2.0
// Who has to give way when there are too many.
#include "strangers.h"

#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

void strangers_init(struct strangers *s)
{
	*s = (struct strangers){0};
	pthread_mutex_init(&s->lock, NULL);
}

void strangers_destroy(struct strangers *s)
{
	pthread_mutex_destroy(&s->lock);
}

/* ---- under the lock ---- */

static void append(struct strangers *s, struct stranger *one)
{
	struct stranger **end = &s->oldest;

	while (*end)
		end = &(*end)->newer;
	one->newer = NULL;
	one->inside = true;
	*end = one;
	s->count++;
}

static void take_out(struct strangers *s, struct stranger *one)
{
	struct stranger **at = &s->oldest;

	if (!one->inside)
		return;
	while (*at != one)
		at = &(*at)->newer;
	*at = one->newer;
	one->inside = false;
	s->count--;
}

static unsigned int count_of(const struct strangers *s, const char *host)
{
	unsigned int n = 0;

	for (const struct stranger *one = s->oldest; one; one = one->newer)
		n += strcmp(one->host, host) == 0;
	return n;
}

/* The first one of the largest crowd. */
static struct stranger *choose(const struct strangers *s)
{
	struct stranger *chosen = s->oldest;
	unsigned int most = 0;

	for (struct stranger *one = s->oldest; one; one = one->newer) {
		unsigned int n = count_of(s, one->host);

		if (n > most) {
			most = n;
			chosen = one;
		}
	}
	return chosen;
}

/* ---- what others call ---- */

void strangers_enter(struct strangers *s, struct stranger *one, int fd, const char *peer)
{
	const char *port = strrchr(peer, ':');

	one->fd = fd;
	snprintf(one->host, sizeof(one->host), "%.*s",
		 port ? (int)(port - peer) : (int)strlen(peer), peer);
	pthread_mutex_lock(&s->lock);
	append(s, one);
	if (s->count > STRANGERS_MAX) {
		struct stranger *chosen = choose(s);

		shutdown(chosen->fd, SHUT_RDWR); /* its thread sees the end, and closes it */
		take_out(s, chosen);
	}
	pthread_mutex_unlock(&s->lock);
}

void strangers_leave(struct strangers *s, struct stranger *one)
{
	pthread_mutex_lock(&s->lock);
	take_out(s, one);
	pthread_mutex_unlock(&s->lock);
}
