// SPDX-License-Identifier: Apache-2.0
// dray migrate: options, then one outgoing migration.
#include <argp.h>
#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include "attempts.h"
#include "commands.h"
#include "exit_status.h"
#include "lane.h"
#include "launcher_arguments.h"
#include "outgoing_arguments.h"
#include "settings_options.h"
#include "signals.h"
#include "wire.h"

enum { /* options without a letter; below those of settings_options.h */
       OPT_JSON = 256,
       OPT_STREAMS,
       OPT_VERIFY,
       OPT_CONGESTION,
       OPT_SOCKET,
       OPT_LAUNCHER,
       OPT_SILENCE,
       OPT_STOPPED,
       OPT_LANE,
       OPT_NO_PREFETCH,
       OPT_QUEUE,
       OPT_RETRIES,
       OPT_DIE,
};

struct arguments {
	struct outgoing_options out;
	struct settings_input settings;
	bool json;
	pid_t launcher;
	int positional;
};

static const struct argp_option options[] = {
	{"json", OPT_JSON, NULL, 0, "One JSON object a line on standard output", 1},
	{"die-with-parent", OPT_DIE, NULL, 0, "Cancel when the process that started this one ends",
	 1},
	{"lane", OPT_LANE, LANE_AUTO "|" LANE_DIRECT, 0, "Who moves the memory (auto)", 2},
	{"streams", OPT_STREAMS, "N", 0, "RAM connections, 1 to 64 (one a core, at most 8)", 2},
	{"verify", OPT_VERIFY, NULL, 0,
	 "Compare a digest of all guest RAM on both hosts before the hand-over; the guest is "
	 "stopped for as long as that takes. After post-copy: of what it has not written since",
	 2},
	{"no-prefetch", OPT_NO_PREFETCH, NULL, 0,
	 "In post-copy, do not send along with a page what the guest will probably need next", 2},
	{"peer-timeout", OPT_SILENCE, "MS", 0,
	 "The destination counts as lost when silent for so long (10000)", 3},
	{"stopped-timeout", OPT_STOPPED, "MS", 0,
	 "Wait for the network for so long at most while the guest is stopped (2000)", 3},
	{"queue-timeout", OPT_QUEUE, "S", 0,
	 "Wait for a turn on each host for so long at most; 0: for ever (900)", 3},
	{"retries", OPT_RETRIES, "N", 0,
	 "Try again so many times after failures that may pass, with growing pauses (0)", 3},
	{"congestion", OPT_CONGESTION, "NAME", 0,
	 "TCP congestion control (cubic); \"\" for the system's default", 4},
	{"libvirt-socket", OPT_SOCKET, "PATH", 0, "This host's libvirt daemon", 4},
	{"launcher", OPT_LAUNCHER, "PID", 0, LAUNCHER_ARGUMENTS_HELP, 4},
	{0},
};

static uint32_t number(struct argp_state *state, const char *option, const char *text,
		       unsigned long min, unsigned long max)
{
	char *end;
	unsigned long n;

	errno = 0;
	n = strtoul(text, &end, 10);
	if (errno || end == text || *end || *text == '-' || n < min || n > max)
		argp_error(state, "--%s %s: a whole number from %lu to %lu is needed", option, text,
			   min, max);
	return (uint32_t)n;
}

static void short_text(struct argp_state *state, const char *option, const char *text, char *to,
		       size_t size)
{
	if (strlen(text) >= size)
		argp_error(state, "--%s %s: longer than %zu characters", option, text, size - 1);
	else
		strcpy(to, text);
}

static error_t parse_positional(struct arguments *a, char *arg)
{
	if (a->positional == 0)
		a->out.domain = arg;
	else if (a->positional == 1)
		a->out.destination = arg;
	else
		return ARGP_ERR_UNKNOWN;
	a->positional++;
	return 0;
}

static error_t parse_number(struct arguments *a, int key, const char *arg, struct argp_state *state)
{
	struct outgoing_options *out = &a->out;

	switch (key) {
	case OPT_LAUNCHER:
		a->launcher = launcher_arguments_pid(arg, state);
		return 0;
	case OPT_STREAMS:
		out->streams = number(state, "streams", arg, 1, WIRE_STREAMS_MAX);
		return 0;
	case OPT_QUEUE:
		out->queue_s = number(state, "queue-timeout", arg, 0, 1000000);
		return 0;
	case OPT_RETRIES:
		out->retries = number(state, "retries", arg, 0, 1000);
		return 0;
	case OPT_SILENCE:
		out->silence_ms = number(state, "peer-timeout", arg, 100, 3600000);
		return 0;
	case OPT_STOPPED:
		out->stopped_ms = number(state, "stopped-timeout", arg, 100, 600000);
		return 0;
	default:
		return ARGP_ERR_UNKNOWN;
	}
}

static void parse_lane(struct arguments *a, const char *arg, struct argp_state *state)
{
	a->out.lane = strcmp(arg, LANE_AUTO) == 0 ? NULL : arg;
	if (a->out.lane && !outgoing_has_lane(arg))
		argp_error(state, "--lane %s: " LANE_AUTO " or " LANE_DIRECT " is needed", arg);
}

static error_t parse(int key, char *arg, struct argp_state *state)
{
	struct arguments *a = state->input;

	switch (key) {
	case ARGP_KEY_INIT:
		state->child_inputs[0] = &a->settings;
		break;
	case OPT_JSON:
		a->json = true;
		break;
	case OPT_LANE:
		parse_lane(a, arg, state);
		break;
	case OPT_VERIFY:
		a->out.verify = true;
		break;
	case OPT_NO_PREFETCH:
		a->out.no_prefetch = true;
		break;
	case OPT_DIE:
		a->out.die_with_parent = true;
		break;
	case OPT_CONGESTION:
		short_text(state, "congestion", arg, a->out.socket.congestion,
			   sizeof(a->out.socket.congestion));
		break;
	case OPT_SOCKET:
		a->out.libvirt_socket = arg;
		break;
	case ARGP_KEY_ARG:
		return parse_positional(a, arg);
	case ARGP_KEY_END:
		if (a->positional != 2)
			argp_error(state, "a domain and a destination host are needed");
		break;
	default:
		return parse_number(a, key, arg, state);
	}
	return 0;
}

/* The guest may stand still by our doing: a terminal must not stop us. */
static void ignore_terminal(void)
{
	signal(SIGTSTP, SIG_IGN);
	signal(SIGTTIN, SIG_IGN);
	signal(SIGTTOU, SIG_IGN);
}

int command_migrate(int argc, char **argv)
{
	static const struct argp_child children[] = {{&settings_argp, 0, NULL, 0}, {0}};
	static const struct argp argp = {
		options,
		parse,
		"DOMAIN HOST[:PORT]",
		"Move the running guest DOMAIN to HOST, where `dray receive` runs.\v"
		"Exit status: 0 completed; 1 bad usage or a guest that cannot be migrated, nothing "
		"was touched; 2 failed, the guest is still here; 3 aborted by time-out or cancel, "
		"the guest is still here; 4 the guest needs an operator.",
		children,
		NULL,
		NULL};
	struct arguments a = {0};
	struct report report;
	struct errtext err = {0};
	char socket[LIBVIRT_SOCKET_SIZE];
	int status;

	outgoing_defaults(&a.out);
	argp_err_exit_status = EXIT_REFUSED;
	argv[0] = (char *)"dray migrate";
	argp_parse(&argp, argc, argv, 0, NULL, &a);
	report_init(&report, a.json);
	status = outgoing_arguments_resolve(&a.settings, &a.out, &report);
	if (status)
		return status;
	if (launcher_arguments_enter(a.launcher, &a.out.libvirt_socket, socket, &err) < 0) {
		report_error(&report, err.text);
		return EXIT_REFUSED;
	}
	signals_block();
	ignore_terminal();
	return attempts_run(&a.out, &report);
}
