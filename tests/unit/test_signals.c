// SPDX-License-Identifier: Apache-2.0
// SIGINT and SIGTERM are read, in whichever thread's time they come.
#include "signals.h"

#include <criterion/criterion.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <sys/signalfd.h>
#include <unistd.h>

TestSuite(signals, .timeout = 10);

static void *bystander(void *arg)
{
	char byte;

	return (void *)(intptr_t)read(*(const int *)arg, &byte, 1);
}

static uint32_t next(int fd)
{
	struct signalfd_siginfo info;

	cr_assert_eq(read(fd, &info, sizeof(info)), (ssize_t)sizeof(info));
	return info.ssi_signo;
}

Test(signals, are_read_and_nothing_else)
{
	struct pollfd p;
	pthread_t thread;
	int ends[2];

	signals_block();
	cr_assert_eq(pipe(ends), 0);
	cr_assert_eq(pthread_create(&thread, NULL, bystander, &ends[0]), 0);
	p = (struct pollfd){.fd = signals_open(), .events = POLLIN};
	cr_assert_geq(p.fd, 0);
	cr_assert_eq(poll(&p, 1, 0), 0);
	kill(getpid(), SIGTERM);
	cr_assert_eq(poll(&p, 1, -1), 1);
	cr_assert_eq(next(p.fd), SIGTERM);
	kill(getpid(), SIGINT);
	cr_assert_eq(next(p.fd), SIGINT);
	close(ends[1]);
	pthread_join(thread, NULL);
	close(ends[0]);
	close(p.fd);
}

Test(signals, writing_to_nobody_is_an_error_only)
{
	int ends[2];

	signals_block();
	cr_assert_eq(pipe(ends), 0);
	close(ends[0]);
	cr_assert_lt(write(ends[1], "x", 1), 0);
	close(ends[1]);
}
