// SPDX-License-Identifier: Apache-2.0
// What dray keeps of a guest on one host: /run/dray/UUID.
//
//   lock         flock: one migrate, session of receive, or recover at a time
//   outgoing     JSON: the migration that left, or is leaving, from here
//   incoming     JSON: the migration that came, or is coming, here
//   gate.sock    libvirt's calls to the source's daemon     (root's, while migrating)
//   tunnel.sock  libvirt's calls to the destination's
//   control.sock status, cancel, set (live.h)               (root's, while migrating)
//   owed         the pages that a guest in post-copy still lacks here (owed.h)
//   qemu/        QEMU's user's: stream.sock, and monitor.sock for as long as the guest lives here
//
// On a tmpfs: a host that reboots has lost the guests anyway.
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>
#include "errtext.h"
#include "ram_keep.h"
#include "wire.h"

#define GUEST_DIR_ROOT "/run/dray"
#define GUEST_DIR_CONTROL "control.sock"

struct guest_dir {
	char path[80]; /* /run/dray/UUID */
	char gate[108], tunnel[108], control[108], owed[108];
	char stream[108], monitor[108];
	int lock; /* -1: not held */
};

/* Fill in the paths; touches nothing. */
void guest_dir_paths(struct guest_dir *d, const char *uuid);
/* Make the directories and take the lock. qemu/ belongs to uid:gid (pass -1 to leave it as it is).
 * -EBUSY with a text if another dray works on this guest. */
int guest_dir_open(struct guest_dir *d, const char *uuid, uid_t uid, gid_t gid,
		   struct errtext *err);
/* Give the lock back. */
void guest_dir_close(struct guest_dir *d);

/* What a crash must not forget. */
struct record {
	char domain[256];
	char uuid[37];
	char host[256]; /* outgoing: where to; incoming: what the receiver is bound to */
	uint16_t port;
	char bind[64];				 /* address or interface, as given */
	char session[2 * WIRE_SESSION_SIZE + 1]; /* hexadecimal */
	char phase[32];	     /* outgoing: as in phase.h; written at hand-over at the latest */
	bool released;	     /* the destination may own the guest */
	bool persistent;     /* outgoing: to be undefined here once it has arrived */
	bool running;	     /* it was running, not paused by its user */
	bool defined_before; /* incoming: libvirt here knew the guest already */
	bool resumed;	     /* incoming: it has run here */
	bool post_copy;	     /* released before all memory was there */
	bool complete;	     /* ... and it is there now */
	bool prove;	     /* incoming: ... and the source wants it proven to be the same */
	pid_t keeper;	     /* outgoing: the process that holds guest RAM besides dray */
	struct ram_keep ram; /* outgoing: what it holds; owned: record_destroy */
	bool never_ran;	     /* incoming: it ended, or was given up, and is known not to have run */
	/* incoming, in post-copy: QEMU, and when it was started (process.h), so that it is found
	 * without its help: it may hang in a page fault */
	pid_t qemu;
	uint64_t qemu_started;
};

enum record_kind { RECORD_OUTGOING, RECORD_INCOMING };

/* Written to a new file and renamed: a reader sees the old one or the new one. */
int record_write(const struct guest_dir *d, enum record_kind kind, const struct record *r,
		 struct errtext *err);
void record_destroy(struct record *r);
/* A session's number as a record has it. */
void guest_dir_session(const uint8_t session[WIRE_SESSION_SIZE],
		       char text[2 * WIRE_SESSION_SIZE + 1]);
/* -ENOENT if there is none. On success record_destroy follows. */
int record_read(const struct guest_dir *d, enum record_kind kind, struct record *r,
		struct errtext *err);
/* Look through the records of all guests for one that is what is looked for. On success *d has its
 * paths (no lock) and *r is the caller's. -ENOENT: there is none, for certain; others: it may be
 * one that could not be read. */
int record_find(enum record_kind kind, bool (*is)(const struct record *r, const void *what),
		const void *what, struct guest_dir *d, struct record *r, struct errtext *err);
void record_remove(const struct guest_dir *d, enum record_kind kind);
