// SPDX-License-Identifier: Apache-2.0
// Killing whoever attaches, at any moment, leaves the process whole and nothing open inside.
#include "borrow_helper.h"

#include <criterion/criterion.h>
#include "attach.h"
#include "kernel_abi.h"
#include "victim.h"

#define KILLS 100
#define MOMENT_MAX_US 8000
#define KERNEL_FAULTS UFFD_FEATURE_MISSING_SHMEM

static void need_root(void)
{
	if (geteuid() != 0)
		cr_skip_test("needs root");
}

/* ---- killed callers ---- */

/* Attach over and over until killed. */
static pid_t start_attacher(const struct victim *v, unsigned long long features, bool keep)
{
	pid_t pid = fork();

	if (pid != 0)
		return pid;
	for (;;) {
		int fd, inside;

		if (attach_userfaultfd(v->pid, features, keep, &fd, &inside, NULL) < 0)
			_exit(1);
		if (keep && attach_close_inside(v->pid, inside, NULL) < 0)
			_exit(2);
		close(fd);
	}
}

/* The test adopts orphaned helpers: wait until nobody but the victim is left. */
static void reap_all_but(const struct victim *v)
{
	char path[64];

	snprintf(path, sizeof(path), "/proc/self/task/%d/children", getpid());
	for (;;) {
		int pid, found = 0;
		FILE *f = fopen(path, "r");

		cr_assert_not_null(f);
		while (fscanf(f, "%d", &pid) == 1) {
			if (pid != v->pid)
				found = pid;
		}
		fclose(f);
		if (!found)
			return;
		waitpid(found, NULL, 0);
	}
}

static void wait_us(unsigned int us)
{
	int64_t until = victim_now_us() + us;

	while (victim_now_us() < until)
		sched_yield();
}

/* Kill at a random moment. True if the attacher was still at it, as it must be. */
static bool kill_one(const struct victim *v, unsigned long long features, bool keep,
		     unsigned int *seed)
{
	pid_t pid = start_attacher(v, features, keep);
	int status;

	wait_us((unsigned int)rand_r(seed) % MOMENT_MAX_US);
	kill(pid, SIGKILL);
	waitpid(pid, &status, 0);
	reap_all_but(v);
	return WIFSIGNALED(status);
}

/* Where a kept copy is left because the kill came after the confirmation, it can be closed. */
static void kill_many(victim_role *role, unsigned long long features, bool keep)
{
	char before[4096], after[4096];
	struct victim v;
	unsigned int seed = 20240229;

	need_root();
	prctl(PR_SET_CHILD_SUBREAPER, 1);
	victim_start(&v, role);
	if (features == KERNEL_FAULTS)
		victim_wait_unprivileged(&v);
	victim_descriptors(&v, before, sizeof(before));
	for (int i = 0; i < KILLS; i++) {
		int number = -1, open;

		cr_assert(kill_one(&v, features, keep, &seed), "round %d: the attacher failed", i);
		open = victim_userfaultfds(&v, &number);
		cr_assert_leq(open, keep ? 1 : 0, "round %d: left %d inside", i, open);
		if (open > 0)
			cr_assert_eq(attach_close_inside(v.pid, number, NULL), 0);
		victim_descriptors(&v, after, sizeof(after));
		cr_assert_str_eq(after, before, "round %d", i);
		cr_assert_eq(victim_tracer(&v), 0);
		cr_assert_eq(atomic_load(&v.shared->errors), 0, "round %d: %s", i, v.shared->what);
	}
	cr_assert(victim_end(&v), "%s", v.shared->what);
}

Test(borrow_helper, killed_while_victim_computes)
{
	kill_many(victim_spin, UFFD_FEATURE_WP_ASYNC, false);
}

Test(borrow_helper, killed_while_victim_polls)
{
	kill_many(victim_poll, UFFD_FEATURE_WP_ASYNC, false);
}

Test(borrow_helper, killed_while_victim_naps)
{
	kill_many(victim_nanosleep, UFFD_FEATURE_WP_ASYNC, false);
}

Test(borrow_helper, killed_while_keeping)
{
	kill_many(victim_spin, UFFD_FEATURE_WP_ASYNC, true);
}

static void spin_unprivileged(struct victim *v)
{
	victim_drop_privileges(v);
	victim_spin(v);
}

/* The device, too, is passed into it and closed again. */
Test(borrow_helper, killed_while_passing_the_device)
{
	kill_many(spin_unprivileged, KERNEL_FAULTS, false);
}

Test(borrow_helper, killed_while_keeping_by_the_device)
{
	kill_many(spin_unprivileged, KERNEL_FAULTS, true);
}

/* ---- the protocol between helper and caller ---- */

/* The address of a `syscall` instruction: that of our own vdso is the victim's, it was forked. */
static unsigned long own_syscall_insn(void)
{
	unsigned long start = 0, end = 0;
	char line[256];
	FILE *f = fopen("/proc/self/maps", "r");
	const char *insn;

	while (fgets(line, sizeof(line), f)) {
		if (strstr(line, "[vdso]"))
			sscanf(line, "%lx-%lx", &start, &end);
	}
	fclose(f);
	insn = memmem((void *)start, end - start, "\x0f\x05", 2);
	cr_assert_not_null(insn);
	return (unsigned long)insn;
}

static struct helper_job keeping_job(const struct victim *v)
{
	char path[32];
	struct helper_job job = {
		.pidfd = (int)syscall(SYS_pidfd_open, v->pid, 0),
		.tid = v->pid,
		.insn = own_syscall_insn(),
		.timeout_ms = 1000,
		.create = true,
		.flags = UFFD_USER_MODE_ONLY,
		.device = -1,
		.keep = true,
	};

	snprintf(path, sizeof(path), "/proc/%d", v->pid);
	job.proc_fd = open(path, O_RDONLY | O_DIRECTORY);
	snprintf(job.task_path, sizeof(job.task_path), "task/%d", v->pid);
	return job;
}

Test(borrow_helper, closes_what_nobody_confirms)
{
	struct helper_report report;
	struct helper_job job;
	struct victim v;
	struct helper h;
	int fd;

	need_root();
	victim_start(&v, victim_read);
	job = keeping_job(&v);
	cr_assert_eq(helper_start(&job, &h), 0);
	cr_assert_eq(helper_receive(&h, 5000, &report, &fd), 0);
	cr_assert_eq(report.error, 0, "step %d: %s", report.step, strerror(-report.error));
	cr_assert_eq(victim_userfaultfds(&v, NULL), 1);
	close(fd);
	helper_finish(&h, false);
	cr_assert_eq(victim_userfaultfds(&v, NULL), 0);
	cr_assert(victim_end(&v), "%s", v.shared->what);
}

Test(borrow_helper, a_thread_of_another_process_is_let_go)
{
	struct helper_report report;
	struct helper_job job;
	struct victim v, other;
	struct helper h;
	int fd;

	need_root();
	victim_start(&v, victim_read);
	victim_start(&other, victim_read);
	job = keeping_job(&v);
	job.tid = other.pid;
	snprintf(job.task_path, sizeof(job.task_path), "task/%d", other.pid);
	cr_assert_eq(helper_start(&job, &h), 0);
	cr_assert_eq(helper_receive(&h, 5000, &report, &fd), 0);
	cr_assert_eq(report.step, HELPER_STOP);
	cr_assert_eq(report.error, -ESRCH);
	cr_assert_eq(fd, -1);
	helper_finish(&h, false);
	cr_assert_eq(victim_userfaultfds(&other, NULL), 0);
	cr_assert(victim_end(&v), "%s", v.shared->what);
	cr_assert(victim_end(&other), "%s", other.shared->what);
}

Test(borrow_helper, an_address_without_the_instruction_is_refused)
{
	struct helper_report report;
	struct helper_job job;
	struct victim v;
	struct helper h;
	int fd;

	need_root();
	victim_start(&v, victim_read);
	job = keeping_job(&v);
	job.insn++;
	cr_assert_eq(helper_start(&job, &h), 0);
	cr_assert_eq(helper_receive(&h, 5000, &report, &fd), 0);
	cr_assert_eq(report.error, -ENOTSUP);
	helper_finish(&h, false);
	cr_assert(victim_end(&v), "%s", v.shared->what);
}
