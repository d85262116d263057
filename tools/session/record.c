// SPDX-License-Identifier: Apache-2.0
// What a crash must not forget of a migration.
//
// A table has a row for each member of the file, whose key is the member's name. Only RAM, which is
// a list, is read and written by its owner (ram_keep.h).
#include "record.h"

#include <dirent.h>
#include <errno.h>
#include <json-c/json.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <uuid/uuid.h>
#include "libvirt_address.h"
#include "monitor_log.h"
#include "process.h"

enum type { TEXT, FLAG, U16, U32, U64 };

_Static_assert(sizeof(pid_t) == sizeof(uint32_t) && sizeof(unsigned int) == sizeof(uint32_t),
	       "kept as U32");

static const struct member {
	const char *key;
	enum type type;
	size_t offset, size;
} members[] = {
#define MEMBER(type, name)                                                                         \
	{                                                                                          \
#name, type, offsetof(struct record, name), sizeof(((struct record *)0)->name)     \
	}
	MEMBER(TEXT, domain),	   MEMBER(TEXT, uuid),	    MEMBER(TEXT, host),
	MEMBER(U16, port),	   MEMBER(TEXT, bind),	    MEMBER(TEXT, congestion),
	MEMBER(U32, silence_ms),   MEMBER(U64, bandwidth),  MEMBER(U32, streams),
	MEMBER(FLAG, no_prefetch), MEMBER(TEXT, phase),	    MEMBER(FLAG, released),
	MEMBER(FLAG, persistent),  MEMBER(FLAG, running),   MEMBER(FLAG, defined_before),
	MEMBER(FLAG, resumed),	   MEMBER(TEXT, session),   MEMBER(FLAG, post_copy),
	MEMBER(FLAG, complete),	   MEMBER(FLAG, prove),	    MEMBER(U32, keeper),
	MEMBER(TEXT, discard),	   MEMBER(FLAG, never_ran), MEMBER(U32, qemu),
	MEMBER(U64, qemu_started), MEMBER(TEXT, host_uuid), MEMBER(TEXT, boot_id),
	MEMBER(FLAG, settled),	   MEMBER(FLAG, autostart), MEMBER(FLAG, gives_back),
	MEMBER(FLAG, balloon),	   MEMBER(TEXT, sockets),   MEMBER(TEXT, daemon),
	MEMBER(FLAG, balloon),	   MEMBER(TEXT, tls_dir),   MEMBER(TEXT, peer),
#undef MEMBER
};

#define MEMBERS (sizeof(members) / sizeof(*members))

/* What dray did before its records held these. */
static const struct record before = {.congestion = "cubic", .silence_ms = 10000, .streams = 2};

static void record_path(const struct guest_dir *d, enum record_kind kind, char path[128])
{
	snprintf(path, 128, "%s/%s", d->path, kind == RECORD_OUTGOING ? "outgoing" : "incoming");
}

/* ---- members ---- */

static json_object *member_to_json(const struct member *m, const struct record *r)
{
	const void *at = (const char *)r + m->offset;

	switch (m->type) {
	case TEXT:
		return json_object_new_string(at);
	case FLAG:
		return json_object_new_boolean(*(const bool *)at);
	case U16:
		return json_object_new_uint64(*(const uint16_t *)at);
	case U32:
		return json_object_new_uint64(*(const uint32_t *)at);
	case U64:
		return json_object_new_uint64(*(const uint64_t *)at);
	}
	return NULL;
}

/* What the file lacks stays as it is. */
static void member_from_json(const struct member *m, json_object *file, struct record *r)
{
	void *at = (char *)r + m->offset;
	json_object *value;

	if (!json_object_object_get_ex(file, m->key, &value))
		return;
	switch (m->type) {
	case TEXT:
		snprintf(at, m->size, "%s", json_object_get_string(value));
		break;
	case FLAG:
		*(bool *)at = json_object_get_boolean(value);
		break;
	case U16:
		*(uint16_t *)at = (uint16_t)json_object_get_uint64(value);
		break;
	case U32:
		*(uint32_t *)at = (uint32_t)json_object_get_uint64(value);
		break;
	case U64:
		*(uint64_t *)at = json_object_get_uint64(value);
		break;
	}
}

/* ---- the file ---- */

int record_write(const struct guest_dir *d, enum record_kind kind, const struct record *r,
		 struct errtext *err)
{
	json_object *file = json_object_new_object();
	char path[128], fresh[140];
	int ret = 0;

	for (size_t i = 0; i < MEMBERS; i++)
		json_object_object_add(file, members[i].key, member_to_json(&members[i], r));
	json_object_object_add(file, "ram", ram_keep_to_json(&r->ram));
	record_path(d, kind, path);
	snprintf(fresh, sizeof(fresh), "%s.new", path);
	if (json_object_to_file_ext(fresh, file, JSON_C_TO_STRING_PRETTY) < 0 ||
	    rename(fresh, path) < 0)
		ret = errtext_set(err, -errno, "%s: cannot write: %s", path, strerror(errno));
	json_object_put(file);
	return ret;
}

int record_read(const struct guest_dir *d, enum record_kind kind, struct record *r,
		struct errtext *err)
{
	json_object *file, *ram;
	char path[128];
	int ret = 0;

	*r = before;
	record_path(d, kind, path);
	if (access(path, F_OK) < 0)
		return errno == ENOENT || errno == ENOTDIR
			       ? -ENOENT
			       : errtext_set(err, -errno, "%s: %s", path, strerror(errno));
	file = json_object_from_file(path);
	if (!file)
		return errtext_set(err, -EIO, "%s: %s", path, json_util_get_last_err());
	for (size_t i = 0; i < MEMBERS; i++)
		member_from_json(&members[i], file, r);
	if (json_object_object_get_ex(file, "ram", &ram))
		ret = ram_keep_from_json(ram, &r->ram, err);
	json_object_put(file);
	return ret;
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

int64_t record_written_s(const struct guest_dir *d, enum record_kind kind)
{
	struct stat st;
	char path[128];

	record_path(d, kind, path);
	return stat(path, &st) == 0 ? st.st_mtime : 0;
}

/* ---- all guests' ---- */

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
	if (ret == 0)
		guest_dir_set_sockets(d, r->sockets);
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

/* ---- what a record means ---- */

void record_judge(const struct guest_dir *d, struct record *r, bool ended)
{
	struct guest_dir own = *d;
	int resumed;

	if (r->resumed || r->never_ran)
		return;
	guest_dir_set_sockets(&own, r->sockets);
	resumed = monitor_log_resumed(own.monitor);
	r->resumed = resumed > 0;
	r->never_ran = ended && (resumed == 0 || (resumed == -ENODATA && !r->released));
}

void record_forget_monitor(const struct guest_dir *d)
{
	struct record r = {0};
	int ret = record_read(d, RECORD_INCOMING, &r, NULL);

	if (ret == -ENOENT || (ret == 0 && r.resumed))
		monitor_log_forget(d->monitor);
	record_destroy(&r);
}

bool record_is_over(const struct record *r)
{
	return r->never_ran || r->settled || (r->resumed && (r->complete || !r->post_copy));
}

/* Outgoing: the guest is not here, so all that can be left is its memory, in post-copy. Incoming:
 * one that was never released cannot have run. */
bool record_is_settled(enum record_kind kind, const struct record *r)
{
	if (!r->released)
		return true;
	if (kind == RECORD_OUTGOING)
		return !r->post_copy;
	return record_is_over(r);
}

/* ---- hosts ---- */

void record_set_host(struct record *r, const struct door_host *host)
{
	uuid_unparse_lower(host->uuid, r->host_uuid);
	uuid_unparse_lower(host->boot_id, r->boot_id);
}

void record_host(const struct record *r, struct door_host *host)
{
	*host = (struct door_host){0};
	uuid_parse(r->host_uuid, host->uuid);
	uuid_parse(r->boot_id, host->boot_id);
}

static void daemon_text(const char *libvirt_socket, char text[37])
{
	uint8_t uuid[16];

	text[0] = 0;
	if (libvirt_address_identity(libvirt_socket, uuid) == 0)
		uuid_unparse_lower(uuid, text);
}

void record_set_daemon(struct record *r, const char *libvirt_socket)
{
	daemon_text(libvirt_socket, r->daemon);
}

bool record_is_of_daemon(const struct record *r, const char *libvirt_socket)
{
	char text[37];

	daemon_text(libvirt_socket, text);
	return strcmp(text, r->daemon) == 0;
}

bool record_qemu_has_ended(const struct record *r)
{
	uint64_t started = 0;
	int ret;

	if (r->qemu <= 0)
		return false;
	ret = process_started(r->qemu, &started, NULL);
	return ret == -ESRCH || (ret == 0 && started != r->qemu_started);
}

bool record_is_gone(const struct record *r)
{
	if (!r->daemon[0])
		return false;
	return r->qemu > 0 ? record_qemu_has_ended(r) : !r->released;
}

/* ---- session numbers ---- */

void record_session(const uint8_t session[WIRE_SESSION_SIZE], char text[2 * WIRE_SESSION_SIZE + 1])
{
	for (int i = 0; i < WIRE_SESSION_SIZE; i++)
		snprintf(text + 2 * i, 3, "%02x", session[i]);
}

void record_session_bytes(const struct record *r, uint8_t session[WIRE_SESSION_SIZE])
{
	for (int i = 0; i < WIRE_SESSION_SIZE; i++) {
		unsigned int byte = 0;

		sscanf(r->session + 2 * i, "%2x", &byte);
		session[i] = (uint8_t)byte;
	}
}
