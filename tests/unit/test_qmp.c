// SPDX-License-Identifier: Apache-2.0
// The QMP client, against a scripted server and against a real QEMU.
#include "qmp.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#define GREETING "{\"QMP\": {\"version\": {}, \"capabilities\": [\"oob\"]}}\r\n"
#define DONE(id) "{\"return\": {}, \"id\": " #id "}\r\n"
#define EVENT(name, sec, usec)                                                                     \
	"{\"timestamp\": {\"seconds\": " #sec ", \"microseconds\": " #usec "}, \"event\": \"" name \
	"\", \"data\": {\"x\": 7}}\r\n"

/* A server that has said everything in advance: the socket's buffer holds it. */
static int scripted(const char *script, bool hang_up)
{
	int pair[2];
	size_t len = strlen(script);

	cr_assert_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
	cr_assert_eq(send(pair[1], script, len, MSG_DONTWAIT), (ssize_t)len);
	if (hang_up)
		shutdown(pair[1], SHUT_WR);
	return pair[0];
}

static struct qmp *adopt(const char *script, bool hang_up)
{
	struct errtext err = {0};
	struct qmp *q = NULL;
	int ret = qmp_adopt(scripted(script, hang_up), "test", 1000, &q, &err);

	cr_assert_eq(ret, 0, "%d: %s", ret, err.text);
	return q;
}

static int adopt_error(const char *script, bool hang_up, struct errtext *err)
{
	struct qmp *q;

	*err = (struct errtext){0};
	return qmp_adopt(scripted(script, hang_up), "test", 20, &q, err);
}

struct answered {
	int count, ret;
	char text[1024];
};

static void take_answer(void *opaque, int ret, const struct errtext *err)
{
	struct answered *a = opaque;

	a->count++;
	a->ret = ret;
	snprintf(a->text, sizeof(a->text), "%s", err->text);
}

struct seen {
	int count;
	char names[256];
	uint64_t last_us;
	int64_t last_x;
};

static void see(void *opaque, const char *name, json_object *data, uint64_t time_us)
{
	struct seen *s = opaque;
	json_object *x;

	s->count++;
	strcat(strcat(s->names, name), " ");
	s->last_us = time_us;
	s->last_x =
		data && json_object_object_get_ex(data, "x", &x) ? json_object_get_int64(x) : -1;
}

/* ---- opening ---- */

Test(qmp, opens)
{
	struct qmp *q = adopt(GREETING DONE(1), false);

	cr_assert_eq(qmp_peer_pid(q), getpid());
	cr_assert_geq(qmp_fd(q), 0);
	qmp_close(q);
}

Test(qmp, refuses_what_is_no_qemu)
{
	struct errtext err;

	cr_assert_eq(adopt_error("", false, &err), -ETIMEDOUT);
	cr_assert_not_null(strstr(err.text, "another client"), "%s", err.text);
	cr_assert_eq(adopt_error("", true, &err), -ECONNRESET);
	cr_assert_eq(adopt_error("SSH-2.0-OpenSSH_9.2\r\n", false, &err), -EPROTO);
	cr_assert_eq(adopt_error("{\"return\": {}}\r\n", false, &err), -EPROTO);
	cr_assert_eq(adopt_error("[1]\n", false, &err), -EPROTO);
	cr_assert_eq(adopt_error("{\"QMP\": {}}{\"QMP\": {}}\n", false, &err), -EPROTO);
	cr_assert_eq(adopt_error(GREETING, false, &err), -ETIMEDOUT);
	cr_assert_eq(adopt_error(GREETING, true, &err), -ECONNRESET);
	cr_assert_eq(qmp_open("/nonexistent/socket", 10, NULL, &err), -ENOENT);
}

/* ---- commands that nobody waits for ---- */

Test(qmp, an_answer_comes_like_an_event)
{
	struct answered a = {0};
	struct qmp *q = NULL;
	int pair[2];

	cr_assert_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
	cr_assert_eq(send(pair[1], GREETING DONE(1), strlen(GREETING DONE(1)), 0),
		     (ssize_t)strlen(GREETING DONE(1)));
	cr_assert_eq(qmp_adopt(pair[0], "test", 1000, &q, NULL), 0);
	cr_assert_eq(qmp_post_capability(q, "x-ignore-shared", false, take_answer, &a, NULL), 0);
	cr_assert_eq(qmp_process(q, NULL), 0);
	cr_assert_eq(a.count, 0);
	cr_assert_eq(send(pair[1], DONE(2), strlen(DONE(2)), 0), (ssize_t)strlen(DONE(2)));
	cr_assert_eq(qmp_process(q, NULL), 0);
	cr_assert(a.count == 1 && a.ret == 0);
	qmp_close(q);
	close(pair[1]);
}

/* Beside a command that is waited for: each gets its own. */
Test(qmp, answers_are_told_from_each_other)
{
	struct answered a = {0};
	struct errtext err = {0};
	struct qmp *q =
		adopt(GREETING DONE(1) "{\"error\": {\"class\": \"GenericError\", \"desc\": "
				       "\"busy\"}, \"id\": 2}\r\n" DONE(3),
		      false);

	cr_assert_eq(qmp_post(q, "stop", NULL, take_answer, &a, NULL), 0);
	cr_assert_eq(qmp_execute(q, "cont", NULL, 1000, NULL, &err), 0, "%s", err.text);
	cr_assert(a.count == 1 && a.ret == -EREMOTEIO);
	cr_assert_not_null(strstr(a.text, "busy"), "%s", a.text);
	qmp_close(q);
}

Test(qmp, nesting_is_bounded)
{
	struct errtext err;
	char script[4096] = "{\"QMP\": ";
	size_t len = strlen(script);

	memset(script + len, '[', 1000);
	memset(script + len + 1000, ']', 1000);
	strcpy(script + len + 2000, "}\n");
	cr_assert_eq(adopt_error(script, false, &err), -EPROTO);
}

Test(qmp, length_is_bounded)
{
	int pair[2], status;
	struct errtext err = {0};
	struct qmp *q;
	pid_t pid;

	cr_assert_eq(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
	pid = fork();
	if (pid == 0) {
		static char spaces[65536];

		memset(spaces, ' ', sizeof(spaces));
		close(pair[0]);
		while (send(pair[1], spaces, sizeof(spaces), MSG_NOSIGNAL) > 0)
			;
		_exit(0);
	}
	close(pair[1]);
	cr_assert_eq(qmp_adopt(pair[0], "test", 10000, &q, &err), -EPROTO);
	cr_assert_not_null(strstr(err.text, "without end"), "%s", err.text);
	waitpid(pid, &status, 0);
}

/* ---- commands and events ---- */

/* A server that waits for `commands` commands after the negotiation and then says its piece. */
static _Noreturn void serve(int fd, int commands, const char *piece)
{
	char buf[4096];

	if (send(fd, GREETING, strlen(GREETING), 0) < 0 || recv(fd, buf, sizeof(buf), 0) <= 0 ||
	    send(fd, DONE(1), strlen(DONE(1)), 0) < 0)
		_exit(1);
	while (commands-- > 0) {
		if (recv(fd, buf, sizeof(buf), 0) <= 0)
			_exit(1);
	}
	if (send(fd, piece, strlen(piece), 0) < 0)
		_exit(1);
	while (recv(fd, buf, sizeof(buf), 0) > 0)
		;
	_exit(0);
}

static struct qmp *served(int commands, const char *piece)
{
	struct errtext err = {0};
	struct qmp *q = NULL;
	int pair[2];

	cr_assert_eq(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
	if (fork() == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		close(pair[0]);
		serve(pair[1], commands, piece);
	}
	close(pair[1]);
	cr_assert_eq(qmp_adopt(pair[0], "test", 5000, &q, &err), 0, "%s", err.text);
	return q;
}

Test(qmp, events_between_command_and_answer)
{
	struct qmp *q = served(1, EVENT("STOP", 3, 5) "{\"return\": 42, \"id\": 2}\r\n" EVENT(
					  "RESUME", 1700000000, 123456));
	struct errtext err = {0};
	struct seen seen = {0};
	json_object *ret = NULL;

	qmp_on_event(q, see, &seen);
	cr_assert_eq(qmp_execute(q, "query-x", NULL, 1000, &ret, &err), 0, "%s", err.text);
	cr_assert_eq(json_object_get_int(ret), 42);
	json_object_put(ret);
	/* Nothing may be left where a poll would not see it. */
	cr_assert_eq(seen.count, 2);
	cr_assert_str_eq(seen.names, "STOP RESUME ");
	cr_assert_eq(seen.last_us, 1700000000123456ull);
	cr_assert_eq(seen.last_x, 7);
	qmp_close(q);
}

Test(qmp, events_before_anybody_asked)
{
	struct qmp *q = adopt(GREETING DONE(1) EVENT("STOP", 3, 5), false);
	struct seen seen = {0};

	qmp_on_event(q, see, &seen);
	cr_assert_eq(seen.count, 1);
	qmp_close(q);
}

Test(qmp, events_in_a_poll_loop_until_the_end)
{
	struct errtext err = {0};
	struct seen seen = {0};
	struct qmp *q;

	q = adopt(GREETING DONE(1) EVENT("A", 1, 1) "\r\n" EVENT(
			  "B", 1, 2) "{\"event\": \"C\"}\n{\"event\": 5}\n{\"event\": \"cut",
		  true);
	qmp_on_event(q, see, &seen);
	cr_assert_eq(qmp_process(q, &err), -ECONNRESET);
	cr_assert_str_eq(seen.names, "A B C ");
	cr_assert_eq(seen.last_us, 0);
	cr_assert_eq(seen.last_x, -1);
	/* Dead for good. */
	cr_assert_eq(qmp_process(q, NULL), -ECONNRESET);
	cr_assert_eq(qmp_execute(q, "stop", NULL, 1000, NULL, NULL), -ECONNRESET);
	qmp_close(q);
}

static int refused(const char *answer, struct errtext *err)
{
	char script[512];
	struct qmp *q;
	int ret;

	*err = (struct errtext){0};
	snprintf(script, sizeof(script), "%s%s\r\n", GREETING DONE(1), answer);
	q = adopt(script, false);
	ret = qmp_execute(q, "device_del", NULL, 1000, NULL, err);
	qmp_close(q);
	return ret;
}

Test(qmp, refusals)
{
	struct errtext err;

	cr_assert_eq(refused("{\"id\": 2, \"error\": {\"desc\": \"no such thing\"}}", &err),
		     -EREMOTEIO);
	cr_assert_str_eq(err.text, "QEMU monitor test: device_del: no such thing");
	cr_assert_eq(refused("{\"id\": 2, \"error\": {\"class\": \"CommandNotFound\"}}", &err),
		     -ENOSYS);
	cr_assert_eq(refused("{\"id\": 2, \"error\": {\"class\": 5, \"desc\": null}}", &err),
		     -EREMOTEIO);
	cr_assert_eq(refused("{\"id\": 2, \"error\": 3}", &err), -EREMOTEIO);
	cr_assert_eq(refused("{\"id\": 2, \"neither\": 3}", &err), -EPROTO);
}

Test(qmp, a_late_answer_is_not_taken_for_the_next)
{
	/* Command 2 gets no answer before command 3 has come. */
	struct qmp *q =
		served(2, "{\"return\": \"old\", \"id\": 2}\n{\"return\": \"new\", \"id\": 3}\n");
	struct errtext err = {0};
	json_object *ret = NULL;

	cr_assert_eq(qmp_execute(q, "slow", NULL, 1, NULL, &err), -ETIMEDOUT);
	cr_assert_eq(qmp_execute(q, "next", NULL, 5000, &ret, NULL), 0);
	cr_assert_str_eq(json_object_get_string(ret), "new");
	json_object_put(ret);
	qmp_close(q);
}

/* ---- a real QEMU ---- */

struct qemu {
	char dir[64];
	char socket[108];
	pid_t pid;
};

static void qemu_args(struct qemu *m, char qmp[160])
{
	snprintf(qmp, 160, "unix:%s,server=on,wait=off", m->socket);
	execlp("qemu-system-x86_64", "qemu-system-x86_64", "-machine", "none", "-nodefaults",
	       "-display", "none", "-qmp", qmp, NULL);
	_exit(127);
}

static void qemu_start(struct qemu *m)
{
	char qmp[160], buf[4096];
	int watch;

	if (system("command -v qemu-system-x86_64 >/dev/null") != 0)
		cr_skip_test("no qemu-system-x86_64");
	strcpy(m->dir, "/tmp/dray-qmp-XXXXXX");
	cr_assert_not_null(mkdtemp(m->dir));
	snprintf(m->socket, sizeof(m->socket), "%s/monitor", m->dir);
	watch = inotify_init1(IN_CLOEXEC);
	inotify_add_watch(watch, m->dir, IN_CREATE);
	m->pid = fork();
	if (m->pid == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		qemu_args(m, qmp);
	}
	cr_assert_gt(read(watch, buf, sizeof(buf)), 0);
	close(watch);
}

/* The socket is there before QEMU listens on it. */
static struct qmp *qemu_connect(struct qemu *m)
{
	struct qmp *q = NULL;
	int ret;

	while ((ret = qmp_open(m->socket, 10000, &q, NULL)) == -ECONNREFUSED)
		sched_yield();
	cr_assert_eq(ret, 0, "%s", strerror(-ret));
	return q;
}

static void qemu_end(struct qemu *m)
{
	char command[160];

	kill(m->pid, SIGKILL);
	waitpid(m->pid, NULL, 0);
	snprintf(command, sizeof(command), "rm -rf %s", m->dir);
	cr_assert_eq(system(command), 0);
}

static void wait_events(struct qmp *q, struct seen *seen, int count)
{
	while (seen->count < count) {
		struct pollfd p = {.fd = qmp_fd(q), .events = POLLIN};

		cr_assert_eq(poll(&p, 1, 10000), 1);
		cr_assert_eq(qmp_process(q, NULL), 0);
	}
}

Test(qmp, real_qemu)
{
	struct errtext err = {0};
	struct seen seen = {0};
	json_object *ret = NULL;
	struct qemu m;
	struct qmp *q;

	qemu_start(&m);
	q = qemu_connect(&m);
	qmp_on_event(q, see, &seen);
	cr_assert_eq(qmp_peer_pid(q), m.pid);
	cr_assert_eq(qmp_drain_io(q, 5000, &err), 0, "%s", err.text);
	cr_assert_eq(qmp_set_capability(q, "x-ignore-shared", true, &err), 0, "%s", err.text);
	cr_assert_eq(qmp_execute(q, "query-status", NULL, 5000, &ret, &err), 0, "%s", err.text);
	cr_assert(json_object_is_type(ret, json_type_object));
	json_object_put(ret);
	cr_assert_eq(qmp_execute(q, "stop", NULL, 5000, NULL, &err), 0);
	wait_events(q, &seen, 1);
	cr_assert_str_eq(seen.names, "STOP ");
	cr_assert_gt(seen.last_us, 1700000000000000ull);
	/* Hundreds of kilobytes in one line. */
	cr_assert_eq(qmp_execute(q, "query-qmp-schema", NULL, 20000, &ret, &err), 0, "%s",
		     err.text);
	cr_assert_gt(json_object_array_length(ret), 100);
	json_object_put(ret);
	cr_assert_eq(qmp_execute(q, "no-such-command", NULL, 5000, NULL, &err), -ENOSYS);
	cr_assert_eq(qmp_set_capability(q, "no-such-capability", true, NULL), -EREMOTEIO);
	qmp_close(q);
	qemu_end(&m);
}

Test(qmp, real_qemu_has_one_client_at_a_time)
{
	struct errtext err = {0};
	struct qmp *q, *second;
	struct qemu m;

	qemu_start(&m);
	q = qemu_connect(&m);
	cr_assert_eq(qmp_open(m.socket, 50, &second, &err), -ETIMEDOUT);
	qmp_close(q);
	q = qemu_connect(&m);
	cr_assert_eq(kill(m.pid, SIGKILL), 0);
	cr_assert_eq(qmp_execute(q, "query-status", NULL, 5000, NULL, &err), -ECONNRESET);
	qmp_close(q);
	qemu_end(&m);
}
