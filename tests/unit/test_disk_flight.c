// SPDX-License-Identifier: Apache-2.0
// What QEMU tells of disk requests in flight: a QEMU that says what the test wants.
#include "disk_flight.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <json-c/json.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

TestSuite(disk_flight, .timeout = 20);

#define VB "/machine/peripheral/vb/virtio-backend"
#define VS "/machine/peripheral/vs/virtio-backend"

struct disk {
	const char *qdev, *bus; /* bus: of its own device */
	uint64_t ended, took_ns;
};

struct fake {
	pthread_t thread;
	int fd;
	struct qmp *qmp;
	struct disk_flight *flight;
	pthread_mutex_t lock;
	/* under lock */
	struct disk disks[3];
	unsigned int count;
	unsigned int blk[2], scsi[3]; /* in flight, of each queue */
	bool no_virtio, mute;
	unsigned int asked; /* what is in flight */
};

/* ---- answers ---- */

static void put_stats(struct fake *f, char *to, size_t size)
{
	size_t used = (size_t)snprintf(to, size,
				       "[{\"device\":\"cd\",\"qdev\":\"cd0\",\"stats\":{}},"
				       "{\"device\":\"\",\"node-name\":\"x\",\"stats\":{}}");

	for (unsigned int i = 0; i < f->count; i++)
		used += (size_t)snprintf(to + used, size - used,
					 ",{\"node-name\":\"n\",\"qdev\":\"%s\",\"stats\":{"
					 "\"rd_operations\":%lu,\"rd_total_time_ns\":%lu,"
					 "\"wr_operations\":1,\"wr_total_time_ns\":5}}",
					 f->disks[i].qdev, f->disks[i].ended, f->disks[i].took_ns);
	snprintf(to + used, size - used, "]");
}

static bool put_queue(struct fake *f, json_object *args, char *to, size_t size)
{
	bool blk = strcmp(json_object_get_string(json_object_object_get(args, "path")), VB) == 0;
	uint64_t queue = json_object_get_uint64(json_object_object_get(args, "queue"));

	f->asked++;
	if (queue >= (blk ? 2 : 3))
		return false;
	snprintf(to, size, "{\"inuse\":%u}", blk ? f->blk[queue] : f->scsi[queue]);
	return true;
}

static bool put_bus(struct fake *f, json_object *args, char *to, size_t size)
{
	const char *path = json_object_get_string(json_object_object_get(args, "path"));

	for (unsigned int i = 0; i < f->count; i++)
		if (f->disks[i].bus && strstr(path, f->disks[i].qdev)) {
			snprintf(to, size, "\"%s\"", f->disks[i].bus);
			return true;
		}
	return false;
}

/* False: QEMU has an error to tell. */
static bool answer(struct fake *f, const char *cmd, json_object *args, char *to, size_t size)
{
	snprintf(to, size, "{}");
	if (strcmp(cmd, "query-blockstats") == 0)
		put_stats(f, to, size);
	else if (strcmp(cmd, "x-query-virtio") == 0)
		snprintf(to, size,
			 "[{\"name\":\"virtio-scsi\",\"path\":\"" VS
			 "\"},{\"name\":\"virtio-blk\",\"path\":\"" VB "\"}]");
	else if (strcmp(cmd, "x-query-virtio-queue-status") == 0)
		return put_queue(f, args, to, size);
	else if (strcmp(cmd, "qom-get") == 0)
		return put_bus(f, args, to, size);
	else
		cr_assert_str_eq(cmd, "qmp_capabilities", "nothing else is asked");
	return !f->no_virtio || strncmp(cmd, "x-", 2) != 0;
}

static void serve(struct fake *f, const char *line, FILE *to)
{
	json_object *o = json_tokener_parse(line);
	const char *cmd = json_object_get_string(json_object_object_get(o, "execute"));
	uint64_t id = json_object_get_uint64(json_object_object_get(o, "id"));
	char text[2048];

	pthread_mutex_lock(&f->lock);
	if (f->mute)
		;
	else if (answer(f, cmd, json_object_object_get(o, "arguments"), text, sizeof(text)))
		fprintf(to, "{\"return\":%s,\"id\":%lu}\r\n", text, id);
	else
		fprintf(to, "{\"error\":{\"class\":\"%s\",\"desc\":\"no\"},\"id\":%lu}\r\n",
			f->no_virtio ? "CommandNotFound" : "GenericError", id);
	pthread_mutex_unlock(&f->lock);
	fflush(to);
	json_object_put(o);
}

static void *serve_all(void *arg)
{
	struct fake *f = arg;
	FILE *from = fdopen(f->fd, "r"), *to = fdopen(dup(f->fd), "w");
	char *line = NULL;
	size_t size = 0;

	fprintf(to, "{\"QMP\":{\"version\":{},\"capabilities\":[]}}\r\n");
	fflush(to);
	while (getline(&line, &size, from) > 0)
		serve(f, line, to);
	free(line);
	fclose(from);
	fclose(to);
	return NULL;
}

static void setup(struct fake *f, const char *qdev, const char *bus)
{
	struct errtext err = {0};
	int pair[2];

	*f = (struct fake){.disks = {{qdev, bus, 1000, 1000000000}}, .count = 1};
	pthread_mutex_init(&f->lock, NULL);
	cr_assert_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
	f->fd = pair[1];
	cr_assert_eq(pthread_create(&f->thread, NULL, serve_all, f), 0);
	cr_assert_eq(qmp_adopt(pair[0], "test", 5000, &f->qmp, &err), 0, "%s", err.text);
	cr_assert_eq(disk_flight_new(&f->flight), 0);
}

static void teardown(struct fake *f)
{
	disk_flight_destroy(f->flight);
	qmp_close(f->qmp);
	pthread_join(f->thread, NULL);
}

static struct disk_flight_view look(struct fake *f, bool watch)
{
	struct disk_flight_view view;
	struct errtext err = {0};

	cr_assert_eq(disk_flight_look(f->flight, f->qmp, watch, 5000, &view, &err), 0, "%s",
		     err.text);
	return view;
}

/* So many requests end, after so long each; and so many are in flight. */
static void change(struct fake *f, uint64_t ended, uint64_t us, unsigned int in_flight)
{
	pthread_mutex_lock(&f->lock);
	f->disks[0].ended += ended;
	f->disks[0].took_ns += ended * us * 1000;
	f->blk[1] = f->scsi[2] = in_flight;
	pthread_mutex_unlock(&f->lock);
}

/* ---- what is seen ---- */

static void watch_virtio(const char *qdev, const char *bus)
{
	struct fake f;

	setup(&f, qdev, bus);
	cr_assert_eq(look(&f, true).state, DISK_FLIGHT_NONE);
	cr_assert_eq(look(&f, true).disks, 1, "no medium is in the other");
	change(&f, 0, 0, 3);
	cr_assert_eq(look(&f, true).state, DISK_FLIGHT_STILL);
	cr_assert_eq(look(&f, false).state, DISK_FLIGHT_STILL);
	change(&f, 2, 4000, 3);
	cr_assert_eq(look(&f, false).state, DISK_FLIGHT_QUICK);
	cr_assert_eq(look(&f, false).state, DISK_FLIGHT_QUICK, "since the watch began");
	cr_assert_eq(look(&f, false).mean_us, 4000);
	change(&f, 1, 4000, 3);
	cr_assert_eq(look(&f, true).state, DISK_FLIGHT_STILL, "what ended before does not count");
	change(&f, 1, 300000, 3);
	cr_assert_eq(look(&f, false).state, DISK_FLIGHT_SLOW);
	change(&f, 0, 0, 0);
	cr_assert_eq(look(&f, false).state, DISK_FLIGHT_NONE);
	teardown(&f);
}

Test(disk_flight, of_a_virtio_disk)
{
	watch_virtio(VB, NULL);
}

Test(disk_flight, of_a_scsi_disk_on_a_virtio_controller)
{
	watch_virtio("sd", VS "/vs.0");
}

Test(disk_flight, of_another_disk_only_ends_are_known)
{
	struct fake f;

	setup(&f, "hd", "/machine/unattached/device[3]/ide.1");
	cr_assert_eq(look(&f, true).state, DISK_FLIGHT_UNKNOWN);
	change(&f, 1, 200, 0);
	cr_assert_eq(look(&f, false).state, DISK_FLIGHT_QUICK);
	cr_assert_eq(look(&f, true).state, DISK_FLIGHT_UNKNOWN);
	change(&f, 1, 200000, 0);
	cr_assert_eq(look(&f, false).state, DISK_FLIGHT_SLOW);
	cr_assert_eq(look(&f, true).state, DISK_FLIGHT_SLOW, "as it was seen last");
	pthread_mutex_lock(&f.lock);
	cr_assert_eq(f.asked, 0);
	pthread_mutex_unlock(&f.lock);
	teardown(&f);
}

/* ... as they are of all disks of a QEMU that does not know the question. */
Test(disk_flight, of_a_qemu_without_the_question)
{
	struct fake f;

	setup(&f, VB, NULL);
	pthread_mutex_lock(&f.lock);
	f.no_virtio = true;
	pthread_mutex_unlock(&f.lock);
	cr_assert_eq(look(&f, true).state, DISK_FLIGHT_UNKNOWN);
	teardown(&f);
}

Test(disk_flight, the_worst_disk_counts)
{
	struct fake f;

	setup(&f, VB, NULL);
	pthread_mutex_lock(&f.lock);
	f.disks[1] = (struct disk){"sd", VS "/vs.0", 10, 10000};
	f.count = 2;
	f.scsi[0] = 1;
	pthread_mutex_unlock(&f.lock);
	cr_assert_eq(look(&f, true).state, DISK_FLIGHT_STILL);
	change(&f, 5, 100, 2);
	cr_assert_eq(look(&f, false).state, DISK_FLIGHT_STILL, "one moves, the other does not");
	teardown(&f);
}

Test(disk_flight, how_long_nothing_has_ended)
{
	struct fake f;
	struct disk_flight_view view;

	setup(&f, VB, NULL);
	change(&f, 0, 0, 1);
	look(&f, true);
	do
		view = look(&f, true);
	while (view.still_us < 2000);
	change(&f, 1, 10, 1);
	cr_assert_lt(look(&f, true).still_us, view.still_us);
	change(&f, 0, 0, 0);
	cr_assert_eq(look(&f, true).still_us, 0);
	usleep(20000);
	change(&f, 0, 0, 1);
	cr_assert_lt(look(&f, true).still_us, 20000, "it was idle, and did not hang");
	teardown(&f);
}

Test(disk_flight, qemu_does_not_answer)
{
	struct disk_flight_view view;
	struct errtext err = {0};
	struct fake f;

	setup(&f, VB, NULL);
	pthread_mutex_lock(&f.lock);
	f.mute = true;
	pthread_mutex_unlock(&f.lock);
	cr_assert_eq(disk_flight_look(f.flight, f.qmp, true, 10, &view, &err), -ETIMEDOUT);
	pthread_mutex_lock(&f.lock);
	f.mute = false;
	pthread_mutex_unlock(&f.lock);
	cr_assert_eq(look(&f, true).state, DISK_FLIGHT_NONE);
	teardown(&f);
}
