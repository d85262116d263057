// SPDX-License-Identifier: Apache-2.0
// The helper process of attach: fork, borrow, report, wait for confirmation.
//
// Between fork and _exit only async-signal-safe functions are called: the parent may have threads,
// one of which may have held any lock at the time of the fork. What needs memory or parsing has
// been done before, in attach.c.
//
// All signals are blocked before the fork, so that none can hit the helper between fork and setsid.
// The helper closes every descriptor but those that it works with. Otherwise sockets of a killed
// dray would stay open for as long as the helper lives, and userfaultfds, which is worse:
// registrations live as long as the last copy.
#include "borrow_helper.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>
#include "borrow.h"
#include "borrow_drop.h"
#include "borrow_fd.h"
#include "cleanup.h"
#include "kernel_abi.h"

#define UNDO_MS 60000 /* for the thread to stop: nobody waits, and nobody else will close it */

/* ---- in the helper ---- */

/* Those that are negative are none; the others differ. Changes the order of keep. */
static void close_all_but(int *keep, int count)
{
	unsigned int from = 0;

	for (int i = 0; i < count; i++) {
		for (int j = i + 1; j < count; j++) {
			if (keep[j] < keep[i]) {
				int swap = keep[i];

				keep[i] = keep[j];
				keep[j] = swap;
			}
		}
		if (keep[i] < 0)
			continue;
		if ((unsigned int)keep[i] > from)
			syscall(SYS_close_range, from, (unsigned int)keep[i] - 1, 0);
		from = (unsigned int)keep[i] + 1;
	}
	syscall(SYS_close_range, from, ~0u, 0);
}

static struct helper_report failed(enum helper_step step, int error)
{
	return (struct helper_report){.step = step, .error = error, .inside_fd = -1};
}

/* A thread id may have been reused before we seized it; as long as we hold the thread it cannot be,
 * so one look now is enough. */
static int begin(const struct helper_job *job, struct borrow *b)
{
	int ret = borrow_begin(b, job->tid, job->insn, job->timeout_ms);

	if (ret < 0)
		return ret;
	if (faccessat(job->proc_fd, job->task_path, F_OK, 0) < 0) {
		borrow_end(b);
		return -ESRCH;
	}
	return 0;
}

static int close_inside(struct borrow *b, int fd)
{
	return (int)borrow_call(b, SYS_close, (long[6]){fd});
}

/* userfaultfd(2), or by the device which the process itself could not open. */
static int make_inside(const struct helper_job *job, struct borrow *b, enum helper_step *step)
{
	int flags = O_CLOEXEC | O_NONBLOCK | job->flags, device, ret;
	int inside = (int)borrow_call(b, SYS_userfaultfd, (long[6]){flags});

	*step = HELPER_USERFAULTFD;
	if (job->device < 0 || (inside != -EPERM && inside != -EACCES && inside != -ENOSYS))
		return inside;
	*step = HELPER_DEVICE;
	ret = borrow_give_fd(b, job->pidfd, job->device, &device);
	if (ret < 0)
		return ret;
	inside = (int)borrow_call(b, SYS_ioctl, (long[6]){device, USERFAULTFD_IOC_NEW, flags});
	ret = close_inside(b, device);
	if (ret < 0 && inside >= 0) {
		*step = HELPER_CLOSE;
		close_inside(b, inside);
		return ret;
	}
	return inside;
}

static struct helper_report create_inside(const struct helper_job *job, struct borrow *b, int *fd)
{
	struct helper_report report = {.step = HELPER_DONE, .inside_fd = -1};
	enum helper_step step;
	int inside = make_inside(job, b, &step);

	if (inside < 0)
		return failed(step, inside);
	*fd = (int)syscall(SYS_pidfd_getfd, job->pidfd, inside, 0);
	if (*fd < 0)
		report = failed(HELPER_FETCH, -errno);
	if (job->keep && *fd >= 0) {
		report.inside_fd = inside;
	} else {
		int ret = close_inside(b, inside);

		if (ret < 0 && report.error == 0)
			report = failed(HELPER_CLOSE, ret);
	}
	return report;
}

static struct helper_report drop_inside(const struct helper_job *job, struct borrow *b)
{
	int ret = borrow_drop(b, job->drop, job->drops);

	return failed(ret < 0 ? HELPER_DROP : HELPER_DONE, ret);
}

static struct helper_report work(const struct helper_job *job, int *fd)
{
	struct helper_report report = {.step = HELPER_DONE, .inside_fd = -1};
	struct borrow b;
	int ret = begin(job, &b);

	if (ret < 0)
		return failed(HELPER_STOP, ret);
	if (job->create)
		report = create_inside(job, &b, fd);
	else if (job->drop)
		report = drop_inside(job, &b);
	else if ((ret = close_inside(&b, job->inside_fd)) < 0)
		report = failed(HELPER_CLOSE, ret);
	ret = borrow_end(&b);
	if (ret < 0 && report.error == 0)
		report = failed(HELPER_RESTORE, ret);
	return report;
}

static void undo(const struct helper_job *job, int inside_fd)
{
	struct helper_job closing = *job;

	closing.create = false;
	closing.inside_fd = inside_fd;
	closing.timeout_ms = UNDO_MS;
	work(&closing, NULL);
}

static _Noreturn void helper_main(const struct helper_job *job, int sock)
{
	struct sigaction dfl = {.sa_handler = SIG_DFL};
	struct helper_report report;
	int keep[] = {sock, job->pidfd, job->proc_fd, job->device}, fd = -1;
	char confirmed;

	setsid();
	sigaction(SIGCHLD, &dfl, NULL);
	close_all_but(keep, sizeof(keep) / sizeof(keep[0]));
	prctl(PR_SET_NAME, "dray-borrow");
	report = work(job, &fd);
	if (fd_send(sock, &report, sizeof(report), fd) < 0 || report.inside_fd >= 0) {
		cleanup_close(&fd);
		if (read(sock, &confirmed, 1) != 1 && report.inside_fd >= 0)
			undo(job, report.inside_fd);
	}
	_exit(0);
}

/* ---- in the caller ---- */

int helper_start(const struct helper_job *job, struct helper *h)
{
	sigset_t all, old;
	int pair[2], error;

	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0)
		return -errno;
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &old);
	h->pid = fork();
	if (h->pid == 0)
		helper_main(job, pair[1]);
	error = errno;
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	close(pair[1]);
	h->sock = pair[0];
	h->lost = false;
	if (h->pid < 0) {
		close(h->sock);
		return -error;
	}
	return 0;
}

int helper_receive(struct helper *h, int timeout_ms, struct helper_report *report, int *fd)
{
	union {
		struct cmsghdr header;
		char space[CMSG_SPACE(sizeof(int))];
	} control;
	struct iovec iov = {.iov_base = report, .iov_len = sizeof(*report)};
	struct msghdr msg = {.msg_iov = &iov,
			     .msg_iovlen = 1,
			     .msg_control = control.space,
			     .msg_controllen = sizeof(control.space)};
	struct pollfd poll_fd = {.fd = h->sock, .events = POLLIN};
	struct cmsghdr *c;
	ssize_t n;
	int ready;

	*fd = -1;
	while ((ready = poll(&poll_fd, 1, timeout_ms)) < 0 && errno == EINTR)
		;
	if (ready == 0) {
		h->lost = true;
		return -ETIMEDOUT;
	}
	n = recvmsg(h->sock, &msg, MSG_CMSG_CLOEXEC | MSG_DONTWAIT);
	if (n != (ssize_t)sizeof(*report))
		return -ECONNRESET;
	c = CMSG_FIRSTHDR(&msg);
	if (c && c->cmsg_type == SCM_RIGHTS && c->cmsg_len == CMSG_LEN(sizeof(int)))
		memcpy(fd, CMSG_DATA(c), sizeof(*fd));
	return 0;
}

void helper_finish(struct helper *h, bool confirmed)
{
	if (confirmed)
		send(h->sock, "", 1, MSG_NOSIGNAL);
	close(h->sock);
	h->sock = -1;
	while (waitpid(h->pid, NULL, h->lost ? WNOHANG : 0) < 0 && errno == EINTR)
		;
}
