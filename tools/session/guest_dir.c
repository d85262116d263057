// SPDX-License-Identifier: Apache-2.0
// What dray keeps of a guest on one host.
#include "guest_dir.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <json-c/json.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <uuid/uuid.h>
#include "cleanup.h"

void guest_dir_paths(struct guest_dir *d, const char *uuid)
{
	*d = (struct guest_dir){.lock = -1};
	snprintf(d->path, sizeof(d->path), GUEST_DIR_ROOT "/%s", uuid);
	snprintf(d->gate, sizeof(d->gate), "%s/gate.sock", d->path);
	snprintf(d->tunnel, sizeof(d->tunnel), "%s/tunnel.sock", d->path);
	snprintf(d->control, sizeof(d->control), "%s/" GUEST_DIR_CONTROL, d->path);
	snprintf(d->owed, sizeof(d->owed), "%s/owed", d->path);
	snprintf(d->stream, sizeof(d->stream), "%s/qemu/stream.sock", d->path);
	snprintf(d->monitor, sizeof(d->monitor), "%s/qemu/monitor.sock", d->path);
}

static int make_dir(const char *path, mode_t mode, struct errtext *err)
{
	if (mkdir(path, mode) < 0 && errno != EEXIST)
		return errtext_set(err, -errno, "%s: cannot create: %s", path, strerror(errno));
	return 0;
}

static int take_lock(struct guest_dir *d, struct errtext *err)
{
	char path[128];
	_cleanup_close_ int fd = -1;

	snprintf(path, sizeof(path), "%s/lock", d->path);
	fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	if (fd < 0)
		return errtext_set(err, -errno, "%s: %s", path, strerror(errno));
	if (flock(fd, LOCK_EX | LOCK_NB) < 0)
		return errtext_set(err, -EBUSY,
				   "another dray is working on this guest (%s is locked): wait "
				   "for it, or cancel it",
				   path);
	d->lock = steal_fd(&fd);
	return 0;
}

int guest_dir_open(struct guest_dir *d, const char *uuid, uid_t uid, gid_t gid, struct errtext *err)
{
	char qemu[128];
	int ret;

	guest_dir_paths(d, uuid);
	snprintf(qemu, sizeof(qemu), "%s/qemu", d->path);
	/* Others may pass through, to qemu/, but not look around. */
	if ((ret = make_dir(GUEST_DIR_ROOT, 0711, err)) < 0 ||
	    (ret = make_dir(d->path, 0711, err)) < 0 || (ret = make_dir(qemu, 0700, err)) < 0)
		return ret;
	ret = take_lock(d, err);
	if (ret < 0)
		return ret;
	if (uid != (uid_t)-1 && chown(qemu, uid, gid) < 0) {
		ret = errtext_set(err, -errno, "%s: cannot give to QEMU's user: %s", qemu,
				  strerror(errno));
		guest_dir_close(d);
		return ret;
	}
	return 0;
}

void guest_dir_close(struct guest_dir *d)
{
	cleanup_close(&d->lock);
	d->lock = -1;
}

/* ---- records ---- */

static void record_path(const struct guest_dir *d, enum record_kind kind, char path[128])
{
	snprintf(path, 128, "%s/%s", d->path, kind == RECORD_OUTGOING ? "outgoing" : "incoming");
}

int record_write(const struct guest_dir *d, enum record_kind kind, const struct record *r,
		 struct errtext *err)
{
	json_object *o = json_object_new_object();
	char path[128], fresh[140];
	int ret = 0;

	json_object_object_add(o, "domain", json_object_new_string(r->domain));
	json_object_object_add(o, "uuid", json_object_new_string(r->uuid));
	json_object_object_add(o, "host", json_object_new_string(r->host));
	json_object_object_add(o, "port", json_object_new_int(r->port));
	json_object_object_add(o, "bind", json_object_new_string(r->bind));
	json_object_object_add(o, "phase", json_object_new_string(r->phase));
	json_object_object_add(o, "released", json_object_new_boolean(r->released));
	json_object_object_add(o, "persistent", json_object_new_boolean(r->persistent));
	json_object_object_add(o, "running", json_object_new_boolean(r->running));
	json_object_object_add(o, "defined_before", json_object_new_boolean(r->defined_before));
	json_object_object_add(o, "resumed", json_object_new_boolean(r->resumed));
	json_object_object_add(o, "session", json_object_new_string(r->session));
	json_object_object_add(o, "post_copy", json_object_new_boolean(r->post_copy));
	json_object_object_add(o, "complete", json_object_new_boolean(r->complete));
	json_object_object_add(o, "prove", json_object_new_boolean(r->prove));
	json_object_object_add(o, "keeper", json_object_new_int(r->keeper));
	json_object_object_add(o, "ram", ram_keep_to_json(&r->ram));
	json_object_object_add(o, "never_ran", json_object_new_boolean(r->never_ran));
	json_object_object_add(o, "qemu", json_object_new_int(r->qemu));
	json_object_object_add(o, "qemu_started", json_object_new_uint64(r->qemu_started));
	record_path(d, kind, path);
	snprintf(fresh, sizeof(fresh), "%s.new", path);
	if (json_object_to_file_ext(fresh, o, JSON_C_TO_STRING_PRETTY) < 0 ||
	    rename(fresh, path) < 0)
		ret = errtext_set(err, -errno, "%s: cannot write: %s", path, strerror(errno));
	json_object_put(o);
	return ret;
}

static void get_text(json_object *o, const char *key, char *to, size_t size)
{
	json_object *v;

	if (json_object_object_get_ex(o, key, &v))
		snprintf(to, size, "%s", json_object_get_string(v));
}

static bool get_bool(json_object *o, const char *key)
{
	json_object *v;

	return json_object_object_get_ex(o, key, &v) && json_object_get_boolean(v);
}

int record_read(const struct guest_dir *d, enum record_kind kind, struct record *r,
		struct errtext *err)
{
	json_object *o, *v;
	char path[128];
	int ret = 0;

	*r = (struct record){0};
	record_path(d, kind, path);
	if (access(path, F_OK) < 0)
		return errno == ENOENT || errno == ENOTDIR
			       ? -ENOENT
			       : errtext_set(err, -errno, "%s: %s", path, strerror(errno));
	o = json_object_from_file(path);
	if (!o)
		return errtext_set(err, -EIO, "%s: %s", path, json_util_get_last_err());
	get_text(o, "domain", r->domain, sizeof(r->domain));
	get_text(o, "uuid", r->uuid, sizeof(r->uuid));
	get_text(o, "host", r->host, sizeof(r->host));
	get_text(o, "bind", r->bind, sizeof(r->bind));
	get_text(o, "phase", r->phase, sizeof(r->phase));
	if (json_object_object_get_ex(o, "port", &v))
		r->port = json_object_get_int(v);
	get_text(o, "session", r->session, sizeof(r->session));
	if (json_object_object_get_ex(o, "keeper", &v))
		r->keeper = json_object_get_int(v);
	if (json_object_object_get_ex(o, "qemu", &v))
		r->qemu = json_object_get_int(v);
	if (json_object_object_get_ex(o, "qemu_started", &v))
		r->qemu_started = json_object_get_uint64(v);
	r->post_copy = get_bool(o, "post_copy");
	r->complete = get_bool(o, "complete");
	r->prove = get_bool(o, "prove");
	if (json_object_object_get_ex(o, "ram", &v))
		ret = ram_keep_from_json(v, &r->ram, err);
	r->released = get_bool(o, "released");
	r->persistent = get_bool(o, "persistent");
	r->running = get_bool(o, "running");
	r->defined_before = get_bool(o, "defined_before");
	r->resumed = get_bool(o, "resumed");
	r->never_ran = get_bool(o, "never_ran");
	json_object_put(o);
	return ret;
}

void guest_dir_session(const uint8_t session[WIRE_SESSION_SIZE],
		       char text[2 * WIRE_SESSION_SIZE + 1])
{
	for (int i = 0; i < WIRE_SESSION_SIZE; i++)
		snprintf(text + 2 * i, 3, "%02x", session[i]);
}

void record_destroy(struct record *r)
{
	ram_keep_destroy(&r->ram);
}

void record_remove(const struct guest_dir *d, enum record_kind kind)
{
	char path[128];

	record_path(d, kind, path);
	unlink(path);
}

struct search {
	enum record_kind kind;
	bool (*is)(const struct record *r, const void *what);
	const void *what;
};

static int try_record(const struct search *s, const char *uuid, struct guest_dir *d,
		      struct record *r, struct errtext *err)
{
	uuid_t bytes;
	int ret;

	if (uuid_parse(uuid, bytes) < 0)
		return -ENOENT;
	guest_dir_paths(d, uuid);
	ret = record_read(d, s->kind, r, err);
	if (ret == 0 && s->is(r, s->what))
		return 0;
	record_destroy(r);
	return ret < 0 ? ret : -ENOENT;
}

int record_find(enum record_kind kind, bool (*is)(const struct record *r, const void *what),
		const void *what, struct guest_dir *d, struct record *r, struct errtext *err)
{
	const struct search search = {.kind = kind, .is = is, .what = what};
	DIR *dir = opendir(GUEST_DIR_ROOT);
	const struct dirent *entry;
	int ret = -ENOENT;

	if (!dir)
		return errno == ENOENT
			       ? -ENOENT
			       : errtext_set(err, -errno, GUEST_DIR_ROOT ": %s", strerror(errno));
	while (errno = 0, entry = readdir(dir)) {
		int one = try_record(&search, entry->d_name, d, r, err);

		if (one != -ENOENT)
			ret = one;
		if (one == 0)
			break;
	}
	if (!entry && errno)
		ret = errtext_set(err, -errno, GUEST_DIR_ROOT ": %s", strerror(errno));
	closedir(dir);
	return ret;
}
