// SPDX-License-Identifier: Apache-2.0
// Borrow a running thread by ptrace: what it takes so that the thread never notices.
//
// In order:
//
//   1. PTRACE_SEIZE + PTRACE_INTERRUPT. Not ATTACH, which sends a SIGSTOP that others can see. The
//      thread leaves whatever system call it is in as for a signal and stops inside the kernel's
//      signal delivery, with -ERESTARTxxx in rax and nothing delivered. A signal that it was about
//      to get anyway is passed on at once.
//   2. Save the registers and the signal mask, block all signals. Whatever arrives now stays queued
//      in the kernel, siginfo and all, and is delivered after step 6. (A ppoll under way counts as
//      having its caller's mask here; it is executed again and puts its own in place again.)
//   3. If the thread was in a restartable sequence, leave it at its abort address: the kernel
//      would have done so, had it not found our instruction pointer in place of the thread's.
//   4. Point it at a `syscall` instruction with orig_rax = -1: the kernel is not to take what rax
//   holds
//      for the result of a system call, to be restarted by stepping the instruction pointer back.
//   5. PTRACE_SYSCALL twice: to the entry and to the exit of the call. A single step would do as
//   well
//      but ends in a SIGTRAP, and forcing a blocked signal upon a thread resets the process's
//      handler for it. Repeat 4 and 5 for further calls.
//   6. Put the registers back, PTRACE_INTERRUPT, continue: the thread stops in signal delivery
//   again
//      before it executes anything. Only there does the kernel look at rax and orig_rax and
//      restart the system call of step 1 (nanosleep and poll with what is left of their time); on
//      the plain way out of a system call the program would see -ERESTARTxxx as a result. Today's
//      kernels take the way through signal delivery on every detach, but do not promise it.
//   7. Put the signal mask back, detach. Queued signals are delivered, on top of the restart.
//
// System calls that no kernel restarts (epoll_wait, io_uring_enter, KVM_RUN) return EINTR, as they
// do when a process is stopped and continued; programs that use them live with that.
//
// Seccomp is suspended for the thread where the kernel allows it: a container's filter may refuse
// userfaultfd, or kill for it.
#include "borrow.h"

#include <errno.h>
#include <signal.h>
#include <stddef.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/wait.h>
#include <time.h>

#ifndef __x86_64__
#error "registers and instructions here are those of x86-64"
#endif

#define SYSCALL_STOP (SIGTRAP | 0x80)
#define SYSCALL_INSN 0x050f /* 0f 05 */
#define USER_CODE_64 0x33
#define FROZEN_MS 1000 /* a thread that does not run for so long is frozen by its cgroup */

static long trace(int request, pid_t tid, unsigned long addr, const void *data)
{
	return ptrace((enum __ptrace_request)request, tid, (void *)addr, (void *)(uintptr_t)data) <
			       0
		       ? -errno
		       : 0;
}

static int peek(pid_t tid, unsigned long addr, unsigned long *word)
{
	errno = 0;
	*word = (unsigned long)ptrace(PTRACE_PEEKDATA, tid, (void *)addr, NULL);
	return -errno;
}

static int64_t now_ms(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

/* timeout_ms < 0: for ever. */
static int wait_stop(pid_t tid, int timeout_ms, int *status)
{
	int64_t deadline = now_ms() + timeout_ms;
	sigset_t chld;

	sigemptyset(&chld);
	sigaddset(&chld, SIGCHLD);
	for (;;) {
		struct timespec left = {.tv_sec = 1};
		pid_t pid = waitpid(tid, status, __WALL | WNOHANG);

		if (pid < 0 && errno != EINTR)
			return -ESRCH;
		if (pid == tid)
			return WIFSTOPPED(*status) ? 0 : -ESRCH;
		if (timeout_ms >= 0) {
			int64_t ms = deadline - now_ms();

			if (ms <= 0)
				return -ETIMEDOUT;
			left.tv_sec = ms / 1000;
			left.tv_nsec = ms % 1000 * 1000000;
		}
		sigtimedwait(&chld, NULL, &left);
	}
}

static bool is_event_stop(int status)
{
	return status >> 16 == PTRACE_EVENT_STOP;
}

static bool is_syscall_stop(int status)
{
	return status >> 16 == 0 && WSTOPSIG(status) == SYSCALL_STOP;
}

/* An interrupt is under way and the thread runs, or will: wait until it stops for that. */
static int wait_interrupt(pid_t tid, int timeout_ms)
{
	for (;;) {
		int status, ret = wait_stop(tid, timeout_ms, &status);

		if (ret < 0)
			return ret;
		if (is_event_stop(status))
			return 0;
		ret = (int)trace(PTRACE_CONT, tid, 0, (void *)(uintptr_t)WSTOPSIG(status));
		if (ret < 0)
			return ret;
	}
}

static int seize(pid_t tid)
{
	unsigned long options = PTRACE_O_TRACESYSGOOD;
	long ret = trace(PTRACE_SEIZE, tid, 0, (void *)(options | PTRACE_O_SUSPEND_SECCOMP));

	/* Suspending needs CAP_SYS_ADMIN and a kernel with CONFIG_CHECKPOINT_RESTORE. */
	if (ret == -EPERM || ret == -EINVAL)
		ret = trace(PTRACE_SEIZE, tid, 0, (void *)options);
	return (int)ret;
}

struct rseq_configuration {
	uint64_t rseq_abi_pointer;
	uint32_t rseq_abi_size;
	uint32_t signature;
	uint32_t flags;
	uint32_t pad;
};

#define RSEQ_GET_CONFIGURATION 0x420f /* PTRACE_GET_RSEQ_CONFIGURATION */
#define RSEQ_CS_OFFSET 8	      /* in struct rseq, linux/rseq.h */
#define RSEQ_START_IP 8		      /* in struct rseq_cs */
#define RSEQ_POST_COMMIT 16
#define RSEQ_ABORT_IP 24

static void leave_rseq(struct borrow *b)
{
	struct rseq_configuration conf = {0};
	unsigned long cs, start, length, abort_ip;

	if (ptrace((enum __ptrace_request)RSEQ_GET_CONFIGURATION, b->tid, (void *)sizeof(conf),
		   &conf) < 0 ||
	    !conf.rseq_abi_pointer)
		return;
	if (peek(b->tid, conf.rseq_abi_pointer + RSEQ_CS_OFFSET, &cs) < 0 || !cs)
		return;
	if (peek(b->tid, cs + RSEQ_START_IP, &start) < 0 ||
	    peek(b->tid, cs + RSEQ_POST_COMMIT, &length) < 0 ||
	    peek(b->tid, cs + RSEQ_ABORT_IP, &abort_ip) < 0)
		return;
	if (b->saved.rip - start < length)
		b->saved.rip = abort_ip;
}

static int take_over(struct borrow *b)
{
	uint64_t all = ~0ull;
	unsigned long word;
	long ret = peek(b->tid, b->insn, &word);

	if (ret < 0)
		return (int)ret;
	if ((word & 0xffff) != SYSCALL_INSN)
		return -ENOTSUP;
	ret = trace(PTRACE_GETREGS, b->tid, 0, &b->saved);
	if (ret < 0)
		return (int)ret;
	if (b->saved.cs != USER_CODE_64)
		return -ENOTSUP;
	ret = trace(PTRACE_GETSIGMASK, b->tid, sizeof(b->sigmask), &b->sigmask);
	if (ret < 0)
		return (int)ret;
	leave_rseq(b);
	return (int)trace(PTRACE_SETSIGMASK, b->tid, sizeof(all), &all);
}

int borrow_begin(struct borrow *b, pid_t tid, unsigned long insn, int timeout_ms)
{
	int ret;

	memset(b, 0, sizeof(*b));
	b->tid = tid;
	b->insn = insn;
	ret = seize(tid);
	if (ret < 0)
		return ret;
	ret = (int)trace(PTRACE_INTERRUPT, tid, 0, NULL);
	if (ret < 0)
		return ret;
	ret = wait_interrupt(tid, timeout_ms);
	if (ret < 0)
		return ret == -ETIMEDOUT ? -EBUSY : ret;
	return take_over(b);
}

/* Continue to the next entry to, or exit from, a system call. */
static int run_to_syscall_stop(pid_t tid, int timeout_ms)
{
	uintptr_t sig = 0;

	for (;;) {
		int status, ret = (int)trace(PTRACE_SYSCALL, tid, 0, (void *)sig);

		if (ret < 0)
			return ret;
		ret = wait_stop(tid, timeout_ms, &status);
		if (ret < 0 || is_syscall_stop(status))
			return ret;
		sig = 0;
		if (is_event_stop(status))
			continue; /* the process was stopped by SIGSTOP: our thread goes on */
		/* All others are blocked, so they come from what we execute. */
		if (WSTOPSIG(status) != SIGSTOP)
			return -EFAULT;
		sig = SIGSTOP;
	}
}

long borrow_call(struct borrow *b, long nr, const long args[6])
{
	struct user_regs_struct regs = b->saved;
	long r;

	regs.rip = b->insn;
	regs.orig_rax = ~0ull;
	regs.rax = (unsigned long)nr;
	regs.rdi = (unsigned long)args[0];
	regs.rsi = (unsigned long)args[1];
	regs.rdx = (unsigned long)args[2];
	regs.r10 = (unsigned long)args[3];
	regs.r8 = (unsigned long)args[4];
	regs.r9 = (unsigned long)args[5];
	r = trace(PTRACE_SETREGS, b->tid, 0, &regs);
	if (r < 0)
		return r;
	r = run_to_syscall_stop(b->tid, FROZEN_MS);
	if (r < 0)
		return r == -ETIMEDOUT ? -EBUSY : r;
	/* It executes now: to give up here would leave the result behind. */
	r = run_to_syscall_stop(b->tid, -1);
	if (r < 0)
		return r;
	r = trace(PTRACE_GETREGS, b->tid, 0, &regs);
	return r < 0 ? r : (long)regs.rax;
}

/* Wait for our interrupt. A thread that thawed late may reach the entry of the system call that
 * borrow_call gave up: with number -1 it does nothing. */
static int wait_last_stop(struct borrow *b)
{
	struct user_regs_struct none = b->saved;

	none.orig_rax = ~0ull;
	for (;;) {
		int status, ret = wait_stop(b->tid, -1, &status);
		uintptr_t sig = 0;

		if (ret < 0 || is_event_stop(status))
			return ret;
		if (is_syscall_stop(status))
			trace(PTRACE_SETREGS, b->tid, 0, &none);
		else if (WSTOPSIG(status) == SIGSTOP)
			sig = SIGSTOP;
		ret = (int)trace(PTRACE_CONT, b->tid, 0, (void *)sig);
		if (ret < 0)
			return ret;
	}
}

int borrow_end(struct borrow *b)
{
	int ret = (int)trace(PTRACE_INTERRUPT, b->tid, 0, NULL);

	if (ret < 0)
		return ret;
	/* Fails if the thread is frozen and thus not stopped for us: then the interrupt stops it.
	 */
	if (trace(PTRACE_SETREGS, b->tid, 0, &b->saved) == 0)
		trace(PTRACE_CONT, b->tid, 0, NULL);
	ret = wait_last_stop(b);
	if (ret < 0)
		return ret;
	ret = (int)trace(PTRACE_SETREGS, b->tid, 0, &b->saved);
	if (ret == 0)
		ret = (int)trace(PTRACE_SETSIGMASK, b->tid, sizeof(b->sigmask), &b->sigmask);
	if (ret == 0)
		ret = (int)trace(PTRACE_DETACH, b->tid, 0, NULL);
	return ret;
}
