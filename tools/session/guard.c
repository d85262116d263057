// SPDX-License-Identifier: Apache-2.0
// The guard: a process that outlives a killed dray and tidies up after it.
#include "guard.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <syslog.h>
#include <unistd.h>
#include "cleanup.h"
#include "process.h"

#define END_MS 10000

int guard_start(const char *uuid, const char *session, const char *libvirt_socket,
		const struct ram_keep *ram, int *fd, pid_t *child, struct errtext *err)
{
	char *const argv[] = {(char *)"dray",
			      (char *)"guard",
			      (char *)uuid,
			      (char *)session,
			      (char *)(libvirt_socket ? libvirt_socket : ""),
			      NULL};
	posix_spawn_file_actions_t actions;
	posix_spawnattr_t attr;
	sigset_t none;
	pid_t pid;
	int ends[2], ret;

	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) < 0)
		return errtext_set(err, -errno, "socketpair: %s", strerror(errno));
	posix_spawn_file_actions_init(&actions);
	posix_spawn_file_actions_adddup2(&actions, ends[0], STDIN_FILENO);
	posix_spawn_file_actions_addopen(&actions, STDOUT_FILENO, "/dev/null", O_WRONLY, 0);
	posix_spawn_file_actions_addopen(&actions, STDERR_FILENO, "/dev/null", O_WRONLY, 0);
	if (ram && ram_keep_inherit(ram, &actions) < 0)
		abort(); /* out of memory */
	posix_spawnattr_init(&attr);
	sigemptyset(&none);
	posix_spawnattr_setsigmask(&attr, &none);
	posix_spawnattr_setflags(&attr, POSIX_SPAWN_SETSID | POSIX_SPAWN_SETSIGMASK);
	ret = posix_spawn(&pid, "/proc/self/exe", &actions, &attr, argv, environ);
	posix_spawn_file_actions_destroy(&actions);
	posix_spawnattr_destroy(&attr);
	close(ends[0]);
	if (ret) {
		close(ends[1]);
		return errtext_set(err, -ret, "cannot start the guard process: %s", strerror(ret));
	}
	*fd = ends[1];
	if (child)
		*child = pid;
	return 0;
}

/* A message that carries a descriptor, as one goes out and as it comes in. */
struct lending {
	char byte;
	struct iovec iov;
	union {
		struct cmsghdr head;
		char bytes[CMSG_SPACE(sizeof(int))];
	} control;
	struct msghdr message;
};

static void prepare(struct lending *l)
{
	memset(l, 0, sizeof(*l));
	l->iov = (struct iovec){&l->byte, 1};
	l->message = (struct msghdr){.msg_iov = &l->iov,
				     .msg_iovlen = 1,
				     .msg_control = &l->control,
				     .msg_controllen = sizeof(l->control)};
}

int guard_lend(int fd, int lent)
{
	struct lending l;

	prepare(&l);
	l.control.head = (struct cmsghdr){
		.cmsg_len = CMSG_LEN(sizeof(int)),
		.cmsg_level = SOL_SOCKET,
		.cmsg_type = SCM_RIGHTS,
	};
	memcpy(CMSG_DATA(&l.control.head), &lent, sizeof(lent));
	return sendmsg(fd, &l.message, MSG_NOSIGNAL) < 0 ? -errno : 0;
}

/* Without one it is "done", or the descriptor could not be had here. */
static bool take_lent(struct lending *l, int *lent)
{
	const struct cmsghdr *head = CMSG_FIRSTHDR(&l->message);

	if (!head || head->cmsg_level != SOL_SOCKET || head->cmsg_type != SCM_RIGHTS ||
	    head->cmsg_len != CMSG_LEN(sizeof(int)))
		return false;
	cleanup_close(lent);
	memcpy(lent, CMSG_DATA(head), sizeof(*lent));
	return true;
}

/* Two that read from libvirt's connection would split a message between them. */
static void await_end(int fd)
{
	_cleanup_close_ int pidfd = -1;
	struct ucred dray; /* who has made the pair of sockets */
	socklen_t size = sizeof(dray);
	struct pollfd p;

	if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &dray, &size) < 0 || dray.pid == getpid() ||
	    process_hold(dray.pid, &pidfd, NULL) < 0)
		return;
	p = (struct pollfd){.fd = pidfd, .events = POLLIN};
	poll(&p, 1, END_MS);
}

bool guard_await(int fd, int *lent)
{
	struct lending l;
	ssize_t n;

	*lent = -1;
	do {
		prepare(&l);
		n = recvmsg(fd, &l.message, MSG_CMSG_CLOEXEC);
		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0) {
			if (*lent >= 0)
				await_end(fd);
			return true;
		}
	} while (take_lent(&l, lent) || l.byte == 0);
	cleanup_close(lent);
	*lent = -1;
	return false;
}

void guard_done(int fd)
{
	if (fd < 0)
		return;
	/* A guard that has gone is no harm now. */
	if (write(fd, "done", 4) < 0)
		syslog(LOG_WARNING, "guard process has gone");
	close(fd);
}
