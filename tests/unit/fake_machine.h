// SPDX-License-Identifier: Apache-2.0
// The machine type of a fake domain (fake_host.h), as QEMU's monitor tells it: qom-get of its name,
// qom-list-properties of the type "migration", query-machines with what the type sets.
#pragma once

#include <json-c/json.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

struct fake_machine {
	const char *type;   /* NULL: nothing is told */
	bool knows_legacy;  /* QEMU has the property switchover-ack-legacy */
	const char *legacy; /* what the type sets it to; NULL: it does not */
	bool unlisted;	    /* query-machines leaves the type out */
};

/* What QEMU returns: the caller's. NULL: this is none of those commands. */
static inline json_object *fake_machine_command(const struct fake_machine *m, const char *command)
{
	char text[512];

	if (!m->type)
		return NULL;
	if (strstr(command, "\"/machine\"") && strstr(command, "\"type\""))
		snprintf(text, sizeof(text), "\"%s-machine\"", m->type);
	else if (strstr(command, "qom-list-properties"))
		snprintf(text, sizeof(text), "[{\"name\": \"x-colo\"}%s]",
			 m->knows_legacy ? ", {\"name\": \"switchover-ack-legacy\"}" : "");
	else if (strstr(command, "query-machines"))
		snprintf(text, sizeof(text),
			 "[{\"name\": \"none\", \"compat-props\": []}, {\"name\": \"%s\", "
			 "\"compat-props\": [{\"qom-type\": \"migration\", \"property\": \"%s\", "
			 "\"value\": \"%s\"}]}]",
			 m->unlisted ? "isapc" : m->type,
			 m->legacy ? "switchover-ack-legacy" : "send-configuration",
			 m->legacy ? m->legacy : "on");
	else
		return NULL;
	return json_tokener_parse(text);
}
