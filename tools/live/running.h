// SPDX-License-Identifier: Apache-2.0
// The migrations that run on this host, found by their control sockets (live.h).
//
// One thread at a time per list. Root only: -EPERM with a text for others.
#pragma once

#include <json-c/json.h>
#include <stddef.h>
#include "errtext.h"

struct running {
	char socket[108];
	/* What it says of itself. One that lives and does not answer has the members "uuid" and
	 * "error" only. */
	json_object *status;
};

struct running_list {
	struct running *at;
	size_t count;
};

/* Ask all under root (GUEST_DIR_ROOT) for their status; sockets of dead processes are passed over.
 * A list of none is no error. running_destroy it always. */
int running_collect(const char *root, struct running_list *list, struct errtext *err);
void running_destroy(struct running_list *list);

/* The one of this domain, a name or UUID, in *found (the list's). -ENOENT with a text that says
 * which ones run. */
int running_find(const struct running_list *list, const char *domain, const struct running **found,
		 struct errtext *err);

/* Find the one of this domain and send it a request (borrowed). *status, what it said of itself
 * before, and *reply are the caller's. */
int running_call(const char *root, const char *domain, json_object *request, json_object **status,
		 json_object **reply, struct errtext *err);
