// SPDX-License-Identifier: Apache-2.0
// What a running migration answers to a request.
#include "live_answer.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include "json_field.h"

static int apply(const struct live_handlers *h, json_object *values, struct errtext *err)
{
	json_object_object_foreach(values, key, value)
	{
		int ret = h->check(h->opaque, key, json_object_get_string(value), err);

		if (ret < 0)
			return ret;
	}
	json_object_object_foreach(values, name, wanted)
	{
		int ret = h->set(h->opaque, name, json_object_get_string(wanted), err);

		if (ret < 0)
			return ret;
	}
	return 0;
}

static int serve(const struct live_handlers *h, const struct live_request *r, json_object *reply,
		 struct errtext *err)
{
	json_object *status;

	switch (r->command) {
	case LIVE_STATUS:
		status = h->status(h->opaque);
		if (!status)
			return errtext_set(err, -EAGAIN, "the migration has only begun: ask again");
		json_object_object_add(reply, "status", status);
		return 0;
	case LIVE_CANCEL:
		return h->cancel(h->opaque, err);
	case LIVE_SET:
		return apply(h, r->values, err);
	}
	return -EINVAL;
}

char *live_answer(const struct live_handlers *handlers, const char *line, size_t len)
{
	_cleanup_json_ json_object *reply = json_object_new_object();
	struct live_request r;
	struct errtext err = {0};
	char *text;
	int ret = live_request_parse(line, len, &r, &err);

	json_object_object_add(reply, "ok", NULL); /* first in the line */
	if (ret == 0)
		ret = serve(handlers, &r, reply, &err);
	live_request_destroy(&r);
	json_object_object_add(reply, "ok", json_object_new_boolean(ret == 0));
	if (ret < 0)
		json_object_object_add(
			reply, "error",
			json_object_new_string(*err.text ? err.text : strerror(-ret)));
	if (asprintf(&text, "%s\n",
		     json_object_to_json_string_ext(
			     reply, JSON_C_TO_STRING_PLAIN | JSON_C_TO_STRING_NOSLASHESCAPE)) < 0)
		return NULL;
	return text;
}
