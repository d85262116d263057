// SPDX-License-Identifier: Apache-2.0
// QEMU's private monitor, as a session has it: its commands, and its events as mail.
//
// The session's thread only; a thread of the monitor's own reads events meanwhile, and posts them.
// No command may be given between watch and unwatch, but for one, which that thread gives:
// x-ignore-shared is borrowed from QEMU, and goes off as soon as the guest runs. Whoever saved the
// guest while it is on, or sent it on, would do so without its memory. QEMU may hang then in a page
// fault, and answer only when that page has come, which is for other threads to bring about.
#pragma once

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include "qmp.h"

struct incoming;

struct incoming_monitor {
	struct qmp *qmp; /* NULL: not reached */
	pthread_t thread;
	bool watching;			       /* there is that thread */
	int stop;			       /* eventfd: it is to look at the following */
	atomic_bool quit, released, give_back; /* to it. seq_cst: no matter how fast */
	atomic_bool given_back;		       /* by it: QEMU said so */
	atomic_bool balloon_moved;	       /* by it: the guest has given memory back, say */
	bool posted, refused;		       /* its own: the command was given, and in vain */
	bool qemu_ended;		       /* it has closed; before post-copy that says so */
	bool lost; /* it has closed in post-copy, and is to be reached anew */
	/* Events may have passed unseen: it was closed for a while, or the session is another
	 * process's. That no RESUME was seen then says nothing. */
	bool missed_events;
};

void incoming_monitor_init(struct incoming *in);
/* From now on RESUME is mail, that QEMU has loaded its state, and that the monitor has closed. */
int incoming_monitor_watch(struct incoming *in);
void incoming_monitor_unwatch(struct incoming *in);
/* x-ignore-shared is not set in this session, so there is nothing to give back. */
void incoming_monitor_note_untouched(struct incoming *in);
/* The guest may run from now on: when it does, x-ignore-shared goes off. */
void incoming_monitor_note_released(struct incoming *in);
/* It runs, whether or not its event was seen. Any state of the monitor. */
void incoming_monitor_note_resumed(struct incoming *in);
/* It was lost, or never reached: try once. A QEMU that hangs in a page fault does not answer before
 * that page has come. */
void incoming_monitor_reach_again(struct incoming *in);
/* Switch x-ignore-shared off, if that has not been done, and wait for it. Not while it is watched.
 */
int incoming_monitor_forget_capability(struct incoming *in);
void incoming_monitor_close(struct incoming *in);
