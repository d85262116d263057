// SPDX-License-Identifier: Apache-2.0
// dray history: what became of the newest attempts to migrate a domain.
#include <stdio.h>
#include "commands.h"
#include "domain_arguments.h"
#include "errtext.h"
#include "exit_status.h"
#include "history.h"
#include "json_field.h"

/* "12.3 s" or "-". */
static const char *seconds(json_object *o, const char *key, char buf[32])
{
	double ms;

	if (json_field_number(o, key, &ms))
		snprintf(buf, 32, "%.1f s", ms / 1000);
	else
		snprintf(buf, 32, "-");
	return buf;
}

static const char *milliseconds(json_object *o, const char *key, char buf[32])
{
	double ms;

	if (json_field_number(o, key, &ms))
		snprintf(buf, 32, "%.1f ms", ms);
	else
		snprintf(buf, 32, "-");
	return buf;
}

static void print_attempt(json_object *o)
{
	char start[64], result[32], lane[16], mode[16], host[256], reason[512];
	char duration[32], downtime[32];

	/* Without a fraction of seconds. */
	printf("%.19s  %9s  %-9s  %-6s  %-8s  %10s  %-20s  %s\n",
	       json_field_text(o, "start", start, sizeof(start)), seconds(o, "total_ms", duration),
	       json_field_text(o, "result", result, sizeof(result)),
	       json_field_text(o, "lane", lane, sizeof(lane)),
	       json_field_text(o, "mode", mode, sizeof(mode)),
	       milliseconds(o, "downtime_ms", downtime),
	       json_field_text(o, "host", host, sizeof(host)),
	       json_field_text(o, "reason", reason, sizeof(reason)));
}

static void print_table(json_object *array)
{
	printf("%-19s  %9s  %-9s  %-6s  %-8s  %10s  %-20s  %s\n", "START (UTC)", "DURATION",
	       "RESULT", "LANE", "MODE", "DOWNTIME", "TO", "REASON");
	for (size_t i = 0; i < json_object_array_length(array); i++)
		print_attempt(json_object_array_get_idx(array, i));
}

int command_history(int argc, char **argv)
{
	static const struct domain_command command = {
		.name = "dray history",
		.usage = "DOMAIN",
		.help = "Tell what became of the newest attempts to migrate DOMAIN from this "
			"host.\v"
			"Exit status: 0; 1 none of them is known, or bad usage.",
		.least = 1,
		.most = 1,
		.options = DOMAIN_JSON};
	struct domain_arguments a;
	_cleanup_json_ json_object *array = NULL;
	struct errtext err = {0};

	domain_arguments_parse(&command, argc, argv, &a);
	if (history_read(HISTORY_DIR, a.domain, &array, &err) < 0) {
		fprintf(stderr, "dray history: %s\n", err.text);
		return EXIT_REFUSED;
	}
	if (a.json)
		json_print(array);
	else
		print_table(array);
	return 0;
}
