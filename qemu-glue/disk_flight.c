// SPDX-License-Identifier: Apache-2.0
// What QEMU tells of its guest's disk requests in flight.
//
// A virtio device knows how many requests of each of its queues it has taken and not yet answered
// (x-query-virtio-queue-status, `inuse`, QEMU 7.2 and newer; the same with and without an
// iothread). A read's data is in guest memory before its request is answered: where `inuse` is 0 at
// a moment, all reads of that queue that began before have landed. The queues need not be at 0 at
// the same moment. Of other disks only ends are known: query-blockstats counts them, and how long
// they took.
//
// How many queues a device has is found by asking for one after the other: the command that would
// tell is not to be relied on in QEMU 11.1.3.
#include "disk_flight.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <json-c/json.h>
#include "cleanup_json.h"
#include "clock.h"

#define DISKS_MAX 1024u
#define QUEUES_MAX 1024u /* VIRTIO_QUEUE_MAX */
#define PATH_MAX_BYTES 256u

struct disk {
	char qdev[PATH_MAX_BYTES];
	char virtio[PATH_MAX_BYTES]; /* its virtio device; empty: it has none */
	uint64_t ended, took_ns;     /* requests so far */
	uint64_t mean_us;	     /* of those that ended last */
	bool moved;		     /* some have ended since the watch began */
	bool idle;		     /* none was in flight when it was looked at last */
	uint64_t alive_us;	     /* some had ended when it was looked at then, or none had
				      * been in flight just before; CLOCK_MONOTONIC */
};

struct disk_flight {
	struct disk *disks;
	unsigned int count;
	/* of the look under way */
	struct qmp *qmp;
	uint64_t until_us;
	bool watch;
};

int disk_flight_new(struct disk_flight **out)
{
	*out = calloc(1, sizeof(**out));
	return *out ? 0 : -ENOMEM;
}

void disk_flight_destroy(struct disk_flight *f)
{
	if (f)
		free(f->disks);
	free(f);
}

/* ---- questions ---- */

static int ask(const struct disk_flight *f, const char *cmd, json_object *args, json_object **ret,
	       struct errtext *err)
{
	uint64_t now = clock_monotonic_us();

	if (now >= f->until_us)
		return errtext_set(err, -ETIMEDOUT, "QEMU does not tell of its disks in time");
	return qmp_execute(f->qmp, cmd, args, (int)((f->until_us - now) / 1000) + 1, ret, err);
}

/* QEMU's own error answers mean that it does not know, and are no failure. */
static bool is_no_answer(int ret)
{
	return ret == -EREMOTEIO || ret == -ENOSYS;
}

static const char *text_of(json_object *o, const char *key)
{
	json_object *field;
	const char *text = NULL;

	if (json_object_object_get_ex(o, key, &field) &&
	    json_object_is_type(field, json_type_string))
		text = json_object_get_string(field);
	return text ? text : "";
}

static uint64_t number_of(json_object *o, const char *key)
{
	json_object *field;

	return json_object_object_get_ex(o, key, &field) ? json_object_get_uint64(field) : 0;
}

static bool is_list(json_object *o)
{
	return json_object_is_type(o, json_type_array);
}

/* ---- a disk seen for the first time ---- */

/* A SCSI disk is known by the controller that it is on. */
static int find_bus(const struct disk_flight *f, const char *path, char bus[PATH_MAX_BYTES],
		    struct errtext *err)
{
	_cleanup_json_ json_object *args = json_object_new_object();
	_cleanup_json_ json_object *answer = NULL;
	int ret;

	json_object_object_add(args, "path", json_object_new_string(path));
	json_object_object_add(args, "property", json_object_new_string("parent_bus"));
	ret = ask(f, "qom-get", args, &answer, err);
	if (ret == 0 && json_object_is_type(answer, json_type_string))
		snprintf(bus, PATH_MAX_BYTES, "%s", json_object_get_string(answer));
	return is_no_answer(ret) ? 0 : ret;
}

static bool is_within(const char *path, const char *device)
{
	size_t len = strlen(device);

	return len && strncmp(path, device, len) == 0 && (path[len] == 0 || path[len] == '/');
}

static int find_virtio(const struct disk_flight *f, struct disk *d, struct errtext *err)
{
	_cleanup_json_ json_object *list = NULL;
	char path[PATH_MAX_BYTES + 32], bus[PATH_MAX_BYTES] = "";
	int ret = ask(f, "x-query-virtio", NULL, &list, err);

	if (ret < 0)
		return is_no_answer(ret) ? 0 : ret;
	snprintf(path, sizeof(path), "%s%s", d->qdev[0] == '/' ? "" : "/machine/peripheral/",
		 d->qdev);
	ret = find_bus(f, path, bus, err);
	if (ret < 0)
		return ret;
	for (size_t i = 0; is_list(list) && i < json_object_array_length(list); i++) {
		const char *device = text_of(json_object_array_get_idx(list, i), "path");

		if (strlen(device) < PATH_MAX_BYTES &&
		    (is_within(path, device) || is_within(bus, device)))
			strcpy(d->virtio, device);
	}
	return 0;
}

/* -ENOMEM; -E2BIG: no sane guest has so many. */
static int know(struct disk_flight *f, const char *qdev, struct disk **out, struct errtext *err)
{
	struct disk *more;
	int ret;

	for (unsigned int i = 0; i < f->count; i++)
		if (strcmp(f->disks[i].qdev, qdev) == 0) {
			*out = &f->disks[i];
			return 0;
		}
	if (f->count == DISKS_MAX || strlen(qdev) >= PATH_MAX_BYTES)
		return errtext_set(err, -E2BIG, "QEMU tells of more disks than there can be");
	more = realloc(f->disks, (f->count + 1) * sizeof(*more));
	if (!more)
		return errtext_set(err, -ENOMEM, "out of memory");
	f->disks = more;
	*out = &more[f->count];
	**out = (struct disk){0};
	strcpy((*out)->qdev, qdev);
	(*out)->alive_us = clock_monotonic_us();
	ret = find_virtio(f, *out, err);
	f->count += ret == 0;
	return ret;
}

/* ---- a look ---- */

/* 1: some queue of the device has requests in flight; 0: none has; a negative errno. */
static int is_busy(const struct disk_flight *f, const char *device, struct errtext *err)
{
	for (unsigned int i = 0; i < QUEUES_MAX; i++) {
		_cleanup_json_ json_object *args = json_object_new_object();
		_cleanup_json_ json_object *status = NULL;
		int ret;

		json_object_object_add(args, "path", json_object_new_string(device));
		json_object_object_add(args, "queue", json_object_new_uint64(i));
		ret = ask(f, "x-query-virtio-queue-status", args, &status, err);
		if (is_no_answer(ret))
			return i == 0; /* it was the last; of one without any nothing is known */
		if (ret < 0)
			return ret;
		if (!json_object_object_get_ex(status, "inuse", NULL) ||
		    number_of(status, "inuse") > 0)
			return 1;
	}
	return 0;
}

static void count_ended(const struct disk_flight *f, struct disk *d, json_object *stats)
{
	static const char *const kinds[] = {"rd", "wr", "flush", "unmap"};
	uint64_t ended = 0, took_ns = 0;
	char key[32];

	for (size_t i = 0; i < sizeof(kinds) / sizeof(*kinds); i++) {
		snprintf(key, sizeof(key), "%s_operations", kinds[i]);
		ended += number_of(stats, key);
		snprintf(key, sizeof(key), "%s_total_time_ns", kinds[i]);
		took_ns += number_of(stats, key);
	}
	if (ended > d->ended) {
		d->mean_us = (took_ns - d->took_ns) / (ended - d->ended) / 1000;
		d->alive_us = clock_monotonic_us();
	}
	d->moved = !f->watch && (d->moved || ended > d->ended);
	d->ended = ended;
	d->took_ns = took_ns;
}

static enum disk_flight_state judge(const struct disk *d, bool busy)
{
	if (d->virtio[0] && !busy)
		return DISK_FLIGHT_NONE;
	if (d->virtio[0] && !d->moved)
		return DISK_FLIGHT_STILL;
	if (d->mean_us > DISK_FLIGHT_QUICK_US)
		return DISK_FLIGHT_SLOW;
	return d->moved ? DISK_FLIGHT_QUICK : DISK_FLIGHT_UNKNOWN;
}

static void note_still(struct disk *d, enum disk_flight_state state, struct disk_flight_view *view)
{
	uint64_t now = clock_monotonic_us();

	if (state == DISK_FLIGHT_NONE || d->idle)
		d->alive_us = now;
	d->idle = state == DISK_FLIGHT_NONE;
	if (state == DISK_FLIGHT_STILL && now - d->alive_us > view->still_us)
		view->still_us = now - d->alive_us;
}

static int look_at(struct disk_flight *f, json_object *entry, struct disk_flight_view *view,
		   struct errtext *err)
{
	enum disk_flight_state state;
	json_object *stats = NULL;
	struct disk *d = NULL;
	int ret;

	/* No guest has it, or no medium is in. */
	if (!text_of(entry, "qdev")[0] || !text_of(entry, "node-name")[0])
		return 0;
	ret = know(f, text_of(entry, "qdev"), &d, err);
	if (ret < 0)
		return ret;
	json_object_object_get_ex(entry, "stats", &stats);
	count_ended(f, d, stats);
	ret = d->virtio[0] ? is_busy(f, d->virtio, err) : 0;
	if (ret < 0)
		return ret;
	state = judge(d, ret > 0);
	note_still(d, state, view);
	view->disks++;
	if (state > view->state)
		view->state = state;
	if (d->mean_us > view->mean_us)
		view->mean_us = d->mean_us;
	return 0;
}

int disk_flight_look(struct disk_flight *f, struct qmp *q, bool watch, int timeout_ms,
		     struct disk_flight_view *view, struct errtext *err)
{
	_cleanup_json_ json_object *list = NULL;
	int ret;

	*view = (struct disk_flight_view){.state = DISK_FLIGHT_NONE};
	f->qmp = q;
	f->until_us = clock_monotonic_us() + (uint64_t)timeout_ms * 1000;
	f->watch = watch;
	ret = ask(f, "query-blockstats", NULL, &list, err);
	if (ret == 0 && !is_list(list))
		ret = -ENOSYS;
	for (size_t i = 0; ret == 0 && i < json_object_array_length(list); i++)
		ret = look_at(f, json_object_array_get_idx(list, i), view, err);
	if (!is_no_answer(ret))
		return ret;
	view->state = DISK_FLIGHT_UNKNOWN;
	return 0;
}
