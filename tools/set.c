// SPDX-License-Identifier: Apache-2.0
// dray set: change the limits of a running migration.
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include "commands.h"
#include "domain_arguments.h"
#include "errtext.h"
#include "exit_status.h"
#include "guest_dir.h"
#include "json_field.h"
#include "running.h"

/* {"key":"value",...}; which keys and values there are, the migration knows. */
static int parse_values(const struct domain_arguments *a, json_object *values, struct errtext *err)
{
	for (unsigned int i = 0; i < a->rest_count; i++) {
		const char *text = a->rest[i], *equals = strchr(text, '=');
		_cleanup_free_ char *key = NULL;

		if (!equals || equals == text)
			return errtext_set(err, -EINVAL,
					   "%s: KEY=VALUE is needed, such as bandwidth=128Mi",
					   text);
		key = strndup(text, (size_t)(equals - text));
		if (!key)
			return errtext_set(err, -ENOMEM, "out of memory");
		if (json_field(values, key))
			return errtext_set(err, -EINVAL, "%s: %s is given twice", text, key);
		json_object_object_add(values, key, json_object_new_string(equals + 1));
	}
	return 0;
}

static void print_values(json_object *status, json_object *values)
{
	char name[256];

	printf("%s:", json_field_text(status, "domain", name, sizeof(name)));
	json_object_object_foreach(values, key, value)
		printf(" %s=%s", key, json_object_get_string(value));
	puts("");
}

static int set(const struct domain_arguments *a, struct errtext *err)
{
	_cleanup_json_ json_object *request = json_object_new_object(), *status = NULL,
				   *reply = NULL;
	json_object *values = json_object_new_object();
	int ret;

	json_object_object_add(request, "command", json_object_new_string("set"));
	json_object_object_add(request, "values", values);
	ret = parse_values(a, values, err);
	if (ret == 0)
		ret = running_call(GUEST_DIR_ROOT, a->domain, request, &status, &reply, err);
	if (ret < 0)
		return ret;
	if (a->json)
		json_print(reply);
	else
		print_values(status, values);
	return 0;
}

int command_set(int argc, char **argv)
{
	static const struct domain_command command = {
		.name = "dray set",
		.usage = "DOMAIN KEY=VALUE...",
		.help = "Change the limits of the running migration of DOMAIN: all of them, or "
			"none if one is refused.\v"
			"Keys: bandwidth, bytes per second such as 128Mi, or 0 for no limit; "
			"max-downtime, in milliseconds; post-copy, true or false.\n\n"
			"Exit status: 0 done; 1 there is no such migration, a value was refused, "
			"or bad usage. Nothing was changed.",
		.least = 2,
		.most = 1 + DOMAIN_ARGUMENTS_MAX,
		.options = DOMAIN_JSON};
	struct domain_arguments a;
	struct errtext err = {0};

	domain_arguments_parse(&command, argc, argv, &a);
	if (set(&a, &err) < 0) {
		fprintf(stderr, "dray set: %s\n", err.text);
		return EXIT_REFUSED;
	}
	return 0;
}
