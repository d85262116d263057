// SPDX-License-Identifier: Apache-2.0
// Does the interface see the cap? Sends over N streams through one pacer and watches tx_bytes.
//
// bench-pacing serve PORT                            takes connections until killed, drops the
// bytes bench-pacing send HOST PORT N MIB_PER_S S [MIB_PER_S]   S seconds under a cap; with a
// second cap,
//                                                    S seconds more under that one
//
// Prints, for each cap: streams; the worst second and the whole run, in % off the cap; the worst
// 100 ms in times the cap; what a byte of payload was found to cost; the CPU used, in % of one; how
// much the streams' shares differ, in % of their mean; and how late the sampler woke up at worst,
// in ms: beyond some 10, this machine lacked CPU and the figures are its fault. Seconds and windows
// slide by 10 ms. What is told is what the interface counted, and its other traffic counts too.
#include <errno.h>
#include <math.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>
#include "clock.h"
#include "egress.h"
#include "pacer.h"
#include "socket.h"
#include "uring_stream.h"
#include "wire_cost.h"

#define PIECE ((size_t)4 << 20) /* as a full RAM frame */
#define STREAMS_MAX 64
#define SAMPLE_US 10000
#define SAMPLES_MAX 100000

static const struct socket_options options = {.congestion = SOCKET_CONGESTION};

static void check(int ret, const struct errtext *err)
{
	if (ret < 0) {
		fprintf(stderr, "%s\n", err && err->text[0] ? err->text : strerror(-ret));
		exit(1);
	}
}

static void *drop_all(void *arg)
{
	int fd = (int)(intptr_t)arg;

	/* MSG_TRUNC: TCP drops without copying. */
	while (recv(fd, NULL, PIECE, MSG_TRUNC) > 0)
		;
	close(fd);
	return NULL;
}

static void serve(uint16_t port)
{
	struct errtext err = {0};
	int fd;

	check(socket_listen(&options, port, &fd, &err), &err);
	for (;;) {
		pthread_t id;
		char peer[SOCKET_PEER_SIZE];
		int c;

		check(socket_accept(fd, &options, &c, peer, &err), &err);
		if (pthread_create(&id, NULL, drop_all, (void *)(intptr_t)c) == 0)
			pthread_detach(id);
	}
}

/* ---- sending ---- */

struct run {
	struct pacer *pacer;
	struct wire_cost *cost;
	struct byte_stream *streams[STREAMS_MAX];
	pthread_t threads[STREAMS_MAX];
	unsigned int n;
};

static char piece[PIECE];

static void *send_until_shutdown(void *arg)
{
	struct byte_stream *s = arg;

	while (!s->ops->send(s, &(struct iovec){piece, sizeof(piece)}, 1))
		;
	return NULL;
}

static void run_begin(struct run *r, const char *host, uint16_t port, uint64_t rate)
{
	struct uring_stream_options opt = {};
	struct errtext err = {0};

	check(pacer_new(rate, &r->pacer), NULL);
	opt.pacer = r->pacer;
	for (unsigned int i = 0; i < r->n; i++) {
		int fd;

		check(socket_connect(host, port, &options, 5000, &fd, &err), &err);
		check(uring_stream_new(fd, &opt, &r->streams[i], &err), &err);
		if (i == 0)
			check(wire_cost_new(fd, r->pacer, &r->cost), NULL);
	}
	for (unsigned int i = 0; i < r->n; i++)
		check(-pthread_create(&r->threads[i], NULL, send_until_shutdown, r->streams[i]),
		      NULL);
}

static void run_end(struct run *r)
{
	uint64_t began = clock_monotonic_us();

	for (unsigned int i = 0; i < r->n; i++)
		r->streams[i]->ops->shutdown(r->streams[i]);
	for (unsigned int i = 0; i < r->n; i++)
		pthread_join(r->threads[i], NULL);
	printf("ended in %.1f ms\n", (double)(clock_monotonic_us() - began) / 1000);
	for (unsigned int i = 0; i < r->n; i++)
		r->streams[i]->ops->destroy(r->streams[i]);
	wire_cost_destroy(r->cost);
	pacer_destroy(r->pacer);
}

/* ---- watching ---- */

struct sample {
	uint64_t us, bytes;
};

static struct sample samples[SAMPLES_MAX];

static uint32_t tick(struct run *r)
{
	struct wire_totals totals = {};

	for (unsigned int i = 0; i < r->n; i++)
		wire_totals_add(&totals, uring_stream_socket(r->streams[i]));
	return wire_cost_tick(r->cost, &totals);
}

/* Returns the number of samples. */
static size_t watch(struct run *r, struct egress *e, double seconds, uint32_t *cost,
		    uint64_t *late_us)
{
	uint64_t begun = clock_monotonic_us(), ticks = 0;
	size_t n = 0;

	for (; n < SAMPLES_MAX; n++) {
		uint64_t at = begun + n * SAMPLE_US;
		struct timespec ts = {(time_t)(at / 1000000), (long)(at % 1000000) * 1000};

		clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &ts, NULL);
		check(egress_tx_bytes(e, &samples[n].bytes), NULL);
		samples[n].us = clock_monotonic_us();
		if (samples[n].us - at > *late_us)
			*late_us = samples[n].us - at;
		if (samples[n].us - begun > ticks * WIRE_COST_TICK_MS * 1000) {
			*cost = tick(r);
			ticks++;
		}
		if ((double)(samples[n].us - begun) > seconds * 1e6)
			break;
	}
	return n;
}

static double rate_between(size_t from, size_t to)
{
	return (double)(samples[to].bytes - samples[from].bytes) * 1e6 /
	       (double)(samples[to].us - samples[from].us);
}

/* The rate of the window of at least us that is furthest from the cap, or highest. */
static double worst(size_t n, uint64_t us, double cap, bool highest)
{
	double found = highest ? 0 : cap;
	size_t to = 0;

	for (size_t from = 0; from < n; from++) {
		while (to < n && samples[to].us - samples[from].us < us)
			to++;
		if (to == n)
			break;
		if (highest ? rate_between(from, to) > found
			    : fabs(rate_between(from, to) - cap) > fabs(found - cap))
			found = rate_between(from, to);
	}
	return found;
}

static double cpu_s(void)
{
	struct rusage u;

	getrusage(RUSAGE_SELF, &u);
	return (double)(u.ru_utime.tv_sec + u.ru_stime.tv_sec) +
	       (double)(u.ru_utime.tv_usec + u.ru_stime.tv_usec) / 1e6;
}

static double spread(const struct run *r)
{
	uint64_t low = UINT64_MAX, high = 0, sum = 0;

	for (unsigned int i = 0; i < r->n; i++) {
		uint64_t sent = uring_stream_bytes_sent(r->streams[i]);

		low = sent < low ? sent : low;
		high = sent > high ? sent : high;
		sum += sent;
	}
	return sum ? (double)(high - low) * r->n / (double)sum : 0;
}

static void measure(struct run *r, struct egress *e, double cap, double seconds)
{
	double cpu = cpu_s();
	uint64_t late_us = 0;
	uint32_t cost = 0;
	size_t n = watch(r, e, seconds, &cost, &late_us);

	cpu = cpu_s() - cpu;
	if (n < 2)
		return;
	printf("%8.0f MiB/s %2u streams  second %+6.2f %%  run %+6.2f %%  100 ms %5.3f  cost %.4f  "
	       "cpu %3.0f %%  spread %.1f %%  late %.0f\n",
	       cap / 1048576, r->n, 100 * (worst(n, 1000000, cap, false) / cap - 1),
	       100 * (rate_between(0, n - 1) / cap - 1), worst(n, 100000, cap, true) / cap,
	       cost / 1e6, 100 * cpu / seconds, 100 * spread(r), (double)late_us / 1000);
	fflush(stdout);
}

static void send_capped(char **argv, int argc)
{
	struct run r = {.n = (unsigned int)atoi(argv[4])};
	double cap = atof(argv[5]) * 1048576, seconds = atof(argv[6]);
	struct errtext err = {0};
	struct egress *e;

	if (!r.n || r.n > STREAMS_MAX)
		exit(1);
	run_begin(&r, argv[2], (uint16_t)atoi(argv[3]), (uint64_t)cap);
	check(egress_new(uring_stream_socket(r.streams[0]), &e, &err), &err);
	measure(&r, e, cap, seconds);
	if (argc > 7) {
		cap = atof(argv[7]) * 1048576;
		pacer_set(r.pacer, (uint64_t)cap);
		measure(&r, e, cap, seconds);
	}
	run_end(&r);
	egress_destroy(e);
}

int main(int argc, char **argv)
{
	if (argc == 3 && strcmp(argv[1], "serve") == 0) {
		serve((uint16_t)atoi(argv[2]));
	} else if ((argc == 7 || argc == 8) && strcmp(argv[1], "send") == 0) {
		send_capped(argv, argc);
	} else {
		fprintf(stderr, "usage: bench-pacing serve PORT | send HOST PORT STREAMS MIB_PER_S "
				"SECONDS [MIB_PER_S]\n");
		return 1;
	}
	return 0;
}
