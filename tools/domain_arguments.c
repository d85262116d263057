// SPDX-License-Identifier: Apache-2.0
// The command line of subcommands that take a domain, or nothing, and of a few options those that
// they want.
#include "domain_arguments.h"

#include <argp.h>
#include <errno.h>
#include <stdlib.h>
#include "exit_status.h"
#include "launcher_arguments.h"

#define WAIT_S 30
#define WAIT_MOST_S 86400

struct parsing {
	const struct domain_command *command;
	struct domain_arguments *out;
};

/* A key is that of enum domain_option, too high to be a letter; -h is one more word for help, and
 * everybody's. */
#define KEY(option) (256 + (option))

static const struct argp_option rows[] = {
	{"json", KEY(DOMAIN_JSON), NULL, 0, "JSON on standard output", 0},
	{"wait", KEY(DOMAIN_WAIT), "SECONDS", 0, "How long to ask and wait (30)", 0},
	{"libvirt-socket", KEY(DOMAIN_LIBVIRT_SOCKET), "PATH", 0, "This host's libvirt daemon", 0},
	{"launcher", KEY(DOMAIN_LAUNCHER), "PID", 0, LAUNCHER_ARGUMENTS_HELP, 0},
	{"tls-dir", KEY(DOMAIN_TLS_DIR), "DIR", 0, "This host's ca.crt, tls.crt and tls.key", 0},
	{NULL, 'h', NULL, OPTION_HIDDEN, NULL, 0},
};

#define ROWS (sizeof(rows) / sizeof(*rows))

static unsigned int count(const struct domain_arguments *a)
{
	return a->domain ? 1 + a->rest_count : 0;
}

static void take_argument(const struct parsing *p, char *arg, struct argp_state *state)
{
	struct domain_arguments *a = p->out;

	if (count(a) == p->command->most || a->rest_count == DOMAIN_ARGUMENTS_MAX)
		argp_error(state, "%s: too many arguments", arg);
	else if (!a->domain)
		a->domain = arg;
	else
		a->rest[a->rest_count++] = arg;
}

static void take_wait(struct domain_arguments *a, const char *text, struct argp_state *state)
{
	char *end;
	unsigned long n;

	errno = 0;
	n = strtoul(text, &end, 10);
	if (errno || end == text || *end || *text == '-' || n > WAIT_MOST_S)
		argp_error(state, "--wait %s: a number of seconds, 0 to %d, is needed", text,
			   WAIT_MOST_S);
	a->wait_ms = (uint32_t)n * 1000;
}

static error_t parse(int key, char *arg, struct argp_state *state)
{
	const struct parsing *p = state->input;
	struct domain_arguments *a = p->out;

	switch (key) {
	case KEY(DOMAIN_JSON):
		a->json = true;
		break;
	case KEY(DOMAIN_LIBVIRT_SOCKET):
		a->libvirt_socket = arg;
		break;
	case KEY(DOMAIN_LAUNCHER):
		a->launcher = launcher_arguments_pid(arg, state);
		break;
	case KEY(DOMAIN_TLS_DIR):
		a->tls_dir = arg;
		break;
	case KEY(DOMAIN_WAIT):
		take_wait(a, arg, state);
		break;
	case 'h':
		argp_state_help(state, state->out_stream, ARGP_HELP_STD_HELP);
		break;
	case ARGP_KEY_ARG:
		take_argument(p, arg, state);
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

/* Those rows that the command wants, and a zeroed one. */
static void choose(unsigned int options, struct argp_option chosen[ROWS + 1])
{
	size_t n = 0;

	for (size_t i = 0; i < ROWS; i++)
		if (rows[i].key < 256 || options & (unsigned int)(rows[i].key - 256))
			chosen[n++] = rows[i];
	chosen[n] = (struct argp_option){0};
}

void domain_arguments_parse(const struct domain_command *command, int argc, char **argv,
			    struct domain_arguments *out)
{
	struct argp_option chosen[ROWS + 1];
	const struct argp argp = {chosen, parse, command->usage, command->help, NULL, NULL, NULL};
	struct parsing p = {command, out};

	choose(command->options, chosen);
	*out = (struct domain_arguments){.wait_ms = WAIT_S * 1000};
	argp_err_exit_status = EXIT_REFUSED;
	argv[0] = (char *)command->name;
	argp_parse(&argp, argc, argv, 0, NULL, &p);
}
