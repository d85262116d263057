// SPDX-License-Identifier: Apache-2.0
// dray cancel: give a running migration up.
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include "commands.h"
#include "domain_arguments.h"
#include "exit_status.h"
#include "guest_dir.h"
#include "json_field.h"
#include "running.h"

int command_cancel(int argc, char **argv)
{
	static const struct domain_command command = {
		.name = "dray cancel",
		.usage = "DOMAIN",
		.help = "Give the running migration of DOMAIN up, on either of its hosts: the "
			"guest runs on on the source. Returns when that has begun; `dray migrate` "
			"tells "
			"the end.\v"
			"Exit status: 0 it was begun; 1 there is no such migration, it is too "
			"late, or bad usage.",
		.least = 1,
		.most = 1,
		.options = DOMAIN_JSON};
	_cleanup_json_ json_object *request = json_object_new_object(), *status = NULL,
				   *reply = NULL;
	struct domain_arguments a;
	struct errtext err = {0};
	char name[256], host[256], direction[32];
	bool incoming;

	domain_arguments_parse(&command, argc, argv, &a);
	json_object_object_add(request, "command", json_object_new_string("cancel"));
	if (running_call(GUEST_DIR_ROOT, a.domain, request, &status, &reply, &err) < 0) {
		fprintf(stderr, "dray cancel: %s\n", err.text);
		return EXIT_REFUSED;
	}
	incoming = strcmp(json_field_text(status, "direction", direction, sizeof(direction)),
			  "incoming") == 0;
	if (a.json)
		json_print(reply);
	else
		printf("the migration of %s %s %s is being cancelled\n",
		       json_field_text(status, "domain", name, sizeof(name)),
		       incoming ? "from" : "to",
		       json_field_text(status, "host", host, sizeof(host)));
	return 0;
}
