// SPDX-License-Identifier: Apache-2.0
// The history: five attempts per domain, found by UUID and by name, whatever is on the disk.
#include "history.h"

#include <criterion/criterion.h>
#include <criterion/parameterized.h>
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include "json_field.h"

#define UUID "6e8a4a3c-3f6a-4f52-9a35-0a8f6b4f6a10"
#define OTHER "11111111-2222-4333-8444-555555555555"
#define THIRD "11111111-2222-4333-8444-000000000001"

TestSuite(history, .timeout = 30);

struct fixture {
	char root[32], dir[64];
};

static void setup(struct fixture *f)
{
	strcpy(f->root, "/tmp/dray-hist-XXXXXX");
	cr_assert_not_null(mkdtemp(f->root));
	snprintf(f->dir, sizeof(f->dir), "%s/lib/history", f->root);
}

static void teardown(const struct fixture *f)
{
	static const char *const uuids[] = {UUID, OTHER, THIRD};
	char path[128];

	for (size_t i = 0; i < sizeof(uuids) / sizeof(*uuids); i++) {
		snprintf(path, sizeof(path), "%s/%s.json", f->dir, uuids[i]);
		unlink(path);
	}
	snprintf(path, sizeof(path), "%s/lock", f->dir);
	unlink(path);
	cr_expect(rmdir(f->dir) == 0 || errno == ENOENT, "%s: something was left", f->dir);
	snprintf(path, sizeof(path), "%s/lib", f->root);
	rmdir(path);
	rmdir(f->root);
}

static void add(const struct fixture *f, const char *uuid, const char *domain, int number)
{
	_cleanup_json_ json_object *o = json_object_new_object();
	struct errtext err = {0};
	char start[64];

	snprintf(start, sizeof(start), "2026-11-20T10:00:%02dZ", number);
	json_object_object_add(o, "domain", json_object_new_string(domain));
	json_object_object_add(o, "uuid", json_object_new_string(uuid));
	json_object_object_add(o, "start", json_object_new_string(start));
	json_object_object_add(o, "number", json_object_new_int(number));
	cr_assert_eq(history_add(f->dir, uuid, o, &err), 0, "%s", err.text);
}

/* The "number"s, newest first. */
static const char *numbers(const struct fixture *f, const char *name_or_uuid, char buf[128])
{
	_cleanup_json_ json_object *array = NULL;
	struct errtext err = {0};
	size_t used = 0;

	cr_assert_eq(history_read(f->dir, name_or_uuid, &array, &err), 0, "%s", err.text);
	buf[0] = '\0';
	for (size_t i = 0; i < json_object_array_length(array); i++) {
		double n = 0;

		cr_assert(json_field_number(json_object_array_get_idx(array, i), "number", &n));
		used += snprintf(buf + used, 128 - used, "%.0f ", n);
	}
	return buf;
}

Test(history, the_sixth_pushes_out_the_oldest)
{
	struct fixture f;
	char buf[128];

	setup(&f);
	for (int i = 1; i <= 5; i++)
		add(&f, UUID, "web", i);
	cr_assert_str_eq(numbers(&f, UUID, buf), "5 4 3 2 1 ");
	add(&f, UUID, "web", 6);
	cr_assert_str_eq(numbers(&f, UUID, buf), "6 5 4 3 2 ");
	teardown(&f);
}

Test(history, found_by_uuid_in_any_case_and_by_name)
{
	struct fixture f;
	char buf[128];

	setup(&f);
	add(&f, "6E8A4A3C-3F6A-4F52-9A35-0A8F6B4F6A10", "web", 1);
	add(&f, UUID, "web", 2);
	add(&f, OTHER, "db", 3);
	cr_assert_str_eq(numbers(&f, UUID, buf), "2 1 ");
	cr_assert_str_eq(numbers(&f, "6E8A4A3C-3F6A-4F52-9A35-0A8F6B4F6A10", buf), "2 1 ");
	cr_assert_str_eq(numbers(&f, "web", buf), "2 1 ");
	cr_assert_str_eq(numbers(&f, "db", buf), "3 ");
	teardown(&f);
}

Test(history, of_guests_that_share_a_name_the_latest)
{
	struct fixture f;
	char buf[128];

	setup(&f);
	add(&f, UUID, "web", 1);
	add(&f, OTHER, "web", 2);
	add(&f, UUID, "web", 3);
	add(&f, OTHER, "web", 4);
	cr_assert_str_eq(numbers(&f, "web", buf), "4 2 ");
	cr_assert_str_eq(numbers(&f, OTHER, buf), "4 2 ");
	teardown(&f);
}

Test(history, a_renamed_guest_has_its_newest_name)
{
	_cleanup_json_ json_object *array = NULL;
	struct fixture f;
	char buf[128];

	setup(&f);
	add(&f, UUID, "old", 1);
	add(&f, UUID, "new", 2);
	cr_assert_str_eq(numbers(&f, "new", buf), "2 1 ");
	cr_assert_eq(history_read(f.dir, "old", &array, NULL), -ENOENT);
	teardown(&f);
}

Test(history, only_root_looks_in)
{
	struct fixture f;
	struct stat st;
	char path[128];

	umask(0);
	setup(&f);
	add(&f, UUID, "web", 1);
	cr_assert_eq(stat(f.dir, &st), 0);
	cr_assert_eq(st.st_mode & 07777, 0700);
	snprintf(path, sizeof(path), "%s/" UUID ".json", f.dir);
	cr_assert_eq(stat(path, &st), 0);
	cr_assert_eq(st.st_mode & 07777, 0600);
	teardown(&f);
}

Test(history, the_unknown_is_told_what_there_is)
{
	_cleanup_json_ json_object *array = NULL;
	struct errtext first = {0}, err = {0};
	struct fixture f;

	setup(&f);
	cr_assert_eq(history_read(f.dir, "nobody", &array, &first), -ENOENT);
	cr_assert(strstr(first.text, "'nobody'"), "%s", first.text);
	cr_assert(strstr(first.text, "none of any guest"), "%s", first.text);
	add(&f, UUID, "web", 1);
	add(&f, OTHER, "db\x1b[2J", 2);
	add(&f, THIRD, "web", 3);
	cr_assert_eq(history_read(f.dir, "nobody", &array, &err), -ENOENT);
	cr_assert(strstr(err.text, "web"), "%s", err.text);
	cr_assert_null(strstr(strstr(err.text, "web") + 1, "web"), "%s", err.text);
	cr_assert(strstr(err.text, "db"), "%s", err.text);
	cr_assert_null(strchr(err.text, '\x1b'));
	cr_assert_null(array);
	teardown(&f);
}

Test(history, very_many_others_are_cut_short)
{
	_cleanup_json_ json_object *array = NULL;
	struct errtext err = {0};
	struct fixture f;
	char uuid[40], path[128], name[128];

	setup(&f);
	memset(name, 'n', 100);
	name[100] = '\0';
	for (int i = 0; i < 20; i++) {
		snprintf(uuid, sizeof(uuid), "11111111-2222-4333-8444-0000000000%02d", i);
		name[0] = (char)('a' + i);
		add(&f, uuid, name, i);
	}
	cr_assert_eq(history_read(f.dir, "nobody", &array, &err), -ENOENT);
	cr_assert(strstr(err.text, ", ..."), "%s", err.text);
	for (int i = 0; i < 20; i++) {
		snprintf(path, sizeof(path), "%s/11111111-2222-4333-8444-0000000000%02d.json",
			 f.dir, i);
		cr_assert_eq(unlink(path), 0);
	}
	teardown(&f);
}

Test(history, a_name_is_no_path)
{
	_cleanup_json_ json_object *o = json_object_new_object(), *array = NULL;
	struct errtext err = {0};
	struct fixture f;

	setup(&f);
	cr_assert_eq(history_add(f.dir, "../../etc/passwd", o, &err), -EINVAL);
	cr_assert(strstr(err.text, "../../etc/passwd"), "%s", err.text);
	cr_assert_eq(history_read(f.dir, "../../etc/passwd", &array, NULL), -ENOENT);
	cr_assert_eq(history_read(f.dir, "", &array, NULL), -ENOENT);
	teardown(&f);
}

/* ---- damage ---- */

struct damage_row {
	char text[64];
	int read;	/* what reading by UUID returns */
	char after[16]; /* numbers, once attempt 7 has been added */
};

ParameterizedTestParameters(history, damaged_files)
{
	static struct damage_row rows[] = {
		{"", -EIO, "7 "},
		{"[{\"number\":1},", -EIO, "7 "},
		{"{\"number\":1}", -EIO, "7 "},
		{"null", -EIO, "7 "},
		{"\x01\xff\xfe", -EIO, "7 "},
		{"[]", 0, "7 "},
		{"[1, \"x\", null, [], {\"number\": 3}]", 0, "7 3 "},
	};

	return cr_make_param_array(struct damage_row, rows, sizeof(rows) / sizeof(rows[0]));
}

ParameterizedTest(struct damage_row *row, history, damaged_files)
{
	_cleanup_json_ json_object *array = NULL;
	struct errtext err = {0};
	struct fixture f;
	char buf[128], path[128];
	FILE *file;

	setup(&f);
	add(&f, UUID, "web", 1);
	snprintf(path, sizeof(path), "%s/" UUID ".json", f.dir);
	file = fopen(path, "w");
	fputs(row->text, file);
	fclose(file);
	cr_assert_eq(history_read(f.dir, UUID, &array, &err), row->read, "%s", err.text);
	cr_assert(row->read == 0 || strstr(err.text, UUID), "%s", err.text);
	add(&f, OTHER, "db", 2);
	cr_assert_str_eq(numbers(&f, "db", buf), "2 ", "one damaged file hides no other");
	add(&f, UUID, "web", 7);
	cr_assert_str_eq(numbers(&f, UUID, buf), row->after);
	teardown(&f);
}

Test(history, what_is_in_the_way_is_named)
{
	_cleanup_json_ json_object *o = json_object_new_object();
	struct errtext err = {0};
	struct fixture f;
	char path[128];

	setup(&f);
	snprintf(path, sizeof(path), "%s/lib", f.root);
	fclose(fopen(path, "w"));
	cr_assert_lt(history_add(f.dir, UUID, o, &err), 0);
	cr_assert(strstr(err.text, path), "%s", err.text);
	unlink(path);
	rmdir(f.root);
}

/* ---- two at once ---- */

static void *writer_main(void *arg)
{
	add(arg, UUID, "web", 0);
	add(arg, UUID, "web", 0);
	return NULL;
}

Test(history, writers_at_once_lose_nothing)
{
	_cleanup_json_ json_object *array = NULL;
	pthread_t threads[2];
	struct fixture f;

	setup(&f);
	for (int i = 0; i < 2; i++)
		cr_assert_eq(pthread_create(&threads[i], NULL, writer_main, &f), 0);
	for (int i = 0; i < 2; i++)
		pthread_join(threads[i], NULL);
	cr_assert_eq(history_read(f.dir, UUID, &array, NULL), 0);
	cr_assert_eq(json_object_array_length(array), 4);
	teardown(&f);
}

/* However their names add up. */
Test(history, many_other_guests_are_named_as_far_as_there_is_room)
{
	_cleanup_json_ json_object *array = NULL;
	struct fixture f;
	struct errtext err = {0};
	char uuid[37], name[80], path[128];

	setup(&f);
	for (int i = 0; i < 40; i++) {
		snprintf(uuid, sizeof(uuid), "00000000-0000-4000-8000-0000000000%02x", i);
		snprintf(name, sizeof(name), "guest-%.*s%d", 51 + i % 7,
			 "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx", i);
		add(&f, uuid, name, 1);
	}
	cr_assert_eq(history_read(f.dir, "nobody", &array, &err), -ENOENT);
	cr_assert(strstr(err.text, ", ..."), "%s", err.text);
	for (int i = 0; i < 40; i++) {
		snprintf(path, sizeof(path), "%s/00000000-0000-4000-8000-0000000000%02x.json",
			 f.dir, i);
		unlink(path);
	}
	teardown(&f);
}
