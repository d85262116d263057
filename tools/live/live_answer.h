// SPDX-License-Identifier: Apache-2.0
// What a running migration answers to a request.
#pragma once

#include <stddef.h>
#include <json-c/json.h>
#include "errtext.h"
#include "live_request.h"

/* Called on the thread of the server (live.h), one at a time: they must not block, nor call
 * live_stop. A refusal is a negative errno with a text, which the client gets. */
struct live_handlers {
	json_object *(*status)(void *opaque); /* a new object; NULL: there is none yet */
	int (*cancel)(void *opaque, struct errtext *err);
	/* All values of a request are checked before the first is set; set should not refuse what
	 * check let pass, as what was set before it stays. */
	int (*check)(void *opaque, const char *key, const char *value, struct errtext *err);
	int (*set)(void *opaque, const char *key, const char *value, struct errtext *err);
	void *opaque;
	unsigned int client_ms; /* 0: LIVE_CLIENT_MS */
};

/* Serve one request of len bytes by the handlers; the reply, with its newline, is the caller's to
 * free. NULL: no memory. On the thread that the handlers belong to. */
char *live_answer(const struct live_handlers *handlers, const char *line, size_t len);
