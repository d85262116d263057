// SPDX-License-Identifier: Apache-2.0
// A monitor that a running QEMU is given for a while, and drops when its client hangs up.
//
// The socket gets to QEMU by getfd, under a name that chardev-add takes it by; the monitor is put
// on that chardev. QEMU notices that a client hangs up only once the monitor is there. A dray that
// is killed in between leaves what it has added so far, which the next one removes.
#include "added_monitor.h"

#include <errno.h>
#include <fcntl.h>
#include <json-c/json.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>
#include "cleanup.h"
#include "cleanup_json.h"
#include "clock.h"

#define ID "dray-added"
#define PROGRAM_MS 10000

int added_monitor_is_possible(struct host *h, const char *uuid, bool *possible, struct errtext *err)
{
	_cleanup_json_ json_object *list = NULL;
	struct errtext told = {0};
	int ret = host_monitor(h, uuid,
			       "{\"execute\":\"qom-list-properties\",\"arguments\":{\"typename\":"
			       "\"monitor-qmp\"}}",
			       &list, &told);

	*possible = false;
	if (ret == -EREMOTEIO) /* it has no such type */
		return 0;
	if (ret < 0)
		return errtext_set(err, ret, "%s", told.text);
	for (size_t i = 0; i < json_object_array_length(list); i++) {
		json_object *name;

		if (json_object_object_get_ex(json_object_array_get_idx(list, i), "name", &name) &&
		    strcmp(json_object_get_string(name), "close-action") == 0)
			*possible = true;
	}
	return 0;
}

/* ---- a program ---- */

static int spawn(const char *path, int out, pid_t *pid)
{
	const char *const argv[] = {path, "-object", "monitor-qmp,help", NULL};
	posix_spawn_file_actions_t actions;
	int ret;

	posix_spawn_file_actions_init(&actions);
	posix_spawn_file_actions_addopen(&actions, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
	posix_spawn_file_actions_adddup2(&actions, out, STDOUT_FILENO);
	posix_spawn_file_actions_addopen(&actions, STDERR_FILENO, "/dev/null", O_WRONLY, 0);
	ret = posix_spawn(pid, path, &actions, NULL, (char *const *)(uintptr_t)argv, environ);
	posix_spawn_file_actions_destroy(&actions);
	return -ret;
}

/* All that it says, or as much as there is room for; -ETIMEDOUT. */
static int hear(int fd, char *text, size_t size)
{
	uint64_t end = clock_monotonic_us() + PROGRAM_MS * 1000ull;
	size_t used = 0;

	for (;;) {
		struct pollfd p = {.fd = fd, .events = POLLIN};
		uint64_t now = clock_monotonic_us();
		ssize_t n;

		if (now >= end || poll(&p, 1, (int)((end - now) / 1000) + 1) == 0)
			return -ETIMEDOUT;
		n = read(fd, text + used, size - 1 - used);
		if (n > 0)
			used += (size_t)n;
		text[used] = 0;
		if (n <= 0 || used + 1 == size)
			return 0;
	}
}

int added_monitor_ask_program(const char *path, bool *possible, struct errtext *err)
{
	_cleanup_close_ int from = -1;
	char text[4096] = "";
	int ends[2], ret;
	pid_t pid;

	*possible = false;
	if (pipe2(ends, O_CLOEXEC) < 0)
		return errtext_set(err, -errno, "no pipe to %s: %s", path, strerror(errno));
	from = ends[0];
	ret = spawn(path, ends[1], &pid);
	close(ends[1]);
	if (ret < 0)
		return errtext_set(err, ret, "%s: cannot start it: %s", path, strerror(-ret));
	ret = hear(from, text, sizeof(text));
	kill(pid, SIGKILL); /* of one that has said all nothing is wanted any more */
	waitpid(pid, NULL, 0);
	*possible = strstr(text, "close-action") != NULL;
	return ret < 0 ? errtext_set(err, ret, "%s does not answer", path) : 0;
}

/* ---- a guest ---- */

static void remove_leftovers(struct host *h, const char *uuid)
{
	host_monitor(h, uuid, "{\"execute\":\"object-del\",\"arguments\":{\"id\":\"" ID "\"}}",
		     NULL, NULL);
	host_monitor(h, uuid, "{\"execute\":\"chardev-remove\",\"arguments\":{\"id\":\"" ID "\"}}",
		     NULL, NULL);
}

static int add(struct host *h, const char *uuid, int theirs, struct errtext *err)
{
	int ret = host_monitor_with_fd(
		h, uuid, "{\"execute\":\"getfd\",\"arguments\":{\"fdname\":\"" ID "\"}}", theirs,
		err);

	if (ret < 0)
		return ret;
	ret = host_monitor(h, uuid,
			   "{\"execute\":\"chardev-add\",\"arguments\":{\"id\":\"" ID "\","
			   "\"backend\":{\"type\":\"socket\",\"data\":{\"server\":false,"
			   "\"addr\":{\"type\":\"fd\",\"data\":{\"str\":\"" ID "\"}}}}}}",
			   NULL, err);
	if (ret < 0) {
		host_monitor(h, uuid,
			     "{\"execute\":\"closefd\",\"arguments\":{\"fdname\":\"" ID "\"}}",
			     NULL, NULL);
		return ret;
	}
	ret = host_monitor(h, uuid,
			   "{\"execute\":\"object-add\",\"arguments\":{\"qom-type\":"
			   "\"monitor-qmp\",\"id\":\"" ID "\",\"chardev\":\"" ID "\","
			   "\"close-action\":\"delete\"}}",
			   NULL, err);
	if (ret < 0)
		remove_leftovers(h, uuid);
	return ret;
}

int added_monitor_open(struct host *h, const char *uuid, int timeout_ms, struct qmp **out,
		       struct errtext *err)
{
	_cleanup_close_ int ours = -1;
	_cleanup_close_ int theirs = -1;
	int pair[2], ret;

	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) < 0)
		return errtext_set(err, -errno, "no socket for a monitor: %s", strerror(errno));
	ours = pair[0];
	theirs = pair[1];
	remove_leftovers(h, uuid);
	ret = add(h, uuid, theirs, err);
	/* With a copy of ours left it would not be noticed that QEMU ends. */
	cleanup_close(&theirs);
	theirs = -1;
	return ret < 0 ? ret : qmp_adopt(steal_fd(&ours), "added by dray", timeout_ms, out, err);
}
