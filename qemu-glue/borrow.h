// SPDX-License-Identifier: Apache-2.0
// Make a thread of another process execute a few system calls, and then go on as if nothing had
// been.
//
// For a single-threaded helper process that has every signal blocked and SIGCHLD at its default
// disposition: it waits for stops with sigtimedwait. Everything here is async-signal-safe. Only
// the tracing thread may call. If the helper dies between begin and end, the borrowed thread runs
// wild: the helper must be out of reach of whatever kills the program that started it.
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>
#include <sys/user.h>

struct borrow {
	pid_t tid;
	unsigned long insn; /* address of a `syscall` instruction in that process */
	struct user_regs_struct saved;
	uint64_t sigmask;
};

/* Stop thread tid, at the latest after timeout_ms, and take over its registers. -EBUSY: it did not
 * stop; the helper must exit, which lets go of it. -EPERM, -ESRCH: see ptrace(2). -ENOTSUP:
 * not 64-bit code, or no `syscall` instruction at insn. */
int borrow_begin(struct borrow *b, pid_t tid, unsigned long insn, int timeout_ms);

/* Execute system call nr inside, with arguments as the kernel takes them: addresses are those of
 * that process. Its result, negative errno included. If it could not be executed: -EBUSY, the
 * thread is frozen; -ESRCH, it died; -EFAULT, it got a signal of its own making; further calls fail
 * at once. In every case borrow_end follows. */
long borrow_call(struct borrow *b, long nr, const long args[6]);

/* Restore registers and signal mask, let a system call that we interrupted restart, let go. -ESRCH
 * if the thread died meanwhile. */
int borrow_end(struct borrow *b);
