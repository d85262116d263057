// SPDX-License-Identifier: Apache-2.0
// The command line of subcommands that take a domain, or nothing, and of a few options those that
// they want.
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#define DOMAIN_ARGUMENTS_MAX 32

enum domain_option {
	DOMAIN_JSON = 1,
	DOMAIN_LIBVIRT_SOCKET = 2,
	DOMAIN_WAIT = 4,
	DOMAIN_LAUNCHER = 8,
	DOMAIN_TLS_DIR = 16,
};

struct domain_arguments {
	const char *domain; /* NULL: not given */
	bool json;
	const char *libvirt_socket;	  /* NULL: not given */
	pid_t launcher;			  /* 0: not given */
	const char *tls_dir;		  /* the same */
	uint32_t wait_ms;		  /* 30 s unless given */
	char *rest[DOMAIN_ARGUMENTS_MAX]; /* what came after the domain */
	unsigned int rest_count;
};

struct domain_command {
	const char *name;  /* "dray status" */
	const char *usage; /* "[DOMAIN]" */
	const char *help;  /* as argp wants it: text before and, after \v, behind the options */
	unsigned int least, most; /* arguments, the domain among them */
	unsigned int options;	  /* of enum domain_option */
};

/* Parse, or print help or what is wrong and exit. argv is borrowed. */
void domain_arguments_parse(const struct domain_command *command, int argc, char **argv,
			    struct domain_arguments *out);
