// SPDX-License-Identifier: Apache-2.0
// dray bench: options, then the bench.
#include <argp.h>
#include <stdio.h>
#include <stdlib.h>
#include "bench_run.h"
#include "commands.h"
#include "exit_status.h"
#include "tls_credentials.h"
#include "tracker.h"
#include "uring_stream.h"

#define MIB (1ull << 20)
#define MIB_MAX (1u << 24) /* 16 TiB */

enum {
	OPT_JSON = 256,
	OPT_LISTEN,
	OPT_CONNECT,
	OPT_MEMORY,
	OPT_PATTERN,
	OPT_SIZE,
	OPT_ZERO,
	OPT_RATE,
	OPT_STREAMS,
	OPT_TIMES,
	OPT_MAX_DOWNTIME,
	OPT_TLS_DIR,
	OPT_DISABLE_TLS
};

struct arguments {
	struct bench_options bench;
	const char *listen, *connect;
	bool plain;
};

static const struct argp_option options[] = {
	{"memory", OPT_MEMORY, "tmpfs|hugetlbfs|private", 0, "What the guest's memory is (tmpfs)",
	 1},
	{"size", OPT_SIZE, "MIB", 0, "Memory with content (1024)", 1},
	{"zero", OPT_ZERO, "MIB", 0, "Memory besides that was never used (0)", 1},
	{"pattern", OPT_PATTERN, "NAME", 0,
	 "What it writes: idle, sequential, uniform, zipf (a hot set), text (compresses by half), "
	 "duplicates, silent (what is there already) (uniform)",
	 1},
	{"rate", OPT_RATE, "MIB", 0, "Pages that it writes each second (64)", 1},
	{"streams", OPT_STREAMS, "N", 0, "Connections that carry memory, 1 to 8 (2)", 2},
	{"max-downtime", OPT_MAX_DOWNTIME, "MS", 0,
	 "The guest is stopped when what is left fits (300)", 2},
	{"times", OPT_TIMES, "N", 0, "So many runs, and the median of each figure (1)", 2},
	{"listen", OPT_LISTEN, "ADDRESS[:PORT]", 0, "Be the destination of a bench (port 7471)", 3},
	{"connect", OPT_CONNECT, "HOST[:PORT]", 0, "Be the source of a bench (port 7471)", 3},
	{"tls-dir", OPT_TLS_DIR, "DIR", 0,
	 "This host's ca.crt, tls.crt and tls.key (/etc/pki/dray; on one host alone none)", 3},
	{"disable-tls", OPT_DISABLE_TLS, NULL, 0, "Without TLS", 3},
	{"json", OPT_JSON, NULL, 0, "One JSON object a line on standard output", 4},
	{0},
};

static uint64_t parse_number(struct argp_state *state, const char *option, const char *text,
			     uint64_t least, uint64_t most)
{
	char *end;
	unsigned long long n = strtoull(text, &end, 10);

	if (end == text || *end || *text == '-' || n < least || n > most)
		argp_error(state, "--%s %s: a number from %llu to %llu is needed", option, text,
			   (unsigned long long)least, (unsigned long long)most);
	return n;
}

static void parse_names(int key, char *arg, struct argp_state *state, struct bench_options *b)
{
	if (key == OPT_MEMORY && !bench_memory_of(arg, &b->memory))
		argp_error(state, "--memory %s: it must be tmpfs, hugetlbfs or private", arg);
	if (key == OPT_PATTERN && !bench_pattern_of(arg, &b->pattern))
		argp_error(state,
			   "--pattern %s: it must be idle, sequential, uniform, zipf, text, "
			   "duplicates or silent",
			   arg);
}

static error_t parse_numbers(int key, char *arg, struct argp_state *state, struct bench_options *b)
{
	switch (key) {
	case OPT_SIZE:
		b->data = parse_number(state, "size", arg, 1, MIB_MAX) * MIB;
		break;
	case OPT_ZERO:
		b->zero = parse_number(state, "zero", arg, 0, MIB_MAX) * MIB;
		break;
	case OPT_RATE:
		b->rate = parse_number(state, "rate", arg, 0, MIB_MAX) * MIB;
		break;
	case OPT_STREAMS:
		b->streams =
			(unsigned int)parse_number(state, "streams", arg, 1, BENCH_STREAMS_MAX);
		break;
	case OPT_TIMES:
		b->times = (unsigned int)parse_number(state, "times", arg, 1, BENCH_TIMES_MAX);
		break;
	case OPT_MAX_DOWNTIME:
		b->max_downtime_ms = (uint32_t)parse_number(state, "max-downtime", arg, 1, 2000000);
		break;
	default:
		return ARGP_ERR_UNKNOWN;
	}
	return 0;
}

/* Huge pages are whole. */
static void check(struct argp_state *state, struct arguments *a)
{
	struct bench_options *b = &a->bench;

	if (a->listen && a->connect)
		argp_error(state, "--listen and --connect are the two ends of a bench");
	if (b->memory == BENCH_HUGE && (b->data % (2 * MIB) || b->zero % (2 * MIB)))
		argp_error(state, "huge pages have 2 MiB: --size and --zero must be even");
	if (a->plain)
		b->tls_dir = NULL;
	else if (!b->tls_dir && (a->listen || a->connect))
		b->tls_dir = TLS_CREDENTIALS_DIR;
}

static error_t parse(int key, char *arg, struct argp_state *state)
{
	struct arguments *a = state->input;

	switch (key) {
	case OPT_JSON:
		a->bench.json = true;
		return 0;
	case OPT_LISTEN:
		a->listen = arg;
		return 0;
	case OPT_CONNECT:
		a->connect = arg;
		return 0;
	case OPT_MEMORY:
	case OPT_PATTERN:
		parse_names(key, arg, state, &a->bench);
		return 0;
	case OPT_TLS_DIR:
		a->bench.tls_dir = arg;
		return 0;
	case OPT_DISABLE_TLS:
		a->plain = true;
		return 0;
	case ARGP_KEY_ARG:
		argp_error(state, "'%s' is one argument too many", arg);
		return 0;
	case ARGP_KEY_END:
		check(state, a);
		return 0;
	default:
		return parse_numbers(key, arg, state, &a->bench);
	}
}

static int run(const struct arguments *a, struct errtext *err)
{
	int ret = uring_stream_supported(err);

	if (ret == 0 && !a->listen)
		ret = tracker_supported(err);
	if (ret < 0)
		return ret;
	if (a->listen)
		return bench_run_listen(&a->bench, a->listen, err);
	return a->connect ? bench_run_connect(&a->bench, a->connect, err)
			  : bench_run_here(&a->bench, err);
}

int command_bench(int argc, char **argv)
{
	static const struct argp command = {
		options,
		parse,
		NULL,
		"dray bench: how fast the engine moves memory here\v"
		"A synthetic guest, a process with memory that it writes, is moved by the very "
		"engine that moves real ones, without QEMU and libvirt: between two processes of "
		"this host, or from --connect on one host to --listen on another. Both ends are "
		"compared; exit status 1 if they differ, or anything else is wrong.",
		NULL,
		NULL,
		NULL};
	struct arguments a = {.bench = {.data = 1024 * MIB,
					.pattern = BENCH_UNIFORM,
					.rate = 64 * MIB,
					.streams = 2,
					.times = 1,
					.max_downtime_ms = 300}};
	struct errtext err = {0};

	argp_err_exit_status = EXIT_REFUSED;
	argv[0] = (char *)"dray bench";
	argp_parse(&command, argc, argv, 0, NULL, &a);
	if (run(&a, &err) < 0) {
		fprintf(stderr, "dray: %s\n", err.text);
		return 1;
	}
	return 0;
}
