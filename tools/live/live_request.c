// SPDX-License-Identifier: Apache-2.0
// A request to a running migration: one line of JSON.
#include "live_request.h"

#include <errno.h>
#include <string.h>
#include "json_field.h"

#define DEPTH_MAX 4

static const char *const command_names[] = {
	[LIVE_STATUS] = "status",
	[LIVE_CANCEL] = "cancel",
	[LIVE_SET] = "set",
};

static void cleanup_tokener(json_tokener **t)
{
	if (*t)
		json_tokener_free(*t);
}

/* NULL unless all of it is one object. */
static json_object *parse_object(const char *line, size_t len)
{
	_cleanup_(cleanup_tokener) json_tokener *t = json_tokener_new_ex(DEPTH_MAX);
	_cleanup_json_ json_object *o = NULL;

	if (!t || len == 0 || len >= LIVE_REQUEST_MAX)
		return NULL;
	json_tokener_set_flags(t, JSON_TOKENER_STRICT | JSON_TOKENER_VALIDATE_UTF8);
	o = json_tokener_parse_ex(t, line, (int)len);
	if (json_tokener_get_error(t) != json_tokener_success ||
	    json_tokener_get_parse_end(t) != len || !json_object_is_type(o, json_type_object))
		return NULL;
	return steal_ptr(&o);
}

/* A text without NUL, which would be another one to those who read it as a C string. */
static bool is_text(json_object *v)
{
	return json_object_is_type(v, json_type_string) &&
	       strlen(json_object_get_string(v)) == (size_t)json_object_get_string_len(v);
}

static int find_command(json_object *o, enum live_command *command)
{
	json_object *v = json_field(o, "command");
	const char *name = is_text(v) ? json_object_get_string(v) : "";

	for (size_t i = 0; i < sizeof(command_names) / sizeof(*command_names); i++)
		if (strcmp(name, command_names[i]) == 0) {
			*command = (enum live_command)i;
			return 0;
		}
	return -EINVAL;
}

static int check_values(json_object *values, struct errtext *err)
{
	if (!json_object_is_type(values, json_type_object) || json_object_object_length(values) < 1)
		return errtext_set(err, -EINVAL,
				   "request 'set': it needs \"values\", an object that is not "
				   "empty");
	json_object_object_foreach(values, key, value)
	{
		if (!is_text(value))
			return errtext_set(err, -EINVAL,
					   "request 'set': the value of '%s' must be a text", key);
	}
	return 0;
}

int live_request_parse(const char *line, size_t len, struct live_request *out, struct errtext *err)
{
	_cleanup_json_ json_object *o = parse_object(line, len);
	int ret;

	*out = (struct live_request){0};
	if (!o)
		return errtext_set(err, -EINVAL,
				   "request: one JSON object on a line is needed, shorter than %u "
				   "bytes",
				   LIVE_REQUEST_MAX);
	if (find_command(o, &out->command) < 0)
		return errtext_set(err, -EINVAL,
				   "request: \"command\" must be status, cancel or set");
	if (out->command != LIVE_SET)
		return 0;
	ret = check_values(json_field(o, "values"), err);
	if (ret == 0)
		out->values = json_object_get(json_field(o, "values"));
	return ret;
}

void live_request_destroy(struct live_request *r)
{
	json_object_put(steal_ptr(&r->values));
}
