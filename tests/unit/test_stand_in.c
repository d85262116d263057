// SPDX-License-Identifier: Apache-2.0
// A daemon that is the test, and whoever stands in for its client.
#include "stand_in.h"

#include <criterion/criterion.h>
#include <endian.h>
#include <poll.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include "libvirt_rpc.h"

TestSuite(stand_in, .timeout = 20);

#define KEEPALIVE 0x6b656570u
#define PING 1u
#define PONG 2u

static int daemon_end;
static struct stand_in *stand_in;
static atomic_uint gone;

static void on_gone(void *opaque)
{
	cr_expect_eq(opaque, (void *)&gone);
	atomic_fetch_add(&gone, 1);
}

static void setup(void)
{
	int ends[2];

	cr_assert_eq(socketpair(AF_UNIX, SOCK_STREAM, 0, ends), 0);
	daemon_end = ends[0];
	cr_assert_eq(stand_in_new(ends[1], on_gone, &gone, &stand_in, NULL), 0);
}

static void say(uint32_t program, uint32_t procedure)
{
	uint32_t words[] = {
		htobe32(28), htobe32(program), htobe32(1), htobe32(procedure), htobe32(2), 0, 0};

	cr_assert_eq(send(daemon_end, words, sizeof(words), MSG_NOSIGNAL), (ssize_t)sizeof(words));
}

static void hear_pong(void)
{
	uint32_t words[7];

	cr_assert_eq(recv(daemon_end, words, sizeof(words), MSG_WAITALL), (ssize_t)sizeof(words));
	cr_assert_eq(be32toh(words[0]), sizeof(words));
	cr_assert_eq(be32toh(words[1]), KEEPALIVE);
	cr_assert_eq(be32toh(words[2]), 1);
	cr_assert_eq(be32toh(words[3]), PONG);
	cr_assert_eq(be32toh(words[4]), 2);
}

Test(stand_in, answers_pings_and_nothing_else)
{
	struct pollfd p;

	setup();
	say(KEEPALIVE, PONG);
	say(0x20008086, 107); /* an event */
	say(KEEPALIVE, PING);
	say(KEEPALIVE, PING);
	hear_pong();
	hear_pong();
	p = (struct pollfd){.fd = daemon_end, .events = POLLIN};
	cr_assert_eq(poll(&p, 1, 0), 0);
	stand_in_destroy(stand_in);
	cr_assert_eq(gone, 0);
	close(daemon_end);
}

Test(stand_in, leaves_so_that_the_daemon_sees_it)
{
	char byte;

	setup();
	stand_in_leave(stand_in);
	cr_assert_eq(read(daemon_end, &byte, 1), 0);
	stand_in_leave(stand_in);
	stand_in_destroy(stand_in);
	stand_in_leave(NULL);
	stand_in_destroy(NULL);
	cr_assert_eq(gone, 0);
	close(daemon_end);
}

Test(stand_in, tells_that_the_daemon_has_gone)
{
	setup();
	close(daemon_end);
	while (!gone)
		usleep(1000);
	stand_in_destroy(stand_in);
	cr_assert_eq(gone, 1);
}

Test(stand_in, takes_an_impossible_message_for_its_end)
{
	uint32_t word = htobe32(3);

	setup();
	cr_assert_eq(send(daemon_end, &word, sizeof(word), MSG_NOSIGNAL), (ssize_t)sizeof(word));
	while (!gone)
		usleep(1000);
	stand_in_destroy(stand_in);
	close(daemon_end);
}
