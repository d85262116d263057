// SPDX-License-Identifier: Apache-2.0
// dray status: the migrations that run on this host.
#include <stdio.h>
#include "commands.h"
#include "domain_arguments.h"
#include "exit_status.h"
#include "guest_dir.h"
#include "json_field.h"
#include "running.h"
#include "status_text.h"

static int print_one(const struct running_list *list, const struct domain_arguments *a,
		     struct errtext *err)
{
	const struct running *r;
	int ret = running_find(list, a->domain, &r, err);

	if (ret < 0)
		return ret;
	if (a->json)
		json_print(r->status);
	else
		status_text_print(r->status, stdout);
	return 0;
}

static void print_all_json(const struct running_list *list)
{
	_cleanup_json_ json_object *array = json_object_new_array();

	for (size_t i = 0; i < list->count; i++)
		json_object_array_add(array, json_object_get(list->at[i].status));
	json_print(array);
}

static void print_all_text(const struct running_list *list)
{
	if (list->count == 0)
		puts("no migration runs on this host");
	for (size_t i = 0; i < list->count; i++)
		status_text_print(list->at[i].status, stdout);
}

int command_status(int argc, char **argv)
{
	static const struct domain_command command = {
		.name = "dray status",
		.usage = "[DOMAIN]",
		.help = "Tell how the running migration of DOMAIN goes, or all that run on this "
			"host.\v"
			"Exit status: 0; 1 there is none of DOMAIN, or bad usage.",
		.least = 0,
		.most = 1,
		.options = DOMAIN_JSON};
	struct running_list list;
	struct domain_arguments a;
	struct errtext err = {0};
	int ret;

	domain_arguments_parse(&command, argc, argv, &a);
	ret = running_collect(GUEST_DIR_ROOT, &list, &err);
	if (ret == 0 && a.domain)
		ret = print_one(&list, &a, &err);
	else if (ret == 0 && a.json)
		print_all_json(&list);
	else if (ret == 0)
		print_all_text(&list);
	running_destroy(&list);
	if (ret < 0)
		fprintf(stderr, "dray status: %s\n", err.text);
	return ret < 0 ? EXIT_REFUSED : 0;
}
