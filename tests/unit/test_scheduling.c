// SPDX-License-Identifier: Apache-2.0
// What the kernel then says of the thread. (Here it may: the tests are run by root.)
#include "scheduling.h"

#include <criterion/criterion.h>
#include <pthread.h>
#include <sched.h>
#include <sys/resource.h>

static void *urgent(void *arg)
{
	(void)arg;
	scheduling_urgent();
	if (sched_getscheduler(0) == (SCHED_RR | SCHED_RESET_ON_FORK))
		return NULL;
	cr_assert_eq(getpriority(PRIO_PROCESS, 0), -20, "neither real-time nor nice");
	return NULL;
}

static void *background(void *arg)
{
	(void)arg;
	scheduling_background();
	cr_assert_eq(sched_getscheduler(0), SCHED_BATCH | SCHED_RESET_ON_FORK);
	cr_assert_eq(getpriority(PRIO_PROCESS, 0), 19);
	return NULL;
}

/* The threads around it stay as they were. */
Test(scheduling, one_thread_at_a_time)
{
	void *(*const bodies[])(void *) = {urgent, background};
	int policy = sched_getscheduler(0), nice = getpriority(PRIO_PROCESS, 0);
	pthread_t thread;

	for (int i = 0; i < 2; i++) {
		cr_assert_eq(pthread_create(&thread, NULL, bodies[i], NULL), 0);
		pthread_join(thread, NULL);
		cr_assert_eq(sched_getscheduler(0), policy);
		cr_assert_eq(getpriority(PRIO_PROCESS, 0), nice);
	}
}
