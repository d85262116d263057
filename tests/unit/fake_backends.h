// SPDX-License-Identifier: Apache-2.0
// The memory backends of a fake domain (fake_host.h), as QEMU's monitor tells and changes them: a
// table that a test writes. Knows query-memdev, qom-list, qom-get and qom-set, of discard-data.
#pragma once

#include <criterion/criterion.h>
#include <errno.h>
#include <json-c/json.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#define FAKE_BACKENDS 4

struct fake_backend {
	const char *id;		    /* NULL: there is none */
	bool no_property;	    /* it is no file */
	bool discard, stays, fails; /* stays: whatever it is told; fails: to be told */
};

static inline const char *fake_backend_text(json_object *arguments, const char *key)
{
	json_object *value = NULL;

	json_object_object_get_ex(arguments, key, &value);
	return value ? json_object_get_string(value) : "";
}

static inline json_object *fake_backend_list(const struct fake_backend *backends)
{
	json_object *list = json_object_new_array();

	for (unsigned int i = 0; i < FAKE_BACKENDS; i++) {
		json_object *one = json_object_new_object();

		if (backends[i].id) {
			json_object_object_add(one, "id", json_object_new_string(backends[i].id));
			json_object_array_add(list, one);
		} else {
			json_object_put(one);
		}
	}
	return list;
}

static inline json_object *fake_backend_properties(const struct fake_backend *b)
{
	json_object *list = json_object_new_array();
	const char *const names[] = {"type", "size", b->no_property ? "merge" : "discard-data"};

	for (unsigned int i = 0; i < 3; i++) {
		json_object *one = json_object_new_object();

		json_object_object_add(one, "name", json_object_new_string(names[i]));
		json_object_array_add(list, one);
	}
	return list;
}

static inline struct fake_backend *fake_backend_find(struct fake_backend *backends,
						     const char *path)
{
	if (!*path)
		return NULL; /* a command that is none of these */
	cr_assert_eq(strncmp(path, "/objects/", 9), 0, "%s", path);
	for (unsigned int i = 0; i < FAKE_BACKENDS; i++)
		if (backends[i].id && strcmp(backends[i].id, path + 9) == 0)
			return &backends[i];
	return NULL;
}

/* What QEMU returns: the caller's. NULL: an error. *changed: the backend that was. */
static inline json_object *fake_backend_command(struct fake_backend *backends, const char *text,
						const struct fake_backend **changed)
{
	json_object *command = json_tokener_parse(text), *arguments = NULL, *value = NULL,
		    *ret = NULL;
	struct fake_backend *b = NULL;
	char name[32];

	cr_assert_not_null(command, "%s", text);
	snprintf(name, sizeof(name), "%s", fake_backend_text(command, "execute"));
	if (json_object_object_get_ex(command, "arguments", &arguments))
		b = fake_backend_find(backends, fake_backend_text(arguments, "path"));
	if (strcmp(name, "query-memdev") == 0) {
		ret = fake_backend_list(backends);
	} else if (b && strcmp(name, "qom-list") == 0) {
		ret = fake_backend_properties(b);
	} else if (b && !b->no_property) {
		cr_assert_str_eq(fake_backend_text(arguments, "property"), "discard-data");
		if (strcmp(name, "qom-get") == 0) {
			ret = json_object_new_boolean(b->discard);
		} else if (!b->fails) {
			cr_assert_str_eq(name, "qom-set");
			cr_assert(json_object_object_get_ex(arguments, "value", &value));
			if (!b->stays)
				b->discard = json_object_get_boolean(value);
			*changed = b;
			ret = json_object_new_object();
		}
	}
	json_object_put(command);
	return ret;
}
