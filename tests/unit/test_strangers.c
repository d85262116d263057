// SPDX-License-Identifier: Apache-2.0
#include "strangers.h"

#include <criterion/criterion.h>
#include <poll.h>
#include <stdio.h>
#include <sys/socket.h>
#include <unistd.h>

TestSuite(strangers, .timeout = 30);

struct guest_at_the_door {
	struct stranger stranger;
	int other; /* the far end of its connection */
};

static struct strangers s;
static struct guest_at_the_door all[STRANGERS_MAX + 8];

static void knock(unsigned int i, const char *peer)
{
	int ends[2];

	cr_assert_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends), 0);
	all[i].other = ends[1];
	strangers_enter(&s, &all[i].stranger, ends[0], peer);
}

static bool has_given_way(unsigned int i)
{
	struct pollfd p = {.fd = all[i].other, .events = POLLIN};

	return poll(&p, 1, 0) == 1;
}

static void crowd(unsigned int first, unsigned int end)
{
	char peer[32];

	for (unsigned int i = first; i < end; i++) {
		snprintf(peer, sizeof(peer), "10.0.0.1:%u", 1000 + i);
		knock(i, peer);
	}
}

Test(strangers, there_is_room_for_so_many)
{
	strangers_init(&s);
	crowd(0, STRANGERS_MAX);
	for (unsigned int i = 0; i < STRANGERS_MAX; i++)
		cr_assert_not(has_given_way(i), "%u", i);
	strangers_leave(&s, &all[5].stranger);
	crowd(STRANGERS_MAX, STRANGERS_MAX + 1);
	cr_assert_not(has_given_way(0));
	strangers_destroy(&s);
}

Test(strangers, the_oldest_gives_way)
{
	strangers_init(&s);
	crowd(0, STRANGERS_MAX + 2);
	cr_assert(has_given_way(0));
	cr_assert(has_given_way(1));
	cr_assert_not(has_given_way(2));
	strangers_leave(&s, &all[0].stranger); /* its thread does, late */
	strangers_leave(&s, &all[2].stranger);
	crowd(STRANGERS_MAX + 2, STRANGERS_MAX + 3);
	cr_assert_not(has_given_way(3), "there was room");
	strangers_destroy(&s);
}

Test(strangers, a_crowd_pushes_nobody_else_out)
{
	strangers_init(&s);
	knock(0, "10.0.0.2:7");
	knock(1, "[fe80::1]:7");
	crowd(2, STRANGERS_MAX + 8);
	cr_assert_not(has_given_way(0));
	cr_assert_not(has_given_way(1));
	for (unsigned int i = 2; i < 10; i++)
		cr_assert(has_given_way(i), "%u", i);
	cr_assert_not(has_given_way(10));
	strangers_destroy(&s);
}
