// SPDX-License-Identifier: Apache-2.0
// A stream under TLS against another: whatever pieces are sent, the same bytes arrive.
#include <criterion/criterion.h>
#include <errno.h>
#include <limits.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>
#include "line.h"
#include "ram_access.h"
#include "tls_files.h"
#include "tls_stream.h"
#include "uring_stream.h"

#define PATIENT_MS 20000
#define BIG ((size_t)8 << 20)

TestSuite(tls_stream, .timeout = 60);

struct fixture {
	struct tls_hosts h;
	struct tls_credentials *from, *to;
	struct line lines[2];
	struct byte_stream *out, *in;
	int ret;
};

static void *accept_main(void *arg)
{
	struct fixture *f = arg;
	const struct tls_accept_options options = {.credentials = f->to, .timeout_ms = PATIENT_MS};

	f->ret = tls_accept(f->lines[1].fd, &options, &f->lines[1].tls, NULL);
	return NULL;
}

static void open_lines(struct fixture *f)
{
	struct tls_connect_options options = {.name = "127.0.0.1", .timeout_ms = PATIENT_MS};
	struct errtext err = {0};
	pthread_t thread;
	int fds[2];

	memset(f, 0, sizeof(*f));
	tls_hosts_open(&f->h);
	cr_assert_eq(tls_credentials_new(f->h.source, &f->from, &err), 0, "%s", err.text);
	cr_assert_eq(tls_credentials_new(f->h.destination, &f->to, &err), 0, "%s", err.text);
	cr_assert_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), 0);
	f->lines[0] = line_plain(fds[0]);
	f->lines[1] = line_plain(fds[1]);
	options.credentials = f->from;
	cr_assert_eq(pthread_create(&thread, NULL, accept_main, f), 0);
	cr_assert_eq(tls_connect(fds[0], &options, &f->lines[0].tls, &err), 0, "%s", err.text);
	pthread_join(thread, NULL);
	cr_assert_eq(f->ret, 0);
}

static void open_streams(struct fixture *f)
{
	struct errtext err = {0};

	open_lines(f);
	cr_assert_eq(tls_stream_new(line_steal(&f->lines[0]), NULL, &f->out, &err), 0, "%s",
		     err.text);
	cr_assert_eq(tls_stream_new(line_steal(&f->lines[1]), NULL, &f->in, &err), 0, "%s",
		     err.text);
}

static void end(struct byte_stream **stream)
{
	if (*stream)
		(*stream)->ops->destroy(*stream);
	*stream = NULL;
}

static void close_all(struct fixture *f)
{
	end(&f->out);
	end(&f->in);
	line_close(&f->lines[0]);
	line_close(&f->lines[1]);
	tls_credentials_destroy(f->from);
	tls_credentials_destroy(f->to);
	tls_hosts_close(&f->h);
}

/* Cut into pieces of all sizes, some of them more than a record. */
static unsigned int cut(uint8_t *at, size_t size, unsigned int seed, struct iovec *iov)
{
	unsigned int n = 0;

	while (size) {
		size_t some = (size_t)rand_r(&seed) % (n % 4 == 3 ? 100000 : 9000) + 1;

		some = some < size && n < IOV_MAX - 1 ? some : size;
		iov[n++] = (struct iovec){at, some};
		at += some;
		size -= some;
	}
	return n;
}

struct sending {
	struct fixture *f;
	uint8_t *bytes;
	unsigned int times;
	int ret;
};

static void *send_main(void *arg)
{
	struct sending *s = arg;
	struct byte_stream *out = s->f->out;
	struct iovec iov[IOV_MAX];

	for (unsigned int i = 0; i < s->times && s->ret == 0; i++)
		s->ret = out->ops->send(out, iov, cut(s->bytes, BIG, i + 1, iov));
	if (s->ret == 0)
		s->ret = out->ops->drain(out);
	return NULL;
}

static void cross(struct fixture *f, unsigned int times)
{
	struct sending s = {.f = f, .bytes = malloc(BIG), .times = times};
	uint8_t *got = malloc(BIG);
	struct iovec iov[IOV_MAX];
	pthread_t thread;

	for (size_t i = 0; i < BIG; i++)
		s.bytes[i] = (uint8_t)(i * 2654435761u >> 13);
	cr_assert_eq(pthread_create(&thread, NULL, send_main, &s), 0);
	for (unsigned int i = 0; i < times; i++) {
		memset(got, 0, BIG);
		cr_assert_eq(f->in->ops->recv(f->in, iov, cut(got, BIG, 77 * i + 5, iov)), 0);
		cr_assert_eq(memcmp(got, s.bytes, BIG), 0);
	}
	pthread_join(thread, NULL);
	cr_assert_eq(s.ret, 0);
	free(s.bytes);
	free(got);
}

Test(tls_stream, all_pieces_arrive)
{
	struct fixture f;

	open_streams(&f);
	cross(&f, 3);
	cr_assert_gt(uring_stream_bytes_sent(f.out), 3 * BIG, "counted as the socket has them");
	cr_assert_eq(uring_stream_bytes_sent(f.out), uring_stream_bytes_received(f.in));
	close_all(&f);
}

Test(tls_stream, keys_are_renewed_on_the_way)
{
	struct fixture f;
	struct tls *tls;

	open_lines(&f);
	tls = f.lines[0].tls;
	tls_set_record_limit(tls, 100);
	cr_assert_eq(tls_stream_new(line_steal(&f.lines[0]), NULL, &f.out, NULL), 0);
	cr_assert_eq(tls_stream_new(line_steal(&f.lines[1]), NULL, &f.in, NULL), 0);
	cross(&f, 2);
	cr_assert_geq(tls_key_updates(tls), 2 * BIG / TLS_RECORD_MAX / 100);
	close_all(&f);
}

Test(tls_stream, small_ones_go_to_and_fro)
{
	struct fixture f;

	open_streams(&f);
	for (int i = 0; i < 1000; i++) {
		char request[16] = "a page, please", page[4096] = "here";

		cr_assert_eq(f.out->ops->send(f.out, &(struct iovec){request, 16}, 1), 0);
		cr_assert_eq(f.in->ops->recv(f.in, &(struct iovec){request, 16}, 1), 0);
		cr_assert_eq(f.in->ops->send(f.in, &(struct iovec){page, sizeof(page)}, 1), 0);
		cr_assert_eq(f.out->ops->recv(f.out, &(struct iovec){page, sizeof(page)}, 1), 0);
	}
	close_all(&f);
}

Test(tls_stream, an_end_in_order)
{
	struct fixture f;
	char byte = 'a', two[2];

	open_streams(&f);
	cr_assert_eq(f.out->ops->send(f.out, &(struct iovec){&byte, 1}, 1), 0);
	cr_assert_eq(f.out->ops->drain(f.out), 0);
	end(&f.out);
	cr_assert_eq(f.in->ops->recv(f.in, &(struct iovec){&byte, 1}, 1), 0);
	cr_assert_eq(f.in->ops->recv(f.in, &(struct iovec){two, 2}, 1), -ENODATA);
	close_all(&f);
}

Test(tls_stream, an_end_in_the_middle)
{
	struct fixture f;
	char byte = 'a', two[2];

	open_streams(&f);
	cr_assert_eq(f.out->ops->send(f.out, &(struct iovec){&byte, 1}, 1), 0);
	cr_assert_eq(f.out->ops->drain(f.out), 0);
	end(&f.out);
	cr_assert_eq(f.in->ops->recv(f.in, &(struct iovec){two, 2}, 1), -ECONNRESET);
	close_all(&f);
}

Test(tls_stream, a_cut_is_no_end)
{
	struct fixture f;
	char byte;

	open_streams(&f);
	shutdown(uring_stream_socket(f.out), SHUT_RDWR);
	cr_assert_eq(f.in->ops->recv(f.in, &(struct iovec){&byte, 1}, 1), -ECONNRESET);
	close_all(&f);
}

static void *shut_main(void *arg)
{
	struct fixture *f = arg;

	f->in->ops->shutdown(f->in);
	return NULL;
}

Test(tls_stream, shutdown_wakes_who_waits)
{
	struct fixture f;
	pthread_t thread;
	char byte;

	open_streams(&f);
	cr_assert_eq(pthread_create(&thread, NULL, shut_main, &f), 0);
	cr_assert_eq(f.in->ops->recv(f.in, &(struct iovec){&byte, 1}, 1), -ECANCELED);
	cr_assert_eq(f.in->ops->send(f.in, &(struct iovec){&byte, 1}, 1), -ECANCELED);
	pthread_join(thread, NULL);
	close_all(&f);
}

/* ---- memory that cannot be had ---- */

/* Two pages, of which the file has only the first. */
static uint8_t *map_half(void)
{
	int fd = memfd_create("half", MFD_CLOEXEC);
	uint8_t *map;

#ifdef __SANITIZE_THREAD__
	cr_skip_test("its runtime does not survive a jump out of SIGBUS");
#endif
	ram_access_init();
	cr_assert_eq(ftruncate(fd, RAM_PAGE_SIZE), 0);
	map = mmap(NULL, 2 * RAM_PAGE_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	cr_assert_neq(map, MAP_FAILED);
	close(fd);
	return map;
}

Test(tls_stream, what_cannot_be_read_is_an_error_of_this_stream)
{
	struct fixture f;
	uint8_t *map = map_half();
	struct iovec iov = {map, 2 * RAM_PAGE_SIZE};

	open_streams(&f);
	cr_assert_eq(f.out->ops->send(f.out, &iov, 1), -EFAULT);
	cr_assert_eq(f.out->ops->send(f.out, &iov, 1), -EFAULT, "from then on");
	munmap(map, iov.iov_len);
	close_all(&f);
}

Test(tls_stream, what_cannot_be_written_is_an_error_of_this_stream)
{
	static uint8_t bytes[2 * RAM_PAGE_SIZE];
	struct fixture f;
	uint8_t *map = map_half();
	struct iovec out = {bytes, sizeof(bytes)}, in = {map, sizeof(bytes)};

	open_streams(&f);
	cr_assert_eq(f.out->ops->send(f.out, &out, 1), 0);
	cr_assert_eq(f.out->ops->drain(f.out), 0);
	cr_assert_eq(f.in->ops->recv(f.in, &in, 1), -EFAULT);
	munmap(map, in.iov_len);
	close_all(&f);
}
