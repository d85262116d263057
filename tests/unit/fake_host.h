// SPDX-License-Identifier: Apache-2.0
// Hosts without libvirt: a host (host.h) is a connection to a fake daemon, which is a table of
// domains that a test writes, and a script of what is to go wrong or change.
//
//   struct fake_libvirt *there = fake_libvirt_new("/there");
//   struct fake_domain *d = fake_libvirt_add(there, "web", UUID, DOMAIN_INCOMING);
//
//   fake_domain_then(d, 3, DOMAIN_RUNNING);               from the third look on it runs
//   fake_libvirt_fail(there, FAKE_RESUME, 2, -EIO);       the second resume from now fails
//   there->before = fn;                                   called before each call, without lock
//   fake_libvirt_fire(there, UUID, QEMU_EVENT_STOP, 17);  to all who watch it
//   fake_libvirt_did(there)                               "resume web; ignore_shared=off web"
//
// Also defines what libvirt_host.h declares: host_open("/there") connects to the fake daemon of
// that name, and the program has no other libvirt. Any thread may call, as with a real host.
#pragma once

#include <criterion/criterion.h>
#include <errno.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <uuid/uuid.h>
#include "fake_backends.h"
#include "fake_machine.h"
#include "fake_monitors.h"
#include "host.h"
#include "libvirt_host.h"

#define FAKE_DOMAINS 8
#define FAKE_CHANGES 8
#define FAKE_FAILURES 16
#define FAKE_WATCHES 8

enum fake_call {
	FAKE_OPEN,
	FAKE_REOPEN,
	FAKE_HOST_UUID,
	FAKE_QEMU_OWNER,
	FAKE_VERSIONS,
	FAKE_FIND,
	FAKE_STATE,
	FAKE_DOMAIN_XML,
	FAKE_QEMU_PID,
	FAKE_MONITOR,
	FAKE_SET_IGNORE_SHARED,
	FAKE_GET_IGNORE_SHARED,
	FAKE_KNOWS_CAPABILITY,
	FAKE_BLOCKERS,
	FAKE_UNSTICK_JOB,
	FAKE_RESUME,
	FAKE_SUSPEND,
	FAKE_DESTROY,
	FAKE_UNDEFINE,
	FAKE_SET_AUTOSTART,
	FAKE_GET_MAX_DOWNTIME,
	FAKE_SET_MAX_DOWNTIME,
	FAKE_ABORT_JOB,
	FAKE_WATCH,
	FAKE_CALL_END_
};

struct fake_domain {
	struct domain_info info; /* state, persistent, job: as libvirt would tell */
	bool ignore_shared;
	struct fake_backend backends[FAKE_BACKENDS];
	bool switchover_ack; /* its QEMU knows the capability */
	struct fake_machine machine;
	struct fake_monitors monitors;
	struct domain_blockers blockers;
	pid_t qemu;
	bool stuck;		      /* its job ends only if it is suspended */
	unsigned int too_early;	      /* so many suspensions have no effect on it */
	bool stays_suspended;	      /* ... and then libvirt does not let it run again */
	const char *xml, *stored_xml; /* borrowed; NULL: reading it fails */
	/* When it has been looked at (find, state) so many times, it changes: in this order. */
	struct fake_change {
		unsigned int at_look;
		enum domain_state state;
		bool job;
	} changes[FAKE_CHANGES];
	unsigned int change_count, changed, looks;
};

struct fake_libvirt {
	char socket[108];
	uint8_t uuid[16];
	uid_t uid;
	gid_t gid;
	char qemu_sockets[HOST_SOCKETS_SIZE]; /* "": the system's daemon */
	unsigned long libvirt_version, qemu_version;
	/* Before each call, no lock held: may change domains, fire events, or wait. */
	void (*before)(void *opaque, struct fake_libvirt *l, enum fake_call call);
	void *opaque;

	pthread_mutex_t lock;
	/* under lock */
	struct fake_domain domains[FAKE_DOMAINS];
	unsigned int domain_count, calls[FAKE_CALL_END_], open; /* connections */
	struct fake_failure {
		enum fake_call call;
		unsigned int in; /* so many more calls; 0: has failed */
		bool always;
		int code;
	} failures[FAKE_FAILURES];
	unsigned int failure_count;
	char did[1024];
	pthread_mutex_t events; /* held while a watcher is called, as in the real one */
	/* under events */
	struct fake_host *watching[FAKE_WATCHES];

	struct fake_libvirt *next;
};

struct fake_host {
	struct host host;
	struct fake_libvirt *libvirt;
	char watched[37]; /* under events */
	qemu_event_fn *fn;
	void *opaque;
};

static struct fake_libvirt *fake_libvirts;

/* ---- what a test writes ---- */

static inline struct fake_libvirt *fake_libvirt_new(const char *socket)
{
	struct fake_libvirt *l = calloc(1, sizeof(*l));

	cr_assert_not_null(l);
	snprintf(l->socket, sizeof(l->socket), "%s", socket);
	memcpy(l->uuid, socket, strnlen(socket, sizeof(l->uuid)));
	l->libvirt_version = 9000000;
	l->qemu_version = 7002000;
	pthread_mutex_init(&l->lock, NULL);
	pthread_mutex_init(&l->events, NULL);
	l->next = fake_libvirts;
	fake_libvirts = l;
	return l;
}

/* Connections that are open now. */
static inline unsigned int fake_libvirt_open(struct fake_libvirt *l)
{
	unsigned int open;

	pthread_mutex_lock(&l->lock);
	open = l->open;
	pthread_mutex_unlock(&l->lock);
	return open;
}

/* All connections must be closed: that is checked. */
static inline void fake_libvirt_destroy(struct fake_libvirt *l)
{
	struct fake_libvirt **at = &fake_libvirts;
	unsigned int open = fake_libvirt_open(l);

	cr_expect_eq(open, 0, "%u connections to %s were left open", open, l->socket);
	while (*at != l)
		at = &(*at)->next;
	*at = l->next;
	pthread_mutex_destroy(&l->lock);
	pthread_mutex_destroy(&l->events);
	free(l);
}

static inline struct fake_domain *fake_libvirt_add(struct fake_libvirt *l, const char *name,
						   const char *uuid, enum domain_state state)
{
	struct fake_domain *d = &l->domains[l->domain_count++];

	cr_assert_leq(l->domain_count, FAKE_DOMAINS);
	snprintf(d->info.name, sizeof(d->info.name), "%s", name);
	snprintf(d->info.uuid, sizeof(d->info.uuid), "%s", uuid);
	cr_assert_eq(uuid_parse(uuid, d->info.uuid_bytes), 0, "%s", uuid);
	d->info.state = state;
	d->qemu = 4242;
	return d;
}

/* From the at_look-th look on (1: the next one that a test makes), and with or without a job. */
static inline void fake_domain_then_job(struct fake_domain *d, unsigned int at_look,
					enum domain_state state, bool job)
{
	cr_assert_lt(d->change_count, FAKE_CHANGES);
	d->changes[d->change_count++] = (struct fake_change){at_look, state, job};
}

static inline void fake_domain_then(struct fake_domain *d, unsigned int at_look,
				    enum domain_state state)
{
	fake_domain_then_job(d, at_look, state, false);
}

/* The nth call from now on fails with this code; nth 0: each. */
static inline void fake_libvirt_fail(struct fake_libvirt *l, enum fake_call call, unsigned int nth,
				     int code)
{
	pthread_mutex_lock(&l->lock);
	cr_assert_lt(l->failure_count, FAKE_FAILURES);
	l->failures[l->failure_count++] =
		(struct fake_failure){.call = call, .in = nth, .always = nth == 0, .code = code};
	pthread_mutex_unlock(&l->lock);
}

/* The daemon answers again. */
static inline void fake_libvirt_heal(struct fake_libvirt *l)
{
	pthread_mutex_lock(&l->lock);
	l->failure_count = 0;
	pthread_mutex_unlock(&l->lock);
}

static inline unsigned int fake_libvirt_calls(struct fake_libvirt *l, enum fake_call call)
{
	unsigned int calls;

	pthread_mutex_lock(&l->lock);
	calls = l->calls[call];
	pthread_mutex_unlock(&l->lock);
	return calls;
}

/* What was changed, in order: "resume web; undefine web". Calls that failed are not in it. */
static inline const char *fake_libvirt_did(struct fake_libvirt *l)
{
	return l->did;
}

static inline enum domain_state fake_libvirt_state(struct fake_libvirt *l, unsigned int i)
{
	enum domain_state state;

	pthread_mutex_lock(&l->lock);
	state = l->domains[i].info.state;
	pthread_mutex_unlock(&l->lock);
	return state;
}

/* By the calling thread, to every connection that watches the domain. */
static inline void fake_libvirt_fire(struct fake_libvirt *l, const char *uuid,
				     enum qemu_event event, uint64_t time_us)
{
	pthread_mutex_lock(&l->events);
	for (unsigned int i = 0; i < FAKE_WATCHES; i++) {
		struct fake_host *h = l->watching[i];

		if (h && strcmp(h->watched, uuid) == 0)
			h->fn(h->opaque, event, time_us);
	}
	pthread_mutex_unlock(&l->events);
}

/* ---- the daemon ---- */

static inline struct fake_libvirt *fake_of(struct host *host)
{
	return ((struct fake_host *)host)->libvirt;
}

/* Begins a call, and takes the lock. 0, or the failure that is due. */
static inline int fake_begin(struct fake_libvirt *l, enum fake_call call, struct errtext *err)
{
	int code = 0;

	if (l->before)
		l->before(l->opaque, l, call);
	pthread_mutex_lock(&l->lock);
	l->calls[call]++;
	for (unsigned int i = 0; i < l->failure_count; i++) {
		struct fake_failure *f = &l->failures[i];

		if (f->call == call && (f->always || (f->in && --f->in == 0)))
			code = f->code;
	}
	return code ? errtext_set(err, code, "libvirt at %s fails, as the test wants it", l->socket)
		    : 0;
}

static inline int fake_end(struct fake_libvirt *l, int ret)
{
	pthread_mutex_unlock(&l->lock);
	return ret;
}

__attribute__((format(printf, 2, 3))) static inline void fake_note(struct fake_libvirt *l,
								   const char *fmt, ...)
{
	size_t used = strlen(l->did);
	va_list ap;

	if (used)
		used += snprintf(l->did + used, sizeof(l->did) - used, "; ");
	va_start(ap, fmt);
	vsnprintf(l->did + used, sizeof(l->did) - used, fmt, ap);
	va_end(ap);
}

/* By UUID, or also by name. Absent ones are not found. */
static inline struct fake_domain *fake_look_up(struct fake_libvirt *l, const char *uuid, bool names)
{
	for (unsigned int i = 0; i < l->domain_count; i++) {
		struct fake_domain *d = &l->domains[i];

		if (d->info.state != DOMAIN_ABSENT &&
		    (strcmp(d->info.uuid, uuid) == 0 || (names && !strcmp(d->info.name, uuid))))
			return d;
	}
	return NULL;
}

/* Every look counts, also at a domain that is absent, and may appear. */
static inline void fake_age(struct fake_libvirt *l, const char *name_or_uuid)
{
	for (unsigned int i = 0; i < l->domain_count; i++) {
		struct fake_domain *d = &l->domains[i];

		if (strcmp(d->info.uuid, name_or_uuid) && strcmp(d->info.name, name_or_uuid))
			continue;
		d->looks++;
		while (d->changed < d->change_count && d->changes[d->changed].at_look <= d->looks) {
			d->info.state = d->changes[d->changed].state;
			d->info.job = d->changes[d->changed++].job;
		}
	}
}

/* Begins a call on a domain. *d is valid if 0 is returned; the lock is held in any case. */
static inline int fake_begin_on(struct host *host, enum fake_call call, const char *uuid,
				struct fake_domain **d, struct errtext *err)
{
	struct fake_libvirt *l = fake_of(host);
	int ret = fake_begin(l, call, err);

	*d = fake_look_up(l, uuid, false);
	if (ret == 0 && !*d)
		ret = errtext_set(err, -ENOENT, "%s: no such domain", uuid);
	return ret;
}

/* libvirt's monitor is closed to others while a job runs, and there is none without QEMU. */
static inline int fake_monitor(struct fake_domain *d, struct errtext *err)
{
	if (d->info.job)
		return errtext_set(err, -EIO, "QEMU's monitor, through libvirt: a job is active");
	return d->info.state == DOMAIN_SHUT_OFF ? errtext_set(err, -EIO, "not running") : 0;
}

/* ---- one function for each of host_ops ---- */

static inline void fake_unwatch(struct host *host)
{
	struct fake_libvirt *l = fake_of(host);

	pthread_mutex_lock(&l->events);
	for (unsigned int i = 0; i < FAKE_WATCHES; i++)
		if (l->watching[i] == (struct fake_host *)host)
			l->watching[i] = NULL;
	pthread_mutex_unlock(&l->events);
}

static inline void fake_close(struct host *host)
{
	struct fake_libvirt *l = fake_of(host);

	fake_unwatch(host);
	pthread_mutex_lock(&l->lock);
	l->open--;
	pthread_mutex_unlock(&l->lock);
	free(host);
}

static inline int fake_reopen(struct host *host, struct errtext *err)
{
	int ret = fake_end(fake_of(host), fake_begin(fake_of(host), FAKE_REOPEN, err));

	if (ret == 0)
		fake_unwatch(host);
	return ret;
}

static inline int fake_uuid(struct host *host, uint8_t uuid[16], struct errtext *err)
{
	struct fake_libvirt *l = fake_of(host);
	int ret = fake_begin(l, FAKE_HOST_UUID, err);

	memcpy(uuid, l->uuid, 16);
	return fake_end(l, ret);
}

static inline int fake_qemu_owner(struct host *host, uid_t *uid, gid_t *gid, struct errtext *err)
{
	struct fake_libvirt *l = fake_of(host);
	int ret = fake_begin(l, FAKE_QEMU_OWNER, err);

	*uid = l->uid;
	*gid = l->gid;
	return fake_end(l, ret);
}

static inline int fake_qemu_sockets(struct host *host, char directory[HOST_SOCKETS_SIZE],
				    struct errtext *err)
{
	struct fake_libvirt *l = fake_of(host);

	(void)err;
	snprintf(directory, HOST_SOCKETS_SIZE, "%s", l->qemu_sockets);
	return 0;
}

static inline int fake_confinement(struct host *host, char name[HOST_CONFINEMENT_SIZE],
				   struct errtext *err)
{
	(void)host;
	(void)err;
	strcpy(name, "none");
	return 0;
}

static inline int fake_emulator(struct host *host, char path[HOST_EMULATOR_SIZE],
				struct errtext *err)
{
	(void)host;
	(void)err;
	strcpy(path, "/bin/false");
	return 0;
}

static inline int fake_versions(struct host *host, unsigned long *libvirt, unsigned long *qemu,
				struct errtext *err)
{
	struct fake_libvirt *l = fake_of(host);
	int ret = fake_begin(l, FAKE_VERSIONS, err);

	*libvirt = l->libvirt_version;
	*qemu = l->qemu_version;
	return fake_end(l, ret);
}

static inline int fake_find(struct host *host, const char *name_or_uuid, struct domain_info *info,
			    struct errtext *err)
{
	struct fake_libvirt *l = fake_of(host);
	int ret = fake_begin(l, FAKE_FIND, err);
	struct fake_domain *d;

	if (ret == 0)
		fake_age(l, name_or_uuid);
	d = fake_look_up(l, name_or_uuid, true);
	if (ret == 0 && !d)
		ret = errtext_set(err, -ENOENT, "domain %s: no such domain", name_or_uuid);
	if (ret == 0)
		*info = d->info;
	return fake_end(l, ret);
}

static inline int fake_state(struct host *host, const char *uuid, struct domain_info *info,
			     struct errtext *err)
{
	struct fake_libvirt *l = fake_of(host);
	int ret = fake_begin(l, FAKE_STATE, err);
	struct fake_domain *d;

	if (ret == 0)
		fake_age(l, uuid);
	d = fake_look_up(l, uuid, false);
	if (ret == 0)
		*info = d ? d->info : (struct domain_info){.state = DOMAIN_ABSENT};
	return fake_end(l, ret);
}

static inline int fake_domain_xml(struct host *host, const char *uuid, bool persistent, char **xml,
				  struct errtext *err)
{
	struct fake_domain *d;
	int ret = fake_begin_on(host, FAKE_DOMAIN_XML, uuid, &d, err);
	const char *text = ret == 0 ? (persistent ? d->stored_xml : d->xml) : NULL;

	if (ret == 0)
		*xml = text ? strdup(text) : NULL;
	if (ret == 0 && !*xml)
		ret = errtext_set(err, -EIO, "domain XML");
	return fake_end(fake_of(host), ret);
}

static inline int fake_qemu_pid(struct host *host, const char *uuid, pid_t *pid,
				struct errtext *err)
{
	struct fake_domain *d;
	int ret = fake_begin_on(host, FAKE_QEMU_PID, uuid, &d, err);

	if (ret == 0)
		ret = fake_monitor(d, err);
	if (ret == 0)
		*pid = d->qemu;
	return fake_end(fake_of(host), ret);
}

static inline int fake_monitor_command(struct host *host, const char *uuid, const char *command,
				       int fd, json_object **answer, struct errtext *err)
{
	const struct fake_backend *changed = NULL;
	json_object *value = NULL;
	struct fake_domain *d;
	int ret = fake_begin_on(host, FAKE_MONITOR, uuid, &d, err);

	if (ret == 0)
		ret = fake_monitor(d, err);
	if (ret == 0)
		value = fake_monitors_command(&d->monitors, command, fd);
	if (ret == 0 && !value)
		value = fake_machine_command(&d->machine, command);
	if (ret == 0 && !value)
		value = fake_backend_command(d->backends, command, &changed);
	if (ret == 0 && !value)
		ret = errtext_set(err, -EREMOTEIO, "QEMU's monitor refuses %s", command);
	if (changed)
		fake_note(fake_of(host), "discard=%s %s", changed->discard ? "on" : "off",
			  changed->id);
	if (ret == 0 && answer)
		*answer = json_object_get(value);
	json_object_put(value);
	return fake_end(fake_of(host), ret);
}

static inline int fake_set_ignore_shared(struct host *host, const char *uuid, bool on,
					 struct errtext *err)
{
	struct fake_domain *d;
	int ret = fake_begin_on(host, FAKE_SET_IGNORE_SHARED, uuid, &d, err);

	if (ret == 0)
		ret = fake_monitor(d, err);
	if (ret == 0) {
		d->ignore_shared = on;
		fake_note(fake_of(host), "ignore_shared=%s %s", on ? "on" : "off", d->info.name);
	}
	return fake_end(fake_of(host), ret);
}

static inline int fake_get_ignore_shared(struct host *host, const char *uuid, bool *on,
					 struct errtext *err)
{
	struct fake_domain *d;
	int ret = fake_begin_on(host, FAKE_GET_IGNORE_SHARED, uuid, &d, err);

	if (ret == 0)
		ret = fake_monitor(d, err);
	if (ret == 0)
		*on = d->ignore_shared;
	return fake_end(fake_of(host), ret);
}

/* The domain's switchover_ack answers, whatever capability is asked about. */
static inline int fake_knows_capability(struct host *host, const char *uuid, const char *capability,
					bool *known, struct errtext *err)
{
	struct fake_domain *d;
	int ret = fake_begin_on(host, FAKE_KNOWS_CAPABILITY, uuid, &d, err);

	(void)capability;
	if (ret == 0)
		ret = fake_monitor(d, err);
	if (ret == 0)
		*known = d->switchover_ack;
	return fake_end(fake_of(host), ret);
}

static inline int fake_blockers(struct host *host, const char *uuid,
				struct domain_blockers *blockers, struct errtext *err)
{
	struct fake_domain *d;
	int ret = fake_begin_on(host, FAKE_BLOCKERS, uuid, &d, err);

	if (ret == 0)
		ret = fake_monitor(d, err);
	if (ret == 0)
		*blockers = d->blockers;
	return fake_end(fake_of(host), ret);
}

static inline int fake_unstick_job(struct host *host, const char *uuid, bool *suspended,
				   struct errtext *err)
{
	struct fake_domain *d;
	int ret = fake_begin_on(host, FAKE_UNSTICK_JOB, uuid, &d, err);

	*suspended = ret == 0 && d->stuck && d->info.state == DOMAIN_RUNNING && d->info.job;
	if (ret == 0 && d->stuck && d->info.state == DOMAIN_PAUSED_MIGRATION) {
		d->info.state = DOMAIN_RUNNING;
		fake_note(fake_of(host), "run %s", d->info.name);
	} else if (*suspended && d->too_early) {
		d->too_early--;
		d->info.state = DOMAIN_PAUSED_MIGRATION;
		fake_note(fake_of(host), "suspend %s", d->info.name);
	} else if (*suspended) {
		d->stuck = d->info.job = false;
		d->info.state = d->stays_suspended ? DOMAIN_PAUSED_USER : DOMAIN_RUNNING;
		fake_note(fake_of(host), "unstick %s", d->info.name);
	}
	return fake_end(fake_of(host), ret);
}

static inline int fake_resume(struct host *host, const char *uuid, struct errtext *err)
{
	struct fake_domain *d;
	int ret = fake_begin_on(host, FAKE_RESUME, uuid, &d, err);

	if (ret == 0 && d->info.state == DOMAIN_SHUT_OFF)
		ret = errtext_set(err, -EIO, "resume the domain: it is not running");
	if (ret == 0) {
		d->info.state = DOMAIN_RUNNING;
		fake_note(fake_of(host), "resume %s", d->info.name);
	}
	return fake_end(fake_of(host), ret);
}

static inline int fake_suspend(struct host *host, const char *uuid, struct errtext *err)
{
	struct fake_domain *d;
	int ret = fake_begin_on(host, FAKE_SUSPEND, uuid, &d, err);

	if (ret == 0 && d->info.state == DOMAIN_SHUT_OFF)
		ret = errtext_set(err, -EIO, "pause the domain: it is not running");
	if (ret == 0) {
		d->info.state = DOMAIN_PAUSED_USER;
		fake_note(fake_of(host), "suspend %s", d->info.name);
	}
	return fake_end(fake_of(host), ret);
}

static inline int fake_destroy(struct host *host, const char *uuid, struct errtext *err)
{
	struct fake_domain *d;
	int ret = fake_begin_on(host, FAKE_DESTROY, uuid, &d, err);

	if (ret == -ENOENT && !d)
		ret = 0;
	if (ret == 0 && d) {
		d->info.state = d->info.persistent ? DOMAIN_SHUT_OFF : DOMAIN_ABSENT;
		d->info.job = false;
		fake_note(fake_of(host), "destroy %s", d->info.name);
	}
	return fake_end(fake_of(host), ret);
}

/* Its QEMU is killed by somebody else than libvirt, which notices. */
static inline void fake_libvirt_kill(struct fake_libvirt *l, const char *uuid)
{
	struct fake_domain *d;

	pthread_mutex_lock(&l->lock);
	for (d = l->domains; d < l->domains + l->domain_count; d++) {
		if (strcmp(d->info.uuid, uuid) != 0)
			continue;
		d->info.state = d->info.persistent ? DOMAIN_SHUT_OFF : DOMAIN_ABSENT;
		d->info.job = false;
		fake_note(l, "kill %s", d->info.name);
	}
	pthread_mutex_unlock(&l->lock);
}

static inline int fake_undefine(struct host *host, const char *uuid, struct errtext *err)
{
	struct fake_domain *d;
	int ret = fake_begin_on(host, FAKE_UNDEFINE, uuid, &d, err);

	if (ret == 0 && !d->info.persistent)
		ret = errtext_set(err, -EIO, "undefine the domain: it is transient");
	if (ret == 0) {
		d->info.persistent = false;
		if (d->info.state == DOMAIN_SHUT_OFF)
			d->info.state = DOMAIN_ABSENT;
		fake_note(fake_of(host), "undefine %s", d->info.name);
	}
	return fake_end(fake_of(host), ret);
}

static inline int fake_set_autostart(struct host *host, const char *uuid, struct errtext *err)
{
	struct fake_domain *d;
	int ret = fake_begin_on(host, FAKE_SET_AUTOSTART, uuid, &d, err);

	if (ret == 0) {
		d->info.autostart = true;
		fake_note(fake_of(host), "autostart %s", d->info.name);
	}
	return fake_end(fake_of(host), ret);
}

static inline int fake_get_max_downtime(struct host *host, const char *uuid, unsigned int *ms,
					struct errtext *err)
{
	struct fake_domain *d;
	int ret = fake_begin_on(host, FAKE_GET_MAX_DOWNTIME, uuid, &d, err);

	*ms = 300;
	return fake_end(fake_of(host), ret);
}

static inline int fake_set_max_downtime(struct host *host, const char *uuid, unsigned int ms,
					struct errtext *err)
{
	struct fake_domain *d;
	int ret = fake_begin_on(host, FAKE_SET_MAX_DOWNTIME, uuid, &d, err);

	if (ret == 0)
		fake_note(fake_of(host), "max_downtime=%u %s", ms, d->info.name);
	return fake_end(fake_of(host), ret);
}

static inline void fake_abort_job(struct host *host, const char *uuid)
{
	struct fake_domain *d;

	if (fake_begin_on(host, FAKE_ABORT_JOB, uuid, &d, NULL) == 0) {
		d->info.job = false;
		fake_note(fake_of(host), "abort_job %s", d->info.name);
	}
	fake_end(fake_of(host), 0);
}

static inline int fake_watch(struct host *host, const char *uuid, qemu_event_fn *fn, void *opaque,
			     struct errtext *err)
{
	struct fake_host *h = (struct fake_host *)host;
	struct fake_libvirt *l = h->libvirt;
	struct fake_domain *d;
	unsigned int i = 0;
	int ret = fake_end(l, fake_begin_on(host, FAKE_WATCH, uuid, &d, err));

	if (ret < 0)
		return ret;
	pthread_mutex_lock(&l->events);
	while (i < FAKE_WATCHES && l->watching[i])
		i++;
	cr_assert_lt(i, FAKE_WATCHES);
	snprintf(h->watched, sizeof(h->watched), "%s", uuid);
	h->fn = fn;
	h->opaque = opaque;
	l->watching[i] = h;
	pthread_mutex_unlock(&l->events);
	return 0;
}

static const struct host_ops fake_ops = {
	.close = fake_close,
	.reopen = fake_reopen,
	.uuid = fake_uuid,
	.qemu_owner = fake_qemu_owner,
	.qemu_sockets = fake_qemu_sockets,
	.versions = fake_versions,
	.confinement = fake_confinement,
	.emulator = fake_emulator,
	.find = fake_find,
	.state = fake_state,
	.domain_xml = fake_domain_xml,
	.qemu_pid = fake_qemu_pid,
	.monitor = fake_monitor_command,
	.set_ignore_shared = fake_set_ignore_shared,
	.get_ignore_shared = fake_get_ignore_shared,
	.knows_capability = fake_knows_capability,
	.blockers = fake_blockers,
	.unstick_job = fake_unstick_job,
	.resume = fake_resume,
	.suspend = fake_suspend,
	.destroy = fake_destroy,
	.undefine = fake_undefine,
	.set_autostart = fake_set_autostart,
	.get_max_downtime = fake_get_max_downtime,
	.set_max_downtime = fake_set_max_downtime,
	.abort_job = fake_abort_job,
	.watch = fake_watch,
	.unwatch = fake_unwatch,
};

/* ---- libvirt_host.h ---- */

int host_library_init(struct errtext *err)
{
	(void)err;
	return 0;
}

int host_socket_path(const char *path, char out[108], struct errtext *err)
{
	if (!path && !fake_libvirts)
		return errtext_set(err, -ENOENT, "no fake libvirt was made");
	snprintf(out, 108, "%s", path ? path : fake_libvirts->socket);
	return 0;
}

int host_open(const char *socket_path, struct host **out, struct errtext *err)
{
	struct fake_libvirt *l = fake_libvirts;
	struct fake_host *h;
	int ret;

	while (l && strcmp(l->socket, socket_path) != 0)
		l = l->next;
	if (!l)
		return errtext_set(err, -EIO, "libvirt at %s does not answer", socket_path);
	ret = fake_end(l, fake_begin(l, FAKE_OPEN, err));
	if (ret < 0)
		return ret;
	h = calloc(1, sizeof(*h));
	cr_assert_not_null(h);
	h->host.ops = &fake_ops;
	h->libvirt = l;
	pthread_mutex_lock(&l->lock);
	l->open++;
	pthread_mutex_unlock(&l->lock);
	*out = &h->host;
	return 0;
}
