// SPDX-License-Identifier: Apache-2.0
// The command line of subcommands that take a domain, and no option but --json.
#include "domain_arguments.h"

#include "exit_status.h"
#include <argp.h>

enum { OPT_JSON = 256 };

struct parsing {
	const struct domain_command *command;
	struct domain_arguments *out;
};

static const struct argp_option options[] = {
	{"json", OPT_JSON, NULL, 0, "JSON on standard output", 0},
	{0},
};

static unsigned int count(const struct domain_arguments *a)
{
	return a->domain ? 1 + a->rest_count : 0;
}

static error_t parse(int key, char *arg, struct argp_state *state)
{
	const struct parsing *p = state->input;
	struct domain_arguments *a = p->out;

	switch (key) {
	case OPT_JSON:
		a->json = true;
		break;
	case ARGP_KEY_ARG:
		if (count(a) == p->command->most || a->rest_count == DOMAIN_ARGUMENTS_MAX)
			argp_error(state, "%s: too many arguments", arg);
		else if (!a->domain)
			a->domain = arg;
		else
			a->rest[a->rest_count++] = arg;
		break;
	case ARGP_KEY_END:
		if (count(a) < p->command->least)
			argp_error(state,
				   a->domain ? "more arguments are needed" : "a domain is needed");
		break;
	default:
		return ARGP_ERR_UNKNOWN;
	}
	return 0;
}

void domain_arguments_parse(const struct domain_command *command, int argc, char **argv,
			    struct domain_arguments *out)
{
	const struct argp argp = {options, parse, command->usage, command->help, NULL, NULL, NULL};
	struct parsing p = {command, out};

	*out = (struct domain_arguments){0};
	argp_err_exit_status = EXIT_REFUSED;
	argv[0] = (char *)command->name;
	argp_parse(&argp, argc, argv, 0, NULL, &p);
}
