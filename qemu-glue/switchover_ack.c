// SPDX-License-Identifier: Apache-2.0
// Does a guest's QEMU wait for SWITCHOVER_ACK? What its version knows, and its machine type sets.
#include "switchover_ack.h"

#include <errno.h>
#include <json-c/json.h>
#include <stdio.h>
#include <string.h>
#include "cleanup_json.h"

#define CAPABILITY "switchover-ack"
#define PROPERTY "switchover-ack-legacy"
#define MACHINE_SUFFIX "-machine" /* of a machine type's name in QEMU's object model */
#define MACHINE_MAX 128

/* The object in `list` whose member `key` is that text; borrowed. NULL: there is none. */
static json_object *find(json_object *list, const char *key, const char *text)
{
	size_t n = json_object_is_type(list, json_type_array) ? json_object_array_length(list) : 0;

	for (size_t i = 0; i < n; i++) {
		json_object *item = json_object_array_get_idx(list, i), *value;

		if (json_object_object_get_ex(item, key, &value) &&
		    json_object_is_type(value, json_type_string) &&
		    strcmp(json_object_get_string(value), text) == 0)
			return item;
	}
	return NULL;
}

/* 1, 0, or a negative errno. */
static int has_property(struct host *h, const char *uuid, struct errtext *err)
{
	_cleanup_json_ json_object *list = NULL;
	int ret = host_monitor(h, uuid,
			       "{\"execute\":\"qom-list-properties\",\"arguments\":{\"typename\":"
			       "\"migration\"}}",
			       &list, err);

	return ret < 0 ? ret : find(list, "name", PROPERTY) != NULL;
}

static int machine_type(struct host *h, const char *uuid, char type[MACHINE_MAX],
			struct errtext *err)
{
	_cleanup_json_ json_object *value = NULL;
	const char *text;
	size_t n;
	int ret = host_monitor(h, uuid,
			       "{\"execute\":\"qom-get\",\"arguments\":{\"path\":\"/machine\","
			       "\"property\":\"type\"}}",
			       &value, err);

	if (ret < 0)
		return ret;
	text = json_object_get_string(value);
	n = text ? strlen(text) : 0;
	if (n >= MACHINE_MAX)
		return errtext_set(err, -E2BIG, "QEMU names a machine type of %zu letters", n);
	if (n > strlen(MACHINE_SUFFIX) &&
	    strcmp(text + n - strlen(MACHINE_SUFFIX), MACHINE_SUFFIX) == 0)
		n -= strlen(MACHINE_SUFFIX);
	snprintf(type, MACHINE_MAX, "%.*s", (int)n, text ? text : "");
	return 0;
}

/* Does that machine type turn the property on? */
static int is_set(struct host *h, const char *uuid, const char *type, bool *set,
		  struct errtext *err)
{
	_cleanup_json_ json_object *machines = NULL;
	json_object *machine, *properties = NULL, *property, *value = NULL;
	int ret = host_monitor(h, uuid,
			       "{\"execute\":\"query-machines\",\"arguments\":{\"compat-props\":"
			       "true}}",
			       &machines, err);

	if (ret < 0)
		return ret;
	machine = find(machines, "name", type);
	if (!machine)
		return errtext_set(err, -ENOENT,
				   "QEMU does not list the guest's machine type %s: it cannot be "
				   "told whether QEMU waits for an acknowledgement",
				   type);
	json_object_object_get_ex(machine, "compat-props", &properties);
	property = find(properties, "property", PROPERTY);
	if (property)
		json_object_object_get_ex(property, "value", &value);
	*set = value && strcmp(json_object_get_string(value), "on") == 0;
	return 0;
}

int switchover_ack_is_awaited(struct host *h, const char *uuid, bool *awaited, struct errtext *err)
{
	char type[MACHINE_MAX];
	bool known = false;
	int ret = host_knows_capability(h, uuid, CAPABILITY, &known, err);

	*awaited = false;
	if (ret < 0 || !known)
		return ret;
	ret = has_property(h, uuid, err);
	if (ret <= 0) {
		*awaited = ret == 0;
		return ret;
	}
	ret = machine_type(h, uuid, type, err);
	return ret < 0 ? ret : is_set(h, uuid, type, awaited, err);
}
