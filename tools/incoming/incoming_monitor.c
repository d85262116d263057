// SPDX-License-Identifier: Apache-2.0
// QEMU's private monitor, and the thread that reads its events.
#include "incoming_private.h"

#include <errno.h>
#include <poll.h>
#include <sys/eventfd.h>
#include "cleanup.h"
#include "clock.h"

#define AGAIN_MS 500

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
	struct pollfd p[2] = {{.fd = qmp_fd(in->monitor), .events = POLLIN},
			      {.fd = in->monitor_stop, .events = POLLIN}};
	struct errtext err = {0};

	while (poll(p, 2, -1) >= 0 || errno == EINTR) {
		if (p[1].revents)
			return NULL;
		if (p[0].revents && qmp_process(in->monitor, &err) < 0)
			break;
	}
	mailbox_qemu_event(in->mail, QEMU_EVENT_GONE, clock_realtime_us());
	return NULL;
}

int incoming_monitor_watch(struct incoming *in)
{
	qmp_on_event(in->monitor, on_event, in);
	in->monitor_stop = eventfd(0, EFD_CLOEXEC);
	if (in->monitor_stop < 0 ||
	    pthread_create(&in->monitor_thread, NULL, monitor_main, in) != 0)
		return errtext_set(&in->err, -EAGAIN, "cannot watch QEMU's monitor");
	in->monitor_running = true;
	return 0;
}

void incoming_monitor_unwatch(struct incoming *in)
{
	if (in->monitor_running) {
		eventfd_write(in->monitor_stop, 1);
		pthread_join(in->monitor_thread, NULL);
		in->monitor_running = false;
	}
	cleanup_close(&in->monitor_stop);
	in->monitor_stop = -1;
	if (in->monitor)
		qmp_on_event(in->monitor, NULL, NULL);
}

static void forget_monitor(struct incoming *in)
{
	incoming_monitor_unwatch(in);
	qmp_close(in->monitor);
	in->monitor = NULL;
	in->monitor_lost = false;
}

/* QEMU answers when the pages have come that it hangs on. */
void incoming_monitor_reach_again(struct incoming *in)
{
	if (in->monitor_lost)
		forget_monitor(in);
	if (in->monitor ||
	    in->world->open_monitor(in->dir.monitor, AGAIN_MS, &in->monitor, NULL) < 0)
		return;
	in->missed_events = true;
	if (incoming_monitor_watch(in) < 0)
		forget_monitor(in);
}
