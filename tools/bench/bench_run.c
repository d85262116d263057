// SPDX-License-Identifier: Apache-2.0
// A whole bench: both ends on this host, or one of them.
#include "bench_run.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>
#include "bench_bare.h"
#include "bench_figures.h"
#include "bench_link.h"
#include "bench_sink.h"
#include "bench_source.h"
#include "bench_usage.h"
#include "bench_words.h"
#include "cleanup.h"
#include "clock.h"
#include "json_field.h"
#include "tls_credentials.h"
#include "tls_rate.h"

#define BARE_MAX (1ull << 30) /* bytes, over all streams */
#define HERE "127.0.0.1"

static int credentials_new(const struct bench_options *o, struct tls_credentials **out,
			   struct errtext *err)
{
	return o->tls_dir ? tls_credentials_new(o->tls_dir, out, err) : 0;
}

/* ---- the source ---- */

/* Over each stream. */
static uint64_t bare_bytes(const struct bench_options *o)
{
	return (o->data < BARE_MAX ? o->data : BARE_MAX) / o->streams;
}

/* The streams are open: send, and hear what that has cost the other end. */
static int measure_bare(const struct bench_options *o, struct byte_stream **streams,
			uint8_t *buffers, struct line control, struct bench_figures *f,
			struct errtext *err)
{
	uint64_t bytes = bare_bytes(o), begun = clock_monotonic_us();
	double theirs = 0, gib = (double)(bytes * o->streams) / (1 << 30);
	_cleanup_json_ json_object *answer = NULL;
	uint64_t cpu = bench_usage_cpu_us();
	int ret = bench_bare_send(streams, o->streams, bytes, buffers, err);

	cpu = bench_usage_cpu_us() - cpu;
	/* Its own word is the cause of streams that broke. */
	if (ret == 0 || ret == -EPIPE || ret == -ECONNRESET)
		ret = bench_link_hear(control, &answer, err);
	if (ret < 0)
		return ret;
	json_field_number(answer, "cpu_us", &theirs);
	f->of[BENCH_BARE_BYTES_PER_S] =
		(double)(bytes * o->streams) * 1e6 / (double)(clock_monotonic_us() - begun);
	f->of[BENCH_BARE_SOURCE_CPU] = (double)cpu / 1e6 / gib;
	f->of[BENCH_BARE_DESTINATION_CPU] = theirs / 1e6 / gib;
	return 0;
}

static int run_bare(const struct bench_options *o, const struct bench_link *link,
		    struct line control, struct bench_figures *f, struct errtext *err)
{
	_cleanup_free_ uint8_t *buffers = bench_bare_buffers(o->streams);
	_cleanup_json_ json_object *word = json_object_new_object(), *ready = NULL;
	struct byte_stream *streams[BENCH_STREAMS_MAX] = {0};
	int ret = buffers ? 0 : errtext_set(err, -ENOMEM, "out of memory");

	json_put_text(word, "run", "bare");
	json_put_number(word, "bytes", bare_bytes(o));
	if (ret == 0)
		ret = bench_link_say(control, steal_ptr(&word), err);
	if (ret == 0)
		ret = bench_link_hear(control, &ready, err);
	if (ret == 0)
		ret = bench_link_open_streams(link, o->streams, streams, err);
	if (ret == 0)
		ret = measure_bare(o, streams, buffers, control, f, err);
	bench_link_close_streams(o->streams, streams);
	return ret;
}

static int run_once(const struct bench_options *o, const struct bench_link *link,
		    struct line control, struct bench_figures *f, struct errtext *err)
{
	int ret = run_bare(o, link, control, f, err);

	if (ret == 0)
		ret = bench_source_run(o, link, control, f, err);
	f->of[BENCH_MEMCPY_BYTES_PER_S] = bench_bare_memcpy();
	f->of[BENCH_AES_BYTES_PER_S] = (double)tls_rate(false) * 1e6;
	bench_figures_relate(f);
	return ret;
}

static int run_all(const struct bench_options *o, const struct bench_link *link,
		   struct line control, struct errtext *err)
{
	struct bench_figures runs[BENCH_TIMES_MAX] = {0}, median;
	json_object *end = json_object_new_object();
	int ret = 0;

	for (unsigned int i = 0; ret == 0 && i < o->times; i++) {
		ret = run_once(o, link, control, &runs[i], err);
		if (ret == 0 && o->json)
			bench_figures_json("run", o, &runs[i]);
	}
	json_object_object_add(end, "end", json_object_new_boolean(true));
	if (bench_link_say(control, end, NULL) < 0 || ret < 0)
		return ret;
	median = bench_figures_median(runs, o->times);
	if (o->json)
		bench_figures_json("result", o, &median);
	else
		bench_figures_print(o, &median);
	return 0;
}

static int greet(const struct bench_options *o, struct bench_link *link, struct line control,
		 struct errtext *err)
{
	_cleanup_json_ json_object *word = NULL;
	int ret = bench_link_say(control, bench_words_wish(o), err);

	if (ret == 0)
		ret = bench_link_hear(control, &word, err);
	return ret < 0 ? ret : bench_words_take_token(word, link->token, err);
}

static int run_source(const struct bench_options *o, struct bench_link *link, struct errtext *err)
{
	_cleanup_line_ struct line control = LINE_NONE;
	int ret = bench_link_dial(link, &control, err);

	if (ret == 0)
		ret = greet(o, link, control, err);
	return ret < 0 ? ret : run_all(o, link, control, err);
}

int bench_run_connect(const struct bench_options *o, const char *endpoint, struct errtext *err)
{
	struct bench_link link = {0};
	int ret = socket_parse_endpoint(endpoint, BENCH_PORT, link.host, &link.port, err);

	if (ret == 0)
		ret = credentials_new(o, &link.credentials, err);
	if (ret == 0)
		ret = run_source(o, &link, err);
	tls_credentials_destroy(link.credentials);
	return ret;
}

/* ---- the destination ---- */

int bench_run_listen(const struct bench_options *o, const char *endpoint, struct errtext *err)
{
	struct socket_options socket = {.congestion = SOCKET_CONGESTION};
	struct tls_credentials *credentials = NULL;
	_cleanup_close_ int listener = -1;
	char host[SOCKET_HOST_SIZE];
	uint16_t port;
	int ret = socket_parse_endpoint(endpoint, BENCH_PORT, host, &port, err);

	if (ret == 0 && strlen(host) >= sizeof(socket.bind))
		ret = errtext_set(err, -EINVAL, "--listen %s: an address is needed", endpoint);
	if (ret == 0)
		ret = credentials_new(o, &credentials, err);
	if (ret == 0) {
		memcpy(socket.bind, host, strlen(host) + 1);
		ret = socket_listen(&socket, port, &listener, err);
	}
	if (ret == 0) {
		socket_port(listener, &port);
		fprintf(stderr, "dray: bench waits for its source on port %u\n", port);
		ret = bench_sink_serve(listener, credentials, err);
	}
	tls_credentials_destroy(credentials);
	return ret;
}

/* ---- both ---- */

/* What goes wrong there is told to the source here. */
static void child_main(int listener, struct tls_credentials *credentials)
{
	struct errtext err = {0};

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	_exit(bench_sink_serve(listener, credentials, &err) < 0);
}

int bench_run_here(const struct bench_options *o, struct errtext *err)
{
	struct socket_options socket = {.congestion = SOCKET_CONGESTION, .bind = HERE};
	struct bench_link link = {.host = HERE};
	_cleanup_close_ int listener = -1;
	pid_t child = -1;
	int ret = credentials_new(o, &link.credentials, err);

	if (ret == 0)
		ret = socket_listen(&socket, 0, &listener, err);
	if (ret == 0)
		ret = socket_port(listener, &link.port);
	if (ret == 0) {
		child = fork();
		if (child == 0)
			child_main(listener, link.credentials);
		ret = child < 0 ? errtext_set(err, -errno, "no process: %s", strerror(errno)) : 0;
	}
	if (ret == 0)
		ret = run_source(o, &link, err);
	if (child > 0) {
		kill(child, SIGTERM); /* it has ended by itself, or waits for a source in vain */
		waitpid(child, NULL, 0);
	}
	tls_credentials_destroy(link.credentials);
	return ret;
}
