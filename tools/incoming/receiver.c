// SPDX-License-Identifier: Apache-2.0
// The sessions of one process, found by their numbers.
#include "receiver.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include "incoming_private.h"

int receiver_new(const struct receiver_options *options, struct receiver **out)
{
	struct receiver *r = calloc(1, sizeof(*r));

	if (!r)
		return -ENOMEM;
	r->opt = *options;
	if (!r->opt.world)
		r->opt.world = incoming_world_real();
	pthread_mutex_init(&r->lock, NULL);
	pthread_cond_init(&r->changed, NULL);
	*out = r;
	return 0;
}

/* Under the lock. */
static struct incoming *find(struct receiver *r, const uint8_t session[WIRE_SESSION_SIZE])
{
	struct incoming *in;

	for (in = r->sessions; in; in = in->next)
		if (memcmp(in->session, session, WIRE_SESSION_SIZE) == 0)
			break;
	return in;
}

int receiver_add(struct incoming *in)
{
	struct receiver *r = in->receiver;
	bool taken;

	pthread_mutex_lock(&r->lock);
	taken = find(r, in->session);
	if (!taken) {
		in->next = r->sessions;
		r->sessions = in;
	}
	pthread_mutex_unlock(&r->lock);
	return taken ? -EEXIST : 0;
}

void receiver_remove(struct incoming *in)
{
	struct receiver *r = in->receiver;
	struct incoming **at;

	pthread_mutex_lock(&r->lock);
	for (at = &r->sessions; *at && *at != in; at = &(*at)->next)
		;
	if (*at)
		*at = in->next;
	pthread_mutex_unlock(&r->lock);
}

bool receiver_knows(struct receiver *r, const uint8_t session[WIRE_SESSION_SIZE])
{
	bool known;

	pthread_mutex_lock(&r->lock);
	known = find(r, session);
	pthread_mutex_unlock(&r->lock);
	return known;
}

bool receiver_may_release(struct receiver *r, const uint8_t session[WIRE_SESSION_SIZE])
{
	const struct incoming *in;
	bool may;

	pthread_mutex_lock(&r->lock);
	in = find(r, session);
	may = in && (!in->joined.ending || in->joined.released);
	pthread_mutex_unlock(&r->lock);
	return may;
}

struct incoming *receiver_enter(struct receiver *r, const uint8_t session[WIRE_SESSION_SIZE])
{
	struct incoming *in;

	pthread_mutex_lock(&r->lock);
	in = find(r, session);
	if (in && in->joined.ending)
		in = NULL;
	if (in)
		in->joined.users++;
	pthread_mutex_unlock(&r->lock);
	return in;
}

void receiver_leave(struct incoming *in)
{
	struct receiver *r = in->receiver;

	pthread_mutex_lock(&r->lock);
	in->joined.users--;
	pthread_cond_broadcast(&r->changed);
	pthread_mutex_unlock(&r->lock);
}
