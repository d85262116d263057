// SPDX-License-Identifier: Apache-2.0
// QEMU's private monitor, as a session has it.
#include "incoming_monitor.h"

#include <errno.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <syslog.h>
#include "cleanup.h"
#include "clock.h"
#include "incoming_private.h"

#define AGAIN_MS 500
#define REFUSED_MS 1000

void incoming_monitor_init(struct incoming *in)
{
	in->monitor.stop = -1;
}

static void on_event(void *opaque, const char *name, json_object *data, uint64_t time_us)
{
	struct incoming *in = opaque;
	json_object *status = NULL;
	enum qemu_event event;

	json_object_object_get_ex(data, "status", &status);
	event = qemu_event_of(name, status ? json_object_get_string(status) : NULL);
	if (event == QEMU_EVENT_BALLOON)
		atomic_store(&in->monitor.balloon_moved, true);
	if (event == QEMU_EVENT_COMPLETED)
		mailbox_qemu_event(in->mail, event, time_us);
	if (event != QEMU_EVENT_RESUME)
		return;
	if (atomic_load(&in->monitor.released))
		atomic_store(&in->monitor.give_back, true);
	mailbox_qemu_event(in->mail, event, time_us);
}

/* ---- x-ignore-shared ---- */

static void on_given_back(void *opaque, int ret, const struct errtext *err)
{
	struct incoming *in = opaque;

	in->monitor.refused = ret < 0;
	if (ret == 0)
		atomic_store(&in->monitor.given_back, true);
	else
		syslog(LOG_WARNING, "incoming %s: %s", in->prepare.name, err->text);
}

static void give_back(struct incoming *in)
{
	struct incoming_monitor *m = &in->monitor;

	if (m->posted || !atomic_load(&m->give_back) || atomic_load(&m->given_back))
		return;
	m->posted = true;
	m->refused =
		qmp_post_capability(m->qmp, "x-ignore-shared", false, on_given_back, in, NULL) < 0;
}

/* After a refusal, as in a migration that somebody else has begun, it is tried again. */
static void try_again(struct incoming *in)
{
	if (in->monitor.refused)
		in->monitor.posted = in->monitor.refused = false;
	give_back(in);
}

static void look_again(struct incoming_monitor *m)
{
	if (m->watching)
		eventfd_write(m->stop, 1);
}

void incoming_monitor_note_untouched(struct incoming *in)
{
	atomic_store(&in->monitor.given_back, true);
}

void incoming_monitor_note_released(struct incoming *in)
{
	atomic_store(&in->monitor.released, true);
}

void incoming_monitor_note_resumed(struct incoming *in)
{
	atomic_store(&in->monitor.give_back, true);
	look_again(&in->monitor);
}

/* ---- the thread ---- */

static void *monitor_main(void *arg)
{
	struct incoming *in = arg;
	struct incoming_monitor *m = &in->monitor;
	struct pollfd p[2] = {{.fd = qmp_fd(m->qmp), .events = POLLIN},
			      {.fd = m->stop, .events = POLLIN}};
	struct errtext err = {0};
	eventfd_t count;
	int n;

	m->posted = m->refused = false;
	give_back(in);
	while ((n = poll(p, 2, m->refused ? REFUSED_MS : -1)) >= 0 || errno == EINTR) {
		if (n > 0 && p[1].revents && eventfd_read(m->stop, &count) == 0 &&
		    atomic_load(&m->quit))
			return NULL;
		if (n > 0 && p[0].revents && qmp_process(m->qmp, &err) < 0)
			break;
		if (n == 0)
			try_again(in);
		give_back(in);
	}
	mailbox_qemu_event(in->mail, QEMU_EVENT_GONE, clock_realtime_us());
	return NULL;
}

int incoming_monitor_watch(struct incoming *in)
{
	struct incoming_monitor *m = &in->monitor;

	qmp_on_event(m->qmp, on_event, in);
	m->stop = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	atomic_store(&m->quit, false);
	if (m->stop < 0 || pthread_create(&m->thread, NULL, monitor_main, in) != 0)
		return errtext_set(&in->err, -EAGAIN, "cannot watch QEMU's monitor");
	m->watching = true;
	return 0;
}

void incoming_monitor_unwatch(struct incoming *in)
{
	struct incoming_monitor *m = &in->monitor;

	if (m->watching) {
		atomic_store(&m->quit, true);
		look_again(m);
		pthread_join(m->thread, NULL);
		m->watching = false;
	}
	cleanup_close(&m->stop);
	m->stop = -1;
	if (m->qmp)
		qmp_on_event(m->qmp, NULL, NULL);
}

void incoming_monitor_close(struct incoming *in)
{
	incoming_monitor_unwatch(in);
	qmp_close(in->monitor.qmp);
	in->monitor.qmp = NULL;
	in->monitor.lost = false;
}

void incoming_monitor_reach_again(struct incoming *in)
{
	struct incoming_monitor *m = &in->monitor;

	if (m->lost)
		incoming_monitor_close(in);
	if (m->qmp || in->world->open_monitor(in->place.dir.monitor, AGAIN_MS, &m->qmp, NULL) < 0)
		return;
	m->missed_events = true;
	if (incoming_monitor_watch(in) < 0)
		incoming_monitor_close(in);
}

int incoming_monitor_forget_capability(struct incoming *in)
{
	struct incoming_monitor *m = &in->monitor;
	int ret = 0;

	if (atomic_load(&m->given_back))
		return 0;
	if (!m->qmp)
		ret = in->world->open_monitor(in->place.dir.monitor, INCOMING_MONITOR_MS, &m->qmp,
					      &in->err);
	return ret < 0 ? ret : qmp_set_capability(m->qmp, "x-ignore-shared", false, &in->err);
}
