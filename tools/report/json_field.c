// SPDX-License-Identifier: Apache-2.0
// Members of a JSON object, for printing.
#include "json_field.h"

#include <stdio.h>
#include <string.h>

#define NUMBER_MAX 1e18

json_object *json_field(json_object *o, const char *key)
{
	json_object *v;

	return json_object_is_type(o, json_type_object) && json_object_object_get_ex(o, key, &v)
		       ? v
		       : NULL;
}

static void blank_controls(char *text)
{
	for (unsigned char *p = (unsigned char *)text; *p; p++) {
		bool c1 = p[0] == 0xc2 && p[1] >= 0x80 && p[1] < 0xa0; /* in UTF-8 */

		if (*p < ' ' || *p == 0x7f || c1)
			*p = ' ';
		if (c1)
			p[1] = ' ';
	}
}

const char *json_field_text(json_object *o, const char *key, char *buf, size_t size)
{
	json_object *v = json_field(o, key);

	snprintf(buf, size, "%s", v ? json_object_get_string(v) : "");
	blank_controls(buf);
	if (!*buf)
		snprintf(buf, size, "-");
	return buf;
}

bool json_field_number(json_object *o, const char *key, double *n)
{
	json_object *v = json_field(o, key);

	if (!json_object_is_type(v, json_type_int) && !json_object_is_type(v, json_type_double))
		return false;
	*n = json_object_get_double(v);
	if (!(*n >= 0))
		*n = 0;
	else if (*n > NUMBER_MAX)
		*n = NUMBER_MAX;
	return true;
}

static const char *text_or_empty(json_object *o, const char *key)
{
	json_object *v = json_field(o, key);

	return json_object_is_type(v, json_type_string) ? json_object_get_string(v) : "";
}

bool json_names_domain(json_object *o, const char *name_or_uuid)
{
	return *name_or_uuid && (strcmp(text_or_empty(o, "domain"), name_or_uuid) == 0 ||
				 strcasecmp(text_or_empty(o, "uuid"), name_or_uuid) == 0);
}

void json_print(json_object *o)
{
	puts(json_object_to_json_string_ext(o, JSON_C_TO_STRING_PLAIN |
						       JSON_C_TO_STRING_NOSLASHESCAPE));
	fflush(stdout);
}

void json_put_text(json_object *o, const char *key, const char *text)
{
	json_object_object_add(o, key, text ? json_object_new_string(text) : NULL);
}

void json_put_number(json_object *o, const char *key, uint64_t n)
{
	json_object_object_add(o, key, json_object_new_uint64(n));
}

void json_put_time(json_object *o, const char *key, const struct timespec *when,
		   unsigned int digits)
{
	char seconds[64], fraction[16], stamp[96];
	struct tm tm;

	gmtime_r(&when->tv_sec, &tm);
	strftime(seconds, sizeof(seconds), "%Y-%m-%dT%H:%M:%S", &tm);
	snprintf(fraction, sizeof(fraction), ".%09ld", when->tv_nsec);
	snprintf(stamp, sizeof(stamp), "%s%.*sZ", seconds, digits ? (int)digits + 1 : 0, fraction);
	json_object_object_add(o, key, json_object_new_string(stamp));
}
