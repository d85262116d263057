// SPDX-License-Identifier: Apache-2.0
// The command line of subcommands that take a domain, and no option but --json.
#pragma once

#include <stdbool.h>

#define DOMAIN_ARGUMENTS_MAX 32

struct domain_arguments {
	const char *domain; /* NULL: not given */
	bool json;
	char *rest[DOMAIN_ARGUMENTS_MAX]; /* what came after the domain */
	unsigned int rest_count;
};

struct domain_command {
	const char *name;  /* "dray status" */
	const char *usage; /* "[DOMAIN]" */
	const char *help;  /* as argp wants it: text before and, after \v, behind the options */
	unsigned int least, most; /* arguments, the domain among them */
};

/* Parse, or print help or what is wrong and exit. argv is borrowed. */
void domain_arguments_parse(const struct domain_command *command, int argc, char **argv,
			    struct domain_arguments *out);
