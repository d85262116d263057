// SPDX-License-Identifier: Apache-2.0
// Members of a JSON object that came from a file or a socket, for printing: whatever is in there,
// the result is fit for a terminal.
//
// Stateless; o may be anything, also NULL, and then has no members.
#pragma once

#include <json-c/json.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <time.h>
#include "cleanup.h"

static inline void cleanup_json(json_object **o)
{
	json_object_put(*o);
}

#define _cleanup_json_ _cleanup_(cleanup_json)

/* NULL if it is missing. Borrowed from o. */
json_object *json_field(json_object *o, const char *key);

/* The member as text of one line, control characters as spaces, cut to size; "-" if it is missing,
 * null or empty. Returns buf. */
const char *json_field_text(json_object *o, const char *key, char *buf, size_t size);

/* False if it is missing or no number; others are brought into the range from 0 to 1e18. */
bool json_field_number(json_object *o, const char *key, double *n);

/* Does the member "domain" (exactly) or "uuid" (in upper or lower case) say this? */
bool json_names_domain(json_object *o, const char *name_or_uuid);

/* One line on standard output. */
void json_print(json_object *o);

/* Add a member; a NULL text is null. */
void json_put_text(json_object *o, const char *key, const char *text);
void json_put_number(json_object *o, const char *key, uint64_t n);
/* Add a CLOCK_REALTIME as RFC 3339, UTC, with so many (0 to 9) digits of the second's fraction. */
void json_put_time(json_object *o, const char *key, const struct timespec *when,
		   unsigned int digits);
