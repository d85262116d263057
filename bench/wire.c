// SPDX-License-Identifier: Apache-2.0
// The ceiling: how fast can bytes go from memory to memory over this network, with nothing to do?
//
// bench-wire serve PORT            takes connections until killed, receives into its own memory
// bench-wire send HOST PORT N MIB  sends MIB MiB over N connections out of memory written before;
//                                  prints GB/s, until the other side has confirmed every byte
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>
#include "clock.h"
#include "socket.h"
#include "uring_stream.h"

#define PIECE (4u << 20) /* as a full RAM frame */

static const struct socket_options options = {.congestion = SOCKET_CONGESTION};

static uint8_t *memory(size_t size)
{
	uint8_t *p = mmap(NULL, size, PROT_READ | PROT_WRITE,
			  MAP_SHARED | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);

	if (p == MAP_FAILED) {
		perror("mmap");
		exit(1);
	}
	memset(p, 0x5a, size);
	return p;
}

static void check(int ret, const struct errtext *err)
{
	if (ret < 0) {
		fprintf(stderr, "%s\n", err->text[0] ? err->text : strerror(-ret));
		exit(1);
	}
}

/* One connection: 8 bytes of length, one byte back, then so many bytes, then one byte back. */
static void *serve_one(void *arg)
{
	int fd = (int)(intptr_t)arg;
	struct byte_stream *s;
	struct errtext err = {0};
	uint64_t left;

	check(uring_stream_new(fd, NULL, &s, &err), &err);
	if (s->ops->recv(s, &(struct iovec){&left, sizeof(left)}, 1) == 0) {
		uint8_t *to = memory(left);
		size_t size = left;

		check(s->ops->send(s, &(struct iovec){&left, 1}, 1), &err); /* ready */
		for (size_t at = 0; at < size; at += PIECE) {
			size_t n = size - at < PIECE ? size - at : PIECE;

			check(s->ops->recv(s, &(struct iovec){to + at, n}, 1), &err);
		}
		check(s->ops->send(s, &(struct iovec){&left, 1}, 1), &err);
		check(s->ops->drain(s), &err);
		munmap(to, size);
	}
	s->ops->destroy(s);
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
		if (pthread_create(&id, NULL, serve_one, (void *)(intptr_t)c) == 0)
			pthread_detach(id);
	}
}

struct job {
	struct byte_stream *stream;
	uint8_t *from;
	uint64_t size;
};

static void *send_one(void *arg)
{
	struct job *j = arg;
	struct byte_stream *s = j->stream;
	struct errtext err = {0};
	uint8_t done;

	for (size_t at = 0; at < j->size; at += PIECE) {
		size_t n = j->size - at < PIECE ? j->size - at : PIECE;

		check(s->ops->send(s, &(struct iovec){j->from + at, n}, 1), &err);
	}
	check(s->ops->drain(s), &err);
	check(s->ops->recv(s, &(struct iovec){&done, 1}, 1), &err);
	return NULL;
}

static void send_all(const char *host, uint16_t port, unsigned int n, uint64_t size)
{
	struct job *jobs = calloc(n, sizeof(*jobs));
	pthread_t *ids = calloc(n, sizeof(*ids));
	struct errtext err = {0};
	uint64_t begun, us;
	uint8_t ready;

	for (unsigned int i = 0; i < n; i++) {
		int fd;

		jobs[i].size = size / n;
		jobs[i].from = memory(jobs[i].size);
		check(socket_connect(host, port, &options, 5000, &fd, &err), &err);
		check(uring_stream_new(fd, NULL, &jobs[i].stream, &err), &err);
		check(socket_write_full(fd, &jobs[i].size, sizeof(jobs[i].size), 5000), &err);
	}
	for (unsigned int i = 0; i < n; i++) /* the other side has its memory */
		check(jobs[i].stream->ops->recv(jobs[i].stream, &(struct iovec){&ready, 1}, 1),
		      &err);
	begun = clock_monotonic_us();
	for (unsigned int i = 0; i < n; i++)
		pthread_create(&ids[i], NULL, send_one, &jobs[i]);
	for (unsigned int i = 0; i < n; i++)
		pthread_join(ids[i], NULL);
	us = clock_monotonic_us() - begun;
	printf("%.2f\n", (double)size / 1000 / (double)us);
}

int main(int argc, char **argv)
{
	if (argc == 3 && strcmp(argv[1], "serve") == 0) {
		serve((uint16_t)atoi(argv[2]));
	} else if (argc == 6 && strcmp(argv[1], "send") == 0) {
		send_all(argv[2], (uint16_t)atoi(argv[3]), (unsigned int)atoi(argv[4]),
			 strtoull(argv[5], NULL, 10) << 20);
	} else {
		fprintf(stderr, "usage: bench-wire serve PORT | send HOST PORT STREAMS MIB\n");
		return 1;
	}
	return 0;
}
