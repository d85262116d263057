// SPDX-License-Identifier: Apache-2.0
// The vCPU threads of a QEMU: find, hold, let go.
//
// A thread is seized for each hold anew, and detached at its end, rather than seized once and then
// interrupted and continued: between holds it is not traced at all. So its signals (QEMU kicks
// vCPUs by signal all the time) cost it nothing, nobody has to wait for its stops, a debugger or
// our own userfaultfd borrow (attach.c) may have it, and there is little that a crash could leave.
//
// In whatever stop a held thread is found, it stands still, which is all that is wanted:
//
//   signal-delivery-stop   a signal came before our interrupt. Detached with that signal, it gets
//                          it, siginfo and all, and what of our interrupt is pending is dropped.
//   PTRACE_EVENT_STOP      our interrupt, or a group-stop. Detached, it goes on, or goes back to
//                          the group-stop if that still holds. A system call is restarted, or
//                          returns EINTR if it is of those that never restart (KVM_RUN).
//
// Signals that arrive during a stop stay queued in the kernel and are delivered afterwards. The
// stop's kind is asked for by PTRACE_GETSIGINFO, not taken from waitpid: a status that somebody
// else had reaped could leave a vCPU stopped for ever.
#include "vcpus.h"

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/wait.h>
#include <unistd.h>
#include "cleanup.h"
#include "maps.h"

bool vcpus_is_name(const char *comm)
{
	const char *p = comm;

	if (strcmp(comm, "ALL CPUs/TCG") == 0)
		return true;
	if (strncmp(p, "CPU ", 4) != 0 || !isdigit((unsigned char)p[4]))
		return false;
	for (p += 4; isdigit((unsigned char)*p); p++)
		;
	return strcmp(p, "/KVM") == 0 || strcmp(p, "/TCG") == 0;
}

static bool is_vcpu(const struct vcpus *v, const char *tid)
{
	char path[300], comm[32];
	_cleanup_fclose_ FILE *f = NULL;

	snprintf(path, sizeof(path), "%s/comm", tid);
	f = maps_fopen(v->task_fd, path);
	if (!f || !fgets(comm, sizeof(comm), f))
		return false;
	comm[strcspn(comm, "\n")] = '\0';
	return vcpus_is_name(comm);
}

static int add(struct vcpus *v, pid_t tid)
{
	for (size_t i = 0; i < v->count; i++)
		if (v->vcpu[i].tid == tid)
			return 0;
	if (v->count == v->room) {
		size_t room = v->room ? 2 * v->room : 16;
		struct vcpu *more = realloc(v->vcpu, room * sizeof(*more));

		if (!more)
			return -ENOMEM;
		v->vcpu = more;
		v->room = room;
	}
	v->vcpu[v->count++] = (struct vcpu){.tid = tid};
	return 0;
}

static void keep_held(struct vcpus *v)
{
	size_t count = 0;

	for (size_t i = 0; i < v->count; i++)
		if (v->vcpu[i].held)
			v->vcpu[count++] = v->vcpu[i];
	v->count = count;
}

static void cleanup_closedir(DIR **dir)
{
	if (*dir)
		closedir(*dir);
}

static int has_none(const struct vcpus *v, struct errtext *err)
{
	return errtext_set(err, -ESRCH, "process %d has no vCPU threads any longer: it has ended",
			   v->pid);
}

int vcpus_scan(struct vcpus *v, struct errtext *err)
{
	int fd = openat(v->task_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	_cleanup_(cleanup_closedir) DIR *dir = fd < 0 ? NULL : fdopendir(fd);
	const struct dirent *entry;

	if (!dir) {
		int ret = -errno;

		cleanup_close(&fd);
		if (ret == -ESRCH || ret == -ENOENT)
			return has_none(v, err);
		return errtext_set(err, ret, "process %d: cannot list its threads: %s", v->pid,
				   strerror(-ret));
	}
	keep_held(v);
	while ((entry = readdir(dir))) {
		if (!isdigit((unsigned char)entry->d_name[0]) || !is_vcpu(v, entry->d_name))
			continue;
		if (add(v, (pid_t)atoi(entry->d_name)) < 0)
			return errtext_set(err, -ENOMEM, "out of memory");
	}
	return v->count > 0 ? 0 : has_none(v, err);
}

int vcpus_open(struct vcpus *v, pid_t pid, struct errtext *err)
{
	char path[32];
	int ret;

	snprintf(path, sizeof(path), "/proc/%d/task", pid);
	*v = (struct vcpus){.pid = pid};
	v->task_fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (v->task_fd < 0) {
		ret = errno == ENOENT ? -ESRCH : -errno;
		return errtext_set(err, ret, "process %d: %s", pid, strerror(-ret));
	}
	ret = vcpus_scan(v, NULL);
	if (ret == -ESRCH)
		ret = errtext_set(err, -ENOTSUP,
				  "process %d: no thread is named as QEMU names its vCPUs (CPU "
				  "0/KVM); start QEMU with -name debug-threads=on, as libvirt does",
				  pid);
	else if (ret < 0)
		errtext_set(err, ret, "process %d: cannot list its threads: %s", pid,
			    strerror(-ret));
	if (ret < 0)
		vcpus_close(v);
	return ret;
}

void vcpus_close(struct vcpus *v)
{
	cleanup_close(&v->task_fd);
	v->task_fd = -1;
	free(v->vcpu);
	v->vcpu = NULL;
	v->count = v->room = 0;
}

/* Still a thread of that process, not of another one that got its number? */
static bool is_there(const struct vcpus *v, pid_t tid)
{
	char name[16];

	snprintf(name, sizeof(name), "%d", tid);
	return faccessat(v->task_fd, name, F_OK, 0) == 0;
}

static int hold(const struct vcpus *v, struct vcpu *vcpu)
{
	if (!vcpu->held) {
		if (!is_there(v, vcpu->tid))
			return 0;
		if (ptrace(PTRACE_SEIZE, vcpu->tid, NULL, NULL) < 0)
			return errno == ESRCH ? 0 : -errno;
		vcpu->held = true;
	}
	/* Fails if it has ended, which vcpus_release finds out. */
	ptrace(PTRACE_INTERRUPT, vcpu->tid, NULL, NULL);
	return 0;
}

int vcpus_hold(struct vcpus *v, pid_t *failed)
{
	int first = 0;

	for (size_t i = 0; i < v->count; i++) {
		int ret = hold(v, &v->vcpu[i]);

		if (ret < 0 && first == 0) {
			first = ret;
			*failed = v->vcpu[i].tid;
		}
	}
	return first;
}

/* The signal that it was about to get when it stopped; 0: it stopped for another reason; -ESRCH: it
 * has not stopped. */
static int signal_at_stop(pid_t tid)
{
	siginfo_t info = {0};

	if (ptrace(PTRACE_GETSIGINFO, tid, NULL, &info) < 0)
		return errno == ESRCH ? -ESRCH : 0;
	return info.si_code >> 8 == PTRACE_EVENT_STOP ? 0 : info.si_signo;
}

/* A thread that ended while held is a zombie until its tracer waits for it. */
static bool has_ended(pid_t tid)
{
	int status;
	pid_t pid = waitpid(tid, &status, __WALL | __WNOTHREAD | WNOHANG);

	return pid < 0 ? errno == ECHILD : pid == tid && !WIFSTOPPED(status);
}

/* True once it is not held any longer. */
static bool let_go(pid_t tid)
{
	int sig = signal_at_stop(tid);

	if (sig >= 0 && ptrace(PTRACE_DETACH, tid, NULL, (void *)(uintptr_t)sig) == 0)
		return true;
	return has_ended(tid);
}

size_t vcpus_release(struct vcpus *v)
{
	size_t held = 0;

	for (size_t i = 0; i < v->count; i++) {
		struct vcpu *vcpu = &v->vcpu[i];

		if (vcpu->held && let_go(vcpu->tid))
			vcpu->held = false;
		held += vcpu->held;
	}
	return held;
}

pid_t vcpus_tracer(const struct vcpus *v, pid_t tid)
{
	char path[32], line[256];
	_cleanup_fclose_ FILE *f = NULL;
	int tracer = 0;

	snprintf(path, sizeof(path), "%d/status", tid);
	f = maps_fopen(v->task_fd, path);
	while (f && fgets(line, sizeof(line), f))
		if (sscanf(line, "TracerPid: %d", &tracer) == 1)
			break;
	return tracer;
}
