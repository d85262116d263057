// SPDX-License-Identifier: Apache-2.0
// throttle: vCPU threads are slowed, their process does not notice otherwise, and nothing is left.
#include "throttle.h"

#include <criterion/criterion.h>
#include <criterion/parameterized.h>
#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>
#include "vcpus.h"

#define MS 1000000ll /* in CPU time, ns */
#define SIGNAL (SIGRTMIN + 1)

/* ---- a process with the threads of a QEMU ---- */

enum { SPIN_0, SPIN_1, NAPPER, REFERENCE, HOTPLUGGED, THREADS };

static const char *const thread_names[THREADS] = {"CPU 0/TCG", "CPU 1/TCG", "CPU 2/TCG", "worker",
						  "CPU 3/KVM"};

struct guest_thread {
	atomic_int tid;
	atomic_bool end;
	atomic_llong turns;
	atomic_llong cpu_ns;
};

struct guest {
	struct guest_thread thread[THREADS];
	atomic_bool plug;
	atomic_int errors; /* system calls that were disturbed, signals that were changed */
	atomic_llong main_turns;
	atomic_int signals;
	atomic_long signal_sum;
};

static struct guest *guest; /* shared between the test and the processes that it starts */

static void on_signal(int number, siginfo_t *info, void *context)
{
	(void)context;
	if (number != SIGNAL || info->si_code != SI_QUEUE)
		atomic_fetch_add(&guest->errors, 1);
	atomic_fetch_add(&guest->signal_sum, info->si_value.sival_int);
	atomic_fetch_add(&guest->signals, 1);
}

static void nap(long ns)
{
	struct timespec t = {.tv_nsec = ns};

	if (nanosleep(&t, NULL) < 0)
		atomic_fetch_add(&guest->errors, 1);
}

static long long thread_cpu_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
	return t.tv_sec * 1000000000ll + t.tv_nsec;
}

static void *guest_thread_main(void *opaque)
{
	struct guest_thread *self = opaque;

	prctl(PR_SET_NAME, thread_names[self - guest->thread]);
	atomic_store(&self->tid, gettid());
	while (!atomic_load(&self->end)) {
		if (self == &guest->thread[NAPPER])
			nap(1 * MS);
		atomic_store(&self->cpu_ns, thread_cpu_ns());
		atomic_fetch_add(&self->turns, 1);
	}
	return NULL;
}

static void guest_start_thread(int i)
{
	pthread_t thread;

	if (pthread_create(&thread, NULL, guest_thread_main, &guest->thread[i]) != 0)
		_exit(1);
	pthread_detach(thread);
}

__attribute__((noreturn)) static void guest_main(bool with_vcpus)
{
	struct sigaction action = {.sa_sigaction = on_signal, .sa_flags = SA_SIGINFO | SA_RESTART};

	sigaction(SIGNAL, &action, NULL);
	for (int i = with_vcpus ? 0 : REFERENCE; i <= REFERENCE; i++)
		guest_start_thread(i);
	for (;;) {
		if (atomic_exchange(&guest->plug, false))
			guest_start_thread(HOTPLUGGED);
		nap(1 * MS);
		atomic_fetch_add(&guest->main_turns, 1);
	}
}

static void wait_for_turns(int i, long long more)
{
	long long began = atomic_load(&guest->thread[i].turns);

	while (atomic_load(&guest->thread[i].turns) < began + more)
		sched_yield();
}

/* ---- a process that throttles it, to be killed ---- */

__attribute__((noreturn)) static void tracer_main(pid_t pid)
{
	struct throttle *t = NULL;

	if (throttle_new(pid, &t, NULL) < 0)
		_exit(1);
	throttle_set(t, 99);
	for (;;)
		pause();
}

/* Both start threads, which ThreadSanitizer does not let a mere fork do: this program is executed
 * anew, and turns into what the variable says before its main begins. */
#define ROLE "TEST_THROTTLE_ROLE"

static bool map_guest(int fd)
{
	guest = mmap(NULL, sizeof(*guest), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	return guest != MAP_FAILED;
}

__attribute__((constructor)) static void play_role(void)
{
	const char *text = getenv(ROLE);
	int fd, parent, arg;
	char role;

	if (!text)
		return;
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (sscanf(text, "%c %d %d %d", &role, &fd, &parent, &arg) != 4 || getppid() != parent ||
	    !map_guest(fd))
		_exit(1);
	if (role == 'g')
		guest_main(arg);
	tracer_main(arg);
}

static pid_t start_role(char role, int fd, int arg)
{
	pid_t parent = getpid(), pid;
	char text[64];

	snprintf(text, sizeof(text), "%c %d %d %d", role, fd, parent, arg);
	setenv(ROLE, text, 1);
	pid = fork();
	if (pid == 0) {
		execl("/proc/self/exe", "test_throttle", (char *)NULL);
		_exit(1);
	}
	cr_assert_gt(pid, 0);
	unsetenv(ROLE);
	return pid;
}

static int guest_fd;

static pid_t start_guest(bool with_vcpus)
{
	pid_t pid;

	if (geteuid() != 0)
		cr_skip_test("needs root");
	guest_fd = memfd_create("guest", 0);
	cr_assert(guest_fd >= 0 && ftruncate(guest_fd, sizeof(*guest)) == 0 && map_guest(guest_fd));
	pid = start_role('g', guest_fd, with_vcpus);
	for (int i = with_vcpus ? 0 : REFERENCE; i <= REFERENCE; i++)
		wait_for_turns(i, 1);
	return pid;
}

static void end_guest(pid_t pid)
{
	int status;

	cr_expect_eq(atomic_load(&guest->errors), 0);
	kill(pid, SIGKILL);
	cr_assert_eq(waitpid(pid, &status, 0), pid);
	cr_expect(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL, "status %x", status);
}

/* ---- looking at it from outside ---- */

static pid_t tid_of(int i)
{
	return atomic_load(&guest->thread[i].tid);
}

/* State letter and tracer of a thread; false if it has gone. */
static bool look(pid_t pid, pid_t tid, char *state, pid_t *tracer)
{
	char path[64], line[256];
	int found = 0;
	FILE *f;

	snprintf(path, sizeof(path), "/proc/%d/task/%d/status", pid, tid);
	f = fopen(path, "r");
	while (f && fgets(line, sizeof(line), f)) {
		found += sscanf(line, "State: %c", state) == 1;
		found += sscanf(line, "TracerPid: %d", tracer) == 1;
	}
	if (f)
		fclose(f);
	return found == 2;
}

static pid_t tracer_of(pid_t pid, pid_t tid)
{
	pid_t tracer = -1;
	char state;

	return look(pid, tid, &state, &tracer) ? tracer : -1;
}

static void wait_until_traced(pid_t pid, int i, bool traced)
{
	while ((tracer_of(pid, tid_of(i)) > 0) != traced)
		sched_yield();
}

static void expect_free(pid_t pid)
{
	for (int i = 0; i <= REFERENCE; i++) {
		pid_t tracer = -1;
		char state = '?';

		cr_expect(look(pid, tid_of(i), &state, &tracer));
		cr_expect_eq(tracer, 0, "%s is traced by %d", thread_names[i], tracer);
		cr_expect(state == 'R' || state == 'S' || state == 'D', "%s: state %c",
			  thread_names[i], state);
	}
	for (int i = 0; i <= REFERENCE; i++)
		wait_for_turns(i, 3);
}

static struct throttle *new_throttle(pid_t pid)
{
	struct throttle *t = NULL;
	struct errtext err = {0};
	int ret = throttle_new(pid, &t, &err);

	cr_assert_eq(ret, 0, "%d: %s", ret, err.text);
	return t;
}

static void cpu_times(long long ns[THREADS])
{
	for (int i = 0; i < THREADS; i++)
		ns[i] = atomic_load(&guest->thread[i].cpu_ns);
}

static void wait_for_cpu(int i, long long until_ns)
{
	while (atomic_load(&guest->thread[i].cpu_ns) < until_ns)
		sched_yield();
}

/* ---- tests ---- */

Test(throttle, slows_vcpus_and_nothing_else, .timeout = 120)
{
	pid_t pid = start_guest(true);
	struct throttle *t = new_throttle(pid);
	long long before[THREADS], after[THREADS], turns;

	throttle_set(t, 95);
	wait_until_traced(pid, SPIN_0, true);
	cpu_times(before);
	turns = atomic_load(&guest->main_turns);
	wait_for_cpu(REFERENCE, before[REFERENCE] + 600 * MS);
	cpu_times(after);
	for (int i = SPIN_0; i <= SPIN_1; i++) {
		cr_expect_gt(after[i], before[i], "%s stands still", thread_names[i]);
		cr_expect_lt(after[i] - before[i], (after[REFERENCE] - before[REFERENCE]) / 2,
			     "%s: %lld of %lld ns", thread_names[i], after[i] - before[i],
			     after[REFERENCE] - before[REFERENCE]);
	}
	cr_expect_gt(atomic_load(&guest->main_turns), turns);
	cr_expect_eq(tracer_of(pid, pid), 0);
	cr_expect_eq(tracer_of(pid, tid_of(REFERENCE)), 0);

	throttle_set(t, 0);
	wait_until_traced(pid, SPIN_0, false);
	cpu_times(before);
	wait_for_cpu(SPIN_0, before[SPIN_0] + 300 * MS);
	cpu_times(after);
	cr_expect_lt(after[REFERENCE] - before[REFERENCE], 3000 * MS);
	cr_expect_eq(throttle_result(t, NULL), 0);
	throttle_destroy(t);
	expect_free(pid);
	end_guest(pid);
}

Test(throttle, leaves_nothing, .timeout = 120)
{
	pid_t pid = start_guest(true);

	for (unsigned int i = 0; i < 50; i++) {
		struct throttle *t = new_throttle(pid);

		throttle_set(t, i * 2 + 1);
		wait_until_traced(pid, (int)(i % 3), true);
		throttle_destroy(t);
		expect_free(pid);
	}
	throttle_destroy(NULL);
	end_guest(pid);
}

static void send(pid_t pid, pid_t tid, int value)
{
	siginfo_t info = {0};

	info.si_code = SI_QUEUE;
	info.si_pid = getpid();
	info.si_value.sival_int = value;
	cr_assert_eq(syscall(SYS_rt_tgsigqueueinfo, pid, tid, SIGNAL, &info), 0);
}

Test(throttle, signals_arrive_unchanged, .timeout = 120)
{
	struct throttle *t;
	long sum = 0;
	pid_t pid;

#ifdef __SANITIZE_THREAD__
	cr_skip_test("ThreadSanitizer delivers signals late, and several as one");
#endif
	pid = start_guest(true);
	t = new_throttle(pid);
	throttle_set(t, 60);
	wait_until_traced(pid, SPIN_0, true);
	for (int i = 1; i <= 2000; i++) {
		send(pid, tid_of(i % 2), i);
		sum += i;
		/* By bursts, at all moments of the period. */
		while (i % 7 == 0 && atomic_load(&guest->signals) < i)
			sched_yield();
	}
	while (atomic_load(&guest->signals) < 2000)
		sched_yield();
	cr_expect_eq(atomic_load(&guest->signal_sum), sum);
	throttle_destroy(t);
	expect_free(pid);
	end_guest(pid);
}

/* A process stopped by SIGSTOP stays so, whatever we do to its threads. */
Test(throttle, a_group_stop_holds, .timeout = 120)
{
	pid_t pid = start_guest(true);
	struct throttle *t = new_throttle(pid);
	long long turns;
	pid_t tracer;
	char state;

	throttle_set(t, 50);
	wait_until_traced(pid, SPIN_0, true);
	cr_assert_eq(kill(pid, SIGSTOP), 0);
	do {
		cr_assert(look(pid, tid_of(SPIN_0), &state, &tracer));
	} while (state != 'T');
	turns = atomic_load(&guest->thread[SPIN_0].turns);
	for (int i = 0; i < 5; i++) {
		wait_until_traced(pid, SPIN_0, true);
		wait_until_traced(pid, SPIN_0, false);
	}
	cr_expect_eq(atomic_load(&guest->thread[SPIN_0].turns), turns);
	cr_assert_eq(kill(pid, SIGCONT), 0);
	for (int i = 0; i <= REFERENCE; i++)
		wait_for_turns(i, 3);
	throttle_destroy(t);
	expect_free(pid);
	end_guest(pid);
}

Test(throttle, a_killed_tracer_leaves_nothing, .timeout = 120)
{
	pid_t pid = start_guest(true), tracer = start_role('t', guest_fd, pid);
	int status;

	wait_until_traced(pid, SPIN_1, true);
	kill(tracer, SIGKILL);
	cr_assert_eq(waitpid(tracer, &status, 0), tracer);
	expect_free(pid);
	end_guest(pid);
}

Test(throttle, threads_come_and_go, .timeout = 120)
{
	pid_t pid = start_guest(true), gone = tid_of(SPIN_1);
	struct throttle *t = new_throttle(pid);

	throttle_set(t, 80);
	wait_until_traced(pid, SPIN_1, true);
	atomic_store(&guest->plug, true);
	wait_for_turns(HOTPLUGGED, 1);
	wait_until_traced(pid, HOTPLUGGED, true);
	atomic_store(&guest->thread[SPIN_1].end, true);
	while (tracer_of(pid, gone) >= 0)
		sched_yield();
	wait_until_traced(pid, SPIN_0, false);
	wait_until_traced(pid, SPIN_0, true);
	cr_expect_eq(throttle_result(t, NULL), 0);
	throttle_destroy(t);
	cr_expect_eq(tracer_of(pid, tid_of(HOTPLUGGED)), 0);
	end_guest(pid);
}

static int wait_for_result(struct throttle *t, struct errtext *err)
{
	int ret;

	do {
		sched_yield();
		ret = throttle_result(t, err);
	} while (ret == 0);
	return ret;
}

Test(throttle, says_when_the_process_has_ended, .timeout = 120)
{
	pid_t pid = start_guest(true);
	struct throttle *t = new_throttle(pid);
	struct errtext err = {0};

	throttle_set(t, 90);
	wait_until_traced(pid, SPIN_0, true);
	end_guest(pid);
	cr_expect_eq(wait_for_result(t, &err), -ESRCH);
	cr_expect(strstr(err.text, "has ended"), "%s", err.text);
	throttle_destroy(t);
}

Test(throttle, says_who_else_traces, .timeout = 120)
{
	pid_t pid = start_guest(true), other = fork();
	struct errtext err = {0};
	struct throttle *t;
	char text[64];

	cr_assert_geq(other, 0);
	if (other == 0) {
		if (ptrace(PTRACE_SEIZE, tid_of(SPIN_1), NULL, NULL) < 0)
			_exit(1);
		for (;;)
			pause();
	}
	wait_until_traced(pid, SPIN_1, true);
	t = new_throttle(pid);
	throttle_set(t, 50);
	cr_expect_eq(wait_for_result(t, &err), -EPERM);
	snprintf(text, sizeof(text), "traced by process %d", other);
	cr_expect(strstr(err.text, text), "%s", err.text);
	throttle_destroy(t);
	kill(other, SIGKILL);
	waitpid(other, NULL, 0);
	expect_free(pid);
	end_guest(pid);
}

Test(throttle, needs_vcpus, .timeout = 120)
{
	pid_t pid = start_guest(false);
	struct throttle *t = NULL;
	struct errtext err = {0};

	cr_expect_eq(throttle_new(pid, &t, &err), -ENOTSUP);
	cr_expect(strstr(err.text, "debug-threads=on"), "%s", err.text);
	end_guest(pid);
	err = (struct errtext){0};
	cr_expect_eq(throttle_new(pid, &t, &err), -ESRCH);
	cr_expect(strstr(err.text, "No such process"), "%s", err.text);
}

Test(throttle, names_of_vcpus)
{
	static const struct {
		const char *name;
		bool is_vcpu;
	} rows[] = {
		{"CPU 0/KVM", true},	    {"CPU 0/TCG", true},
		{"CPU 255/KVM", true},	    {"ALL CPUs/TCG", true},
		{"CPU /KVM", false},	    {"CPU 0/KVMX", false},
		{"CPU x/KVM", false},	    {"CPU 1", false},
		{"CPU 1/", false},	    {"", false},
		{"qemu-system-x86", false}, {"IO mon_iothread", false},
		{"ALL CPUs/TCG2", false},   {"cpu 0/kvm", false},
		{"worker", false},
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
		cr_expect_eq(vcpus_is_name(rows[i].name), rows[i].is_vcpu, "%s", rows[i].name);
}
