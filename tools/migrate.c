// SPDX-License-Identifier: Apache-2.0
// dray migrate: options, then one outgoing migration.
#include <argp.h>
#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include "cleanup.h"
#include "commands.h"
#include "outgoing.h"
#include "wire.h"

enum { /* options without a letter */
       OPT_JSON = 256,
       OPT_STREAMS,
       OPT_VERIFY,
       OPT_DISABLE_TLS,
       OPT_MAX_DOWNTIME,
       OPT_COMPLETION,
       OPT_CONGESTION,
       OPT_BIND,
       OPT_SOCKET,
       OPT_SILENCE,
       OPT_STOPPED,
       OPT_LANE,
};

struct arguments {
	struct outgoing_options out;
	bool json, disable_tls;
	int positional;
};

static const struct argp_option options[] = {
	{"json", OPT_JSON, NULL, 0, "One JSON object a line on standard output", 1},
	{"lane", OPT_LANE, "auto|direct", 0, "Who moves the memory (auto)", 2},
	{"streams", OPT_STREAMS, "N", 0, "RAM connections, 1 to 64 (one a core, at most 8)", 2},
	{"verify", OPT_VERIFY, NULL, 0,
	 "Compare a digest of all guest RAM on both hosts before the hand-over; the guest is "
	 "stopped for as long as that takes",
	 2},
	{"disable-tls", OPT_DISABLE_TLS, NULL, 0,
	 "Send guest memory in the clear; needed, as this version has no TLS", 2},
	{"max-downtime", OPT_MAX_DOWNTIME, "MS", 0, "Stop the guest for so long at most (300)", 3},
	{"completion-timeout-per-gib", OPT_COMPLETION, "S", 0,
	 "Give up after so many seconds for each GiB of guest RAM; 0: never (150)", 3},
	{"peer-timeout", OPT_SILENCE, "MS", 0,
	 "The destination counts as lost when silent for so long (10000)", 3},
	{"stopped-timeout", OPT_STOPPED, "MS", 0,
	 "Wait for the network for so long at most while the guest is stopped (2000)", 3},
	{"bind", OPT_BIND, "ADDRESS|INTERFACE", 0, "Leave by this address or interface only", 4},
	{"congestion", OPT_CONGESTION, "NAME", 0,
	 "TCP congestion control (cubic); \"\" for the system's default", 4},
	{"libvirt-socket", OPT_SOCKET, "PATH", 0, "This host's libvirt daemon", 4},
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

static error_t parse(int key, char *arg, struct argp_state *state)
{
	struct arguments *a = state->input;

	switch (key) {
	case OPT_JSON:
		a->json = true;
		break;
	case OPT_LANE:
		if (strcmp(arg, "auto") != 0 && strcmp(arg, "direct") != 0)
			argp_error(state, "--lane %s: auto or direct is needed", arg);
		break;
	case OPT_STREAMS:
		a->out.streams = number(state, "streams", arg, 1, WIRE_STREAMS_MAX);
		break;
	case OPT_VERIFY:
		a->out.verify = true;
		break;
	case OPT_DISABLE_TLS:
		a->disable_tls = true;
		break;
	case OPT_MAX_DOWNTIME:
		a->out.max_downtime_ms = number(state, "max-downtime", arg, 1, 2000000);
		break;
	case OPT_COMPLETION:
		a->out.completion_s_per_gib =
			number(state, "completion-timeout-per-gib", arg, 0, 1000000);
		break;
	case OPT_SILENCE:
		a->out.silence_ms = number(state, "peer-timeout", arg, 100, 3600000);
		break;
	case OPT_STOPPED:
		a->out.stopped_ms = number(state, "stopped-timeout", arg, 100, 600000);
		break;
	case OPT_BIND:
		short_text(state, "bind", arg, a->out.socket.bind, sizeof(a->out.socket.bind));
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
		return ARGP_ERR_UNKNOWN;
	}
	return 0;
}

int command_migrate(int argc, char **argv)
{
	static const struct argp argp = {
		options,
		parse,
		"DOMAIN HOST[:PORT]",
		"Move the running guest DOMAIN to HOST, where `dray receive` runs.\v"
		"Exit status: 0 completed; 1 bad usage or a guest that cannot be migrated, nothing "
		"was touched; 2 failed, the guest is still here; 3 aborted by time-out or cancel, "
		"the guest is still here; 4 the guest needs an operator.",
		NULL,
		NULL,
		NULL};
	struct arguments a = {0};
	struct report report;
	sigset_t set;

	outgoing_defaults(&a.out);
	argp_err_exit_status = EXIT_REFUSED;
	argv[0] = (char *)"dray migrate";
	argp_parse(&argp, argc, argv, 0, NULL, &a);
	report_init(&report, a.json);
	if (!a.disable_tls) {
		report_error(
			&report,
			"this version has no TLS yet: guest memory, passwords and keys in it, "
			"would cross the network in the clear. If that network is trusted, say "
			"--disable-tls");
		return EXIT_REFUSED;
	}
	/* Taken by outgoing_run's own thread; all others inherit the mask. */
	sigemptyset(&set);
	sigaddset(&set, SIGINT);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGUSR1);
	pthread_sigmask(SIG_BLOCK, &set, NULL);
	signal(SIGPIPE, SIG_IGN);
	return outgoing_run(&a.out, &report);
}
