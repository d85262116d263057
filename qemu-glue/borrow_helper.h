// SPDX-License-Identifier: Apache-2.0
// The short-lived process that borrows a thread, so that killing dray never leaves a thread
// borrowed.
//
// The caller forks it, gets its report and maybe a descriptor, and confirms. It is a process of its
// own session with every signal blocked; only a SIGKILL aimed at itself, within the fraction of a
// millisecond of the borrow, could do harm. A caller that dies without confirming makes it
// close again what it opened inside the process.
#pragma once

#include <stdbool.h>
#include <sys/types.h>
#include <sys/uio.h>

enum helper_step {
	HELPER_STOP,	    /* stop the thread */
	HELPER_USERFAULTFD, /* create it inside */
	HELPER_DEVICE,	    /* the same, by the device */
	HELPER_FETCH,	    /* get our copy */
	HELPER_CLOSE,	    /* close the copy inside */
	HELPER_DROP,	    /* give memory back */
	HELPER_RESTORE,	    /* let the thread go on */
	HELPER_DONE,
	HELPER_STEP_END_
};

struct helper_job {
	int pidfd;	    /* of the process; borrowed */
	int proc_fd;	    /* its /proc directory; borrowed */
	pid_t tid;	    /* the thread to borrow */
	char task_path[32]; /* "task/TID", to see that it still is a thread of the process */
	unsigned long insn; /* address of a `syscall` instruction there */
	int timeout_ms;	    /* for the thread to stop */
	bool create;	    /* a userfaultfd; else drop memory, or close inside_fd */
	int flags;	    /* of userfaultfd(2) */
	int device;	    /* /dev/userfaultfd, if the call is refused; borrowed; -1: none */
	bool keep;	    /* leave a copy open inside */
	int inside_fd;
	const struct iovec *drop; /* ranges to be given back (borrow_drop.h), borrowed; or NULL */
	unsigned int drops;
};

struct helper_report {
	enum helper_step step; /* HELPER_DONE, or the one that failed */
	int error;	       /* 0 or negative errno */
	int inside_fd;	       /* number inside, or -1 */
};

struct helper {
	pid_t pid;
	int sock;  /* owned */
	bool lost; /* it did not answer: nobody waits for its end */
};

/* Fork the helper. Any thread; from a threaded process too. */
int helper_start(const struct helper_job *job, struct helper *h);
/* Its report; *fd is the fetched descriptor (the caller's) or -1. -ETIMEDOUT after timeout_ms;
 * -ECONNRESET if it died. */
int helper_receive(struct helper *h, int timeout_ms, struct helper_report *report, int *fd);
/* Let it go. Unless `confirmed`, it closes the kept copy inside first. Always to be called. */
void helper_finish(struct helper *h, bool confirmed);
