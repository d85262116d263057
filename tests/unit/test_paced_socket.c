// SPDX-License-Identifier: Apache-2.0
// A socket under a pacer: what may go, and how little stays in its buffer when nobody reads.
#include <criterion/criterion.h>
#include <errno.h>
#include <linux/sockios.h>
#include <poll.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>
#include "paced_socket.h"
#include "pacer.h"
#include "socket.h"

#define FAST 1000000000ull /* bytes/s */
#define BIG ((size_t)4 << 20)
#define SUPER_PACKET 65536 /* TCP fills up the last one, whatever the limit */

TestSuite(paced_socket, .timeout = 60);

static void tcp_pair(int fds[2])
{
	struct socket_options opt = {.bind = "127.0.0.1"};
	struct errtext err = {};
	char peer[SOCKET_PEER_SIZE];
	uint16_t port;
	int listener;

	cr_assert_eq(socket_listen(&opt, 0, &listener, &err), 0, "%s", err.text);
	cr_assert_eq(socket_port(listener, &port), 0);
	cr_assert_eq(socket_connect("127.0.0.1", port, NULL, 5000, &fds[0], &err), 0, "%s",
		     err.text);
	cr_assert_eq(socket_accept(listener, NULL, &fds[1], peer, &err), 0, "%s", err.text);
	close(listener);
}

static size_t unsent(int fd)
{
	int bytes = 0;

	cr_assert_eq(ioctl(fd, SIOCOUTQNSD, &bytes), 0);
	return (size_t)bytes;
}

static bool writable(int fd)
{
	struct pollfd p = {.fd = fd, .events = POLLOUT};

	return poll(&p, 1, 0);
}

/* Send under the pacer until the socket is stuck. Returns the most that it let go at a time. */
static size_t fill(struct paced_socket *s)
{
	char *buf = calloc(1, BIG);
	const atomic_bool cancel = false;
	size_t most = 0;

	do {
		size_t granted;

		cr_assert_eq(paced_socket_take(s, BIG, &cancel, &granted), 0);
		most = granted > most ? granted : most;
		while (granted) {
			ssize_t n = send(s->fd, buf, granted, MSG_DONTWAIT);

			if (n <= 0)
				break;
			granted -= (size_t)n;
		}
	} while (writable(s->fd));
	free(buf);
	return most;
}

Test(paced_socket, little_stays_unsent_when_nobody_reads)
{
	struct paced_socket s = {};
	int fds[2];

	tcp_pair(fds);
	s.fd = fds[0];
	cr_assert_eq(pacer_new(FAST, &s.pacer), 0);
	cr_assert_leq(fill(&s), pacer_schedule_quantum(FAST));
	cr_assert(s.limited);
	cr_assert_leq(unsent(s.fd), pacer_schedule_quantum(FAST) + SUPER_PACKET);
	pacer_destroy(s.pacer);
	close(fds[0]);
	close(fds[1]);
}

struct stuck {
	struct paced_socket socket;
	atomic_bool cancel;
	size_t granted;
	int result;
};

static void *take(void *arg)
{
	struct stuck *t = arg;

	t->result = paced_socket_take(&t->socket, 1000, &t->cancel, &t->granted);
	return NULL;
}

Test(paced_socket, a_stuck_one_is_woken_by_shutdown)
{
	struct stuck t = {};
	pthread_t thread;
	int fds[2];

	tcp_pair(fds);
	t.socket.fd = fds[0];
	cr_assert_eq(pacer_new(FAST, &t.socket.pacer), 0);
	fill(&t.socket);
	cr_assert_eq(pthread_create(&thread, NULL, take, &t), 0);
	atomic_store(&t.cancel, true);
	shutdown(fds[0], SHUT_RDWR);
	pacer_kick(t.socket.pacer);
	pthread_join(thread, NULL);
	cr_assert_eq(t.result, -ECANCELED);
	pacer_destroy(t.socket.pacer);
	close(fds[0]);
	close(fds[1]);
}

Test(paced_socket, without_a_cap_there_is_no_limit)
{
	const atomic_bool cancel = false;
	struct paced_socket s = {};
	size_t granted;
	int fds[2];

	tcp_pair(fds);
	s.fd = fds[0];
	cr_assert_eq(paced_socket_take(&s, SIZE_MAX, &cancel, &granted), 0);
	cr_assert_eq(granted, SIZE_MAX);
	cr_assert_eq(pacer_new(FAST, &s.pacer), 0);
	fill(&s);
	/* The limit goes with the cap: the socket takes more again. */
	pacer_set(s.pacer, 0);
	close(fds[1]);
	cr_assert_eq(paced_socket_take(&s, SIZE_MAX, &cancel, &granted), 0);
	cr_assert_eq(granted, SIZE_MAX);
	cr_assert_not(s.limited);
	pacer_destroy(s.pacer);
	close(fds[0]);
}

/* It would wait for hours. */
Test(paced_socket, an_urgent_one_never_waits)
{
	const atomic_bool cancel = false;
	struct paced_socket s = {.fd = -1, .urgent = true};
	size_t granted;

	cr_assert_eq(pacer_new(1, &s.pacer), 0);
	for (int i = 0; i < 10; i++) {
		cr_assert_eq(paced_socket_take(&s, 10000, &cancel, &granted), 0);
		cr_assert_eq(granted, 10000);
	}
	pacer_destroy(s.pacer);
}

Test(paced_socket, others_wait_for_what_was_urgent)
{
	const atomic_bool cancel = false;
	struct paced_socket s = {.fd = -1, .urgent = true};
	struct timespec start, end;
	size_t granted;
	double elapsed;

	clock_gettime(CLOCK_MONOTONIC, &start);
	cr_assert_eq(pacer_new(1000000, &s.pacer), 0);
	cr_assert_eq(paced_socket_take(&s, 50000, &cancel, &granted), 0);
	cr_assert_eq(pacer_take(s.pacer, 1), 0);
	clock_gettime(CLOCK_MONOTONIC, &end);
	elapsed = (double)(end.tv_sec - start.tv_sec) + (double)(end.tv_nsec - start.tv_nsec) / 1e9;
	cr_assert_geq(elapsed, 0.04);
	pacer_destroy(s.pacer);
}
