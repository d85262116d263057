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

bool receiver_find_secret(struct receiver *r, const uint8_t session[WIRE_SESSION_SIZE],
			  const uint8_t id[8], struct tls_secret *out)
{
	const struct incoming *in;
	bool found;

	pthread_mutex_lock(&r->lock);
	in = find(r, session);
	found = in && tls_secret_is_set(&in->joined.secret) &&
		memcmp(in->joined.secret.id, id, sizeof(in->joined.secret.id)) == 0;
	if (found)
		*out = in->joined.secret;
	pthread_mutex_unlock(&r->lock);
	return found;
}

bool receiver_find_subject(struct receiver *r, const uint8_t session[WIRE_SESSION_SIZE],
			   char subject[TLS_SUBJECT_SIZE])
{
	const struct incoming *in;

	pthread_mutex_lock(&r->lock);
	in = find(r, session);
	if (in)
		snprintf(subject, TLS_SUBJECT_SIZE, "%s", in->peer);
	pthread_mutex_unlock(&r->lock);
	return in;
}

/* Another process had it, which may have died. */
static bool is_recorded_of_other(struct receiver *r, const uint8_t session[WIRE_SESSION_SIZE],
				 const char *peer)
{
	char text[2 * WIRE_SESSION_SIZE + 1];
	struct guest_dir dir;
	struct record record = {0};
	bool other;

	record_session(session, text);
	if (r->opt.world->find_record(RECORD_INCOMING, incoming_is_of_session, text, &dir, &record,
				      NULL) < 0)
		return false;
	other = strcmp(record.peer, peer) != 0;
	record_destroy(&record);
	return other;
}

bool receiver_is_of_other(struct receiver *r, const uint8_t session[WIRE_SESSION_SIZE],
			  const char *peer)
{
	const struct incoming *in;
	bool known, other;

	pthread_mutex_lock(&r->lock);
	in = find(r, session);
	known = in;
	other = in && strcmp(in->peer, peer) != 0;
	pthread_mutex_unlock(&r->lock);
	return known ? other : is_recorded_of_other(r, session, peer);
}

void receiver_stand_in(struct receiver *r, const uint8_t session[WIRE_SESSION_SIZE],
		       struct door_host *self)
{
	char text[2 * WIRE_SESSION_SIZE + 1];
	struct guest_dir dir;
	struct record record = {0};
	struct door_host other;

	record_session(session, text);
	if (r->opt.world->find_record(RECORD_INCOMING, incoming_is_of_session, text, &dir, &record,
				      NULL) < 0)
		return;
	record_host(&record, &other);
	if (!record_is_of_daemon(&record, r->opt.libvirt_socket) && record_qemu_has_ended(&record))
		memcpy(self->uuid, other.uuid, sizeof(self->uuid));
	record_destroy(&record);
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
