// SPDX-License-Identifier: Apache-2.0
// A process by its id and the time of its start.
#include "process.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

TestSuite(process, .timeout = 20);

static uint64_t uptime_ticks(void)
{
	struct timespec now;

	clock_gettime(CLOCK_BOOTTIME, &now);
	return (uint64_t)(now.tv_sec + 1) * (uint64_t)sysconf(_SC_CLK_TCK);
}

Test(process, start_time_is_steady_whatever_its_name)
{
	uint64_t first = 0, second = 0;
	struct errtext err = {0};

	cr_assert_eq(process_started(getpid(), &first, &err), 0, "%s", err.text);
	/* As old as this test is, which is new. */
	cr_assert_gt(first, 0);
	cr_assert_leq(first, uptime_ticks());
	cr_assert_geq(first + 600 * (uint64_t)sysconf(_SC_CLK_TCK), uptime_ticks());
	cr_assert_eq(prctl(PR_SET_NAME, ") 1 (Z 2"), 0);
	cr_assert_eq(process_started(getpid(), &second, &err), 0, "%s", err.text);
	cr_assert_eq(first, second);
}

Test(process, one_that_ended_has_gone)
{
	uint64_t ticks;
	siginfo_t info;
	int pidfd = -1;
	pid_t pid = fork();

	cr_assert_geq(pid, 0);
	if (pid == 0)
		for (;;)
			pause();
	cr_assert_eq(process_hold(pid, &pidfd, NULL), 0);
	cr_assert_not(process_has_ended(pidfd));
	cr_assert_eq(kill(pid, SIGKILL), 0);
	cr_assert_eq(waitid(P_PID, pid, &info, WEXITED | WNOWAIT), 0);
	cr_assert(process_has_ended(pidfd), "a zombie");
	cr_assert_eq(process_started(pid, &ticks, NULL), -ESRCH, "a zombie");
	cr_assert_eq(waitpid(pid, NULL, 0), pid);
	cr_assert_eq(process_started(pid, &ticks, NULL), -ESRCH);
	cr_assert(process_has_ended(pidfd));
	close(pidfd);
	cr_assert_eq(process_hold(pid, &pidfd, NULL), -ESRCH);
}
