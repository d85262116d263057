// SPDX-License-Identifier: Apache-2.0
// A request to a running migration: one line of JSON.
//
//   {"command":"status"}
//   {"command":"cancel"}
//   {"command":"set","values":{"bandwidth":"128Mi","post-copy":"true"}}
#pragma once

#include <json-c/json.h>
#include <stddef.h>
#include "errtext.h"

#define LIVE_REQUEST_MAX 4096u /* bytes, the newline among them */

enum live_command { LIVE_STATUS, LIVE_CANCEL, LIVE_SET };

struct live_request {
	enum live_command command;
	json_object *values; /* set: an object of texts, not empty; owned. NULL otherwise */
};

/* len bytes without the newline. -EINVAL with a text that says what is expected. Members that are
 * not known are ignored. Any thread. */
int live_request_parse(const char *line, size_t len, struct live_request *out, struct errtext *err);
void live_request_destroy(struct live_request *r);
