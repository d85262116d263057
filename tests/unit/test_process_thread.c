// SPDX-License-Identifier: Apache-2.0
// Thread ids of another PID namespace.
#include "process_thread.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#define UUID "6e8a4a3c-3f6a-4f52-9a35-0a8f6b4f6a10"

TestSuite(process_thread, .timeout = 20);

static int ends[2];

static void *thread_main(void *arg)
{
	pid_t tid = (pid_t)syscall(SYS_gettid);

	(void)arg;
	if (write(ends[1], &tid, sizeof(tid)) != sizeof(tid))
		_exit(1);
	for (;;)
		pause();
	return NULL;
}

/* Tells the id of its second thread, as it has it. */
static void be_inside(void)
{
	pthread_t thread;

	if (pthread_create(&thread, NULL, thread_main, NULL))
		_exit(1);
	for (;;)
		pause();
}

/* *inside: the id that is told. Returns the process, as we have it. */
static pid_t start(bool own_namespace, pid_t *inside)
{
	pid_t pid;

#ifdef __SANITIZE_THREAD__
	cr_skip_test("the thread sanitizer's run time hangs in a child that starts threads");
#endif
	cr_assert_eq(pipe2(ends, O_CLOEXEC), 0);
	if (own_namespace && unshare(CLONE_NEWPID) < 0)
		cr_skip_test("cannot have a PID namespace (needs root): %s", strerror(errno));
	pid = fork();
	cr_assert_geq(pid, 0);
	if (pid == 0)
		be_inside();
	cr_assert_eq(read(ends[0], inside, sizeof(*inside)), (ssize_t)sizeof(*inside));
	return pid;
}

static void stop(pid_t pid)
{
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
}

Test(process_thread, of_our_own_namespace)
{
	pid_t inside, found = 0, child = start(false, &inside);

	cr_assert_neq(inside, child);
	cr_assert_eq(process_thread_find(0, inside, &found, NULL), 0);
	cr_assert_eq(found, child);
	found = 0;
	cr_assert_eq(process_thread_find(getpid(), inside, &found, NULL), 0);
	cr_assert_eq(found, child);
	stop(child);
	cr_assert_eq(process_thread_find(0, inside, &found, NULL), -ESRCH);
}

/* The number that is told is low, and here another process' or none. */
Test(process_thread, of_another_namespace)
{
	struct errtext err = {0};
	pid_t inside, found = 0, child = start(true, &inside);

	cr_assert_eq(inside, 2);
	cr_assert_eq(process_thread_find(child, inside, &found, &err), 0, "%s", err.text);
	cr_assert_eq(found, child);
	cr_assert_eq(process_thread_find(child, 1, &found, &err), 0, "%s", err.text);
	cr_assert_eq(found, child);
	cr_assert_eq(process_thread_find(child, child, &found, &err), -ESRCH,
		     "our number means nothing there");
	cr_assert(strstr(err.text, "no process has the thread"), "%s", err.text);
	stop(child);
	cr_assert_eq(process_thread_find(child, inside, &found, NULL), -ESRCH,
		     "the teller has gone");
}

/* A shell that waits for a line, with these arguments behind its script. */
static pid_t start_shell(const char *first, const char *second)
{
	char *argv[] = {(char *)"sh", (char *)"-c",  (char *)"read line",
			(char *)"it", (char *)first, (char *)second,
			NULL};
	int in[2], began[2];
	char byte;
	pid_t pid;

	cr_assert_eq(pipe2(in, O_CLOEXEC), 0);
	cr_assert_eq(pipe2(began, O_CLOEXEC), 0);
	pid = fork();
	cr_assert_geq(pid, 0);
	if (pid == 0) {
		dup2(in[0], STDIN_FILENO);
		execv("/bin/sh", argv);
		_exit(1);
	}
	close(began[1]);
	cr_assert_eq(read(began[0], &byte, 1), 0, "closed by exec");
	return pid;
}

/* Nothing but that very argument counts. */
Test(process_thread, a_qemu_is_known_by_its_uuid)
{
	static const char *const rows[][2] = {
		{"-uuid", UUID},
		{UUID, "-uuid"},
		{"-uuid=" UUID, "-S"},
		{"-uuid", "7e8a4a3c-3f6a-4f52-9a35-0a8f6b4f6a10"},
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
		pid_t pid = start_shell(rows[i][0], rows[i][1]);

		cr_assert_eq(process_thread_is_qemu(pid, UUID), i == 0, "row %zu", i);
		stop(pid);
	}
	cr_assert_not(process_thread_is_qemu(getpid(), UUID));
}
