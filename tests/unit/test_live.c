// SPDX-License-Identifier: Apache-2.0
// The control socket: requests and replies, and clients that are slow, rude or not root.
#include "live.h"

#include <criterion/criterion.h>
#include <criterion/parameterized.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>
#include "json_field.h"
#include "live_peer.h"
#include "socket.h"

#define PATIENCE_MS 20000
#define CALLERS (2 * LIVE_CLIENTS_MAX)
#define CALLS 20

TestSuite(live, .timeout = 60);

struct fixture {
	char dir[32], path[64];
	struct live_peer peer;
};

static void setup_dir(struct fixture *f)
{
	*f = (struct fixture){.peer = {.domain = "web", .uuid = "u-u-i-d"}};
	strcpy(f->dir, "/tmp/dray-live-XXXXXX");
	cr_assert_not_null(mkdtemp(f->dir));
	snprintf(f->path, sizeof(f->path), "%s/control.sock", f->dir);
}

static void setup(struct fixture *f)
{
	setup_dir(f);
	live_peer_start(&f->peer, f->path, 0);
}

static void teardown(struct fixture *f)
{
	live_stop(f->peer.live);
	cr_expect_eq(rmdir(f->dir), 0, "%s: something was left", f->dir);
}

static int call(const struct fixture *f, const char *request, json_object **reply,
		struct errtext *err)
{
	_cleanup_json_ json_object *o = json_tokener_parse(request);

	cr_assert_not_null(o, "%s", request);
	*reply = NULL;
	return live_call(f->path, o, reply, PATIENCE_MS, err);
}

static int connect_raw(const struct fixture *f)
{
	struct errtext err = {0};
	int fd;

	cr_assert_eq(socket_unix_connect(f->path, &fd, &err), 0, "%s", err.text);
	return fd;
}

static void send_raw(int fd, const char *text, size_t len)
{
	cr_assert_eq(send(fd, text, len, MSG_NOSIGNAL), (ssize_t)len, "%s", strerror(errno));
}

/* One line without its newline, or "" at the end. */
static const char *line_from(int fd, char buf[256])
{
	size_t len = 0;

	while (len < 255 && recv(fd, buf + len, 1, 0) == 1 && buf[len] != '\n')
		len++;
	buf[len] = '\0';
	return buf;
}

/* ---- requests ---- */

Test(live, tells_its_status)
{
	_cleanup_json_ json_object *reply = NULL;
	struct errtext err = {0};
	struct fixture f;
	char text[64];

	setup(&f);
	cr_assert_eq(call(&f, "{\"command\":\"status\"}", &reply, &err), 0, "%s", err.text);
	cr_assert_str_eq(json_field_text(json_field(reply, "status"), "domain", text, sizeof(text)),
			 "web");
	teardown(&f);
}

Test(live, no_status_yet)
{
	_cleanup_json_ json_object *reply = NULL;
	struct errtext err = {0};
	struct fixture f;

	setup_dir(&f);
	f.peer.domain = NULL;
	live_peer_start(&f.peer, f.path, 0);
	cr_assert_eq(call(&f, "{\"command\":\"status\"}", &reply, &err), -EREMOTEIO);
	cr_assert(strstr(err.text, "only begun"), "%s", err.text);
	teardown(&f);
}

Test(live, takes_a_cancel)
{
	_cleanup_json_ json_object *reply = NULL;
	struct errtext err = {0};
	struct fixture f;

	setup(&f);
	cr_assert_eq(call(&f, "{\"command\":\"cancel\"}", &reply, &err), 0, "%s", err.text);
	cr_assert_str_eq(json_object_to_json_string_ext(reply, JSON_C_TO_STRING_PLAIN),
			 "{\"ok\":true}");
	cr_assert_eq(f.peer.cancels, 1);
	teardown(&f);
}

Test(live, a_refusal_says_why)
{
	struct errtext err = {0};
	struct fixture f;
	json_object *reply;

	setup_dir(&f);
	f.peer.too_late = true;
	live_peer_start(&f.peer, f.path, 0);
	cr_assert_eq(call(&f, "{\"command\":\"cancel\"}", &reply, &err), -EREMOTEIO);
	cr_assert_str_eq(err.text, "web: handed over already");
	cr_assert_null(reply);
	teardown(&f);
}

Test(live, sets_values_in_order)
{
	_cleanup_json_ json_object *reply = NULL;
	struct errtext err = {0};
	struct fixture f;

	setup(&f);
	cr_assert_eq(call(&f,
			  "{\"command\":\"set\",\"values\":{\"post-copy\":\"true\","
			  "\"bandwidth\":\"128Mi\",\"a\":\"\"}}",
			  &reply, &err),
		     0, "%s", err.text);
	cr_assert_str_eq(f.peer.checked, "post-copy=true bandwidth=128Mi a= ");
	cr_assert_str_eq(f.peer.set, "post-copy=true bandwidth=128Mi a= ");
	teardown(&f);
}

Test(live, sets_all_or_nothing)
{
	struct errtext err = {0};
	struct fixture f;
	json_object *reply;

	setup(&f);
	cr_assert_eq(call(&f,
			  "{\"command\":\"set\",\"values\":{\"a\":\"1\",\"b\":\"bad\","
			  "\"c\":\"2\"}}",
			  &reply, &err),
		     -EREMOTEIO);
	cr_assert_str_eq(err.text, "b=bad: no such quantity");
	cr_assert_str_eq(f.peer.checked, "a=1 b=bad ");
	cr_assert_str_eq(f.peer.set, "");
	err.text[0] = '\0';
	cr_assert_eq(call(&f, "{\"command\":\"set\",\"values\":{\"a\":\"worse\",\"b\":\"1\"}}",
			  &reply, &err),
		     -EREMOTEIO);
	cr_assert_str_eq(err.text, "a: broken");
	cr_assert_str_eq(f.peer.set, "a=worse ");
	teardown(&f);
}

struct request_row {
	char text[64];
	size_t len; /* 0: strlen */
	char expected[64];
};

ParameterizedTestParameters(live, bad_requests)
{
	static struct request_row rows[] = {
		{"", 0, "one JSON object"},
		{" ", 0, "one JSON object"},
		{"{", 0, "one JSON object"},
		{"null", 0, "one JSON object"},
		{"[]", 0, "one JSON object"},
		{"\"status\"", 0, "one JSON object"},
		{"{'command':'status'}", 0, "one JSON object"},
		{"{\"command\":\"status\"} {}", 0, "one JSON object"},
		{"{\"command\":\"status\"}x", 0, "one JSON object"},
		{"{\"command\":\"status\"}\0", 21, "one JSON object"},
		{"\0{\"command\":\"status\"}", 21, "one JSON object"},
		{"{\"command\":\"\xff\"}", 0, "one JSON object"},
		{"{\"command\":[[[[[]]]]]}", 0, "one JSON object"},
		{"{}", 0, "must be status, cancel or set"},
		{"{\"command\":null}", 0, "must be status, cancel or set"},
		{"{\"command\":\"Status\"}", 0, "must be status, cancel or set"},
		{"{\"command\":\"status\\u0000x\"}", 0, "must be status, cancel or set"},
		{"{\"command\":{\"a\":1}}", 0, "must be status, cancel or set"},
		{"{\"command\":\"set\"}", 0, "needs \\\"values\\\""},
		{"{\"command\":\"set\",\"values\":{}}", 0, "needs \\\"values\\\""},
		{"{\"command\":\"set\",\"values\":[\"a\"]}", 0, "needs \\\"values\\\""},
		{"{\"command\":\"set\",\"values\":{\"a\":1}}", 0, "'a' must be a text"},
		{"{\"command\":\"set\",\"values\":{\"a\":null}}", 0, "'a' must be a text"},
		{"{\"command\":\"set\",\"values\":{\"a\":\"1\\u0000\"}}", 0, "'a' must be a text"},
	};

	return cr_make_param_array(struct request_row, rows, sizeof(rows) / sizeof(rows[0]));
}

/* Each gets an error as its reply, and the next request is served as if nothing had been. */
ParameterizedTest(struct request_row *row, live, bad_requests)
{
	struct fixture f;
	char buf[256];
	int fd;

	setup(&f);
	fd = connect_raw(&f);
	send_raw(fd, row->text, row->len ? row->len : strlen(row->text));
	send_raw(fd, "\n{\"command\":\"cancel\"}\n", 22);
	line_from(fd, buf);
	cr_assert(strstr(buf, "{\"ok\":false,\"error\":"), "%s", buf);
	cr_assert(strstr(buf, row->expected), "%s", buf);
	cr_assert_str_eq(line_from(fd, buf), "{\"ok\":true}");
	cr_assert_eq(f.peer.cancels, 1);
	close(fd);
	teardown(&f);
}

Test(live, several_requests_at_once_and_one_in_pieces)
{
	static const char request[] = " {\"command\": \"cancel\", \"more\": [1]} \r\n";
	struct fixture f;
	char buf[256];
	int fd;

	setup(&f);
	fd = connect_raw(&f);
	for (const char *p = request; *p; p++)
		send_raw(fd, p, 1);
	cr_assert_str_eq(line_from(fd, buf), "{\"ok\":true}");
	send_raw(fd, "{\"command\":\"cancel\"}\n{\"command\":\"cancel\"}\n{\"comm", 48);
	cr_assert_str_eq(line_from(fd, buf), "{\"ok\":true}");
	cr_assert_str_eq(line_from(fd, buf), "{\"ok\":true}");
	send_raw(fd, "and\":\"cancel\"}\n", 15);
	cr_assert_str_eq(line_from(fd, buf), "{\"ok\":true}");
	cr_assert_eq(f.peer.cancels, 4);
	close(fd);
	teardown(&f);
}

Test(live, a_request_without_an_end_is_refused)
{
	char blanks[LIVE_REQUEST_MAX], buf[256];
	struct fixture f;
	int fd;

	setup(&f);
	fd = connect_raw(&f);
	memset(blanks, ' ', sizeof(blanks));
	send_raw(fd, blanks, sizeof(blanks));
	line_from(fd, buf);
	cr_assert(strstr(buf, "\"ok\":false"), "%s", buf);
	cr_assert_str_eq(line_from(fd, buf), "", "and the connection is over");
	close(fd);
	teardown(&f);
}

Test(live, the_longest_request)
{
	char line[LIVE_REQUEST_MAX], buf[256];
	struct fixture f;
	int fd;

	setup(&f);
	fd = connect_raw(&f);
	memset(line, ' ', sizeof(line));
	memcpy(line, "{\"command\":\"cancel\"}", 20);
	line[sizeof(line) - 1] = '\n';
	send_raw(fd, line, sizeof(line));
	cr_assert_str_eq(line_from(fd, buf), "{\"ok\":true}");
	close(fd);
	teardown(&f);
}

/* ---- the socket ---- */

Test(live, only_its_owner_may_open_it)
{
	struct fixture f;
	struct stat st;

	umask(0);
	setup(&f);
	cr_assert_eq(stat(f.path, &st), 0);
	cr_assert(S_ISSOCK(st.st_mode));
	cr_assert_eq(st.st_mode & 07777, 0600);
	teardown(&f);
}

Test(live, one_server_and_a_stale_socket_is_replaced)
{
	_cleanup_json_ json_object *reply = NULL;
	struct live_peer second = {.domain = "second"};
	struct live_handlers handlers = {.opaque = &second};
	struct errtext err = {0};
	struct fixture f;
	int fd;

	setup_dir(&f);
	cr_assert_eq(socket_unix_listen(f.path, 1, &fd, &err), 0, "%s", err.text);
	close(fd);
	live_peer_start(&f.peer, f.path, 0);
	cr_assert_eq(live_start(f.path, &handlers, &second.live, &err), -EADDRINUSE);
	cr_assert(strstr(err.text, f.path), "%s", err.text);
	cr_assert_eq(call(&f, "{\"command\":\"cancel\"}", &reply, NULL), 0,
		     "the first one still serves");
	teardown(&f);
	live_stop(NULL);
}

Test(live, a_path_that_is_too_long)
{
	struct live_handlers handlers = {0};
	struct errtext err = {0};
	struct live *l = NULL;
	char path[200];

	memset(path, 'x', sizeof(path) - 1);
	path[sizeof(path) - 1] = '\0';
	cr_assert_eq(live_start(path, &handlers, &l, &err), -ENAMETOOLONG);
	cr_assert(strstr(err.text, "xxx"), "%s", err.text);
}

static bool refused_as_nobody(const struct fixture *f)
{
	pid_t pid = fork();
	int status;

	cr_assert_geq(pid, 0);
	if (pid == 0) {
		json_object *request = json_tokener_parse("{\"command\":\"cancel\"}"),
			    *reply = NULL;
		int ret;

		if (setgid(65534) < 0 || setuid(65534) < 0)
			_exit(2);
		ret = live_call(f->path, request, &reply, PATIENCE_MS, NULL);
		_exit(ret == -ECONNRESET || ret == -EPIPE ? 0 : 1);
	}
	cr_assert_eq(waitpid(pid, &status, 0), pid);
	return WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

Test(live, others_are_not_served_even_if_the_mode_lets_them_in)
{
	struct fixture f;

	if (geteuid() != 0)
		cr_skip_test("needs root");
	setup(&f);
	cr_assert_eq(chmod(f.dir, 0755), 0);
	cr_assert_eq(chmod(f.path, 0666), 0);
	cr_assert(refused_as_nobody(&f));
	cr_assert_eq(f.peer.cancels, 0);
	teardown(&f);
}

/* ---- several clients ---- */

static void *caller_main(void *arg)
{
	for (int i = 0; i < CALLS; i++) {
		json_object *reply;
		struct errtext err = {0};

		cr_assert_eq(call(arg, "{\"command\":\"cancel\"}", &reply, &err), 0, "%s",
			     err.text);
		json_object_put(reply);
	}
	return NULL;
}

Test(live, more_callers_than_places)
{
	pthread_t threads[CALLERS];
	struct fixture f;

	setup(&f);
	for (int i = 0; i < CALLERS; i++)
		cr_assert_eq(pthread_create(&threads[i], NULL, caller_main, &f), 0);
	for (int i = 0; i < CALLERS; i++)
		pthread_join(threads[i], NULL);
	cr_assert_eq(f.peer.cancels, CALLERS * CALLS);
	teardown(&f);
}

Test(live, idle_clients_lose_their_places)
{
	_cleanup_json_ json_object *reply = NULL;
	int idle[2 * LIVE_CLIENTS_MAX];
	struct errtext err = {0};
	struct fixture f;
	char buf[256];

	setup_dir(&f);
	live_peer_start(&f.peer, f.path, 20);
	for (int i = 0; i < 2 * LIVE_CLIENTS_MAX; i++) {
		idle[i] = connect_raw(&f);
		if (i % 2)
			send_raw(idle[i], "{\"comm", 6);
	}
	cr_assert_eq(call(&f, "{\"command\":\"status\"}", &reply, &err), 0, "%s", err.text);
	for (int i = 0; i < 2 * LIVE_CLIENTS_MAX; i++) {
		cr_assert_str_eq(line_from(idle[i], buf), "", "dropped");
		close(idle[i]);
	}
	teardown(&f);
}

/* Several that ask and never read; their replies do not fit into a socket's buffers. */
Test(live, a_client_that_does_not_read_blocks_nobody)
{
	_cleanup_json_ json_object *reply = NULL;
	int mute[LIVE_CLIENTS_MAX - 1];
	struct errtext err = {0};
	struct fixture f;

	setup_dir(&f);
	f.peer.padding = 4 << 20;
	live_peer_start(&f.peer, f.path, PATIENCE_MS);
	for (int i = 0; i < LIVE_CLIENTS_MAX - 1; i++) {
		mute[i] = connect_raw(&f);
		send_raw(mute[i], "{\"command\":\"status\"}\n", 21);
	}
	cr_assert_eq(call(&f, "{\"command\":\"cancel\"}", &reply, &err), 0, "%s", err.text);
	live_stop(f.peer.live);
	f.peer.live = NULL;
	for (int i = 0; i < LIVE_CLIENTS_MAX - 1; i++)
		close(mute[i]);
	teardown(&f);
}

Test(live, a_long_reply_arrives_whole)
{
	_cleanup_free_ char *buf = malloc(4096);
	size_t sum = 0;
	struct fixture f;
	int fd;

	setup_dir(&f);
	f.peer.padding = 4 << 20;
	live_peer_start(&f.peer, f.path, PATIENCE_MS);
	fd = connect_raw(&f);
	send_raw(fd, "{\"command\":\"status\"}\n", 21);
	for (;;) {
		ssize_t n = recv(fd, buf, 4096, 0);

		cr_assert_gt(n, 0);
		sum += (size_t)n;
		if (buf[n - 1] == '\n')
			break;
	}
	cr_assert_gt(sum, 4 << 20);
	send_raw(fd, "{\"command\":\"cancel\"}\n", 21);
	cr_assert_str_eq(line_from(fd, buf), "{\"ok\":true}");
	close(fd);
	teardown(&f);
}

Test(live, stopping_ends_its_clients)
{
	struct fixture f;
	char buf[256];
	int fd;

	setup(&f);
	fd = connect_raw(&f);
	send_raw(fd, "{\"command\":\"cancel\"}\n", 21);
	cr_assert_str_eq(line_from(fd, buf), "{\"ok\":true}");
	teardown(&f);
	cr_assert_str_eq(line_from(fd, buf), "");
	close(fd);
}
