// SPDX-License-Identifier: Apache-2.0
// What QEMU's log tells, and how a process is ended that has not said RESUME.
#include "monitor_log.h"

#include <criterion/criterion.h>
#include <criterion/parameterized.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>
#include "own_run.h"
#include "process.h"

TestSuite(monitor_log, .timeout = 20);

#define HELLO "{\"QMP\": {\"version\": {}, \"capabilities\": [\"oob\"]}}\r\n"
#define DONE "{\"return\": {}, \"id\": 1}\r\n"
#define GREETING HELLO DONE
#define MIGRATION                                                                                  \
	"{\"timestamp\": {}, \"event\": \"MIGRATION\", \"data\": {\"status\": \"active\"}}\r\n"
#define STATUS(word) "{\"return\": {\"status\": \"" word "\", \"running\": false}, \"id\": 2}\r\n"
#define RESUME "{\"timestamp\": {\"seconds\": 1, \"microseconds\": 2}, \"event\": \"RESUME\"}\r\n"

struct place {
	char dir[32], monitor[64], log[MONITOR_LOG_PATH_MAX];
};

static struct place place_new(void)
{
	struct place p = {.dir = "/tmp/dray-test.XXXXXX"};

	cr_assert_not_null(mkdtemp(p.dir));
	snprintf(p.monitor, sizeof(p.monitor), "%s/monitor", p.dir);
	monitor_log_path(p.monitor, p.log);
	return p;
}

static void place_destroy(const struct place *p)
{
	unlink(p->log);
	unlink(p->monitor);
	rmdir(p->dir);
}

static void say(const struct place *p, const char *text)
{
	FILE *f = fopen(p->log, "a");

	cr_assert_not_null(f);
	fputs(text, f);
	fclose(f);
}

struct log_row {
	char text[600];
	int resumed;
};

ParameterizedTestParameters(monitor_log, logs)
{
	static struct log_row rows[] = {
		{GREETING, 0},
		{GREETING MIGRATION, 0},
		{GREETING MIGRATION DONE MIGRATION, 0},
		{GREETING "{\"return\": {\"name\": \"RESUME\"}}\n", 0},
		{HELLO "{\"error\": {\"class\": \"CommandNotFound\"}}\n" DONE, 0},
		/* nobody has listened, or not from the beginning on */
		{"", -ENODATA},
		{HELLO, -ENODATA},
		{HELLO "{\"error\": {\"class\": \"CommandNotFound\"}}\n", -ENODATA},
		{GREETING MIGRATION HELLO, -ENODATA},
		{GREETING MIGRATION GREETING MIGRATION, -ENODATA},
		{GREETING HELLO DONE STATUS("paused"), -ENODATA},
		{GREETING HELLO DONE STATUS("inmigrate"), 0},
		{GREETING HELLO DONE STATUS("inmigrate") HELLO, -ENODATA},
		{GREETING HELLO DONE STATUS("inmigrate") RESUME, 1},
		{HELLO MIGRATION, -ENODATA},
		/* the disk was full: at the beginning, in the middle, at the end */
		{MIGRATION, -ENODATA},
		{DONE MIGRATION, -ENODATA},
		{"ties\": []}}\r\n" DONE MIGRATION, -ENODATA},
		{"\r\n" GREETING, -ENODATA},
		{GREETING "{\"timestamp\": {\"sec" MIGRATION, -ENODATA},
		{GREETING "{\"timestamp\": {}, \"event\": \"MIGRATION\"}" MIGRATION, -ENODATA},
		{GREETING "conds\": 1}, \"event\": \"STOP\"}\r\n" MIGRATION, -ENODATA},
		{GREETING "[]\r\n", -ENODATA},
		{GREETING "{\"timestamp\": {}, \"event\": \"MIGRATION\"}", -ENODATA},
		{GREETING "{\"timestamp\": {\"sec", -ENODATA},
		{GREETING MIGRATION "{\"timestamp\": {\"sec" RESUME, 1},
		{GREETING RESUME, 1},
		{GREETING RESUME "{\"timestamp\": {}, \"event\": \"STOP\"}\n", 1},
		/* QEMU was killed while it wrote this */
		{GREETING "{\"timestamp\": {\"seconds\": 1}, \"event\": \"RESUME", 1},
		{RESUME, 1},
	};

	return cr_make_param_array(struct log_row, rows, sizeof(rows) / sizeof(*rows));
}

ParameterizedTest(struct log_row *row, monitor_log, logs)
{
	struct place p = place_new();

	cr_expect_eq(monitor_log_resumed(p.monitor), -ENOENT);
	say(&p, row->text);
	cr_expect_eq(monitor_log_resumed(p.monitor), row->resumed, "%s", row->text);
	place_destroy(&p);
}

/* ---- a process ---- */

struct qemu {
	pid_t pid;
	uint64_t started;
};

static struct qemu qemu_new(void)
{
	struct qemu q = {.pid = fork()};

	cr_assert_geq(q.pid, 0);
	if (q.pid == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		for (;;)
			pause();
	}
	cr_assert_eq(process_started(q.pid, &q.started, NULL), 0);
	return q;
}

/* Ended by which signal; 0: it lives, and is not stopped. */
static int fate(const struct qemu *q)
{
	int status = 0;
	pid_t pid;

	while ((pid = waitpid(q->pid, &status, WNOHANG | WUNTRACED | WCONTINUED)) > 0 &&
	       (WIFSTOPPED(status) || WIFCONTINUED(status)))
		cr_log_info("%d", status);
	if (pid > 0 && WIFSIGNALED(status))
		return WTERMSIG(status);
	kill(q->pid, SIGTERM);
	cr_assert_eq(waitpid(q->pid, &status, 0), q->pid);
	cr_assert_eq(WTERMSIG(status), SIGTERM, "it stood still");
	return 0;
}

static int end_guest(const struct qemu *q, const struct place *p, bool released)
{
	struct errtext err = {0};
	int ret = monitor_log_end_unless_resumed(q->pid, q->started, p->monitor, released, &err);

	cr_expect_eq(ret < 0, err.text[0] != 0, "%d: %s", ret, err.text);
	return ret;
}

static int end(const struct qemu *q, const struct place *p)
{
	return end_guest(q, p, true);
}

Test(monitor_log, who_has_not_run_its_guest_is_ended)
{
	struct place p = place_new();
	struct qemu q = qemu_new();

	say(&p, GREETING);
	cr_assert_eq(end(&q, &p), 0);
	cr_assert_eq(fate(&q), SIGKILL);
	cr_assert_eq(end(&q, &p), 0, "it has gone, and never ran");
	place_destroy(&p);
}

Test(monitor_log, who_has_run_its_guest_goes_on)
{
	struct place p = place_new();
	struct qemu q = qemu_new();

	say(&p, GREETING RESUME);
	cr_assert_eq(end(&q, &p), -EALREADY);
	cr_assert_eq(fate(&q), 0);
	cr_assert_eq(end(&q, &p), -EALREADY, "it has gone, and ran");
	place_destroy(&p);
}

/* Without the end of its stream no guest runs; after the release only the log can tell. */
Test(monitor_log, a_log_that_is_not_whole)
{
	struct place p = place_new();
	struct qemu q = qemu_new(), other = qemu_new();

	say(&p, GREETING HELLO);
	cr_assert_eq(end_guest(&q, &p, true), -ENODATA);
	cr_assert_eq(fate(&q), 0);
	cr_assert_eq(end_guest(&q, &p, true), -ENODATA, "it has gone, and may have run");
	cr_assert_eq(end_guest(&q, &p, false), 0);
	cr_assert_eq(end_guest(&other, &p, false), 0);
	cr_assert_eq(fate(&other), SIGKILL);
	say(&p, RESUME);
	cr_assert_eq(end_guest(&q, &p, false), -EALREADY, "whatever is thought");
	place_destroy(&p);
}

/* ---- room ---- */

Test(monitor_log, has_room)
{
	struct place p = place_new();
	struct errtext err = {0};
	struct stat st;

	cr_assert_eq(monitor_log_reserve(p.monitor, &err), 0, "%s: there is none", err.text);
	say(&p, GREETING);
	cr_assert_eq(monitor_log_reserve(p.monitor, &err), 0, "%s", err.text);
	cr_assert_eq(stat(p.log, &st), 0);
	cr_assert_eq(st.st_size, strlen(GREETING));
	cr_assert_geq(st.st_blocks * 512, 65536);
	cr_assert_eq(monitor_log_resumed(p.monitor), 0);
	place_destroy(&p);
}

Test(monitor_log, has_no_room)
{
	struct place p = {.monitor = "/run/monitor", .log = "/run/monitor.log"};
	struct errtext err = {0};

	own_run();
	cr_assert_eq(mount("none", "/run", "tmpfs", 0, "size=16k"), 0);
	say(&p, GREETING);
	cr_assert_eq(monitor_log_reserve(p.monitor, &err), -ENOSPC);
	cr_assert(strstr(err.text, "/run/monitor.log: there is no room for what QEMU says"), "%s",
		  err.text);
}

Test(monitor_log, without_a_log_nothing_is_done)
{
	struct place p = place_new();
	struct qemu q = qemu_new();

	cr_assert_eq(end(&q, &p), -ENODATA);
	cr_assert_eq(fate(&q), 0);
	place_destroy(&p);
}

Test(monitor_log, another_process_of_that_number_is_left_alone)
{
	struct place p = place_new();
	struct qemu q = qemu_new(), before = q;

	before.started--;
	say(&p, GREETING);
	cr_assert_eq(end(&before, &p), 0);
	cr_assert_eq(fate(&q), 0);
	place_destroy(&p);
}

/* Whoever looks at the log, which is a pipe here, is killed while QEMU stands still. */
Test(monitor_log, no_qemu_is_left_standing)
{
#ifdef __SANITIZE_THREAD__
	cr_skip_test("TSan's runtime starts no threads after a fork");
#endif
	struct place p = place_new();
	struct qemu q = qemu_new();
	pid_t dray;
	int fd;

	cr_assert_eq(mkfifo(p.log, 0600), 0);
	dray = fork();
	if (dray == 0)
		_exit(monitor_log_end_unless_resumed(q.pid, q.started, p.monitor, true, NULL) != 0);
	fd = open(p.log, O_WRONLY); /* when it is opened at its other end */
	cr_assert_geq(fd, 0);
	kill(dray, SIGKILL);
	cr_assert_eq(waitpid(dray, NULL, 0), dray);
	cr_assert_eq(fate(&q), 0);
	close(fd);
	place_destroy(&p);
}

/* ---- quiet ---- */

Test(monitor_log, is_emptied_by_a_client_that_says_nothing)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	struct place p = place_new();
	int qemu = socket(AF_UNIX, SOCK_STREAM, 0), client;
	struct stat st;
	char byte;

	strcpy(address.sun_path, p.monitor);
	cr_assert_eq(bind(qemu, (struct sockaddr *)&address, sizeof(address)), 0);
	cr_assert_eq(listen(qemu, 1), 0);
	monitor_log_quiet(p.monitor);
	cr_assert_lt(stat(p.log, &st), 0, "there was none");
	say(&p, GREETING RESUME);
	monitor_log_quiet(p.monitor);
	cr_assert_eq(stat(p.log, &st), 0);
	cr_assert_eq(st.st_size, 0);
	for (int i = 0; i < 2; i++) {
		client = accept(qemu, NULL, NULL);
		cr_assert_eq(read(client, &byte, 1), 0, "it hung up");
		close(client);
	}
	close(qemu);
	place_destroy(&p);
}

/* ---- forgotten ---- */

Test(monitor_log, goes_when_the_guest_has_left)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	struct place p = place_new();
	int qemu = socket(AF_UNIX, SOCK_STREAM, 0);

	strcpy(address.sun_path, p.monitor);
	cr_assert_eq(bind(qemu, (struct sockaddr *)&address, sizeof(address)), 0);
	cr_assert_eq(listen(qemu, 1), 0);
	say(&p, GREETING RESUME);
	monitor_log_forget(p.monitor);
	cr_assert_eq(access(p.log, F_OK), 0, "a QEMU has it");
	close(qemu);
	monitor_log_forget(p.monitor);
	cr_assert_lt(access(p.log, F_OK), 0);
	cr_assert_lt(access(p.monitor, F_OK), 0);
	cr_assert_eq(rmdir(p.dir), 0);
}

/* ---- dropped ---- */

struct dropper {
	int listening;
	bool knows; /* close-action */
	bool dropped;
};

/* A client that negotiates, and says what is to become of the monitor; then another one, if it
 * stays. */
static void *dropper_main(void *arg)
{
	static const char greeting[] = HELLO;
	struct dropper *d = arg;
	int client = accept(d->listening, NULL, NULL);
	char line[512];
	ssize_t n = send(client, greeting, strlen(greeting), MSG_NOSIGNAL);

	for (int id = 1; n > 0 && (n = recv(client, line, sizeof(line) - 1, 0)) > 0; id++) {
		line[n] = 0;
		d->dropped |= d->knows && strstr(line, "draymon\"") &&
			      strstr(line, "close-action") && strstr(line, "delete");
		n = snprintf(line, sizeof(line), "{\"%s\": {}, \"id\": %d}\r\n",
			     id == 1 || d->knows ? "return" : "error", id);
		n = send(client, line, (size_t)n, MSG_NOSIGNAL);
	}
	close(client);
	if (!d->knows)
		close(accept(d->listening, NULL, NULL));
	return NULL;
}

/* Is the log there? */
static bool quieted(struct dropper *d)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	struct place p = place_new();
	pthread_t qemu;
	bool there;

	d->listening = socket(AF_UNIX, SOCK_STREAM, 0);
	strcpy(address.sun_path, p.monitor);
	cr_assert_eq(bind(d->listening, (struct sockaddr *)&address, sizeof(address)), 0);
	cr_assert_eq(listen(d->listening, 1), 0);
	say(&p, GREETING RESUME);
	cr_assert_eq(pthread_create(&qemu, NULL, dropper_main, d), 0);
	monitor_log_quiet(p.monitor);
	pthread_join(qemu, NULL);
	there = access(p.log, F_OK) == 0;
	close(d->listening);
	place_destroy(&p);
	return there;
}

Test(monitor_log, goes_with_a_monitor_that_qemu_drops)
{
	struct dropper newer = {.knows = true}, older = {0};

	cr_expect_not(quieted(&newer));
	cr_expect(newer.dropped);
	cr_expect(quieted(&older), "it is empty, and QEMU has it open");
}
