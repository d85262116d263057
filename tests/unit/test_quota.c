// SPDX-License-Identifier: Apache-2.0
#include "quota.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

static struct quota q;
static struct quota_place places[QUOTA_CONNECTIONS + 1];

static int enter(unsigned int i, const char *host, bool session)
{
	return quota_enter(&q, &places[i], host, session, NULL);
}

static void leave(unsigned int first, unsigned int end)
{
	for (unsigned int i = first; i < end; i++)
		quota_leave(&q, &places[i]);
}

Test(quota, a_host_has_so_many_connections)
{
	struct errtext why = {0};

	quota_init(&q);
	for (unsigned int i = 0; i < QUOTA_CONNECTIONS; i++)
		cr_assert_eq(enter(i, "CN=a", false), 0, "%u", i);
	cr_assert_eq(quota_enter(&q, &places[QUOTA_CONNECTIONS], "CN=a", false, &why), -EUSERS);
	cr_assert(strstr(why.text, "256 connections here already"), "%s", why.text);
	leave(7, 8);
	cr_assert_eq(enter(QUOTA_CONNECTIONS, "CN=a", false), 0, "one has ended");
	leave(0, QUOTA_CONNECTIONS + 1);
	cr_assert_null(q.hosts, "it is forgotten");
	quota_destroy(&q);
}

Test(quota, a_host_has_so_many_sessions)
{
	struct errtext why = {0};

	quota_init(&q);
	for (unsigned int i = 0; i < QUOTA_SESSIONS; i++)
		cr_assert_eq(enter(i, "CN=a", true), 0, "%u", i);
	cr_assert_eq(quota_enter(&q, &places[QUOTA_SESSIONS], "CN=a", true, &why), -EUSERS);
	cr_assert(strstr(why.text, "32 migrations"), "%s", why.text);
	cr_assert_null(places[QUOTA_SESSIONS].host);
	cr_assert_eq(enter(QUOTA_SESSIONS, "CN=a", false), 0, "those that it has go on");
	leave(0, QUOTA_SESSIONS + 1);
	cr_assert_null(q.hosts);
	quota_destroy(&q);
}

Test(quota, one_host_takes_nothing_of_others)
{
	quota_init(&q);
	for (unsigned int i = 0; i < QUOTA_SESSIONS; i++)
		cr_assert_eq(enter(i, "CN=a", true), 0);
	cr_assert_eq(enter(QUOTA_SESSIONS, "CN=b", true), 0);
	cr_assert_eq(enter(QUOTA_SESSIONS + 1, "CN=a", true), -EUSERS);
	leave(0, QUOTA_SESSIONS + 2); /* the last one has no place: nothing happens */
	cr_assert_null(q.hosts);
	quota_destroy(&q);
}
