// SPDX-License-Identifier: Apache-2.0
// What TLS costs a stream of memory, with both ends on this machine, in two processes.
//
// bench-tls TLS_DIR [MIB [STREAMS [TIMES]]]     1024 2 3
//
// Moves MIB MiB over STREAMS connections of loopback out of one process's memory into another's, by
// plain streams and by streams under TLS, and seals and opens as much as records of 16 KiB by each
// cipher on as many threads, all within seconds of each other. A line for each: GB/s, and the CPU's
// seconds per GB of both processes together, which other load on the machine disturbs less.
// TLS_DIR: certificates of 127.0.0.1 (dray-pki). The ceiling is that of bench/migrations: 1/(1/W +
// 2/A).
#include <errno.h>
#include <openssl/evp.h>
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
#include "socket.h"
#include "tls_credentials.h"
#include "tls.h"
#include "tls_stream.h"

#define PIECE (4u << 20) /* as a full RAM frame */
#define STREAMS_MAX 16
#define TIMEOUT_MS 10000
#define TAG_SIZE 16

static const struct socket_options options = {.congestion = SOCKET_CONGESTION};

struct bench {
	struct tls_credentials *credentials;
	uint8_t *memory;
	size_t part; /* bytes of a stream */
	unsigned int streams;
	int listener;
	uint16_t port;
};

struct job {
	const struct bench *b;
	struct line line;
	struct byte_stream *stream;
	uint8_t *at;
	const EVP_CIPHER *cipher;
	bool open; /* rather than seal */
};

static void check(int ret, const struct errtext *err)
{
	if (ret < 0) {
		fprintf(stderr, "bench-tls: %s\n",
			err && err->text[0] ? err->text : strerror(-ret));
		exit(1);
	}
}

static void run(struct job *jobs, unsigned int n, void *(*main_of_one)(void *))
{
	pthread_t ids[STREAMS_MAX];

	for (unsigned int i = 0; i < n; i++)
		check(-pthread_create(&ids[i], NULL, main_of_one, &jobs[i]), NULL);
	for (unsigned int i = 0; i < n; i++)
		pthread_join(ids[i], NULL);
}

/* ---- what is measured ---- */

struct cost {
	double gb_s, cpu_s_gb;
};

static double cpu_us(void)
{
	struct rusage u;

	getrusage(RUSAGE_SELF, &u);
	return (double)(u.ru_utime.tv_sec + u.ru_stime.tv_sec) * 1e6 +
	       (double)(u.ru_utime.tv_usec + u.ru_stime.tv_usec);
}

static struct cost cost_of(const struct bench *b, double us, double used_us)
{
	double gb = (double)b->part * b->streams / 1e9;

	return (struct cost){gb / us * 1e6, used_us / 1e6 / gb};
}

/* ---- a cipher alone ---- */

static void crypt_record(EVP_CIPHER_CTX *ctx, bool open, uint8_t *at, uint8_t *out)
{
	uint8_t nonce[12] = {0}, head[5] = {23, 3, 3, 64, 17}, tag[TAG_SIZE] = {0};
	int n;

	EVP_CipherInit_ex(ctx, NULL, NULL, NULL, nonce, !open);
	EVP_CipherUpdate(ctx, NULL, &n, head, sizeof(head));
	EVP_CipherUpdate(ctx, out, &n, at, TLS_RECORD_MAX);
	if (open)
		EVP_CIPHER_CTX_ctrl(ctx, EVP_CTRL_AEAD_SET_TAG, TAG_SIZE, tag);
	EVP_CipherFinal_ex(ctx, out + n, &n);
	if (!open)
		EVP_CIPHER_CTX_ctrl(ctx, EVP_CTRL_AEAD_GET_TAG, TAG_SIZE, tag);
}

static void *crypt_main(void *arg)
{
	struct job *j = arg;
	EVP_CIPHER_CTX *ctx = EVP_CIPHER_CTX_new();
	static const uint8_t key[32] = {1};
	uint8_t out[TLS_RECORD_MAX + TAG_SIZE], in[TLS_RECORD_MAX] = {0};

	EVP_CipherInit_ex(ctx, j->cipher, NULL, key, NULL, !j->open);
	for (size_t at = 0; at < j->b->part; at += TLS_RECORD_MAX)
		crypt_record(ctx, j->open, in, out);
	EVP_CIPHER_CTX_free(ctx);
	return NULL;
}

static struct cost protect(const struct bench *b, const EVP_CIPHER *cipher, bool open)
{
	struct job jobs[STREAMS_MAX];
	double used = cpu_us();
	uint64_t begun = clock_monotonic_us();

	for (unsigned int i = 0; i < b->streams; i++)
		jobs[i] = (struct job){.b = b, .cipher = cipher, .open = open};
	run(jobs, b->streams, crypt_main);
	return cost_of(b, (double)(clock_monotonic_us() - begun), cpu_us() - used);
}

/* ---- the receiver's process ---- */

static void *receive_main(void *arg)
{
	struct job *j = arg;
	struct byte_stream *s = j->stream;
	struct errtext err = {0};
	uint8_t done = 1;

	for (size_t at = 0; at < j->b->part; at += PIECE)
		check(s->ops->recv(s, &(struct iovec){j->at + at, PIECE}, 1), &err);
	check(s->ops->send(s, &(struct iovec){&done, 1}, 1), &err);
	check(s->ops->drain(s), &err);
	s->ops->destroy(s);
	return NULL;
}

static void accept_one(const struct bench *b, bool tls, struct job *j)
{
	const struct tls_accept_options accept = {.credentials = b->credentials,
						  .timeout_ms = TIMEOUT_MS};
	char peer[SOCKET_PEER_SIZE];
	struct errtext err = {0};

	j->line = LINE_NONE;
	check(socket_accept(b->listener, &options, &j->line.fd, peer, &err), &err);
	if (tls)
		check(tls_accept(j->line.fd, &accept, &j->line.tls, &err), &err);
	check(tls_stream_new(line_steal(&j->line), NULL, &j->stream, &err), &err);
}

/* Tells what it used by the pipe. */
static void receive_all(const struct bench *b, bool tls, int told)
{
	struct job jobs[STREAMS_MAX];
	double used;

	for (unsigned int i = 0; i < b->streams; i++) {
		jobs[i] = (struct job){.b = b, .at = b->memory + i * b->part};
		accept_one(b, tls, &jobs[i]);
	}
	used = cpu_us();
	run(jobs, b->streams, receive_main);
	used = cpu_us() - used;
	check(socket_write_full(told, &used, sizeof(used), TIMEOUT_MS), NULL);
}

/* ---- the sender's ---- */

static void *send_main(void *arg)
{
	struct job *j = arg;
	struct byte_stream *s = j->stream;
	struct errtext err = {0};
	uint8_t done;

	for (size_t at = 0; at < j->b->part; at += PIECE)
		check(s->ops->send(s, &(struct iovec){j->at + at, PIECE}, 1), &err);
	check(s->ops->drain(s), &err);
	check(s->ops->recv(s, &(struct iovec){&done, 1}, 1), &err);
	return NULL;
}

static void connect_one(const struct bench *b, bool tls, struct job *j)
{
	const struct tls_connect_options connect = {
		.credentials = b->credentials, .name = "127.0.0.1", .timeout_ms = TIMEOUT_MS};
	struct errtext err = {0};

	j->line = LINE_NONE;
	check(socket_connect("127.0.0.1", b->port, &options, TIMEOUT_MS, &j->line.fd, &err), &err);
	if (tls)
		check(tls_connect(j->line.fd, &connect, &j->line.tls, &err), &err);
	check(tls_stream_new(line_steal(&j->line), NULL, &j->stream, &err), &err);
}

static struct cost move(const struct bench *b, bool tls, int told)
{
	struct job jobs[STREAMS_MAX];
	double used, theirs;
	uint64_t begun, us;

	for (unsigned int i = 0; i < b->streams; i++) {
		jobs[i] = (struct job){.b = b, .at = b->memory + i * b->part};
		connect_one(b, tls, &jobs[i]);
	}
	used = cpu_us();
	begun = clock_monotonic_us();
	run(jobs, b->streams, send_main);
	us = clock_monotonic_us() - begun;
	used = cpu_us() - used;
	check(socket_read_full(told, &theirs, sizeof(theirs), TIMEOUT_MS), NULL);
	for (unsigned int i = 0; i < b->streams; i++)
		jobs[i].stream->ops->destroy(jobs[i].stream);
	return cost_of(b, (double)us, used + theirs);
}

/* ---- both ---- */

static void show(const char *what, struct cost c)
{
	printf("%-24s %5.2f GB/s  %5.3f CPU s/GB\n", what, c.gb_s, c.cpu_s_gb);
}

static void measure(const struct bench *b, int told)
{
	struct cost seal = protect(b, EVP_aes_128_gcm(), false);
	struct cost open = protect(b, EVP_aes_128_gcm(), true);
	struct cost plain = move(b, false, told), tls = move(b, true, told);
	double ceiling = 1 / (1 / plain.gb_s + 1 / seal.gb_s + 1 / open.gb_s);

	show("AES-128-GCM sealed", seal);
	show("AES-128-GCM opened", open);
	show("AES-256-GCM sealed", protect(b, EVP_aes_256_gcm(), false));
	show("ChaCha20-Poly1305 sealed", protect(b, EVP_chacha20_poly1305(), false));
	show("plain", plain);
	show("TLS", tls);
	printf("TLS: %.2f of the ceiling %.2f GB/s; by CPU time %.2f\n\n", tls.gb_s / ceiling,
	       ceiling, (plain.cpu_s_gb + seal.cpu_s_gb + open.cpu_s_gb) / tls.cpu_s_gb);
	fflush(stdout);
}

static void memory_new(struct bench *b)
{
	b->memory = mmap(NULL, b->part * b->streams, PROT_READ | PROT_WRITE,
			 MAP_SHARED | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
	if (b->memory == MAP_FAILED)
		check(-errno, NULL);
	memset(b->memory, 0x5a, b->part * b->streams);
}

static void receiver(struct bench *b, int times, int told)
{
	memory_new(b);
	for (int i = 0; i < times; i++) {
		receive_all(b, false, told);
		receive_all(b, true, told);
	}
}

int main(int argc, char **argv)
{
	size_t mib = argc > 2 ? strtoul(argv[2], NULL, 10) : 1024;
	struct bench b = {.streams = argc > 3 ? (unsigned int)atoi(argv[3]) : 2};
	int times = argc > 4 ? atoi(argv[4]) : 3, told[2];
	struct errtext err = {0};
	pid_t child;

	if (argc < 2 || b.streams < 1 || b.streams > STREAMS_MAX) {
		fprintf(stderr, "usage: bench-tls TLS_DIR [MIB [STREAMS [TIMES]]]\n");
		return 1;
	}
	b.part = (mib << 20) / b.streams / PIECE * PIECE;
	check(tls_credentials_new(argv[1], &b.credentials, &err), &err);
	check(socket_listen(&options, 0, &b.listener, &err), &err);
	check(socket_port(b.listener, &b.port), NULL);
	check(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, told) < 0 ? -errno : 0, NULL);
	child = fork();
	if (child == 0) {
		receiver(&b, times, told[1]);
		_exit(0);
	}
	memory_new(&b);
	for (int i = 0; i < times; i++)
		measure(&b, told[0]);
	return waitpid(child, NULL, 0) == child ? 0 : 1;
}
