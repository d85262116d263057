// SPDX-License-Identifier: Apache-2.0
// QEMU's private monitor, as a session has it.
#include "incoming_monitor.h"

#include <errno.h>
#include <poll.h>
#include <sys/eventfd.h>
#include "cleanup.h"
#include "clock.h"
#include "incoming_private.h"

#define AGAIN_MS 500

void incoming_monitor_init(struct incoming *in)
{
	in->monitor.stop = -1;
}

static void on_event(void *opaque, const char *name, json_object *data, uint64_t time_us)
{
	struct incoming *in = opaque;
	enum qemu_event event = qemu_event_of(name, NULL);

	(void)data;
	if (event == QEMU_EVENT_RESUME)
		mailbox_qemu_event(in->mail, event, time_us);
}

static void *monitor_main(void *arg)
{
	struct incoming *in = arg;
	struct pollfd p[2] = {{.fd = qmp_fd(in->monitor.qmp), .events = POLLIN},
			      {.fd = in->monitor.stop, .events = POLLIN}};
	struct errtext err = {0};

	while (poll(p, 2, -1) >= 0 || errno == EINTR) {
		if (p[1].revents)
			return NULL;
		if (p[0].revents && qmp_process(in->monitor.qmp, &err) < 0)
			break;
	}
	mailbox_qemu_event(in->mail, QEMU_EVENT_GONE, clock_realtime_us());
	return NULL;
}

int incoming_monitor_watch(struct incoming *in)
{
	struct incoming_monitor *m = &in->monitor;

	qmp_on_event(m->qmp, on_event, in);
	m->stop = eventfd(0, EFD_CLOEXEC);
	if (m->stop < 0 || pthread_create(&m->thread, NULL, monitor_main, in) != 0)
		return errtext_set(&in->err, -EAGAIN, "cannot watch QEMU's monitor");
	m->watching = true;
	return 0;
}

void incoming_monitor_unwatch(struct incoming *in)
{
	struct incoming_monitor *m = &in->monitor;

	if (m->watching) {
		eventfd_write(m->stop, 1);
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

	if (!m->qmp)
		ret = in->world->open_monitor(in->place.dir.monitor, INCOMING_MONITOR_MS, &m->qmp,
					      &in->err);
	return ret < 0 ? ret : qmp_set_capability(m->qmp, "x-ignore-shared", false, &in->err);
}
