// SPDX-License-Identifier: Apache-2.0
// attach: the borrowed process does not notice, and the userfaultfd works.
#include "attach.h"

#include <criterion/criterion.h>
#include <criterion/parameterized.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <pthread.h>
#include <sys/ioctl.h>
#include <sys/ptrace.h>
#include "kernel_abi.h"
#include "victim.h"

#define TRACKING                                                                                   \
	(UFFD_FEATURE_WP_ASYNC | UFFD_FEATURE_WP_UNPOPULATED | UFFD_FEATURE_WP_HUGETLBFS_SHMEM)

static void need_root(void)
{
	if (geteuid() != 0)
		cr_skip_test("needs root");
}

static int attach(const struct victim *v, unsigned long long features)
{
	struct errtext err = {0};
	int fd = -1, inside = 0;
	int ret = attach_userfaultfd(v->pid, features, false, &fd, &inside, &err);

	cr_assert_eq(ret, 0, "%d: %s", ret, err.text);
	cr_assert_geq(fd, 0);
	cr_assert_eq(inside, -1);
	return fd;
}

static const struct situation {
	const char *name;
	victim_role *role;
	int nr; /* of the system call to catch it in; -1: none */
} situations[] = {
	{"poll", victim_poll, SYS_poll},
	{"poll with timeout", victim_poll_nap, SYS_poll},
	{"ppoll", victim_ppoll_nap, SYS_ppoll},
	{"nanosleep", victim_nanosleep, SYS_clock_nanosleep},
	{"futex", victim_futex, SYS_futex},
	{"read", victim_read, SYS_read},
	{"computing", victim_spin, -1},
	{"restartable sequence", victim_rseq, -1},
};

/* By number: a test may run in a process with other addresses. */
ParameterizedTestParameters(attach, undisturbed)
{
	static size_t index[sizeof(situations) / sizeof(situations[0])];

	for (size_t i = 0; i < sizeof(index) / sizeof(index[0]); i++)
		index[i] = i;
	return cr_make_param_array(size_t, index, sizeof(index) / sizeof(index[0]));
}

ParameterizedTest(size_t *index, attach, undisturbed)
{
	const struct situation *s = &situations[*index];
	struct victim v;

	need_root();
	victim_start(&v, s->role);
	for (int i = 0; i < 20; i++) {
		if (s->nr >= 0)
			victim_wait_syscall(&v, s->nr);
		close(attach(&v, TRACKING));
		cr_assert_eq(victim_userfaultfds(&v, NULL), 0);
		cr_assert_eq(victim_tracer(&v), 0);
	}
	cr_assert(victim_end(&v), "%s: %s", s->name, v.shared->what);
	cr_assert_gt(atomic_load(&v.shared->rounds), 0);
}

/* ---- a nap that is interrupted again and again ends in time ---- */

Test(attach, remaining_time)
{
	int64_t began = victim_now_us();
	struct victim v;

	need_root();
	victim_start(&v, victim_nanosleep);
	while (atomic_load(&v.shared->rounds) < 3) {
		close(attach(&v, TRACKING));
		cr_assert_lt(victim_now_us() - began, 10000000, "the nap begins anew every time");
	}
	cr_assert(victim_end(&v), "%s", v.shared->what);
}

/* ---- signals ---- */

static struct victim_shared *signalled;

static void count_signal(int sig, siginfo_t *info, void *context)
{
	(void)sig;
	(void)context;
	atomic_fetch_add(&signalled->signals, 1);
	atomic_fetch_add(&signalled->signal_sum, info->si_value.sival_int);
}

static void read_with_handler(struct victim *v)
{
	struct sigaction sa = {.sa_sigaction = count_signal, .sa_flags = SA_SIGINFO | SA_RESTART};

	signalled = v->shared;
	sigaction(SIGRTMIN, &sa, NULL);
	atomic_store(&v->shared->word, 1);
	victim_read(v);
}

#define SIGNALS 2000

static void *send_signals(void *opaque)
{
	struct victim *v = opaque;

	for (int i = 1; i <= SIGNALS; i++) {
		union sigval value = {.sival_int = i};

		while (sigqueue(v->pid, SIGRTMIN, value) < 0)
			sched_yield();
	}
	return NULL;
}

Test(attach, no_signal_is_lost)
{
	struct victim v;
	pthread_t thread;
	int attached = 0;

	need_root();
	victim_start(&v, read_with_handler);
	while (!atomic_load(&v.shared->word))
		sched_yield();
	pthread_create(&thread, NULL, send_signals, &v);
	while (atomic_load(&v.shared->signals) < SIGNALS || attached < 20) {
		close(attach(&v, TRACKING));
		attached++;
	}
	pthread_join(thread, NULL);
	cr_assert(victim_end(&v), "%s", v.shared->what);
	cr_assert_eq(atomic_load(&v.shared->signals), SIGNALS);
	cr_assert_eq(atomic_load(&v.shared->signal_sum), SIGNALS * (SIGNALS + 1l) / 2);
}

Test(attach, stopped_process_stays_stopped)
{
	struct victim v;
	int status;

	need_root();
	victim_start(&v, victim_read);
	kill(v.pid, SIGSTOP);
	waitpid(v.pid, &status, WUNTRACED);
	cr_assert(WIFSTOPPED(status));
	close(attach(&v, TRACKING));
	cr_assert_eq(victim_userfaultfds(&v, NULL), 0);
	kill(v.pid, SIGCONT);
	waitpid(v.pid, &status, WCONTINUED);
	cr_assert(WIFCONTINUED(status));
	cr_assert(victim_end(&v), "%s", v.shared->what);
}

/* ---- threads ---- */

static void *thread_polls(void *opaque)
{
	struct victim *v = opaque;

	atomic_store(&v->shared->word, 1);
	victim_poll(v);
	return NULL;
}

/* The main thread waits uninterruptibly, for a vfork child that waits for the pipe. */
static void wait_uninterruptibly(struct victim *v)
{
	struct pollfd p = {.fd = v->to[0], .events = POLLIN};
	pid_t child = vfork();

	if (child == 0) {
		poll(&p, 1, -1);
		_exit(0);
	}
	waitpid(child, NULL, 0);
}

static void wait_uninterruptibly_with_thread(struct victim *v)
{
	pthread_t thread;

	pthread_create(&thread, NULL, thread_polls, v);
	while (!atomic_load(&v->shared->word))
		sched_yield();
	wait_uninterruptibly(v);
	pthread_join(thread, NULL);
}

Test(attach, takes_another_thread_if_main_is_stuck)
{
	struct victim v;

	need_root();
	victim_start(&v, wait_uninterruptibly_with_thread);
	victim_wait_syscall(&v, SYS_vfork);
	close(attach(&v, TRACKING));
	cr_assert_eq(victim_userfaultfds(&v, NULL), 0);
	cr_assert(victim_end(&v), "%s", v.shared->what);
}

Test(attach, gives_up_if_every_thread_is_stuck)
{
	struct errtext err = {0};
	struct victim v;
	int fd;

	need_root();
	victim_start(&v, wait_uninterruptibly);
	victim_wait_syscall(&v, SYS_vfork);
	cr_assert_eq(attach_userfaultfd(v.pid, TRACKING, false, &fd, NULL, &err), -EBUSY);
	cr_assert_not_null(strstr(err.text, "none of its threads"), "%s", err.text);
	cr_assert_eq(victim_tracer(&v), 0);
	cr_assert(victim_end(&v), "%s", v.shared->what);
}

/* ---- a seccomp filter that refuses userfaultfd ---- */

static void refuse_userfaultfd(struct victim *v)
{
	struct sock_filter code[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_userfaultfd, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | ENOSPC),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	struct sock_fprog filter = {.len = sizeof(code) / sizeof(code[0]), .filter = code};

	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0 ||
	    prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &filter) < 0)
		victim_error(v, "seccomp", 0);
	atomic_store(&v->shared->word, 1);
	victim_read(v);
	if (syscall(SYS_userfaultfd, 0) >= 0 || errno != ENOSPC)
		victim_error(v, "the filter is gone", 0);
}

Test(attach, passes_a_seccomp_filter_that_stays_in_force)
{
	struct errtext err = {0};
	struct victim v;
	int fd, ret;

	need_root();
	victim_start(&v, refuse_userfaultfd);
	while (!atomic_load(&v.shared->word))
		sched_yield();
	ret = attach_userfaultfd(v.pid, TRACKING, false, &fd, NULL, &err);
	if (ret == -ENOSPC)
		cr_skip_test("the kernel has no CONFIG_CHECKPOINT_RESTORE");
	cr_assert_eq(ret, 0, "%s", err.text);
	close(fd);
	cr_assert(victim_end(&v), "%s", v.shared->what);
}

/* ---- the descriptor does its work ---- */

static unsigned int scan(const struct victim *v, struct page_region *regions, unsigned int count)
{
	char path[32];
	struct pm_scan_arg arg = {
		.size = sizeof(arg),
		.flags = PM_SCAN_WP_MATCHING | PM_SCAN_CHECK_WPASYNC,
		.start = (uintptr_t)v->ram,
		.end = (uintptr_t)v->ram + VICTIM_PAGES * 4096,
		.vec = (uintptr_t)regions,
		.vec_len = count,
		.category_mask = PAGE_IS_WRITTEN,
		.return_mask = PAGE_IS_WRITTEN,
	};
	int fd, ret;

	snprintf(path, sizeof(path), "/proc/%d/pagemap", v->pid);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	ret = ioctl(fd, PAGEMAP_SCAN, &arg);
	cr_assert_geq(ret, 0, "PAGEMAP_SCAN: %s", strerror(errno));
	close(fd);
	return (unsigned int)ret;
}

static void watch(int uffd, const struct victim *v, unsigned long mode)
{
	struct uffdio_register reg = {
		.range = {.start = (uintptr_t)v->ram, .len = VICTIM_PAGES * 4096},
		.mode = mode,
	};

	cr_assert_eq(ioctl(uffd, UFFDIO_REGISTER, &reg), 0, "%s", strerror(errno));
}

static bool at_page(const struct page_region *r, const struct victim *v, unsigned int page)
{
	return r->start == (uintptr_t)v->ram + page * 4096 && r->end == r->start + 4096;
}

/* A system call's write into protected memory must not fail, though the descriptor is one for
 * user-mode faults only. */
Test(attach, tracks_writes_of_program_and_kernel)
{
	struct page_region regions[VICTIM_PAGES];
	struct victim v;
	int uffd;

	need_root();
	victim_start(&v, victim_obey);
	uffd = attach(&v, TRACKING);
	watch(uffd, &v, UFFDIO_REGISTER_MODE_WP);
	scan(&v, regions, VICTIM_PAGES);
	cr_assert_eq(scan(&v, regions, VICTIM_PAGES), 0);
	cr_assert_eq(victim_order(&v, 'w'), 'y');
	cr_assert_eq(victim_order(&v, 'k'), 'y');
	cr_assert_eq(scan(&v, regions, VICTIM_PAGES), 2);
	cr_assert(at_page(&regions[0], &v, 3));
	cr_assert(at_page(&regions[1], &v, 5));
	close(uffd);
	cr_assert(victim_end(&v), "%s", v.shared->what);
}

static char serve_fault(int uffd, struct victim *v)
{
	static char page[4096] __attribute__((aligned(4096))) = "Q";
	struct pollfd p = {.fd = uffd, .events = POLLIN};
	struct uffd_msg msg;
	struct uffdio_copy copy = {
		.dst = (uintptr_t)v->ram + 7 * 4096,
		.src = (uintptr_t)page,
		.len = 4096,
	};
	char answer = 0;

	cr_assert_eq(write(v->to[1], "r", 1), 1);
	cr_assert_eq(poll(&p, 1, 5000), 1);
	cr_assert_eq(read(uffd, &msg, sizeof(msg)), (ssize_t)sizeof(msg));
	cr_assert_eq(msg.event, UFFD_EVENT_PAGEFAULT);
	cr_assert_eq(msg.arg.pagefault.address & ~4095ull, copy.dst);
	cr_assert_eq(ioctl(uffd, UFFDIO_COPY, &copy), 0);
	cr_assert_eq(read(v->from[0], &answer, 1), 1);
	return answer;
}

Test(attach, serves_missing_pages_and_keeps_a_copy_inside)
{
	struct errtext err = {0};
	struct victim v;
	int uffd, inside, number = -1;

	need_root();
	victim_start(&v, victim_obey);
	cr_assert_eq(
		attach_userfaultfd(v.pid, UFFD_FEATURE_MISSING_SHMEM, true, &uffd, &inside, &err),
		0, "%s", err.text);
	cr_assert_eq(victim_userfaultfds(&v, &number), 1);
	cr_assert_eq(number, inside);
	watch(uffd, &v, UFFDIO_REGISTER_MODE_MISSING);
	cr_assert_eq(serve_fault(uffd, &v), 'Q');
	close(uffd);
	cr_assert_eq(attach_close_inside(v.pid, inside, &err), 0, "%s", err.text);
	cr_assert_eq(victim_userfaultfds(&v, NULL), 0);
	cr_assert_eq(attach_close_inside(v.pid, inside, &err), -EBADF);
	cr_assert_eq(attach_close_inside(v.pid, v.to[0], NULL), -EBADF);
	cr_assert(victim_end(&v), "%s", v.shared->what);
}

/* ---- refusals ---- */

Test(attach, no_such_process)
{
	struct errtext err = {0};
	pid_t pid = fork();
	int fd;

	if (pid == 0)
		_exit(0);
	waitpid(pid, NULL, 0);
	cr_assert_eq(attach_userfaultfd(pid, TRACKING, false, &fd, NULL, &err), -ESRCH);
	cr_assert_neq(err.text[0], '\0');
}

Test(attach, names_a_feature_the_kernel_lacks)
{
	struct errtext err = {0};
	int fd;

	cr_assert_eq(attach_userfaultfd(getpid(), 1ull << 60, false, &fd, NULL, &err), -ENOTSUP);
	cr_assert_not_null(strstr(err.text, "0x1000000000000000"), "%s", err.text);
}

static pid_t start_tracer(pid_t target)
{
	int ready[2];
	char c;
	pid_t pid;

	cr_assert_eq(pipe(ready), 0);
	pid = fork();
	if (pid == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		if (ptrace(PTRACE_SEIZE, target, NULL, NULL) == 0 && write(ready[1], "x", 1) == 1)
			pause();
		_exit(1);
	}
	close(ready[1]);
	cr_assert_eq(read(ready[0], &c, 1), 1, "cannot trace");
	return pid;
}

Test(attach, names_another_tracer)
{
	struct errtext err = {0};
	char name[32];
	struct victim v;
	pid_t tracer;
	int fd;

	need_root();
	victim_start(&v, victim_read);
	tracer = start_tracer(v.pid);
	snprintf(name, sizeof(name), "traced by process %d", tracer);
	cr_assert_eq(attach_userfaultfd(v.pid, TRACKING, false, &fd, NULL, &err), -EPERM);
	cr_assert_not_null(strstr(err.text, name), "%s", err.text);
	kill(tracer, SIGKILL);
	waitpid(tracer, NULL, 0);
	cr_assert(victim_end(&v), "%s", v.shared->what);
}
