// SPDX-License-Identifier: Apache-2.0
// The guest on this host, as it was found. Driving thread only, except where it says otherwise.
#pragma once

#include <stdbool.h>
#include <sys/types.h>
#include "host.h"
#include "qmp.h"
#include "ram_backends.h"
#include "ram_map.h"

struct errtext;
struct outgoing;

struct outgoing_guest {
	struct domain_info info; /* as it was at the check */
	struct ram_map ram;	 /* mapped read-only */
	pid_t qemu;
	int pidfd;  /* of QEMU, or -1 */
	bool ended; /* it runs on no host any more: it was shut down, destroyed, or QEMU crashed */
	unsigned int direct_disks; /* read past the page cache, as there were at the check */
	bool gives_back;	   /* memory, or has done so: domain_xml.h */
	bool balloon;		   /* it has one */
	bool was_running;	   /* not paused by its user; so it arrives */
	bool runs;		   /* ... as far as we know now; so it is left if it stays */
	struct qmp
		*monitor;  /* one of our own, for its disks; NULL if there is no need, or not yet */
	bool adds_monitor; /* QEMU takes one for the time (added_monitor.h) */
	char monitor_path[108]; /* of the private one; empty: none */
	/* QEMU sends the memory itself, and its stream is strained (strainer.h); as QEMU told of
	 * it. */
	bool strained;
	struct ram_backends backends;
	bool arrives_shared; /* it is private here, and is not there, if that can be */
};

/* Nothing is open yet. */
void outgoing_guest_init(struct outgoing *o);
/* Find the guest and see whether it can be migrated; touches nothing. Negative errno, recorded. */
int outgoing_guest_check(struct outgoing *o);
/* Before libvirt's job begins, with the guest's lock held: have the monitor added that is needed,
 * if QEMU takes one. Negative errno; the text is set. */
int outgoing_guest_add_monitor(struct outgoing *o);
/* While the migration waited for its turn the guest may have been restarted, or got a device that
 * writes its memory unseen: -EAGAIN, and the like, recorded. */
int outgoing_guest_check_again(struct outgoing *o);
/* Once more when libvirt's job is on it, and nothing can be plugged in or out any more: something
 * may have been in between. The same. */
int outgoing_guest_check_locked(struct outgoing *o);
/* Nobody but QEMU has its memory mapped: so it was at first. -EBUSY: somebody has; recorded. */
int outgoing_guest_check_mappers(struct outgoing *o);
/* Not by our doing it was paused (by its user, by a disk error), or runs again. */
void outgoing_guest_note_running(struct outgoing *o, bool runs);
/* Its balloon has moved. */
void outgoing_guest_note_balloon(struct outgoing *o);
/* Until the hand-over: has QEMU ended? Then so has the migration, and that is why, whatever else
 * failed meanwhile. */
void outgoing_guest_look(struct outgoing *o);
/* libvirt says so. */
void outgoing_guest_note_ended(struct outgoing *o);
void outgoing_guest_close_monitor(struct outgoing *o);
void outgoing_guest_forget(struct outgoing *o);
