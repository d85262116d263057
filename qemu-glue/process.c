// SPDX-License-Identifier: Apache-2.0
// Hold on to a process by its id.
#include "process.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>
#include "cleanup.h"

int process_hold(pid_t pid, int *pidfd, struct errtext *err)
{
	int ret;

	*pidfd = (int)syscall(SYS_pidfd_open, pid, 0);
	if (*pidfd >= 0)
		return 0;
	ret = errno == EINVAL ? -ESRCH : -errno;
	return errtext_set(err, ret, "process %d: %s", pid, strerror(-ret));
}

bool process_has_ended(int pidfd)
{
	struct pollfd p = {.fd = pidfd, .events = POLLIN};

	return poll(&p, 1, 0) > 0;
}

int process_signal(int pidfd, int signal, struct errtext *err)
{
	if (syscall(SYS_pidfd_send_signal, pidfd, signal, NULL, 0) == 0)
		return 0;
	return errtext_set(err, -errno, "cannot send a process signal %d: %s", signal,
			   strerror(errno));
}

int process_open(pid_t pid, int *pidfd, int *proc_fd, struct errtext *err)
{
	char path[32];
	int ret = process_hold(pid, pidfd, err);

	*proc_fd = -1;
	if (ret < 0)
		return ret;
	snprintf(path, sizeof(path), "/proc/%d", pid);
	*proc_fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (*proc_fd < 0)
		return errtext_set(err, errno == ENOENT ? -ESRCH : -errno, "%s: %s", path,
				   strerror(errno));
	/* Alive after the open: so the directory is that of the pidfd's process. */
	if (syscall(SYS_pidfd_send_signal, *pidfd, 0, NULL, 0) < 0)
		return errtext_set(err, -errno, "process %d: %s", pid, strerror(errno));
	return 0;
}

/* Of /proc/PID/stat, whose second field is any text in parentheses. */
#define STAT_STARTED "%c %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s"

int process_started(pid_t pid, uint64_t *ticks, struct errtext *err)
{
	char path[32], line[1024] = "", state;
	_cleanup_fclose_ FILE *f = NULL;
	const char *rest;

	snprintf(path, sizeof(path), "/proc/%d/stat", pid);
	f = fopen(path, "re");
	if (!f && errno != ENOENT && errno != ESRCH)
		return errtext_set(err, -errno, "%s: %s", path, strerror(errno));
	if (!f || !fgets(line, sizeof(line), f))
		return errtext_set(err, -ESRCH, "process %d has ended", pid);
	rest = strrchr(line, ')');
	if (!rest || sscanf(rest + 1, " " STAT_STARTED " %" SCNu64, &state, ticks) != 2)
		return errtext_set(err, -EPROTO, "%s: not as expected", path);
	if (state == 'Z' || state == 'X')
		return errtext_set(err, -ESRCH, "process %d has ended", pid);
	return 0;
}
