// SPDX-License-Identifier: Apache-2.0
// What the world may do to a running migration.
#include "steering.h"

#include <errno.h>
#include <json-c/json.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/signalfd.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>
#include "cleanup.h"
#include "clock.h"
#include "json_field.h"
#include "live.h"
#include "settings.h"
#include "signals.h"

#define CANCEL_TEXT_MAX 128

struct steering {
	/* constant after init */
	int signals, parent, stop; /* signalfd; pidfd or -1; eventfd */
	uint64_t started_us;	   /* CLOCK_MONOTONIC */
	struct timespec started;   /* CLOCK_REALTIME */
	pthread_t watcher;
	struct live *live; /* NULL until listening */

	pthread_mutex_t lock;
	pthread_cond_t changed; /* CLOCK_MONOTONIC */
	/* under lock */
	struct mailbox *mail;
	struct steering_limits limits;
	struct steering_status status;
	bool committed;
	char cancelled[CANCEL_TEXT_MAX]; /* why; empty: it has not been */
};

/* Under the lock. */
static bool cancel(struct steering *s, const char *why)
{
	bool taken = !s->committed;

	if (taken && !s->cancelled[0])
		snprintf(s->cancelled, sizeof(s->cancelled), "%s", why);
	if (taken && s->mail)
		mailbox_note(s->mail, MAIL_CANCEL, -ECANCELED, why);
	pthread_cond_broadcast(&s->changed);
	return taken;
}

bool steering_cancel(struct steering *s, const char *why)
{
	bool taken;

	pthread_mutex_lock(&s->lock);
	taken = cancel(s, why);
	pthread_mutex_unlock(&s->lock);
	return taken;
}

/* ---- signals, and the caller's death ---- */

/* One that has come, if any. Under the lock: it is either still to be read or has been acted on. */
static void take_signal(struct steering *s)
{
	struct pollfd p = {.fd = s->signals, .events = POLLIN};
	struct signalfd_siginfo info;

	if (poll(&p, 1, 0) > 0 && read(s->signals, &info, sizeof(info)) == sizeof(info))
		cancel(s,
		       info.ssi_signo == SIGINT ? "cancelled by SIGINT" : "cancelled by SIGTERM");
}

static void on_signal(struct steering *s)
{
	pthread_mutex_lock(&s->lock);
	take_signal(s);
	pthread_mutex_unlock(&s->lock);
}

static void *watcher_main(void *arg)
{
	struct steering *s = arg;
	struct pollfd p[3] = {{.fd = s->signals, .events = POLLIN},
			      {.fd = s->stop, .events = POLLIN},
			      {.fd = s->parent, .events = POLLIN}};

	for (;;) {
		if (poll(p, 3, -1) < 0 && errno != EINTR)
			return NULL;
		if (p[1].revents)
			return NULL;
		if (p[0].revents)
			on_signal(s);
		if (p[2].revents) {
			steering_cancel(s, "cancelled: the process that started this one has ended "
					   "(--die-with-parent)");
			p[2].fd = -1;
		}
	}
}

/* A pidfd and not PR_SET_PDEATHSIG, which tells of the end of the thread that started us: a Go
 * program's threads come and go. */
static int watch_parent(struct steering *s, struct errtext *err)
{
	pid_t parent = getppid();

	s->parent = (int)syscall(SYS_pidfd_open, parent, 0);
	if (s->parent < 0 || getppid() != parent)
		return errtext_set(err, -ESRCH,
				   "--die-with-parent: the process that started this one (%d) has "
				   "ended already",
				   parent);
	return 0;
}

static int start_watcher(struct steering *s)
{
	s->signals = signals_open();
	if (s->signals < 0)
		return s->signals;
	s->stop = eventfd(0, EFD_CLOEXEC);
	if (s->stop < 0)
		return -errno;
	return -pthread_create(&s->watcher, NULL, watcher_main, s);
}

/* ---- the status socket ---- */

static json_object *status_json(const struct steering *s)
{
	const struct steering_status *x = &s->status;
	json_object *o = json_object_new_object();

	json_put_text(o, "domain", x->domain);
	json_put_text(o, "uuid", x->uuid);
	json_put_text(o, "host", x->host);
	json_put_text(o, "direction", "outgoing");
	json_put_text(o, "phase", phase_name(x->phase));
	json_put_text(o, "mode", x->mode);
	json_put_text(o, "lane", x->lane);
	json_object_object_add(o, "tls", json_object_new_boolean(x->tls));
	json_put_time(o, "started", &s->started, 0);
	json_put_number(o, "elapsed_ms", (clock_monotonic_us() - s->started_us) / 1000);
	json_put_number(o, "round", x->round);
	json_put_number(o, "remaining_bytes", x->remaining_bytes);
	json_put_number(o, "transferred_bytes", x->transferred_bytes);
	json_put_number(o, "total_bytes", x->total_bytes);
	json_put_number(o, "dirty_bytes_per_s", x->dirty_bytes_per_s);
	json_put_number(o, "bytes_per_s", x->bytes_per_s);
	json_put_number(o, "eta_ms", x->eta_ms);
	json_put_number(o, "bandwidth", s->limits.bandwidth);
	json_put_number(o, "max_downtime_ms", s->limits.max_downtime_ms);
	json_object_object_add(o, "post_copy", json_object_new_boolean(s->limits.post_copy));
	json_put_number(o, "throttle_percent", x->throttle_percent);
	json_put_number(o, "queued_ahead", x->queued_ahead);
	json_put_text(o, "decision", x->decision);
	json_put_number(o, "pid", (uint64_t)getpid());
	return o;
}

static json_object *on_status(void *opaque)
{
	struct steering *s = opaque;
	json_object *o;

	pthread_mutex_lock(&s->lock);
	o = status_json(s);
	pthread_mutex_unlock(&s->lock);
	return o;
}

static int on_cancel(void *opaque, struct errtext *err)
{
	if (steering_cancel(opaque, "cancelled by dray cancel"))
		return 0;
	return errtext_set(err, -EBUSY,
			   "the guest is being, or has been, handed over to the destination: too "
			   "late to call the migration off");
}

static int apply(struct steering_limits *limits, const char *key, const char *value,
		 struct errtext *err)
{
	enum setting which;
	struct settings scratch;

	settings_init(&scratch);
	if (setting_find_option(key, &which) < 0 ||
	    (which != SETTING_BANDWIDTH && which != SETTING_MAX_DOWNTIME &&
	     which != SETTING_ALLOW_POST_COPY))
		return errtext_set(err, -EINVAL,
				   "%s cannot be changed while a migration runs; bandwidth, "
				   "max-downtime and post-copy can",
				   key);
	if (settings_set(&scratch, which, value, "dray set", err) < 0)
		return -EINVAL;
	if (which == SETTING_BANDWIDTH)
		limits->bandwidth = settings_number(&scratch, which);
	else if (which == SETTING_MAX_DOWNTIME)
		limits->max_downtime_ms = (uint32_t)settings_number(&scratch, which);
	else
		limits->post_copy = settings_number(&scratch, which) != 0;
	return 0;
}

static int on_check(void *opaque, const char *key, const char *value, struct errtext *err)
{
	struct steering_limits scratch;

	(void)opaque;
	return apply(&scratch, key, value, err);
}

static int on_set(void *opaque, const char *key, const char *value, struct errtext *err)
{
	struct steering *s = opaque;
	char text[128];
	int ret;

	pthread_mutex_lock(&s->lock);
	ret = apply(&s->limits, key, value, err);
	snprintf(text, sizeof(text), "%s set to %s", key, value);
	if (ret == 0 && s->mail)
		mailbox_note(s->mail, MAIL_SET, 0, text);
	pthread_mutex_unlock(&s->lock);
	return ret;
}

/* ---- */

int steering_new(bool die_with_parent, const struct steering_limits *limits, struct steering **out,
		 struct errtext *err)
{
	struct steering *s = calloc(1, sizeof(*s));
	int ret = 0;

	if (!s)
		return errtext_set(err, -ENOMEM, "out of memory");
	s->parent = -1;
	s->limits = *limits;
	s->status.mode = s->status.lane = "";
	s->started_us = clock_monotonic_us();
	clock_gettime(CLOCK_REALTIME, &s->started);
	pthread_mutex_init(&s->lock, NULL);
	clock_cond_init(&s->changed);
	if (die_with_parent)
		ret = watch_parent(s, err);
	if (ret == 0)
		ret = start_watcher(s);
	if (ret < 0) {
		free(s); /* the process ends now */
		return errtext_set(err, ret, "cannot watch for signals: %s", strerror(-ret));
	}
	*out = s;
	return 0;
}

void steering_destroy(struct steering *s)
{
	if (!s)
		return;
	live_stop(s->live);
	eventfd_write(s->stop, 1);
	pthread_join(s->watcher, NULL);
	cleanup_close(&s->signals);
	cleanup_close(&s->parent);
	cleanup_close(&s->stop);
	pthread_cond_destroy(&s->changed);
	pthread_mutex_destroy(&s->lock);
	free(s);
}

void steering_attach(struct steering *s, struct mailbox *mail)
{
	pthread_mutex_lock(&s->lock);
	s->mail = mail;
	s->committed = false;
	if (mail && s->cancelled[0])
		mailbox_note(mail, MAIL_CANCEL, -ECANCELED, s->cancelled);
	pthread_mutex_unlock(&s->lock);
}

int steering_listen(struct steering *s, const char *path, struct errtext *err)
{
	const struct live_handlers handlers = {.status = on_status,
					       .cancel = on_cancel,
					       .check = on_check,
					       .set = on_set,
					       .opaque = s};

	return s->live ? 0 : live_start(path, &handlers, &s->live, err);
}

/* A signal that came before counts, even if a busy machine has not let the watcher run since. */
bool steering_commit(struct steering *s)
{
	bool go;

	pthread_mutex_lock(&s->lock);
	take_signal(s);
	go = s->committed = !s->cancelled[0];
	pthread_mutex_unlock(&s->lock);
	return go;
}

void steering_show(struct steering *s, const struct steering_status *status)
{
	pthread_mutex_lock(&s->lock);
	s->status = *status;
	pthread_mutex_unlock(&s->lock);
}

void steering_limits(struct steering *s, struct steering_limits *limits)
{
	pthread_mutex_lock(&s->lock);
	*limits = s->limits;
	pthread_mutex_unlock(&s->lock);
}

bool steering_pause(struct steering *s, unsigned int seconds)
{
	uint64_t end_us = clock_monotonic_us() + seconds * 1000000ull;
	const struct timespec end = clock_timespec(end_us);
	bool go;

	pthread_mutex_lock(&s->lock);
	while (!s->cancelled[0] && pthread_cond_timedwait(&s->changed, &s->lock, &end) != ETIMEDOUT)
		;
	go = !s->cancelled[0];
	pthread_mutex_unlock(&s->lock);
	return go;
}
