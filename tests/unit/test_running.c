// SPDX-License-Identifier: Apache-2.0
// The migrations of a host: found among live, stale and odd sockets.
#include "running.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include "json_field.h"
#include "live_peer.h"
#include "socket.h"

#define WEB "6e8a4a3c-3f6a-4f52-9a35-0a8f6b4f6a10"
#define DB "11111111-2222-4333-8444-555555555555"
#define DEAD "22222222-2222-4333-8444-555555555555"

TestSuite(running, .timeout = 60);

struct fixture {
	char root[32];
	struct live_peer web, db;
};

static const char *path_of(const struct fixture *f, const char *uuid, const char *name,
			   char buf[128])
{
	snprintf(buf, 128, "%s/%s%s%s", f->root, uuid, name ? "/" : "", name ? name : "");
	return buf;
}

static void make_dir(const struct fixture *f, const char *uuid)
{
	char path[128];

	cr_assert_eq(mkdir(path_of(f, uuid, NULL, path), 0700), 0);
}

static void setup(struct fixture *f)
{
	struct errtext err = {0};
	char path[128];
	int fd;

	if (geteuid() != 0)
		cr_skip_test("needs root");
	*f = (struct fixture){.web = {.domain = "web", .uuid = WEB},
			      .db = {.domain = "db", .uuid = DB}};
	strcpy(f->root, "/tmp/dray-run-XXXXXX");
	cr_assert_not_null(mkdtemp(f->root));
	make_dir(f, DEAD);
	make_dir(f, WEB);
	make_dir(f, DB);
	make_dir(f, "outbound");
	cr_assert_eq(socket_unix_listen(path_of(f, DEAD, "control.sock", path), 1, &fd, &err), 0,
		     "%s", err.text);
	close(fd);
}

static void start_both(struct fixture *f)
{
	char path[128];

	live_peer_start(&f->web, path_of(f, WEB, "control.sock", path), 0);
	live_peer_start(&f->db, path_of(f, DB, "incoming.sock", path), 0);
}

static void teardown(struct fixture *f)
{
	static const char *const dirs[] = {DEAD, WEB, DB, "outbound"};
	char path[128];

	live_stop(f->web.live);
	live_stop(f->db.live);
	unlink(path_of(f, DEAD, "control.sock", path));
	for (size_t i = 0; i < sizeof(dirs) / sizeof(*dirs); i++)
		cr_expect_eq(rmdir(path_of(f, dirs[i], NULL, path)), 0, "%s", path);
	rmdir(f->root);
}

static struct running_list collect(const struct fixture *f)
{
	struct running_list list;
	struct errtext err = {0};

	cr_assert_eq(running_collect(f->root, &list, &err), 0, "%s", err.text);
	return list;
}

Test(running, the_dead_are_passed_over)
{
	const struct running *found = NULL;
	struct running_list list;
	struct errtext err = {0};
	struct fixture f;

	setup(&f);
	list = collect(&f);
	cr_assert_eq(list.count, 0);
	cr_assert_eq(running_find(&list, "web", &found, &err), -ENOENT);
	cr_assert(strstr(err.text, "'web'") && strstr(err.text, "none of any guest"), "%s",
		  err.text);
	running_destroy(&list);
	start_both(&f);
	list = collect(&f);
	cr_assert_eq(list.count, 2);
	running_destroy(&list);
	teardown(&f);
}

Test(running, found_by_name_and_by_uuid)
{
	const struct running *found = NULL;
	struct running_list list;
	struct errtext err = {0};
	struct fixture f;

	setup(&f);
	start_both(&f);
	list = collect(&f);
	cr_assert_eq(running_find(&list, "web", &found, NULL), 0);
	cr_assert(strstr(found->socket, WEB));
	cr_assert_eq(running_find(&list, DB, &found, NULL), 0);
	cr_assert(strstr(found->socket, DB));
	cr_assert_eq(running_find(&list, "WEB", &found, &err), -ENOENT);
	cr_assert(strstr(err.text, "these do: ") && strstr(err.text, "db") &&
			  strstr(err.text, "web"),
		  "%s", err.text);
	cr_assert_eq(running_find(&list, "", &found, NULL), -ENOENT);
	running_destroy(&list);
	teardown(&f);
}

Test(running, the_right_one_is_called)
{
	_cleanup_json_ json_object *request = json_tokener_parse("{\"command\":\"cancel\"}");
	_cleanup_json_ json_object *status = NULL, *reply = NULL;
	struct errtext err = {0};
	struct fixture f;

	setup(&f);
	start_both(&f);
	cr_assert_eq(running_call(f.root, "db", request, &status, &reply, &err), 0, "%s", err.text);
	cr_assert(json_names_domain(status, "db"));
	cr_assert_eq(f.db.cancels, 1);
	cr_assert_eq(f.web.cancels, 0);
	teardown(&f);
}

Test(running, one_that_cannot_answer_is_not_hidden)
{
	const struct running *found = NULL;
	struct running_list list;
	struct fixture f;
	char text[128];

	setup(&f);
	f.web.domain = NULL;
	start_both(&f);
	list = collect(&f);
	cr_assert_eq(list.count, 2);
	cr_assert_eq(running_find(&list, WEB, &found, NULL), 0);
	json_field_text(found->status, "error", text, sizeof(text));
	cr_assert(strstr(text, "only begun"), "%s", text);
	running_destroy(&list);
	teardown(&f);
}
