// SPDX-License-Identifier: Apache-2.0
// The attempts to migrate each domain from this host.
//
// A writer holds DIR/lock, writes UUID.json.new and renames it: readers need no lock, and a crash
// leaves the old file or the new one.
#include "history.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <uuid/uuid.h>
#include "directory.h"
#include "json_field.h"

#define SUFFIX ".json"

static void cleanup_closedir(DIR **dir)
{
	if (*dir)
		closedir(*dir);
}

static int refuse(struct errtext *err, const char *dir, const char *file, int code)
{
	return errtext_set(err, code, "%s/%s: %s", dir, file, strerror(-code));
}

/* ---- one file ---- */

/* -ENOENT, or -EIO for what is no array. */
static int read_file(int dir_fd, const char *file, json_object **array)
{
	_cleanup_close_ int fd = openat(dir_fd, file, O_RDONLY | O_CLOEXEC);
	_cleanup_json_ json_object *o = NULL;

	if (fd < 0)
		return -errno;
	o = json_object_from_fd(fd);
	if (!json_object_is_type(o, json_type_array))
		return -EIO;
	*array = steal_ptr(&o);
	return 0;
}

static int write_all(int fd, const char *text)
{
	for (size_t left = strlen(text); left;) {
		ssize_t n = write(fd, text, left);

		if (n < 0 && errno != EINTR)
			return -errno;
		if (n > 0) {
			text += n;
			left -= (size_t)n;
		}
	}
	return fsync(fd) < 0 ? -errno : 0;
}

static int write_file(int dir_fd, const char *file, json_object *array)
{
	char fresh[NAME_MAX + 1];
	_cleanup_close_ int fd = -1;
	int ret;

	snprintf(fresh, sizeof(fresh), "%s.new", file);
	fd = openat(dir_fd, fresh, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	if (fd < 0)
		return -errno;
	ret = write_all(fd,
			json_object_to_json_string_ext(
				array, JSON_C_TO_STRING_PRETTY | JSON_C_TO_STRING_NOSLASHESCAPE));
	if (ret == 0 && renameat(dir_fd, fresh, dir_fd, file) < 0)
		ret = -errno;
	if (ret < 0)
		unlinkat(dir_fd, fresh, 0);
	else if (fsync(dir_fd) < 0)
		ret = -errno;
	return ret;
}

/* ---- adding ---- */

static void append_objects(json_object *to, json_object *from, size_t max)
{
	for (size_t i = 0; from && i < json_object_array_length(from); i++) {
		json_object *attempt = json_object_array_get_idx(from, i);

		if (json_object_array_length(to) < max &&
		    json_object_is_type(attempt, json_type_object))
			json_object_array_add(to, json_object_get(attempt));
	}
}

static int add_locked(int dir_fd, const char *file, json_object *attempt)
{
	_cleanup_json_ json_object *old = NULL, *fresh = json_object_new_array();
	int ret = read_file(dir_fd, file, &old);

	if (ret < 0 && ret != -ENOENT && ret != -EIO)
		return ret;
	json_object_array_add(fresh, json_object_get(attempt));
	append_objects(fresh, old, HISTORY_MAX);
	return write_file(dir_fd, file, fresh);
}

static int file_name(const char *uuid, char file[64])
{
	char text[UUID_STR_LEN];
	uuid_t bytes;

	if (uuid_parse(uuid, bytes) < 0)
		return -EINVAL;
	uuid_unparse_lower(bytes, text);
	snprintf(file, 64, "%s" SUFFIX, text);
	return 0;
}

int history_add(const char *dir, const char *uuid, json_object *attempt, struct errtext *err)
{
	_cleanup_close_ int dir_fd = -1, lock = -1;
	char file[64];
	int ret;

	if (file_name(uuid, file) < 0)
		return errtext_set(err, -EINVAL, "history of '%s': that is no UUID", uuid);
	ret = directory_make(dir, 0700, err);
	if (ret < 0)
		return ret;
	dir_fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (dir_fd >= 0)
		lock = openat(dir_fd, "lock", O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	if (lock < 0)
		return refuse(err, dir, "lock", -errno);
	while (flock(lock, LOCK_EX) < 0)
		if (errno != EINTR)
			return refuse(err, dir, "lock", -errno);
	ret = add_locked(dir_fd, file, attempt);
	return ret < 0 ? refuse(err, dir, file, ret) : 0;
}

/* ---- reading ---- */

struct search {
	int dir_fd;
	const char *name;
	json_object *found; /* array, NULL until there is one; owned */
	char others[512];   /* names of the rest, in words */
};

/* Is the name in the list "web, db, ..."? Several guests may have had it. */
static bool is_listed(const char *list, const char *name)
{
	size_t len = strlen(name);

	for (const char *at = list; (at = strstr(at, name)); at += len)
		if ((at == list || at[-1] == ' ') && (at[len] == ',' || !at[len]))
			return true;
	return false;
}

static void note_other(struct search *s, json_object *newest)
{
	size_t used = strlen(s->others);
	char name[128];

	json_field_text(newest, "domain", name, sizeof(name));
	if (!*name || is_listed(s->others, name))
		return;
	if (used + strlen(", ") + strlen(name) + sizeof(", ...") <= sizeof(s->others))
		snprintf(s->others + used, sizeof(s->others) - used, "%s%s", used ? ", " : "",
			 name);
	else if (!strstr(s->others, ", ..."))
		strcat(s->others, ", ...");
}

static bool is_newer(json_object *attempt, json_object *than)
{
	char x[64], y[64];

	json_field_text(attempt, "start", x, sizeof(x));
	json_field_text(than, "start", y, sizeof(y));
	return strcmp(x, y) > 0;
}

/* Of several guests that had the name, the latest. */
static void look_into(struct search *s, const char *file)
{
	_cleanup_json_ json_object *array = NULL;
	json_object *newest;

	if (read_file(s->dir_fd, file, &array) < 0)
		return;
	newest = json_object_array_get_idx(array, 0);
	if (!json_names_domain(newest, s->name)) {
		note_other(s, newest);
		return;
	}
	if (s->found && !is_newer(newest, json_object_array_get_idx(s->found, 0)))
		return;
	json_object_put(s->found);
	s->found = steal_ptr(&array);
}

static int search_files(struct search *s, const char *path)
{
	_cleanup_(cleanup_closedir) DIR *dir = opendir(path);
	const struct dirent *entry;

	if (!dir)
		return -errno;
	s->dir_fd = dirfd(dir);
	while ((errno = 0, entry = readdir(dir))) {
		size_t len = strlen(entry->d_name);

		if (len > strlen(SUFFIX) &&
		    strcmp(entry->d_name + len - strlen(SUFFIX), SUFFIX) == 0)
			look_into(s, entry->d_name);
	}
	return -errno;
}

static int find_by_name(const char *dir, const char *name, json_object **array, struct errtext *err)
{
	struct search s = {.name = name};
	int ret = search_files(&s, dir);

	if (ret < 0 && ret != -ENOENT) {
		json_object_put(s.found);
		return errtext_set(err, ret, "%s: %s%s", dir, strerror(-ret),
				   ret == -EACCES ? "; run this as root" : "");
	}
	if (!s.found)
		return errtext_set(
			err, -ENOENT, "no attempt to migrate '%s' is kept here; %s%s", name,
			*s.others ? "there are some of: " : "there are none of any guest",
			s.others);
	*array = s.found;
	return 0;
}

/* -ENOENT without a text. */
static int find_by_uuid(const char *dir, const char *uuid, json_object **array, struct errtext *err)
{
	_cleanup_close_ int dir_fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	char file[64];
	int ret;

	if (dir_fd < 0 || file_name(uuid, file) < 0)
		return -ENOENT;
	ret = read_file(dir_fd, file, array);
	if (ret == -EIO)
		return errtext_set(err, ret,
				   "%s/%s is damaged: the next migration will replace it; remove "
				   "it if there will be none",
				   dir, file);
	return ret == 0 || ret == -ENOENT ? ret : refuse(err, dir, file, ret);
}

int history_read(const char *dir, const char *name_or_uuid, json_object **array,
		 struct errtext *err)
{
	int ret = find_by_uuid(dir, name_or_uuid, array, err);

	return ret == -ENOENT ? find_by_name(dir, name_or_uuid, array, err) : ret;
}
