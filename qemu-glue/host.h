// SPDX-License-Identifier: Apache-2.0
// One host's libvirt, as dray uses it: facts, domains, monitor commands, events.
//
// What a host can do is a table of functions, so that tests can put one of their own in place of
// libvirt (libvirt_host.h makes the real one). Every call may block for as long as the daemon does.
// Any thread may call, also several at once, except where it says otherwise. Error texts carry
// libvirt's own message.
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>
#include "errtext.h"
#include "qemu_event.h"

struct host;
struct json_object;

enum domain_state {
	DOMAIN_ABSENT,	 /* libvirt does not know it */
	DOMAIN_SHUT_OFF, /* defined, not running */
	DOMAIN_RUNNING,
	DOMAIN_PAUSED_USER,	 /* by its user, or for a reason that is none of ours */
	DOMAIN_PAUSED_MIGRATION, /* stopped by a migration out that did not end: the state a crash
				  * after the hand-over leaves */
	DOMAIN_INCOMING,	 /* waiting for, or just past, an incoming stream */
	DOMAIN_PAUSED_POSTCOPY,	 /* by a post-copy of QEMU's own: under way out of here, or broken
				  * off; dray's leaves no such state */
	DOMAIN_STATE_END_
};

struct domain_info {
	char name[256];
	char uuid[37];
	uint8_t uuid_bytes[16];
	enum domain_state state;
	bool persistent;
	bool job;	/* some job is active on it */
	bool autostart; /* told by host_find only */
};

#define DOMAIN_BLOCKERS_MAX 8 /* more of them are not kept */

/* What would make libvirt or QEMU refuse to migrate a domain that runs. */
struct domain_blockers {
	unsigned int snapshots;
	bool endless; /* its machine does not mark the end of QEMU's stream (stream_end.h) */
	unsigned int count;
	char reasons[DOMAIN_BLOCKERS_MAX][256]; /* in QEMU's words */
};

#define HOST_CONFINEMENT_SIZE 16
#define HOST_EMULATOR_SIZE 256
#define HOST_SOCKETS_SIZE 56 /* of a path; room for a guest's UUID and more in a socket's */

/* One function for each of those below. */

struct host_ops {
	void (*close)(struct host *h);
	int (*reopen)(struct host *h, struct errtext *err);
	int (*uuid)(struct host *h, uint8_t uuid[16], struct errtext *err);
	int (*qemu_owner)(struct host *h, uid_t *uid, gid_t *gid, struct errtext *err);
	int (*qemu_sockets)(struct host *h, char directory[HOST_SOCKETS_SIZE], struct errtext *err);
	int (*versions)(struct host *h, unsigned long *libvirt, unsigned long *qemu,
			struct errtext *err);
	int (*confinement)(struct host *h, char name[HOST_CONFINEMENT_SIZE], struct errtext *err);
	int (*emulator)(struct host *h, char path[HOST_EMULATOR_SIZE], struct errtext *err);
	int (*find)(struct host *h, const char *name_or_uuid, struct domain_info *info,
		    struct errtext *err);
	int (*state)(struct host *h, const char *uuid, struct domain_info *info,
		     struct errtext *err);
	int (*domain_xml)(struct host *h, const char *uuid, bool persistent, char **xml,
			  struct errtext *err);
	int (*qemu_pid)(struct host *h, const char *uuid, pid_t *pid, struct errtext *err);
	int (*monitor)(struct host *h, const char *uuid, const char *command, int fd,
		       struct json_object **ret, struct errtext *err);
	int (*set_ignore_shared)(struct host *h, const char *uuid, bool on, struct errtext *err);
	int (*get_ignore_shared)(struct host *h, const char *uuid, bool *on, struct errtext *err);
	int (*knows_capability)(struct host *h, const char *uuid, const char *capability,
				bool *known, struct errtext *err);
	int (*blockers)(struct host *h, const char *uuid, struct domain_blockers *blockers,
			struct errtext *err);
	int (*unstick_job)(struct host *h, const char *uuid, bool *suspended, struct errtext *err);
	int (*resume)(struct host *h, const char *uuid, struct errtext *err);
	int (*suspend)(struct host *h, const char *uuid, struct errtext *err);
	int (*destroy)(struct host *h, const char *uuid, struct errtext *err);
	int (*undefine)(struct host *h, const char *uuid, struct errtext *err);
	int (*set_autostart)(struct host *h, const char *uuid, struct errtext *err);
	int (*get_max_downtime)(struct host *h, const char *uuid, unsigned int *ms,
				struct errtext *err);
	int (*set_max_downtime)(struct host *h, const char *uuid, unsigned int ms,
				struct errtext *err);
	void (*abort_job)(struct host *h, const char *uuid);
	int (*watch)(struct host *h, const char *uuid, qemu_event_fn *fn, void *opaque,
		     struct errtext *err);
	void (*unwatch)(struct host *h);
};

struct host {
	const struct host_ops *ops; /* the rest belongs to whoever made it */
};

void host_close(struct host *h);
/* The daemon was restarted: connect anew. A watch is lost with the old connection. No other call
 * may be under way. */
int host_reopen(struct host *h, struct errtext *err);

/* The host's UUID as its libvirt has it. */
int host_uuid(struct host *h, uint8_t uuid[16], struct errtext *err);
/* The user and group QEMU runs as: from the DAC security model (0:0 if there is none), or those of
 * a daemon that is a user's own. */
int host_qemu_owner(struct host *h, uid_t *uid, gid_t *gid, struct errtext *err);
/* Where QEMUs of a daemon that is a user's own may make sockets: the daemon's own directory. "": it
 * is the system's daemon, whose QEMUs may do so in libvirt's usual one. -ENAMETOOLONG. */
int host_qemu_sockets(struct host *h, char directory[HOST_SOCKETS_SIZE], struct errtext *err);
/* Versions as libvirt encodes them: major * 1000000 + minor * 1000 + release. */
int host_versions(struct host *h, unsigned long *libvirt, unsigned long *qemu, struct errtext *err);

/* By what libvirt confines its QEMUs besides their user: "apparmor", "selinux", or "none". */
int host_confinement(struct host *h, char name[HOST_CONFINEMENT_SIZE], struct errtext *err);

/* The QEMU program that libvirt starts x86-64 guests with, unless they name another. */
int host_emulator(struct host *h, char path[HOST_EMULATOR_SIZE], struct errtext *err);

/* By name, or else by UUID or by the number of a domain that runs. -ENOENT with a text that names
 * the way out. */
int host_find(struct host *h, const char *name_or_uuid, struct domain_info *info,
	      struct errtext *err);
/* State by UUID; DOMAIN_ABSENT is a success. */
int host_state(struct host *h, const char *uuid, struct domain_info *info, struct errtext *err);

/* Live XML as a migration needs it, or (persistent) the stored definition. malloc'd. */
int host_domain_xml(struct host *h, const char *uuid, bool persistent, char **xml,
		    struct errtext *err);
/* Process id of the domain's QEMU, as this process sees it: one of its vCPU threads, as the monitor
 * names it, leads there.
 * Not during a migration job: the monitor is closed to passthrough then. */
int host_qemu_pid(struct host *h, const char *uuid, pid_t *pid, struct errtext *err);
/* A command to QEMU, as JSON, through libvirt's monitor; same restriction. *ret (ret may be NULL)
 * is what it returns, the caller's to json_object_put. -EREMOTEIO: QEMU answers with an error. */
int host_monitor(struct host *h, const char *uuid, const char *command, struct json_object **ret,
		 struct errtext *err);
/* The same, and QEMU gets a copy of fd with it, as its command getfd wants one. */
int host_monitor_with_fd(struct host *h, const char *uuid, const char *command, int fd,
			 struct errtext *err);
/* migrate-set-capabilities x-ignore-shared through it. */
int host_set_ignore_shared(struct host *h, const char *uuid, bool on, struct errtext *err);
/* Is it set now? */
int host_get_ignore_shared(struct host *h, const char *uuid, bool *on, struct errtext *err);

/* Does this QEMU know a migration capability of that name? Same restriction. */
int host_knows_capability(struct host *h, const char *uuid, const char *capability, bool *known,
			  struct errtext *err);

/* What stands in the way of its migration. Same restriction. */
int host_blockers(struct host *h, const char *uuid, struct domain_blockers *blockers,
		  struct errtext *err);

/* A migration out of here was cancelled, or failed, and libvirt does not end its job. libvirt 9.0
 * waits for the guest to stop if QEMU let it run on between two looks of libvirt's (`virsh
 * domjobabort` in the middle of a switch-over; seen), and waits for good. If that is so,
 * *suspended: the guest has been suspended, on which libvirt goes on, fails, and lets it run again.
 * If it does not (seen once, on a busy machine), the next call lets the guest run, past libvirt,
 * which allows no resume then. */
int host_unstick_job(struct host *h, const char *uuid, bool *suspended, struct errtext *err);
int host_resume(struct host *h, const char *uuid, struct errtext *err);
int host_suspend(struct host *h, const char *uuid, struct errtext *err);
/* End the domain's QEMU here and now. -ENOENT is a success. */
int host_destroy(struct host *h, const char *uuid, struct errtext *err);
int host_undefine(struct host *h, const char *uuid, struct errtext *err);
/* From now on libvirt starts the domain, which is persistent, whenever the host starts. */
int host_set_autostart(struct host *h, const char *uuid, struct errtext *err);
/* How long QEMU may let the guest stand still to send what is left, in a migration of its own. What
 * is set while a job runs libvirt takes back by itself when that job ends without the guest having
 * left; what is set later, nobody does. */
int host_get_max_downtime(struct host *h, const char *uuid, unsigned int *ms, struct errtext *err);
int host_set_max_downtime(struct host *h, const char *uuid, unsigned int ms, struct errtext *err);
/* Ask libvirt to abort the domain's migration job. Does not wait, as the daemon may be busy with
 * that very job: a thread asks, over a connection of its own. */
void host_abort_job(struct host *h, const char *uuid);

/* QEMU's events that qemu_event.h knows, as they pass libvirt's monitor. libvirt is asked for
 * these alone, by name: it queues whatever its client has asked for, and QEMU 10 emits more than
 * 10,000 others a second while it may not stop the guest. When the daemon's end of the connection
 * goes there is a last one, QEMU_EVENT_UNSEEN; when there are too many there is QEMU_EVENT_FLOOD,
 * and whoever gets that is to unwatch. Called from the event thread. */
int host_watch(struct host *h, const char *uuid, qemu_event_fn *fn, void *opaque,
	       struct errtext *err);
/* No call is under way or will come after this returns. */
void host_unwatch(struct host *h);
