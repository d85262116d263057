// SPDX-License-Identifier: Apache-2.0
// A process with threads that never rest is held, looked at, and goes on.
#include "standstill.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/wait.h>
#include <unistd.h>

TestSuite(standstill, .timeout = 30);

#define LOOK_ROUNDS 1000
#define SIGNALS 500

struct shared {
	atomic_ulong steps;   /* of all threads */
	atomic_ulong signals; /* that it has got */
};

struct process {
	pid_t pid;
	struct shared *shared;
};

/* ---- what it does ---- */

static struct shared *here;

static void *short_life(void *arg)
{
	(void)arg;
	atomic_fetch_add(&here->steps, 1);
	return NULL;
}

static _Noreturn void *computes(void *arg)
{
	(void)arg;
	for (;;)
		atomic_fetch_add(&here->steps, 1);
}

/* Threads come and go. */
static _Noreturn void *breeds(void *arg)
{
	pthread_t thread;

	(void)arg;
	for (;;)
		if (pthread_create(&thread, NULL, short_life, NULL) == 0)
			pthread_join(thread, NULL);
}

static void on_signal(int number)
{
	(void)number;
	atomic_fetch_add(&here->signals, 1);
}

static _Noreturn void process_main(void)
{
	pthread_t thread;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	(void)signal(SIGRTMIN, on_signal);
	pthread_create(&thread, NULL, computes, NULL);
	pthread_create(&thread, NULL, breeds, NULL);
	for (;;)
		pause();
}

static struct process process_new(void)
{
#ifdef __SANITIZE_THREAD__
	cr_skip_test("TSan's runtime starts no threads after a fork");
#endif
	struct process p = {.shared = mmap(NULL, sizeof(struct shared), PROT_READ | PROT_WRITE,
					   MAP_SHARED | MAP_ANONYMOUS, -1, 0)};

	cr_assert_neq((void *)p.shared, MAP_FAILED);
	here = p.shared;
	p.pid = fork();
	cr_assert_geq(p.pid, 0);
	if (p.pid == 0)
		process_main();
	return p;
}

static void process_destroy(const struct process *p)
{
	kill(p->pid, SIGKILL);
	cr_assert_eq(waitpid(p->pid, NULL, 0), p->pid);
	munmap(p->shared, sizeof(*p->shared));
}

/* Returns when it has gone on. */
static void await_steps(const struct process *p)
{
	unsigned long steps = atomic_load(&p->shared->steps);

	while (atomic_load(&p->shared->steps) < steps + 1000)
		sched_yield();
}

static int expect_stillness(void *arg, struct errtext *err)
{
	const struct process *p = arg;
	unsigned long steps = atomic_load(&p->shared->steps);

	(void)err;
	for (int i = 0; i < LOOK_ROUNDS; i++)
		sched_yield();
	cr_expect_eq(atomic_load(&p->shared->steps), steps);
	return 17;
}

/* ---- the tests ---- */

Test(standstill, no_thread_runs_meanwhile_and_all_go_on)
{
	struct process p = process_new();
	struct errtext err = {0};

	for (int i = 0; i < 20; i++) {
		await_steps(&p);
		cr_assert_eq(standstill_run(p.pid, expect_stillness, &p, &err), 17, "%s", err.text);
	}
	await_steps(&p);
	process_destroy(&p);
}

static int end_it(void *arg, struct errtext *err)
{
	const struct process *p = arg;

	(void)err;
	return kill(p->pid, SIGKILL);
}

Test(standstill, who_is_killed_meanwhile_ends)
{
	struct process p = process_new();
	struct errtext err = {0};
	int status;

	await_steps(&p);
	cr_assert_eq(standstill_run(p.pid, end_it, &p, &err), 0, "%s", err.text);
	cr_assert_eq(waitpid(p.pid, &status, 0), p.pid);
	cr_assert_eq(WTERMSIG(status), SIGKILL);
	munmap(p.shared, sizeof(*p.shared));
}

static int say_and_wait(void *arg, struct errtext *err)
{
	const int *said = arg;

	(void)err;
	cr_assert_eq(write(*said, "x", 1), 1);
	for (;;)
		pause();
}

/* The one who holds it is killed: nothing else lets it go. */
Test(standstill, goes_on_when_its_holder_is_killed)
{
	struct process p = process_new();
	int ends[2];
	pid_t holder;
	char byte;

	await_steps(&p);
	cr_assert_eq(pipe(ends), 0);
	holder = fork();
	if (holder == 0)
		_exit(standstill_run(p.pid, say_and_wait, &ends[1], NULL) != 0);
	cr_assert_eq(read(ends[0], &byte, 1), 1);
	expect_stillness(&p, NULL);
	kill(holder, SIGKILL);
	cr_assert_eq(waitpid(holder, NULL, 0), holder);
	await_steps(&p);
	process_destroy(&p);
}

static int nothing(void *arg, struct errtext *err)
{
	(void)arg;
	(void)err;
	return 0;
}

/* Whatever it was about to get when it was held. */
Test(standstill, no_signal_is_lost)
{
	struct process p = process_new();
	struct errtext err = {0};

	await_steps(&p);
	for (int i = 0; i < SIGNALS; i++) {
		cr_assert_eq(kill(p.pid, SIGRTMIN), 0);
		if (i % 8 == 0)
			cr_assert_eq(standstill_run(p.pid, nothing, NULL, &err), 0, "%s", err.text);
	}
	while (atomic_load(&p.shared->signals) < SIGNALS)
		sched_yield();
	process_destroy(&p);
}

Test(standstill, who_was_stopped_stays_stopped)
{
	struct process p = process_new();
	struct errtext err = {0};
	int status;

	await_steps(&p);
	kill(p.pid, SIGSTOP);
	cr_assert_eq(waitpid(p.pid, &status, WUNTRACED), p.pid);
	cr_assert(WIFSTOPPED(status));
	cr_assert_eq(standstill_run(p.pid, expect_stillness, &p, &err), 17, "%s", err.text);
	expect_stillness(&p, &err);
	kill(p.pid, SIGCONT);
	await_steps(&p);
	process_destroy(&p);
}

Test(standstill, who_is_traced_by_another_is_not_looked_at)
{
	struct process p = process_new();
	struct errtext err = {0};

	await_steps(&p);
	cr_assert_eq(ptrace(PTRACE_SEIZE, p.pid, NULL, NULL), 0);
	cr_assert_eq(standstill_run(p.pid, expect_stillness, &p, &err), -EPERM);
	cr_assert(strstr(err.text, "does another process trace it?"), "%s", err.text);
	await_steps(&p);
	process_destroy(&p);
}

Test(standstill, who_has_ended_stands_still)
{
	struct process p = process_new();

	kill(p.pid, SIGKILL);
	cr_assert_eq(waitpid(p.pid, NULL, 0), p.pid);
	cr_assert_eq(standstill_run(p.pid, expect_stillness, &p, NULL), 17);
	munmap(p.shared, sizeof(*p.shared));
}
