// SPDX-License-Identifier: Apache-2.0
// A migration that is only a control socket, and what was asked of it.
#pragma once

#include <criterion/criterion.h>
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include "live.h"

struct live_peer {
	const char *domain, *uuid;
	size_t padding; /* of the status, bytes */
	bool too_late;	/* cancel is refused */
	struct live *live;

	pthread_mutex_t lock;
	/* under lock */
	unsigned int cancels;
	char checked[256], set[256]; /* "key=value " ... */
};

static json_object *live_peer_status(void *opaque)
{
	const struct live_peer *p = opaque;
	json_object *o;
	char *padding;

	if (!p->domain)
		return NULL;
	o = json_object_new_object();
	json_object_object_add(o, "domain", json_object_new_string(p->domain));
	json_object_object_add(o, "uuid", json_object_new_string(p->uuid));
	if (p->padding) {
		padding = malloc(p->padding);
		memset(padding, 'x', p->padding);
		json_object_object_add(o, "padding",
				       json_object_new_string_len(padding, (int)p->padding));
		free(padding);
	}
	return o;
}

static int live_peer_cancel(void *opaque, struct errtext *err)
{
	struct live_peer *p = opaque;

	if (p->too_late)
		return errtext_set(err, -EALREADY, "%s: handed over already", p->domain);
	pthread_mutex_lock(&p->lock);
	p->cancels++;
	pthread_mutex_unlock(&p->lock);
	return 0;
}

static void live_peer_note(struct live_peer *p, char to[256], const char *key, const char *value)
{
	pthread_mutex_lock(&p->lock);
	snprintf(to + strlen(to), 256 - strlen(to), "%s=%s ", key, value);
	pthread_mutex_unlock(&p->lock);
}

static int live_peer_check(void *opaque, const char *key, const char *value, struct errtext *err)
{
	struct live_peer *p = opaque;

	live_peer_note(p, p->checked, key, value);
	return strcmp(value, "bad") == 0
		       ? errtext_set(err, -EINVAL, "%s=%s: no such quantity", key, value)
		       : 0;
}

static int live_peer_set(void *opaque, const char *key, const char *value, struct errtext *err)
{
	struct live_peer *p = opaque;

	live_peer_note(p, p->set, key, value);
	return strcmp(value, "worse") == 0 ? errtext_set(err, -EIO, "%s: broken", key) : 0;
}

static void live_peer_start(struct live_peer *p, const char *path, unsigned int client_ms)
{
	struct live_handlers handlers = {
		.status = live_peer_status,
		.cancel = live_peer_cancel,
		.check = live_peer_check,
		.set = live_peer_set,
		.opaque = p,
		.client_ms = client_ms,
	};
	struct errtext err = {0};

	pthread_mutex_init(&p->lock, NULL);
	cr_assert_eq(live_start(path, &handlers, &p->live, &err), 0, "%s", err.text);
}
