// SPDX-License-Identifier: Apache-2.0
// dray policy: the effective settings of a migration, and where each came from.
#include <argp.h>
#include <json-c/json.h>
#include <stdio.h>
#include "commands.h"
#include "exit_status.h"
#include "settings_options.h"

enum { OPT_JSON = 256 };

struct arguments {
	struct settings_input input;
	bool json;
};

static const struct argp_option options[] = {
	{"json", OPT_JSON, NULL, 0, "A JSON object on standard output", 1},
	{0},
};

static error_t parse(int key, char *arg, struct argp_state *state)
{
	struct arguments *a = state->input;

	(void)arg;
	if (key == ARGP_KEY_INIT)
		state->child_inputs[0] = &a->input;
	else if (key == OPT_JSON)
		a->json = true;
	else
		return ARGP_ERR_UNKNOWN;
	return 0;
}

static json_object *value_to_json(const struct settings *s, enum setting which)
{
	switch (setting_row(which)->type) {
	case SETTING_BOOL:
		return json_object_new_boolean(settings_bool(s, which));
	case SETTING_CODEC:
	case SETTING_TEXT:
	case SETTING_PATH:
		return json_object_new_string(settings_text(s, which));
	case SETTING_QUANTITY:
	case SETTING_NUMBER:
		break;
	}
	return json_object_new_uint64(settings_number(s, which));
}

static void print_json(const struct settings *s, bool any)
{
	json_object *o = json_object_new_object(), *rows = json_object_new_array();

	for (enum setting i = 0; i < SETTING_COUNT; i++) {
		json_object *row = json_object_new_object();

		json_object_object_add(row, "name", json_object_new_string(setting_row(i)->key));
		json_object_object_add(row, "value", value_to_json(s, i));
		json_object_object_add(row, "given", json_object_new_string(settings_text(s, i)));
		json_object_object_add(row, "origin", json_object_new_string(s->value[i].origin));
		json_object_array_add(rows, row);
	}
	json_object_object_add(o, "settings", rows);
	json_object_object_add(o, "post_copy_now", json_object_new_boolean(s->post_copy_now));
	json_object_object_add(o, "policy", *s->policy ? json_object_new_string(s->policy) : NULL);
	json_object_object_add(o, "policies", any ? json_object_new_int64(s->policies) : NULL);
	puts(json_object_to_json_string_ext(o, JSON_C_TO_STRING_PLAIN |
						       JSON_C_TO_STRING_NOSLASHESCAPE));
	json_object_put(o);
}

static const char *value_to_text(const struct settings *s, enum setting which)
{
	if (which == SETTING_ALLOW_POST_COPY && s->post_copy_now)
		return "true, now";
	if (setting_row(which)->type == SETTING_BOOL)
		return settings_bool(s, which) ? "true" : "false";
	return *settings_text(s, which) ? settings_text(s, which) : "-";
}

static void print_text(const struct settings *s, bool any)
{
	for (enum setting i = 0; i < SETTING_COUNT; i++)
		printf("%-34s %-14s %s\n", setting_row(i)->key, value_to_text(s, i),
		       s->value[i].origin);
	if (!any)
		puts("No policies were given.");
	else if (*s->policy)
		printf("Policy %s matches, the best of %u.\n", s->policy, s->policies);
	else
		printf("None of %u policies matches.\n", s->policies);
}

int command_policy(int argc, char **argv)
{
	static const struct argp_child children[] = {{&settings_argp, 0, NULL, 0}, {0}};
	static const struct argp argp = {
		options,
		parse,
		"",
		"Tell which settings a migration with the same options would have, and where each "
		"value comes from. Touches no guest.\v"
		"Exit status: 0, or 1 for a bad option, configuration or policy.",
		children,
		NULL,
		NULL};
	struct arguments a = {0};
	struct errtext err = {0};
	struct settings s;

	argp_err_exit_status = EXIT_REFUSED;
	argv[0] = (char *)"dray policy";
	argp_parse(&argp, argc, argv, 0, NULL, &a);
	if (settings_resolve(&a.input, &s, &err) < 0) {
		fprintf(stderr, "dray policy: %s\n", err.text);
		return EXIT_REFUSED;
	}
	if (a.json)
		print_json(&s, a.input.policy);
	else
		print_text(&s, a.input.policy);
	return 0;
}
