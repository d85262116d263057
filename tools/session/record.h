// SPDX-License-Identifier: Apache-2.0
// What a crash must not forget of a migration: a file in the guest's directory (guest_dir.h).
//
// JSON, so that an operator can read it, and so that a dray of another version can.
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>
#include "door.h"
#include "errtext.h"
#include "guest_dir.h"
#include "ram_discard.h"
#include "ram_keep.h"
#include "wire.h"

struct record {
	char domain[256];
	char uuid[37];
	char host[256]; /* outgoing: where to; incoming: what the receiver is bound to */
	uint16_t port;
	char session[2 * WIRE_SESSION_SIZE + 1]; /* hexadecimal */
	char tls_dir[256]; /* this host's credentials (tls_credentials.h); "": without TLS */
	char peer[TLS_SUBJECT_SIZE]; /* incoming: the subject of the source's certificate */
	/* Of the destination, on both hosts: who the guest goes to, whatever addresses are. */
	char host_uuid[37], boot_id[37];
	/* Of a libvirt daemon that is a user's own: where its QEMU has its sockets here, and the
	 * UUID that stands for it (libvirt_address.h). "": the system's. */
	char sockets[GUEST_DIR_SOCKETS_SIZE], daemon[37];
	char phase[32];	     /* outgoing: as in phase.h; written at hand-over at the latest */
	bool released;	     /* the destination may own the guest */
	bool persistent;     /* outgoing: to be undefined here once it has arrived */
	bool running;	     /* it was running, not paused by its user */
	bool defined_before; /* incoming: libvirt here knew the guest already */
	bool resumed;	     /* incoming: it has run here */
	bool autostart;	     /* incoming: it had that on its source, and is yet to have it here */
	bool never_ran;	     /* incoming: it ended, or was given up, and is known not to have run */
	bool settled;	/* incoming: somebody has seen that it is not here, and left it at that */
	bool post_copy; /* released before all memory was there */
	bool complete;	/* ... and it is there now */
	bool prove;	/* incoming: ... and the source wants it proven to be the same */

	/* outgoing: how the destination is reached, for whoever has to carry on */
	char bind[64];	      /* address or interface, as given */
	char congestion[16];  /* TCP congestion control, "" = system default */
	uint32_t silence_ms;  /* the destination counts as lost when silent for so long */
	uint64_t bandwidth;   /* bytes/s, 0: no cap; as last set */
	unsigned int streams; /* RAM connections; as many push in post-copy */
	bool no_prefetch;     /* in post-copy */
	bool gives_back;      /* the guest gives memory back, or has done so before the hand-over */
	bool balloon;	      /* ... or may have done so by its balloon, which it has */

	char discard[RAM_DISCARD_IDS_MAX]; /* outgoing: memory backends whose discard-data is to be
					    * switched on again (ram_discard.h) */
	pid_t keeper; /* outgoing: the process that holds guest RAM besides dray */
	/* outgoing: what it holds; incoming: in post-copy, guest RAM if some of it is private to
	 * QEMU; owned: record_destroy */
	struct ram_keep ram;
	/* QEMU here, and when it was started (process.h): so that it is found without its help, as
	 * it may hang in a page fault, and that its end is known without libvirt's */
	pid_t qemu;
	uint64_t qemu_started;
};

enum record_kind { RECORD_OUTGOING, RECORD_INCOMING };

/* Written to a new file and renamed: a reader sees the old one or the new one. */
int record_write(const struct guest_dir *d, enum record_kind kind, const struct record *r,
		 struct errtext *err);
void record_destroy(struct record *r);
/* -ENOENT if there is none. On success record_destroy follows. Of members that an older dray did
 * not write, it is as if it had written what it did without them. */
int record_read(const struct guest_dir *d, enum record_kind kind, struct record *r,
		struct errtext *err);
/* Look through the records of all guests for one that is what is looked for. On success *d has its
 * paths (no lock) and *r is the caller's. -ENOENT: there is none, for certain; others: it may be
 * one that could not be read. */
int record_find(enum record_kind kind, bool (*is)(const struct record *r, const void *what),
		const void *what, struct guest_dir *d, struct record *r, struct errtext *err);
/* When it was written last, CLOCK_REALTIME; 0 if there is none. */
int64_t record_written_s(const struct guest_dir *d, enum record_kind kind);
void record_remove(const struct guest_dir *d, enum record_kind kind);

/* Incoming: note what QEMU's log (monitor_log.h) tells, if it is not known yet whether the guest
 * has run. What it does not tell yet may change while a QEMU has the guest: then only that it ran
 * is noted if `ended` is false. */
void record_judge(const struct guest_dir *d, struct record *r, bool ended);
/* The guest has left this host: what its QEMU's private monitor leaves behind here goes, unless it
 * alone tells that the guest, which came here before, has run. */
void record_forget_monitor(const struct guest_dir *d);
/* Incoming: it is known whether the guest has run here, or somebody has left it at that, and no
 * memory is lacking. */
bool record_is_over(const struct record *r);
/* May the record of another migration take this one's place? Not while nobody has found out what
 * became of the guest: then this record is what an answer, or the guest's memory, depends on. Only
 * asked of a guest that no QEMU has here. */
bool record_is_settled(enum record_kind kind, const struct record *r);

/* The destination as a record has it. */
void record_set_host(struct record *r, const struct door_host *host);
void record_host(const struct record *r, struct door_host *host);

/* Whose guest it is on this host: the daemon's, whose socket that is. A record of another one's, as
 * of another launcher's on the same host, is not to be judged by what this one says. */
void record_set_daemon(struct record *r, const char *libvirt_socket);
bool record_is_of_daemon(const struct record *r, const char *libvirt_socket);

/* Is it known by the process itself that the guest's QEMU here has ended? */
bool record_qemu_has_ended(const struct record *r);
/* Libvirt does not answer: has the guest's QEMU here ended with it, as when its launcher was
 * removed? Not told of the system's daemon, which is started again, and then has to be asked.
 * Before its number is recorded a QEMU has been sent no memory. */
bool record_is_gone(const struct record *r);

/* A session's number as a record has it, and back; what is no such text is zeroes. */
void record_session(const uint8_t session[WIRE_SESSION_SIZE], char text[2 * WIRE_SESSION_SIZE + 1]);
void record_session_bytes(const struct record *r, uint8_t session[WIRE_SESSION_SIZE]);
