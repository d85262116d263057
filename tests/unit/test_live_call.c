// SPDX-License-Identifier: Apache-2.0
// The client of the control socket, against servers that are gone, hang, or talk nonsense.
#include "live.h"

#include <criterion/criterion.h>
#include <criterion/parameterized.h>
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include "json_field.h"
#include "socket.h"

#define PATIENCE_MS 20000

TestSuite(live_call, .timeout = 60);

struct fixture {
	char dir[32], path[64];
};

static void setup(struct fixture *f)
{
	strcpy(f->dir, "/tmp/dray-call-XXXXXX");
	cr_assert_not_null(mkdtemp(f->dir));
	snprintf(f->path, sizeof(f->path), "%s/control.sock", f->dir);
}

static void teardown(const struct fixture *f)
{
	cr_expect_eq(rmdir(f->dir), 0, "%s: something was left", f->dir);
}

static int call(const struct fixture *f, const char *request, json_object **reply,
		struct errtext *err)
{
	_cleanup_json_ json_object *o = json_tokener_parse(request);

	*reply = NULL;
	return live_call(f->path, o, reply, PATIENCE_MS, err);
}

Test(live_call, nobody_there)
{
	struct errtext err = {0};
	struct fixture f;
	json_object *reply;
	int fd;

	setup(&f);
	cr_assert_eq(call(&f, "{\"command\":\"status\"}", &reply, &err), -ENOENT);
	cr_assert(strstr(err.text, f.path), "%s", err.text);
	cr_assert_eq(socket_unix_listen(f.path, 1, &fd, NULL), 0);
	close(fd);
	cr_assert_eq(call(&f, "{\"command\":\"status\"}", &reply, NULL), -ECONNREFUSED);
	unlink(f.path);
	teardown(&f);
}

Test(live_call, a_server_that_hangs)
{
	_cleanup_json_ json_object *request = json_tokener_parse("{\"command\":\"status\"}");
	json_object *reply = NULL;
	struct fixture f;
	int fd;

	setup(&f);
	cr_assert_eq(socket_unix_listen(f.path, 0, &fd, NULL), 0);
	/* The first is queued, the others do not get that far. */
	for (int i = 0; i < 3; i++)
		cr_assert_eq(live_call(f.path, request, &reply, 10, NULL), -ETIMEDOUT);
	close(fd);
	unlink(f.path);
	teardown(&f);
}

struct reply_row {
	char text[64];
	int expected;
	char error[64];
};

ParameterizedTestParameters(live_call, odd_replies)
{
	static struct reply_row rows[] = {
		{"", -ECONNRESET, "does not answer"},
		{"{\"ok\":true}", -ECONNRESET, "does not answer"},
		{"\n", -EPROTO, "does not answer"},
		{"[]\n", -EPROTO, "does not answer"},
		{"{}\n", -EPROTO, "does not answer"},
		{"{\"ok\":\"true\"}\n", -EPROTO, "does not answer"},
		{"{\"ok\":false}\n", -EREMOTEIO, "-"},
		{"{\"ok\":false,\"error\":\"a\\nb\\u001b[2J\"}\n", -EREMOTEIO, "a b [2J"},
		{"{\"ok\":true}\nmore", 0, ""},
	};

	return cr_make_param_array(struct reply_row, rows, sizeof(rows) / sizeof(rows[0]));
}

struct odd_server {
	int listener;
	const char *text;
};

static void *odd_server_main(void *arg)
{
	struct odd_server *s = arg;
	char byte = 0;
	int fd = accept(s->listener, NULL, NULL);

	while (byte != '\n' && recv(fd, &byte, 1, 0) == 1)
		;
	if (send(fd, s->text, strlen(s->text), MSG_NOSIGNAL) < 0)
		abort();
	close(fd);
	return NULL;
}

ParameterizedTest(struct reply_row *row, live_call, odd_replies)
{
	struct odd_server s = {.text = row->text};
	struct errtext err = {0};
	struct fixture f;
	json_object *reply;
	pthread_t thread;

	setup(&f);
	cr_assert_eq(socket_unix_listen(f.path, 1, &s.listener, NULL), 0);
	cr_assert_eq(pthread_create(&thread, NULL, odd_server_main, &s), 0);
	cr_assert_eq(call(&f, "{\"command\":\"status\"}", &reply, &err), row->expected, "%s",
		     err.text);
	pthread_join(thread, NULL);
	cr_assert(strstr(err.text, row->error), "%s", err.text);
	json_object_put(reply);
	close(s.listener);
	unlink(f.path);
	teardown(&f);
}

Test(live_call, a_request_that_is_too_long_is_not_sent)
{
	_cleanup_json_ json_object *request = json_object_new_object();
	json_object *reply = NULL;
	struct fixture f;
	char text[LIVE_REQUEST_MAX];
	int fd;

	setup(&f);
	memset(text, 'x', sizeof(text));
	json_object_object_add(request, "command", json_object_new_string_len(text, sizeof(text)));
	cr_assert_eq(socket_unix_listen(f.path, 1, &fd, NULL), 0);
	cr_assert_eq(live_call(f.path, request, &reply, PATIENCE_MS, NULL), -E2BIG);
	close(fd);
	unlink(f.path);
	teardown(&f);
}
