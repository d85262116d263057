// SPDX-License-Identifier: Apache-2.0
// The floor of a fault's latency: asking for a page over this network, with nothing else to do.
//
// bench-pingpong serve PORT
//         takes connections until killed, answers each request
// bench-pingpong ask HOST PORT N SECONDS
//         N connections in parallel, one request at a time on each; prints
//         {"connections":N,"count":,"p50_us":,"p99_us":,"max_us":}
//
// A request is as long as a page request on dray's wire, an answer as a page of 4 KiB with all that
// goes with it. Plain blocking calls, a thread a connection: what the simplest page server costs.
#include <inttypes.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "clock.h"
#include "histogram.h"
#include "socket.h"

#define REQUEST 32
#define ANSWER (4096 + 512)
#define CONNECT_MS 5000
#define ANSWER_MS 10000
#define CONNECTIONS_MAX 256
#define WARM_UP_US 200000 /* slow start, and threads finding their cores */

static const struct socket_options options = {.congestion = SOCKET_CONGESTION};

static void check(int ret, const struct errtext *err)
{
	if (ret < 0) {
		fprintf(stderr, "bench-pingpong: %s\n", err->text[0] ? err->text : strerror(-ret));
		exit(1);
	}
}

static void *answer(void *arg)
{
	int fd = (int)(intptr_t)arg;
	char request[REQUEST], page[ANSWER];

	memset(page, 0x5a, sizeof(page));
	while (socket_read_full(fd, request, sizeof(request), -1) == 0 &&
	       socket_write_full(fd, page, sizeof(page), -1) == 0)
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
		char peer[SOCKET_PEER_SIZE];
		pthread_t id;
		int c;

		check(socket_accept(fd, &options, &c, peer, &err), &err);
		check(-pthread_create(&id, NULL, answer, (void *)(intptr_t)c), &err);
		pthread_detach(id);
	}
}

struct asker {
	pthread_t thread;
	int fd;
	uint64_t count_from, end; /* CLOCK_MONOTONIC, microseconds */
	struct histogram *latency;
};

static void *ask(void *arg)
{
	struct asker *a = arg;
	struct errtext err = {0};
	char request[REQUEST] = {0}, page[ANSWER];
	uint64_t begun, now = clock_monotonic_us();

	while (now < a->end) {
		begun = now;
		check(socket_write_full(a->fd, request, sizeof(request), ANSWER_MS), &err);
		check(socket_read_full(a->fd, page, sizeof(page), ANSWER_MS), &err);
		now = clock_monotonic_us();
		if (begun >= a->count_from)
			histogram_add(a->latency, now - begun);
	}
	return NULL;
}

static void print(const struct histogram *latency, unsigned int n)
{
	printf("{\"connections\":%u,\"count\":%" PRIu64 ",\"p50_us\":%" PRIu64
	       ",\"p99_us\":%" PRIu64 ",\"max_us\":%" PRIu64 "}\n",
	       n, histogram_count(latency), histogram_percentile(latency, 500),
	       histogram_percentile(latency, 990), histogram_max(latency));
}

static void ask_all(const char *host, uint16_t port, unsigned int n, unsigned int seconds)
{
	static struct asker askers[CONNECTIONS_MAX];
	static struct histogram latency;
	struct errtext err = {0};
	uint64_t begun;

	for (unsigned int i = 0; i < n; i++)
		check(socket_connect(host, port, &options, CONNECT_MS, &askers[i].fd, &err), &err);
	begun = clock_monotonic_us();
	for (unsigned int i = 0; i < n; i++) {
		askers[i].latency = &latency;
		askers[i].count_from = begun + WARM_UP_US;
		askers[i].end = begun + WARM_UP_US + seconds * 1000000ull;
		check(-pthread_create(&askers[i].thread, NULL, ask, &askers[i]), &err);
	}
	for (unsigned int i = 0; i < n; i++)
		pthread_join(askers[i].thread, NULL);
	print(&latency, n);
}

int main(int argc, char **argv)
{
	unsigned int n = argc == 6 ? (unsigned int)atoi(argv[4]) : 0;

	if (argc == 3 && strcmp(argv[1], "serve") == 0) {
		serve((uint16_t)atoi(argv[2]));
	} else if (n >= 1 && n <= CONNECTIONS_MAX && strcmp(argv[1], "ask") == 0) {
		ask_all(argv[2], (uint16_t)atoi(argv[3]), n, (unsigned int)atoi(argv[5]));
	} else {
		fprintf(stderr, "usage: bench-pingpong serve PORT | ask HOST PORT 1..%d SECONDS\n",
			CONNECTIONS_MAX);
		return 1;
	}
	return 0;
}
