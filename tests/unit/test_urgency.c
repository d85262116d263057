// SPDX-License-Identifier: Apache-2.0
// Who waits for whom, without any clock's help.
#include "urgency.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <sched.h>
#include <stdatomic.h>

#define FOR_EVER 0x100000000000u /* microseconds */

TestSuite(urgency, .timeout = 20);

struct background {
	struct urgency *u;
	uint64_t grace, patience;
	pthread_t thread;
	atomic_bool done;
	int result;
};

static void *give_way(void *arg)
{
	struct background *b = arg;

	b->result = urgency_give_way(b->u, b->grace, b->patience);
	atomic_store(&b->done, true);
	return NULL;
}

static void start(struct background *b, struct urgency *u, uint64_t grace, uint64_t patience)
{
	*b = (struct background){.u = u, .grace = grace, .patience = patience};
	cr_assert_eq(pthread_create(&b->thread, NULL, give_way, b), 0);
}

static void await_waiting(struct urgency *u)
{
	bool waiting = false;

	for (; !waiting; sched_yield()) {
		pthread_mutex_lock(&u->lock);
		waiting = u->waiting > 0;
		pthread_mutex_unlock(&u->lock);
	}
}

Test(urgency, nothing_urgent_nothing_to_wait_for)
{
	struct urgency u;

	urgency_init(&u);
	cr_assert_eq(urgency_give_way(&u, 0, 0), 0);
	urgency_destroy(&u);
}

Test(urgency, background_waits_for_the_last_urgent_piece)
{
	struct background b;
	struct urgency u;

	urgency_init(&u);
	urgency_begin(&u);
	urgency_begin(&u);
	start(&b, &u, 1, 0);
	await_waiting(&u);
	urgency_end(&u);
	await_waiting(&u);
	cr_assert_not(atomic_load(&b.done));
	urgency_end(&u);
	pthread_join(b.thread, NULL);
	cr_assert_eq(b.result, 0);
	urgency_destroy(&u);
}

Test(urgency, while_held_there_is_no_end_to_patience)
{
	struct background b;
	struct urgency u;

	urgency_init(&u);
	urgency_hold(&u, true);
	start(&b, &u, 1, 1);
	await_waiting(&u);
	cr_assert_not(atomic_load(&b.done));
	urgency_hold(&u, false);
	pthread_join(b.thread, NULL);
	cr_assert_eq(b.result, 0);
	urgency_destroy(&u);
}

Test(urgency, patience_comes_to_an_end)
{
	struct urgency u;

	urgency_init(&u);
	urgency_begin(&u);
	cr_assert_eq(urgency_give_way(&u, 10, 1000), 0);
	cr_assert_eq(urgency_give_way(&u, FOR_EVER, 1), 0);
	urgency_end(&u);
	cr_assert_eq(urgency_give_way(&u, FOR_EVER, 1), 0);
	urgency_destroy(&u);
}

Test(urgency, stop_wakes_for_good)
{
	struct background b;
	struct urgency u;

	urgency_init(&u);
	urgency_begin(&u);
	start(&b, &u, FOR_EVER, 0);
	await_waiting(&u);
	urgency_stop(&u);
	pthread_join(b.thread, NULL);
	cr_assert_eq(b.result, -ECANCELED);
	cr_assert_eq(urgency_give_way(&u, 0, 0), -ECANCELED);
	urgency_end(&u);
	urgency_destroy(&u);
}
