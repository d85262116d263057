// SPDX-License-Identifier: Apache-2.0
// How the kernel schedules the threads of post-copy.
#include "scheduling.h"

#include <sched.h>
#include <sys/resource.h>

#define BEST_NICE (-20)
#define WORST_NICE 19

/* On Linux this is about the calling thread alone. Without the privilege all stays as it is, which
 * is slower, not wrong. */
static void set_nice(int nice)
{
	(void)setpriority(PRIO_PROCESS, 0, nice);
}

void scheduling_urgent(void)
{
	const struct sched_param lowest = {.sched_priority = sched_get_priority_min(SCHED_RR)};

	if (sched_setscheduler(0, SCHED_RR | SCHED_RESET_ON_FORK, &lowest) < 0)
		set_nice(BEST_NICE);
}

void scheduling_background(void)
{
	const struct sched_param none = {0};

	(void)sched_setscheduler(0, SCHED_BATCH | SCHED_RESET_ON_FORK, &none);
	set_nice(WORST_NICE);
}
