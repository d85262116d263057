// SPDX-License-Identifier: Apache-2.0
// What the engine adds to a stream of memory, with both ends on this machine, in two processes.
//
// bench-engine TLS_DIR [huge|small [DATA_MIB [ZERO_MIB [TIMES [REPEAT]]]]]     huge 1024 0 3 1
//
// A guest's RAM of DATA_MIB MiB, whose words stand there REPEAT times each, so that data can be
// compressed or not, and ZERO_MIB MiB of zeroes is moved by the source's first round over two
// connections of loopback, plain and by TLS, into memory that was preallocated (huge pages) or not
// (small ones): as it is, with compression by itself, and always compressed; and before that, as
// the ceiling, the same bytes by the same streams with nothing to do. A line for each: GB/s of the
// data, and the CPU's seconds per GB of both processes together, which other load on the machine
// disturbs less. Without a guest, so that nothing else is measured. TLS_DIR: certificates of
// 127.0.0.1 (dray-pki).
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>
#include "clock.h"
#include "destination.h"
#include "ram_access.h"
#include "socket.h"
#include "source.h"
#include "tls.h"
#include "tls_credentials.h"
#include "tls_stream.h"
#include "tracking.h"

#define STREAMS 2
#define PIECE (4u << 20) /* as a full RAM frame */
#define HUGE_SIZE (2u << 20)
#define TIMEOUT_MS 10000

static const struct socket_options options = {.congestion = SOCKET_CONGESTION};

struct bench {
	struct tls_credentials *credentials;
	uint64_t data, zero; /* bytes */
	uint64_t repeat;     /* of each word */
	uint32_t page_size;
	int listener;
	uint16_t port;
	int told[2]; /* a socket pair: the receiver's words at [1] */
};

static void check(int ret, const struct errtext *err)
{
	if (ret < 0) {
		fprintf(stderr, "bench-engine: %s\n",
			err && err->text[0] ? err->text : strerror(-ret));
		exit(1);
	}
}

static double cpu_us(void)
{
	struct rusage u;

	getrusage(RUSAGE_SELF, &u);
	return (double)(u.ru_utime.tv_sec + u.ru_stime.tv_sec) * 1e6 +
	       (double)(u.ru_utime.tv_usec + u.ru_stime.tv_usec);
}

/* ---- memory ---- */

static void *map(int fd, uint64_t size)
{
	void *p = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);

	check(p == MAP_FAILED ? -errno : 0, NULL);
	return p;
}

/* The guest's own mapping is another one, as it is in QEMU. */
static void ram_new(const struct bench *b, struct ram_map *ram)
{
	struct ram_block block = {
		.name = "pc.ram", .size = b->data + b->zero, .page_size = b->page_size};
	struct errtext err = {0};
	bool huge = b->page_size > RAM_PAGE_SIZE;

	block.fd = memfd_create("bench", MFD_CLOEXEC | (huge ? MFD_HUGETLB : 0));
	check(block.fd < 0 || ftruncate(block.fd, (off_t)block.size) < 0 ? -errno : 0, NULL);
	block.map = map(block.fd, block.size);
	block.qemu_addr = (uintptr_t)map(block.fd, block.size);
	if (huge) {
		check(madvise((void *)(uintptr_t)block.qemu_addr, block.size, MADV_POPULATE_WRITE) <
				      0
			      ? -errno
			      : 0,
		      NULL);
		check(hole_probe_new(block.fd, block.size, b->page_size, &block.probe), NULL);
	}
	check(ram_map_add(ram, &block, &err), &err);
}

static void fill(const struct ram_map *ram, uint64_t size, uint64_t repeat)
{
	uint64_t *word = (uint64_t *)(uintptr_t)ram->blocks[0].qemu_addr, state = 1;

	for (uint64_t i = 0; i < size / sizeof(*word); i++) {
		word[i] = state;
		if (i % repeat)
			continue;
		state ^= state << 13;
		state ^= state >> 7;
		state ^= state << 17;
	}
}

/* ---- the receiver's process ---- */

struct receiver {
	struct destination *destination; /* NULL: bytes alone */
	struct byte_stream *stream;
	unsigned int index;
	uint8_t *at;
	uint64_t size;
};

static void *receive_main(void *arg)
{
	struct receiver *r = arg;
	struct errtext err = {0};

	if (r->destination)
		check(destination_receive(r->destination, r->index, r->stream, &err), &err);
	for (uint64_t at = 0; !r->destination && at < r->size; at += PIECE)
		check(r->stream->ops->recv(r->stream, &(struct iovec){r->at + at, PIECE}, 1), &err);
	return NULL;
}

static struct byte_stream *accept_one(const struct bench *b, bool tls)
{
	const struct tls_accept_options accept = {.credentials = b->credentials,
						  .timeout_ms = TIMEOUT_MS};
	struct line line = LINE_NONE;
	struct byte_stream *stream;
	char peer[SOCKET_PEER_SIZE];
	struct errtext err = {0};

	check(socket_accept(b->listener, &options, &line.fd, peer, &err), &err);
	if (tls)
		check(tls_accept(line.fd, &accept, &line.tls, &err), &err);
	check(tls_stream_new(line_steal(&line), NULL, &stream, &err), &err);
	return stream;
}

/* Tells what it used. */
static void receive(const struct bench *b, struct ram_map *ram, bool tls, bool engine)
{
	const struct destination_options to = {.ram = ram};
	struct destination *destination = NULL;
	struct receiver r[STREAMS];
	pthread_t ids[STREAMS];
	struct errtext err = {0};
	double used;

	if (engine)
		check(destination_new(&to, &destination, &err), &err);
	for (unsigned int i = 0; i < STREAMS; i++)
		r[i] = (struct receiver){destination, accept_one(b, tls), i,
					 ram->blocks[0].map + i * (b->data / STREAMS),
					 b->data / STREAMS};
	used = cpu_us();
	for (unsigned int i = 0; i < STREAMS; i++)
		check(-pthread_create(&ids[i], NULL, receive_main, &r[i]), NULL);
	for (unsigned int i = 0; i < STREAMS; i++)
		pthread_join(ids[i], NULL);
	used = cpu_us() - used;
	check(socket_write_full(b->told[1], &used, sizeof(used), TIMEOUT_MS), NULL);
	for (unsigned int i = 0; i < STREAMS; i++)
		r[i].stream->ops->destroy(r[i].stream);
	destination_destroy(destination);
}

/* ---- the sender's ---- */

struct sending {
	struct byte_stream *stream;
	uint8_t *at;
	uint64_t size;
};

static void *send_main(void *arg)
{
	struct sending *s = arg;

	for (uint64_t at = 0; at < s->size; at += PIECE)
		check(s->stream->ops->send(s->stream, &(struct iovec){s->at + at, PIECE}, 1), NULL);
	check(s->stream->ops->drain(s->stream), NULL);
	return NULL;
}

static void send_bytes(const struct bench *b, const struct ram_map *ram,
		       struct byte_stream *const *streams)
{
	struct sending s[STREAMS];
	pthread_t ids[STREAMS];

	for (unsigned int i = 0; i < STREAMS; i++) {
		s[i] = (struct sending){streams[i], ram->blocks[0].map + i * (b->data / STREAMS),
					b->data / STREAMS};
		check(-pthread_create(&ids[i], NULL, send_main, &s[i]), NULL);
	}
	for (unsigned int i = 0; i < STREAMS; i++)
		pthread_join(ids[i], NULL);
}

struct ending {
	pthread_mutex_t lock;
	pthread_cond_t over;
	bool done;
};

static void on_done(void *opaque, const struct source_round *round)
{
	struct ending *e = opaque;

	check(round->result, &round->err);
	pthread_mutex_lock(&e->lock);
	e->done = true;
	pthread_cond_signal(&e->over);
	pthread_mutex_unlock(&e->lock);
}

static void send_round(const struct ram_map *ram, struct byte_stream **streams,
		       struct compression compression)
{
	struct ending e = {PTHREAD_MUTEX_INITIALIZER, PTHREAD_COND_INITIALIZER, false};
	struct source_options from = {.ram = ram,
				      .streams = streams,
				      .stream_count = STREAMS,
				      .compression = compression,
				      .round_done = on_done,
				      .opaque = &e};
	struct source *source;
	struct errtext err = {0};

	check(tracker_new(bench_tracking_fd(), getpid(), ram, &from.tracker, &err), &err);
	check(source_new(&from, &source, &err), &err);
	source_round_start(source, 1, SOURCE_ROUND_LIVE);
	pthread_mutex_lock(&e.lock);
	while (!e.done)
		pthread_cond_wait(&e.over, &e.lock);
	pthread_mutex_unlock(&e.lock);
	source_destroy(source);
	tracker_destroy(from.tracker);
}

static struct byte_stream *connect_one(const struct bench *b, bool tls)
{
	const struct tls_connect_options connect = {
		.credentials = b->credentials, .name = "127.0.0.1", .timeout_ms = TIMEOUT_MS};
	struct line line = LINE_NONE;
	struct byte_stream *stream;
	struct errtext err = {0};

	check(socket_connect("127.0.0.1", b->port, &options, TIMEOUT_MS, &line.fd, &err), &err);
	if (tls)
		check(tls_connect(line.fd, &connect, &line.tls, &err), &err);
	check(tls_stream_new(line_steal(&line), NULL, &stream, &err), &err);
	return stream;
}

static const struct run {
	const char *what;
	bool tls, engine;
	struct compression compression;
} runs[] = {{"bare", false, false, {COMPRESSION_NONE, 0}},
	    {"bare, TLS", true, false, {COMPRESSION_NONE, 0}},
	    {"engine", false, true, {COMPRESSION_NONE, 0}},
	    {"engine, auto", false, true, {COMPRESSION_AUTO, 0}},
	    {"engine, zstd", false, true, {COMPRESSION_ZSTD, 1}},
	    {"engine, TLS", true, true, {COMPRESSION_NONE, 0}},
	    {"auto, TLS", true, true, {COMPRESSION_AUTO, 0}},
	    {"zstd, TLS", true, true, {COMPRESSION_ZSTD, 1}}};

static void move(const struct bench *b, const struct ram_map *ram, const struct run *run)
{
	struct byte_stream *streams[STREAMS];
	double used, theirs, gb = (double)b->data / 1e9;
	uint64_t begun;

	for (unsigned int i = 0; i < STREAMS; i++)
		streams[i] = connect_one(b, run->tls);
	used = cpu_us();
	begun = clock_monotonic_us();
	if (run->engine)
		send_round(ram, streams, run->compression);
	else
		send_bytes(b, ram, streams);
	used = cpu_us() - used;
	for (unsigned int i = 0; i < STREAMS; i++)
		streams[i]->ops->destroy(streams[i]); /* the end of the receiver's stream */
	check(socket_read_full(b->told[0], &theirs, sizeof(theirs), TIMEOUT_MS), NULL);
	printf("%-14s %5.2f GB/s  %5.3f CPU s/GB (source %5.3f, destination %5.3f)\n", run->what,
	       gb / (double)(clock_monotonic_us() - begun) * 1e6, (used + theirs) / 1e6 / gb,
	       used / 1e6 / gb, theirs / 1e6 / gb);
	fflush(stdout);
}

/* ---- both ---- */

#define RUNS (sizeof(runs) / sizeof(*runs))

static void receiver(const struct bench *b, int times)
{
	struct ram_map ram = {0};

	ram_new(b, &ram);
	for (int i = 0; i < times; i++)
		for (size_t j = 0; j < RUNS; j++)
			receive(b, &ram, runs[j].tls, runs[j].engine);
}

static void sender(const struct bench *b, int times)
{
	struct ram_map ram = {0};

	ram_new(b, &ram);
	fill(&ram, b->data, b->repeat);
	for (int i = 0; i < times; i++)
		for (size_t j = 0; j < RUNS; j++)
			move(b, &ram, &runs[j]);
}

int main(int argc, char **argv)
{
	struct bench b = {.data = 1024u << 20, .page_size = HUGE_SIZE, .repeat = 1};
	int times = argc > 5 ? atoi(argv[5]) : 3;
	struct errtext err = {0};
	pid_t child;

	if (argc < 2) {
		fprintf(stderr, "usage: bench-engine TLS_DIR [huge|small [DATA_MIB [ZERO_MIB "
				"[TIMES [REPEAT]]]]]\n");
		return 1;
	}
	if (argc > 2 && strcmp(argv[2], "small") == 0)
		b.page_size = RAM_PAGE_SIZE;
	if (argc > 3)
		b.data = strtoull(argv[3], NULL, 10) << 20;
	if (argc > 4)
		b.zero = strtoull(argv[4], NULL, 10) << 20;
	if (argc > 6 && strtoull(argv[6], NULL, 10))
		b.repeat = strtoull(argv[6], NULL, 10);
	ram_access_init();
	check(tls_credentials_new(argv[1], &b.credentials, &err), &err);
	check(socket_listen(&options, 0, &b.listener, &err), &err);
	check(socket_port(b.listener, &b.port), NULL);
	check(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, b.told) < 0 ? -errno : 0, NULL);
	child = fork();
	if (child == 0) {
		receiver(&b, times);
		_exit(0);
	}
	sender(&b, times);
	return waitpid(child, NULL, 0) == child ? 0 : 1;
}
