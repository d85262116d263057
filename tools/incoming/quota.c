// SPDX-License-Identifier: Apache-2.0
// Hosts, and what they have here.
#include "quota.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

struct quota_host {
	struct quota_host *next;
	unsigned int connections, sessions;
	char name[];
};

void quota_init(struct quota *q)
{
	q->hosts = NULL;
	pthread_mutex_init(&q->lock, NULL);
}

void quota_destroy(struct quota *q)
{
	pthread_mutex_destroy(&q->lock);
}

/* ---- under the lock ---- */

static struct quota_host *find(const struct quota *q, const char *name)
{
	struct quota_host *h = q->hosts;

	while (h && strcmp(h->name, name) != 0)
		h = h->next;
	return h;
}

static struct quota_host *add(struct quota *q, const char *name)
{
	struct quota_host *h = calloc(1, sizeof(*h) + strlen(name) + 1);

	if (!h)
		return NULL;
	strcpy(h->name, name);
	h->next = q->hosts;
	q->hosts = h;
	return h;
}

static void drop(struct quota *q, struct quota_host *h)
{
	struct quota_host **at = &q->hosts;

	while (*at != h)
		at = &(*at)->next;
	*at = h->next;
	free(h);
}

static int check(const struct quota_host *h, bool session, struct errtext *why)
{
	if (session && h->sessions == QUOTA_SESSIONS)
		return errtext_set(why, -EUSERS,
				   "this host has %u migrations under way or waiting here "
				   "already, and may have no more at once",
				   h->sessions);
	if (h->connections == QUOTA_CONNECTIONS)
		return errtext_set(why, -EUSERS,
				   "this host has %u connections here already, and may have no "
				   "more at once",
				   h->connections);
	return 0;
}

/* ---- what others call ---- */

int quota_enter(struct quota *q, struct quota_place *place, const char *host, bool session,
		struct errtext *why)
{
	struct quota_host *h;
	int ret;

	pthread_mutex_lock(&q->lock);
	h = find(q, host);
	h = h ? h : add(q, host);
	ret = h ? check(h, session, why) : errtext_set(why, -ENOMEM, "out of memory");
	if (ret == 0) {
		h->connections++;
		h->sessions += session;
		*place = (struct quota_place){.host = h, .session = session};
	}
	pthread_mutex_unlock(&q->lock);
	return ret;
}

void quota_leave(struct quota *q, struct quota_place *place)
{
	struct quota_host *h = place->host;

	if (!h)
		return;
	pthread_mutex_lock(&q->lock);
	h->connections--;
	h->sessions -= place->session;
	if (h->connections == 0)
		drop(q, h);
	pthread_mutex_unlock(&q->lock);
	*place = (struct quota_place){0};
}
