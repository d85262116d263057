// SPDX-License-Identifier: Apache-2.0
// Failure points: each action happens at its point, and a mistake in the variable never passes.
//
// What ends or stops a process is done to a forked child, and observed by waitpid.
#include "failure_point.h"

#include <criterion/criterion.h>
#include <criterion/parameterized.h>
#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#define REACHED_END 42

/* A child that passes the point "here" and exits with REACHED_END + its (positive) result; its
 * standard error goes to err_fd. */
static pid_t pass_in_child(const char *spec, int err_fd)
{
	pid_t child = fork();

	cr_assert_geq(child, 0);
	if (!child) {
		setenv("DRAY_FAULT", spec, 1);
		dup2(err_fd, STDERR_FILENO);
		_exit(REACHED_END - failure_point("here"));
	}
	return child;
}

static int wait_for(pid_t child, int flags)
{
	int status = 0;

	cr_assert_eq(waitpid(child, &status, flags), child);
	return status;
}

Test(failure_point, without_the_variable_nothing_happens)
{
	unsetenv("DRAY_FAULT");
	cr_assert_eq(failure_point("here"), 0);
}

struct fail_row {
	char spec[64];
	int expected;
};

ParameterizedTestParameters(failure_point, points_are_matched_whole)
{
	static struct fail_row rows[] = {
		{"", 0},
		{"here=fail", -EIO},
		{"here=fail,", -EIO},
		{"there=fail", 0},
		{"her=fail", 0},
		{"here2=fail", 0},
		{"there=kill,here=fail", -EIO},
		{"here=fail,there=kill", -EIO},
		{"there=fail,elsewhere=stop", 0},
	};

	return cr_make_param_array(struct fail_row, rows, sizeof(rows) / sizeof(rows[0]));
}

ParameterizedTest(struct fail_row *row, failure_point, points_are_matched_whole)
{
	setenv("DRAY_FAULT", row->spec, 1);
	cr_assert_eq(failure_point("here"), row->expected, "DRAY_FAULT=%s", row->spec);
}

Test(failure_point, kill_ends_the_process_like_kill_9)
{
	int status = wait_for(pass_in_child("here=kill", STDERR_FILENO), 0);

	cr_assert(WIFSIGNALED(status));
	cr_assert_eq(WTERMSIG(status), SIGKILL);
}

/* Stops, is continued, and exits with the expected result. */
static void check_stop(const char *spec, int result)
{
	pid_t child = pass_in_child(spec, STDERR_FILENO);
	int status = wait_for(child, WUNTRACED);

	cr_assert(WIFSTOPPED(status));
	cr_assert_eq(kill(child, SIGCONT), 0);
	status = wait_for(child, 0);
	cr_assert(WIFEXITED(status));
	cr_assert_eq(WEXITSTATUS(status), REACHED_END - result);
}

Test(failure_point, stop_waits_for_sigcont)
{
	check_stop("here=stop", 0);
}

Test(failure_point, a_point_named_twice_does_both)
{
	check_stop("here=stop,here=fail", -EIO);
}

struct mistake_row {
	char spec[64];
};

ParameterizedTestParameters(failure_point, mistakes_abort)
{
	static struct mistake_row rows[] = {
		{"here=fial"},
		{"here=failed"},
		{"here=fai"},
		{"here="},
		{"here"},
		{"=fail"},
		{","},
		{"here=fail,,"},
		{"there=explode"},
		{"here=fail,there=oops"},
		{"here=kill,there=oops"},
	};

	return cr_make_param_array(struct mistake_row, rows, sizeof(rows) / sizeof(rows[0]));
}

/* Even where the mistake stands at another point, or behind a point that is hit. */
ParameterizedTest(struct mistake_row *row, failure_point, mistakes_abort)
{
	char text[256] = "";
	int pipe_fd[2];
	int status;

	cr_assert_eq(pipe(pipe_fd), 0);
	status = wait_for(pass_in_child(row->spec, pipe_fd[1]), 0);
	cr_assert(WIFSIGNALED(status), "DRAY_FAULT=%s passed", row->spec);
	cr_assert_eq(WTERMSIG(status), SIGABRT);
	cr_assert_gt(read(pipe_fd[0], text, sizeof(text) - 1), 0);
	cr_assert(strstr(text, "DRAY_FAULT"), "message: %s", text);
	close(pipe_fd[0]);
	close(pipe_fd[1]);
}
