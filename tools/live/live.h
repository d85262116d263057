// SPDX-License-Identifier: Apache-2.0
// The control socket of a running migration: status, cancel, set. Server and client.
//
// A UNIX stream socket, mode 0600, for root only. A client sends requests (live_request.h), a line
// each, and gets a line for each:
//
//   {"ok":true}   {"ok":true,"status":{...}}   {"ok":false,"error":"..."}
#pragma once

#include <json-c/json.h>
#include <stddef.h>
#include "errtext.h"
#include "live_answer.h"

#define LIVE_CLIENTS_MAX 8	   /* at once; more of them wait */
#define LIVE_CLIENT_MS 2000	   /* for a request to come, and for its reply to be taken */
#define LIVE_REPLY_MAX (64u << 10) /* bytes */

struct live;

/* Listens on path and serves it in a thread of its own until live_stop. A socket left by a process
 * that has gone is replaced. The caller lets nobody else do so at the same time. */
int live_start(const char *path, const struct live_handlers *handlers, struct live **out,
	       struct errtext *err);
/* No handler runs any more when this returns; the socket is removed. live may be NULL. */
void live_stop(struct live *live);

/* Send request (borrowed) and wait timeout_ms at most, in all, for the reply: *reply is the
 * caller's. -EREMOTEIO with the server's own text if it refuses; -ENOENT or -ECONNREFUSED: nobody
 * listens there; -ETIMEDOUT; -ECONNRESET: it ended meanwhile; -EPROTO: no proper reply. Any
 * thread. */
int live_call(const char *path, json_object *request, json_object **reply, int timeout_ms,
	      struct errtext *err);
