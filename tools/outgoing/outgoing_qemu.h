// SPDX-License-Identifier: Apache-2.0
// QEMU here after the hand-over, if it alone has the guest's memory and post-copy is to follow.
// Driving thread only.
//
// libvirt ends it on Confirm, which the gate keeps back until the last page has gone; its job stays
// on the guest as long, so nobody resumes that. The guard has libvirt's connection, too: if we end,
// it stands in for us. When libvirt's daemon goes the job goes with it: then QEMU is stopped as a
// process (SIGSTOP). Its memory can be read all the same, a `cont` that somebody sends to its
// monitor is not, and never will be, as it is killed as it stands.
#pragma once

#include <stdbool.h>

struct errtext;
struct outgoing;

struct outgoing_qemu {
	bool needed; /* from the commit on until the last page has gone, or it runs here again */
	bool frozen; /* stopped as a process */
};

/* Will it be needed after the hand-over? */
bool outgoing_qemu_has_ram(const struct outgoing *o);
/* Before the release: the guard gets libvirt's connection as well. Negative errno; the text is set.
 * Nothing happens if it is not needed. */
int outgoing_qemu_keep(struct outgoing *o);
/* After MAIL_JOB_DONE: libvirt does not keep it from running any more. */
void outgoing_qemu_note_job(struct outgoing *o);
/* It may run here after all. */
void outgoing_qemu_take_back(struct outgoing *o);
/* Nobody needs it any more: have libvirt end it. */
void outgoing_qemu_let_go(struct outgoing *o);
/* At the end: let it go if nobody needs it any more. False: the guard has to keep it, and libvirt's
 * connection must be left as it is until we have ended. */
bool outgoing_qemu_release(struct outgoing *o);
