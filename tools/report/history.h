// SPDX-License-Identifier: Apache-2.0
// The attempts to migrate each domain from this host: the newest five, kept over reboots.
//
// DIR/UUID.json is a JSON array, newest first. An attempt is an object with "domain" and "start"
// (RFC 3339) at least; what else is in it is the writer's. Any thread or process may call.
#pragma once

#include <json-c/json.h>
#include "errtext.h"

#define HISTORY_DIR "/var/lib/dray/history"
#define HISTORY_MAX 5u /* attempts per domain */

/* Add an attempt (borrowed) as the newest one of the domain uuid; the sixth goes. dir is made
 * (0700) if it is missing. On disk when this returns. A damaged file is replaced. */
int history_add(const char *dir, const char *uuid, json_object *attempt, struct errtext *err);

/* The attempts of a domain, newest first, in *array (the caller's): by UUID, or by the name that
 * the newest attempt has, of several domains that shared it the latest. -ENOENT with a text that
 * says whose attempts there are; -EIO: the file is damaged. */
int history_read(const char *dir, const char *name_or_uuid, json_object **array,
		 struct errtext *err);
