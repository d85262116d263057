// SPDX-License-Identifier: Apache-2.0
// What a guest's QEMU has said on its private monitor, as QEMU itself writes it to a file.
#include "monitor_log.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <unistd.h>
#include <json-c/json.h>
#include "cleanup.h"
#include "fs_user.h"
#include "process.h"
#include "qmp.h"
#include "standstill.h"

#define RESERVE 65536 /* bytes: a hundred times what QEMU says before it runs its guest */
#define DEATH_MS 5000
#define QUIET_MS 500

void monitor_log_path(const char *monitor_path, char path[MONITOR_LOG_PATH_MAX])
{
	snprintf(path, MONITOR_LOG_PATH_MAX, "%s.log", monitor_path);
}

void monitor_log_keep_private(const char *monitor_path)
{
	_cleanup_fs_user_ uid_t before = fs_user_become_owner(monitor_path);
	char path[MONITOR_LOG_PATH_MAX];

	monitor_log_path(monitor_path, path);
	chmod(monitor_path, 0600);
	chmod(path, 0600);
}

/* In a directory of QEMU's user, who may have put anything there. Negative errno. */
static int open_log(const char *monitor_path, int flags)
{
	_cleanup_fs_user_ uid_t before = fs_user_become_owner(monitor_path);
	_cleanup_close_ int fd = -1;
	char path[MONITOR_LOG_PATH_MAX];
	struct stat st;

	monitor_log_path(monitor_path, path);
	fd = open(path, flags | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
	if (fd < 0 || fstat(fd, &st) < 0)
		return -errno;
	return S_ISREG(st.st_mode) ? steal_fd(&fd) : -EINVAL;
}

/* There may be no such file system call, as on NFS: then a full disk is not excluded. */
int monitor_log_reserve(const char *monitor_path, struct errtext *err)
{
	char path[MONITOR_LOG_PATH_MAX];
	_cleanup_close_ int fd = open_log(monitor_path, O_WRONLY);

	monitor_log_path(monitor_path, path);
	if (fd == -ENOENT)
		return 0;
	if (fd < 0)
		errno = -fd;
	if (fd < 0 || (fallocate(fd, FALLOC_FL_KEEP_SIZE, 0, RESERVE) < 0 && errno != EOPNOTSUPP))
		return errtext_set(err, -errno,
				   "%s: there is no room for what QEMU says on the destination: %s",
				   path, strerror(errno));
	return 0;
}

/* ---- the file ---- */

struct reading {
	bool resumed; /* RESUME was said */
	bool broken;  /* something is missing */
	bool greeted; /* there was a greeting */
	bool first;   /* the latest was the first */
	bool knows;   /* RESUME would have been said from here on, and was not before */
};

/* QEMU tells a client of events only once that has negotiated. The first client does so before
 * anything can have let the guest run. A later one has missed what was between its greeting and
 * that, unless it has asked, and QEMU still waited for its stream. */
static void take_answer(struct reading *r, json_object *answer)
{
	json_object *status = NULL;

	if (json_object_object_get_ex(answer, "status", &status) &&
	    strcmp(json_object_get_string(status), "inmigrate") == 0)
		r->knows = true;
}

static void take_object(struct reading *r, json_object *o)
{
	json_object *member = NULL;

	if (json_object_object_get_ex(o, "QMP", &member)) {
		r->first = !r->greeted;
		r->greeted = true;
		r->knows = false;
	} else if (json_object_object_get_ex(o, "return", &member)) {
		r->knows |= r->first;
		take_answer(r, member);
	} else if (json_object_object_get_ex(o, "event", &member)) {
		r->resumed |= strcmp(json_object_get_string(member), "RESUME") == 0;
	}
	r->broken |= !r->greeted;
}

/* A line that QEMU could not write to its end may be that of RESUME, too. */
static void take_line(struct reading *r, const char *line, size_t len)
{
	json_tokener *tok = json_tokener_new();
	json_object *o = tok ? json_tokener_parse_ex(tok, line, (int)len) : NULL;
	bool whole = o && json_object_is_type(o, json_type_object) && line[len - 1] == '\n' &&
		     strspn(line + json_tokener_get_parse_end(tok), " \r\n") ==
			     len - json_tokener_get_parse_end(tok);

	if (whole)
		take_object(r, o);
	else
		r->broken = true;
	r->resumed |= !whole && strstr(line, "RESUME");
	json_object_put(o);
	json_tokener_free(tok);
}

int monitor_log_resumed(const char *monitor_path)
{
	_cleanup_close_ int fd = open_log(monitor_path, O_RDONLY);
	_cleanup_fclose_ FILE *f = fd < 0 ? NULL : fdopen(fd, "r");
	_cleanup_free_ char *line = NULL;
	struct reading r = {0};
	size_t size = 0;
	ssize_t len;

	if (!f)
		return fd < 0 ? fd : -errno;
	steal_fd(&fd); /* the stream's now */
	while (!r.resumed && (len = getline(&line, &size, f)) > 0)
		take_line(&r, line, (size_t)len);
	if (r.resumed)
		return 1;
	if (ferror(f))
		return -EIO;
	return r.knows && !r.broken ? 0 : -ENODATA;
}

/* ---- the process ---- */

/* 0: it never ran; of one that lives that is true only while it stands still. */
static int judge(const char *monitor_path, bool released, struct errtext *err)
{
	int resumed = monitor_log_resumed(monitor_path);

	if (resumed == -ENODATA && !released)
		return 0;
	if (resumed == -ENODATA)
		return errtext_set(err, -ENODATA,
				   "%s.log is not whole: the guest may have run before it ended",
				   monitor_path);
	if (resumed < 0)
		return errtext_set(err, -ENODATA, "%s.log: %s: nothing tells whether the guest ran",
				   monitor_path, strerror(-resumed));
	return resumed ? errtext_set(err, -EALREADY, "the guest has run") : 0;
}

static int open_process(pid_t pid, uint64_t started, int *pidfd, struct errtext *err)
{
	_cleanup_close_ int proc = -1;
	uint64_t now = 0;
	int ret = process_open(pid, pidfd, &proc, err);

	if (ret == 0)
		ret = process_started(pid, &now, err);
	return ret == 0 && now != started ? -ESRCH : ret;
}

struct ending {
	const char *monitor_path;
	bool released;
	int pidfd;
};

/* Of a process that stands still. */
static int judge_and_end(void *arg, struct errtext *err)
{
	const struct ending *e = arg;
	int ret = judge(e->monitor_path, e->released, err);

	if (ret < 0)
		return ret;
	/* -ESRCH: it has ended, and never ran. */
	ret = syscall(SYS_pidfd_send_signal, e->pidfd, SIGKILL, NULL, 0) < 0 ? -errno : 0;
	return ret == -ESRCH ? 0 : ret;
}

static int await_death(int pidfd, pid_t pid, struct errtext *err)
{
	struct pollfd p = {.fd = pidfd, .events = POLLIN};

	if (poll(&p, 1, DEATH_MS) <= 0)
		return errtext_set(err, -ETIMEDOUT, "QEMU's process %d does not end", pid);
	return 0;
}

int monitor_log_end_unless_resumed(pid_t qemu, uint64_t started, const char *monitor_path,
				   bool released, struct errtext *err)
{
	_cleanup_close_ int pidfd = -1;
	struct ending ending = {.monitor_path = monitor_path, .released = released};
	int ret = open_process(qemu, started, &pidfd, NULL);

	if (ret == -ESRCH)
		return judge(monitor_path, released, err);
	if (ret < 0)
		return errtext_set(err, ret, "QEMU's process %d: %s", qemu, strerror(-ret));
	ending.pidfd = pidfd;
	ret = standstill_run(qemu, judge_and_end, &ending, err);
	return ret < 0 ? ret : await_death(pidfd, qemu, err);
}

/* ---- the socket ---- */

/* A descriptor, or -errno. Never blocks. */
static int connect_to(const char *monitor_path)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	_cleanup_close_ int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

	snprintf(address.sun_path, sizeof(address.sun_path), "%s", monitor_path);
	if (fd < 0 || connect(fd, (struct sockaddr *)&address, sizeof(address)) < 0)
		return -errno;
	return steal_fd(&fd);
}

int monitor_log_find_qemu(const char *monitor_path, pid_t *qemu, uint64_t *started)
{
	_cleanup_close_ int fd = connect_to(monitor_path);
	struct ucred cred = {0};
	socklen_t len = sizeof(cred);

	if (fd < 0)
		return fd;
	if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &cred, &len) < 0)
		return -errno;
	*qemu = cred.pid;
	return process_started(cred.pid, started, NULL);
}

/* A client that hangs up before it has negotiated. */
static void greet(const char *monitor_path)
{
	_cleanup_close_ int fd = connect_to(monitor_path);
	struct pollfd p = {.fd = fd, .events = POLLIN};

	if (fd >= 0)
		poll(&p, 1, QUIET_MS); /* its greeting; then it has noticed */
}

static bool drop(const char *monitor_path)
{
	struct qmp *q;
	bool dropped;

	if (qmp_open(monitor_path, QUIET_MS, &q, NULL) < 0)
		return false;
	dropped = qmp_drop_on_close(q, MONITOR_LOG_ID, NULL) == 0;
	qmp_close(q);
	return dropped;
}

void monitor_log_quiet(const char *monitor_path)
{
	_cleanup_fs_user_ uid_t before = fs_user_become_owner(monitor_path);
	char path[MONITOR_LOG_PATH_MAX];
	int fd;

	monitor_log_path(monitor_path, path);
	if (access(path, F_OK) < 0)
		return;
	if (drop(monitor_path)) {
		unlink(path);
		return;
	}
	greet(monitor_path);
	fd = open_log(monitor_path, O_WRONLY | O_TRUNC);
	if (fd >= 0)
		close(fd);
}

static void remove_files(const char *monitor_path)
{
	_cleanup_fs_user_ uid_t before = fs_user_become_owner(monitor_path);
	char path[MONITOR_LOG_PATH_MAX];

	monitor_log_path(monitor_path, path);
	unlink(path);
	unlink(monitor_path);
}

void monitor_log_forget(const char *monitor_path)
{
	uint64_t started;
	pid_t qemu;

	if (monitor_log_find_qemu(monitor_path, &qemu, &started) < 0)
		remove_files(monitor_path);
}
