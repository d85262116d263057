// SPDX-License-Identifier: Apache-2.0
// Get a userfaultfd for another process's memory.
//
// userfaultfd(2) only ever speaks of its caller's memory, so a thread of the process must call it.
// In order:
//
//   1. Ask the kernel, by a userfaultfd of our own, for the features wanted: a kernel that lacks
//   one
//      is found out before the process is touched.
//   2. Open a pidfd and /proc/PID, and only then look at anything by number: from here on a reused
//      process id is an error, never another process.
//   3. Find a `syscall` instruction in its vdso. The vdso is there in every process, always
//      executable, and nobody else's code has to be trusted to contain one.
//   4. Fork a helper (borrow_helper.c) that borrows a thread (borrow.c), creates the descriptor
//      inside, fetches a copy by pidfd_getfd and closes the original, all in one stop. Why not do
//      it ourselves: a tracer that is killed lets go of a thread with our registers in place. The
//      main thread comes first: it sits in poll nearly always, and a QEMU's vCPU threads would pay
//      with a guest exit. One that does not stop (uninterruptible sleep) is given up and, with a
//      new helper, the next one tried; the death of the old helper releases it.
//      Kernel faults need privilege, which QEMU has not: userfaultfd(2) refuses. /dev/userfaultfd
//      gives to whoever has it open, so a descriptor of ours goes into the process for a moment
//      (borrow_fd.c), and its ioctl makes the userfaultfd there. The plain call comes first: where
//      it is allowed, less is done to the process. (A hostile QEMU could keep a copy of the
//      device; that gives it nothing that a userfaultfd kept inside does not.)
//   5. UFFDIO_API from here: once, by whoever holds the descriptor.
//   6. Confirm to the helper, if a copy is kept inside: it would close it had we died.
#include "attach.h"

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>
#include "borrow_helper.h"
#include "cleanup.h"
#include "kernel_abi.h"
#include "maps.h"
#include "process.h"
#include "uffd_device.h"

#define MAIN_THREAD_MS 500
#define OTHER_THREAD_MS 100
#define THREADS_MAX 16
#define HELPER_MS 10000 /* above everything that the helper waits for, but a frozen cgroup */
#define DROPS_A_MS 5	/* ranges that are given back, at the least */
#define VDSO_MAX (64u * 1024)

struct target {
	pid_t pid;
	int pidfd;
	int proc_fd;
	unsigned long insn;
	int device; /* /dev/userfaultfd, or -1 */
	struct errtext no_device;
};

static void target_close(struct target *t)
{
	cleanup_close(&t->device);
	cleanup_close(&t->pidfd);
	cleanup_close(&t->proc_fd);
}

static const struct {
	unsigned long long bit;
	const char *name;
} feature_names[] = {
	{UFFD_FEATURE_PAGEFAULT_FLAG_WP, "PAGEFAULT_FLAG_WP"},
	{UFFD_FEATURE_EVENT_REMOVE, "EVENT_REMOVE"},
	{UFFD_FEATURE_MISSING_HUGETLBFS, "MISSING_HUGETLBFS"},
	{UFFD_FEATURE_MISSING_SHMEM, "MISSING_SHMEM"},
	{UFFD_FEATURE_THREAD_ID, "THREAD_ID"},
	{UFFD_FEATURE_MINOR_HUGETLBFS, "MINOR_HUGETLBFS"},
	{UFFD_FEATURE_MINOR_SHMEM, "MINOR_SHMEM"},
	{UFFD_FEATURE_EXACT_ADDRESS, "EXACT_ADDRESS"},
	{UFFD_FEATURE_WP_HUGETLBFS_SHMEM, "WP_HUGETLBFS_SHMEM"},
	{UFFD_FEATURE_WP_UNPOPULATED, "WP_UNPOPULATED"},
	{UFFD_FEATURE_POISON, "POISON"},
	{UFFD_FEATURE_WP_ASYNC, "WP_ASYNC"},
};

static int features_missing(unsigned long long missing, struct errtext *err)
{
	char names[256] = "";
	size_t len = 0;

	for (size_t i = 0; i < sizeof(feature_names) / sizeof(feature_names[0]); i++) {
		if (!(missing & feature_names[i].bit))
			continue;
		len += (size_t)snprintf(names + len, sizeof(names) - len, " %s",
					feature_names[i].name);
		missing &= ~feature_names[i].bit;
	}
	if (missing)
		snprintf(names + len, sizeof(names) - len, " 0x%llx", missing);
	return errtext_set(err, -ENOTSUP,
			   "this kernel's userfaultfd lacks%s; Linux 6.7 or newer is needed",
			   names);
}

static int features_check(unsigned long long wanted, struct errtext *err)
{
	struct uffdio_api api = {.api = UFFD_API};
	_cleanup_close_ int fd =
		(int)syscall(SYS_userfaultfd, O_CLOEXEC | O_NONBLOCK | UFFD_USER_MODE_ONLY);

	if (fd < 0)
		return errtext_set(err, -ENOTSUP, "this kernel has no userfaultfd: %s",
				   strerror(errno));
	if (ioctl(fd, UFFDIO_API, &api) < 0)
		return errtext_set(err, -ENOTSUP, "userfaultfd: UFFDIO_API: %s", strerror(errno));
	if (wanted & ~api.features)
		return features_missing(wanted & ~api.features, err);
	return 0;
}

static int find_vdso(const struct target *t, unsigned long *start, unsigned long *end)
{
	_cleanup_fclose_ FILE *maps = maps_fopen(t->proc_fd, "maps");
	_cleanup_free_ char *line = NULL;
	size_t size = 0;

	if (!maps)
		return -errno;
	while (getline(&line, &size, maps) > 0) {
		if (strstr(line, " [vdso]") && sscanf(line, "%lx-%lx", start, end) == 2)
			return 0;
	}
	return -ENOENT;
}

static int find_syscall_insn(struct target *t, struct errtext *err)
{
	static const unsigned char insn[] = {0x0f, 0x05};
	unsigned long start, end;
	_cleanup_free_ char *code = malloc(VDSO_MAX);
	struct iovec local = {.iov_base = code}, remote;
	const char *found;
	ssize_t n;
	int ret = find_vdso(t, &start, &end);

	if (!code)
		return -ENOMEM;
	if (ret < 0)
		return errtext_set(err, ret == -ENOENT ? -ENOTSUP : ret,
				   "process %d: cannot find its vdso: %s", t->pid, strerror(-ret));
	local.iov_len = end - start < VDSO_MAX ? end - start : VDSO_MAX;
	remote = (struct iovec){.iov_base = (void *)start, .iov_len = local.iov_len};
	n = process_vm_readv(t->pid, &local, 1, &remote, 1, 0);
	if (n < 0)
		return errtext_set(err, -errno, "process %d: cannot read its memory: %s", t->pid,
				   strerror(errno));
	found = memmem(code, (size_t)n, insn, sizeof(insn));
	if (!found)
		return errtext_set(err, -ENOTSUP, "process %d: no syscall instruction in its vdso",
				   t->pid);
	t->insn = start + (unsigned long)(found - code);
	return 0;
}

static int target_open(struct target *t, pid_t pid, struct errtext *err)
{
	int ret = process_open(pid, &t->pidfd, &t->proc_fd, err);

	t->pid = pid;
	return ret < 0 ? ret : find_syscall_insn(t, err);
}

/* The state letter of a thread, '?' if it has gone. */
static char thread_state(const struct target *t, pid_t tid)
{
	char path[40], line[512];
	const char *paren;
	_cleanup_fclose_ FILE *f = NULL;

	snprintf(path, sizeof(path), "task/%d/stat", tid);
	f = maps_fopen(t->proc_fd, path);
	if (!f || !fgets(line, sizeof(line), f))
		return '?';
	paren = strrchr(line, ')'); /* the name may contain any of them */
	if (!paren || paren[1] != ' ')
		return '?';
	return paren[2];
}

/* Threads worth trying, main first. */
static unsigned int list_threads(const struct target *t, pid_t tids[THREADS_MAX])
{
	int fd = openat(t->proc_fd, "task", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *dir = fd < 0 ? NULL : fdopendir(fd);
	unsigned int count = 0;
	struct dirent *entry;

	if (thread_state(t, t->pid) != 'Z')
		tids[count++] = t->pid;
	if (!dir) {
		cleanup_close(&fd);
		return count;
	}
	while (count < THREADS_MAX && (entry = readdir(dir))) {
		pid_t tid = (pid_t)atoi(entry->d_name);
		char state;

		if (!isdigit((unsigned char)entry->d_name[0]) || tid == t->pid)
			continue;
		state = thread_state(t, tid);
		if (state == 'S' || state == 'R' || state == 'T')
			tids[count++] = tid;
	}
	closedir(dir);
	return count;
}

static pid_t tracer_of(const struct target *t)
{
	_cleanup_fclose_ FILE *status = maps_fopen(t->proc_fd, "status");
	char line[256];
	int tracer = 0;

	while (status && fgets(line, sizeof(line), status)) {
		if (sscanf(line, "TracerPid: %d", &tracer) == 1)
			break;
	}
	return tracer;
}

static bool refused_kernel_faults(const struct helper_report *r)
{
	return (r->step == HELPER_USERFAULTFD || r->step == HELPER_DEVICE) &&
	       (r->error == -EPERM || r->error == -EACCES || r->error == -ENOSYS);
}

static int explain_kernel_faults(const struct target *t, struct errtext *err)
{
	const char *why = t->no_device.text[0] ? t->no_device.text
					       : "a security policy keeps " UFFD_DEVICE_PATH
						 " from it";

	return errtext_set(err, -ENOTSUP,
			   "process %d may not handle its kernel faults, which post-copy needs: "
			   "%s; let dray have that device, or run: sysctl "
			   "vm.unprivileged_userfaultfd=1",
			   t->pid, why);
}

static int explain(const struct target *t, const struct helper_report *r, bool user_mode,
		   struct errtext *err)
{
	static const char *const doing[HELPER_STEP_END_] = {
		[HELPER_STOP] = "stop a thread",
		[HELPER_USERFAULTFD] = "create a userfaultfd inside",
		[HELPER_DEVICE] = ("create a userfaultfd inside by " UFFD_DEVICE_PATH),
		[HELPER_FETCH] = "fetch the userfaultfd",
		[HELPER_CLOSE] = "close the userfaultfd inside",
		[HELPER_DROP] = "give its memory back",
		[HELPER_RESTORE] = "let the thread go on",
		[HELPER_DONE] = "finish",
	};
	pid_t tracer = r->step == HELPER_STOP && r->error == -EPERM ? tracer_of(t) : 0;

	if (tracer > 0)
		return errtext_set(err, -EPERM,
				   "process %d is being traced by process %d; end that first",
				   t->pid, tracer);
	if (!user_mode && refused_kernel_faults(r))
		return explain_kernel_faults(t, err);
	if (r->error == -EBUSY)
		return errtext_set(err, -EBUSY,
				   "process %d: none of its threads stopped in time (waiting for "
				   "a device, or frozen); try again",
				   t->pid);
	return errtext_set(err, r->error, "process %d: cannot %s: %s%s", t->pid, doing[r->step],
			   strerror(-r->error), r->error == -EPERM ? " (run as root)" : "");
}

/* Run the job on one thread after another until one stops. On success the helper waits for
 * helper_finish; on failure it is gone. */
static int run_job(const struct target *t, struct helper_job *job, struct helper *h,
		   struct helper_report *report, int *fd, struct errtext *err)
{
	pid_t tids[THREADS_MAX];
	unsigned int count = list_threads(t, tids);

	*report = (struct helper_report){.step = HELPER_STOP, .error = -ESRCH};
	for (unsigned int i = 0; i < count; i++) {
		int ret;

		job->tid = tids[i];
		job->timeout_ms = tids[i] == t->pid ? MAIN_THREAD_MS : OTHER_THREAD_MS;
		snprintf(job->task_path, sizeof(job->task_path), "task/%d", tids[i]);
		ret = helper_start(job, h);
		if (ret < 0)
			return errtext_set(err, ret, "cannot start a helper process: %s",
					   strerror(-ret));
		ret = helper_receive(h, HELPER_MS + (int)(job->drops / DROPS_A_MS), report, fd);
		if (ret == 0 && report->error == 0)
			return 0;
		cleanup_close(fd);
		*fd = -1;
		helper_finish(h, false);
		if (ret < 0)
			return errtext_set(err, ret, "process %d: the helper process: %s", t->pid,
					   strerror(-ret));
		if (report->step != HELPER_STOP ||
		    (report->error != -EBUSY && report->error != -ESRCH))
			break;
	}
	return explain(t, report, job->flags & UFFD_USER_MODE_ONLY, err);
}

/* Asynchronous write-protection hands faults to nobody, so it needs no privilege in the process. */
static struct helper_job creation(struct target *t, bool user_mode, bool keep)
{
	if (!user_mode)
		uffd_device_open(UFFD_DEVICE_PATH, &t->device, &t->no_device);
	return (struct helper_job){
		.pidfd = t->pidfd,
		.proc_fd = t->proc_fd,
		.insn = t->insn,
		.create = true,
		.flags = user_mode ? UFFD_USER_MODE_ONLY : 0,
		.device = t->device,
		.keep = keep,
	};
}

/* Nothing that a fault handler would have to see. */
static bool only_user_mode(unsigned long long features)
{
	return features & UFFD_FEATURE_WP_ASYNC &&
	       !(features & (UFFD_FEATURE_MISSING_SHMEM | UFFD_FEATURE_MISSING_HUGETLBFS));
}

int attach_userfaultfd(pid_t pid, unsigned long long features_wanted, bool keep_inside, int *uffd,
		       int *inside_fd, struct errtext *err)
{
	_cleanup_(target_close) struct target t = {.pidfd = -1, .proc_fd = -1, .device = -1};
	_cleanup_close_ int fd = -1;
	struct uffdio_api api = {.api = UFFD_API, .features = features_wanted};
	struct helper_report report;
	struct helper_job job;
	struct helper h;
	int ret = features_check(features_wanted, err);

	if (ret < 0)
		return ret;
	ret = target_open(&t, pid, err);
	if (ret < 0)
		return ret;
	job = creation(&t, only_user_mode(features_wanted), keep_inside);
	ret = run_job(&t, &job, &h, &report, &fd, err);
	if (ret < 0)
		return ret;
	if (ioctl(fd, UFFDIO_API, &api) < 0)
		ret = errtext_set(err, -errno, "process %d: UFFDIO_API: %s", pid, strerror(errno));
	helper_finish(&h, ret == 0);
	if (ret < 0)
		return ret;
	*uffd = steal_fd(&fd);
	if (inside_fd)
		*inside_fd = report.inside_fd;
	return 0;
}

/* One of which nothing stays open. */
static int run_inside(const struct target *t, struct helper_job job, struct errtext *err)
{
	struct helper_report report;
	struct helper h;
	int fd, ret;

	job.pidfd = t->pidfd;
	job.proc_fd = t->proc_fd;
	job.insn = t->insn;
	job.device = -1;
	ret = run_job(t, &job, &h, &report, &fd, err);
	if (ret == 0)
		helper_finish(&h, true);
	return ret;
}

int attach_close_inside(pid_t pid, int inside_fd, struct errtext *err)
{
	_cleanup_(target_close) struct target t = {.pidfd = -1, .proc_fd = -1, .device = -1};
	char path[32], link[64] = "";
	int ret = target_open(&t, pid, err);

	if (ret < 0)
		return ret;
	snprintf(path, sizeof(path), "fd/%d", inside_fd);
	if (readlinkat(t.proc_fd, path, link, sizeof(link) - 1) < 0 ||
	    strcmp(link, "anon_inode:[userfaultfd]") != 0)
		return errtext_set(err, -EBADF, "process %d: descriptor %d is no userfaultfd", pid,
				   inside_fd);
	return run_inside(&t, (struct helper_job){.inside_fd = inside_fd}, err);
}

int attach_drop(pid_t pid, const struct iovec *ranges, unsigned int n, struct errtext *err)
{
	_cleanup_(target_close) struct target t = {.pidfd = -1, .proc_fd = -1, .device = -1};
	const struct helper_job job = {.inside_fd = -1, .drop = ranges, .drops = n};
	int ret = n ? target_open(&t, pid, err) : 0;

	return ret < 0 || n == 0 ? ret : run_inside(&t, job, err);
}
