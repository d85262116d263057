// SPDX-License-Identifier: Apache-2.0
// The guard: a process that outlives a killed dray and tidies up after it.
#include "guard.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <stdlib.h>
#include <string.h>
#include <syslog.h>
#include "cleanup.h"

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

	if (pipe2(ends, O_CLOEXEC) < 0)
		return errtext_set(err, -errno, "pipe: %s", strerror(errno));
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

void guard_done(int fd)
{
	if (fd < 0)
		return;
	/* A guard that has gone is no harm now. */
	if (write(fd, "done", 4) < 0)
		syslog(LOG_WARNING, "guard process has gone");
	close(fd);
}
