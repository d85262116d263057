// SPDX-License-Identifier: Apache-2.0
// Does a guest's QEMU empty its RAM's files when it ends?
#include "ram_discard.h"

#include <errno.h>
#include <json-c/json.h>
#include <stdio.h>
#include <string.h>
#include "cleanup_json.h"

#define PROPERTY "discard-data"
/* QEMU's ids have no blanks; and nothing is to be quoted. */
#define ID_LETTERS "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._"
#define ID_MAX 128

/* A command about one backend; `rest` are further members of its arguments. */
static int ask(struct host *h, const char *uuid, const char *command, const char *id,
	       const char *rest, json_object **ret, struct errtext *err)
{
	char text[512];

	snprintf(text, sizeof(text),
		 "{\"execute\":\"%s\",\"arguments\":{\"path\":\"/objects/%s\"%s}}", command, id,
		 rest);
	return host_monitor(h, uuid, text, ret, err);
}

/* 1, 0, or a negative errno. */
static int has_property(struct host *h, const char *uuid, const char *id, struct errtext *err)
{
	_cleanup_json_ json_object *list = NULL;
	int ret = ask(h, uuid, "qom-list", id, "", &list, err);

	if (ret < 0)
		return ret;
	for (size_t i = 0; i < json_object_array_length(list); i++) {
		json_object *name;

		if (json_object_object_get_ex(json_object_array_get_idx(list, i), "name", &name) &&
		    strcmp(json_object_get_string(name), PROPERTY) == 0)
			return 1;
	}
	return 0;
}

/* 1: it is on; 0; or a negative errno. */
static int is_on(struct host *h, const char *uuid, const char *id, struct errtext *err)
{
	_cleanup_json_ json_object *value = NULL;
	int ret = has_property(h, uuid, id, err);

	if (ret <= 0)
		return ret;
	ret = ask(h, uuid, "qom-get", id, ",\"property\":\"" PROPERTY "\"", &value, err);
	return ret < 0 ? ret : json_object_get_boolean(value);
}

static int add_id(const char *id, char ids[RAM_DISCARD_IDS_MAX], struct errtext *err)
{
	size_t used = strlen(ids);
	int n = snprintf(ids + used, RAM_DISCARD_IDS_MAX - used, "%s%s", used ? " " : "", id);

	if (n >= 0 && (size_t)n < RAM_DISCARD_IDS_MAX - used)
		return 0;
	ids[used] = 0;
	return errtext_set(err, -E2BIG, "too many memory backends have " PROPERTY " on");
}

static int look_at(struct host *h, const char *uuid, json_object *backend,
		   char ids[RAM_DISCARD_IDS_MAX], struct errtext *err)
{
	json_object *member = NULL;
	const char *id;
	int ret;

	json_object_object_get_ex(backend, "id", &member);
	id = member ? json_object_get_string(member) : "";
	if (!*id || strlen(id) >= ID_MAX || id[strspn(id, ID_LETTERS)])
		return errtext_set(err, -EINVAL, "memory backend '%s': not a name that QEMU gives",
				   id);
	ret = is_on(h, uuid, id, err);
	return ret > 0 ? add_id(id, ids, err) : ret;
}

int ram_discard_find(struct host *h, const char *uuid, char ids[RAM_DISCARD_IDS_MAX],
		     struct errtext *err)
{
	_cleanup_json_ json_object *list = NULL;
	int ret = host_monitor(h, uuid, "{\"execute\":\"query-memdev\"}", &list, err);

	ids[0] = 0;
	for (size_t i = 0; ret == 0 && i < json_object_array_length(list); i++)
		ret = look_at(h, uuid, json_object_array_get_idx(list, i), ids, err);
	return ret;
}

static int set_one(struct host *h, const char *uuid, const char *id, bool on, struct errtext *err)
{
	struct errtext gone = {0};
	int ret = has_property(h, uuid, id, &gone);

	if (ret == -EREMOTEIO && on)
		return 0;
	if (ret < 0)
		return errtext_set(err, ret, "%s", gone.text);
	ret = ask(h, uuid, "qom-set", id,
		  on ? ",\"property\":\"" PROPERTY "\",\"value\":true"
		     : ",\"property\":\"" PROPERTY "\",\"value\":false",
		  NULL, err);
	if (ret == 0)
		ret = is_on(h, uuid, id, err);
	if (ret < 0 || ret == on)
		return ret < 0 ? ret : 0;
	return errtext_set(err, -EREMOTEIO, "memory backend %s keeps " PROPERTY " %s", id,
			   on ? "off" : "on");
}

int ram_discard_set(struct host *h, const char *uuid, const char *ids, bool on, struct errtext *err)
{
	char copy[RAM_DISCARD_IDS_MAX], *rest, *id;
	int ret = 0;

	snprintf(copy, sizeof(copy), "%s", ids);
	for (id = strtok_r(copy, " ", &rest); id && ret == 0; id = strtok_r(NULL, " ", &rest))
		ret = set_one(h, uuid, id, on, err);
	return ret;
}
