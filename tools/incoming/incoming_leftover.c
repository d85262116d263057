// SPDX-License-Identifier: Apache-2.0
// Guests in post-copy that a killed process has left here.
#include "incoming_leftover.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <syslog.h>
#include "ownership_table.h"

#define GUESTS_MAX 64u
#define MONITOR_MS 500
#define PAUSE_US 100000
#define PAUSES 10

struct incoming_leftover {
	const struct incoming_world *world;
	const char *libvirt_socket;
	pthread_t thread;
	atomic_bool quit;
	/* the thread's own: the first `done` need not be looked at again, the others not in this
	 * pass */
	char uuids[GUESTS_MAX][37];
	unsigned int done, seen;
};

static bool is_to_be_looked_at(const struct record *r, const void *what)
{
	const struct incoming_leftover *l = what;

	for (unsigned int i = 0; i < l->seen; i++)
		if (strcmp(l->uuids[i], r->uuid) == 0)
			return false;
	return r->released && r->post_copy && !r->complete &&
	       record_is_of_daemon(r, l->libvirt_socket);
}

/* Its own stream, which leaves RAM out, is still to come. */
static bool is_incoming(struct qmp *q)
{
	json_object *answer = NULL, *status = NULL;
	bool incoming = true;

	if (qmp_execute(q, "query-status", NULL, MONITOR_MS, &answer, NULL) == 0) {
		json_object_object_get_ex(answer, "status", &status);
		incoming = status && strcmp(json_object_get_string(status), "inmigrate") == 0;
	}
	json_object_put(answer);
	return incoming;
}

/* Until it has run, QEMU's log must tell whether it does: no client may come to the monitor before
 * (monitor_log.h). libvirt knows without. */
static enum ownership_arrival arrival(const struct incoming_leftover *l, const struct record *r)
{
	struct host *host = NULL;
	struct domain_info info;
	int ret;

	if (r->resumed)
		return ARRIVAL_LIVES;
	ret = l->world->open_host(l->libvirt_socket, &host, NULL);
	if (ret == 0)
		ret = host_state(host, r->uuid, &info, NULL);
	host_close(host);
	return ret < 0 ? ARRIVAL_PENDING : ownership_table_arrival(info.state);
}

/* 0: there is nothing left to be done. */
static int give_back(const struct incoming_leftover *l, const struct guest_dir *dir,
		     const struct record *r)
{
	struct errtext err = {0};
	struct qmp *q;
	int ret;

	if (incoming_world_try_dir(l->world, r->uuid, NULL) == -EBUSY)
		return 0; /* another has it in hand */
	if (arrival(l, r) == ARRIVAL_PENDING)
		return -EAGAIN;
	ret = l->world->open_monitor(dir->monitor, MONITOR_MS, &q, &err);
	if (ret == -ENOENT || ret == -ECONNREFUSED) /* its QEMU has ended */
		return 0;
	if (ret < 0)
		return ret;
	ret = is_incoming(q) ? -EAGAIN : qmp_set_capability(q, "x-ignore-shared", false, &err);
	qmp_close(q);
	if (ret < 0 && err.text[0])
		syslog(LOG_WARNING, "incoming %s: %s", r->domain, err.text);
	return ret;
}

/* All that are there; false: none is left to be done. */
static bool pass(struct incoming_leftover *l)
{
	struct guest_dir dir;
	struct record r;

	l->seen = l->done;
	while (l->seen < GUESTS_MAX &&
	       l->world->find_record(RECORD_INCOMING, is_to_be_looked_at, l, &dir, &r, NULL) == 0) {
		bool done = give_back(l, &dir, &r) == 0;

		snprintf(l->uuids[l->seen++], sizeof(l->uuids[0]), "%s", r.uuid);
		if (done) {
			memmove(l->uuids[l->seen - 1], l->uuids[l->done], sizeof(l->uuids[0]));
			snprintf(l->uuids[l->done++], sizeof(l->uuids[0]), "%s", r.uuid);
		}
		record_destroy(&r);
	}
	return l->seen > l->done;
}

static void *leftover_main(void *arg)
{
	struct incoming_leftover *l = arg;

	while (pass(l))
		for (unsigned int i = 0; i < PAUSES; i++) {
			if (atomic_load(&l->quit))
				return NULL;
			l->world->pause(PAUSE_US);
		}
	return NULL;
}

struct incoming_leftover *incoming_leftover_start(const struct incoming_world *world,
						  const char *libvirt_socket)
{
	struct incoming_leftover *l = calloc(1, sizeof(*l));

	if (!l)
		return NULL;
	l->world = world;
	l->libvirt_socket = libvirt_socket;
	if (pthread_create(&l->thread, NULL, leftover_main, l) == 0)
		return l;
	free(l);
	return NULL;
}

void incoming_leftover_end(struct incoming_leftover *l)
{
	if (!l)
		return;
	atomic_store(&l->quit, true);
	pthread_join(l->thread, NULL);
	free(l);
}
