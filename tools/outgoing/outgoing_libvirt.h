// SPDX-License-Identifier: Apache-2.0
// libvirt's half of a migration: its daemon here, its managed migration as a job, and the sockets
// through which dray stands between the two. Driving thread only.
#pragma once

#include <stdbool.h>
#include "forward.h"
#include "gate.h"
#include "host.h"
#include "libvirt_job.h"
#include "wire.h"

struct errtext;
struct mail;
struct outgoing;

struct outgoing_libvirt {
	char socket[108]; /* of the daemon here */
	/* owned, NULL until made */
	struct host *host;
	struct gate *gate;
	struct forward *tunnel;	     /* the library's calls to the daemon there */
	struct forward *qemu_stream; /* QEMU's own stream */
	struct libvirt_job *job;
	/* done to it */
	bool gate_opened;
	bool ignore_shared; /* set on the guest's QEMU here, to be taken back; and what the record
			     * holds as borrowed with it */
	bool aborted;	    /* the job, by us */
	bool left_behind;   /* the guest has arrived, and libvirt here still has it */
	bool stands;	    /* the guest stays, and libvirt here does not let it run */
	/* what it has come to */
	bool refused; /* at Begin or Prepare: a libvirt will not have this guest moved */
	bool tried;   /* it would work: end of a trial */
	bool perform_held, confirm_held; /* by the gate */
	bool confirmed; /* the Confirm that is held says that the guest has arrived */
	bool done;	/* the job, with this result and libvirt's words */
	int result;
	char text[WIRE_TEXT_MAX + 1];
};

/* Connect to this host's libvirt. Negative errno; the text is set. */
int outgoing_libvirt_open(struct outgoing *o);
/* Open gate, tunnel and the socket for QEMU's stream, set x-ignore-shared, see that QEMU leaves the
 * guest's memory as it is when it ends (or refuse post-copy), and start the job, which comes as far
 * as the gate. The same. */
int outgoing_libvirt_start(struct outgoing *o);
/* Let QEMU's own migration begin. */
void outgoing_libvirt_open_gate(struct outgoing *o);
/* libvirt's library must come to an end before its connections go: cut them until it does. It may
 * not, if the daemon hangs: outgoing_libvirt_hangs. */
void outgoing_libvirt_end_job(struct outgoing *o);
bool outgoing_libvirt_hangs(const struct outgoing *o);
/* Roll-back: end the job so that libvirt runs the guest here. */
void outgoing_libvirt_undo(struct outgoing *o);
/* The guest lives there: remove the one that was left here, if there is one; for ten seconds, as
 * the daemon may be starting anew. Negative errno, with a text in *err. */
int outgoing_libvirt_retire(struct outgoing *o, struct errtext *err);
/* The same, where the job broke after the hand-over: cut it off first; one attempt. -EEXIST: it
 * runs here, too. */
int outgoing_libvirt_retire_by_hand(struct outgoing *o, struct errtext *err);
/* The guest lives here: make sure that it runs as before, with what was borrowed of its QEMU given
 * back; for ten seconds, as the daemon may be starting anew. Negative errno, with a text in *err.
 */
int outgoing_libvirt_restore(struct outgoing *o, struct errtext *err);
/* That failed: does the guest, which ran before, stand still here? */
bool outgoing_libvirt_stands(struct outgoing *o);
/* The job has ended: give back all that was between libvirt and its daemons. */
void outgoing_libvirt_disconnect(struct outgoing *o);
void outgoing_libvirt_close(struct outgoing *o);

/* MAIL_PERFORM_HELD, MAIL_CONFIRM_HELD, MAIL_JOB_DONE, MAIL_TUNNEL */
void outgoing_libvirt_take_perform(struct outgoing *o, struct mail *mail);
void outgoing_libvirt_take_confirm(struct outgoing *o, struct mail *mail);
void outgoing_libvirt_take_job(struct outgoing *o, struct mail *mail);
void outgoing_libvirt_take_tunnel(struct outgoing *o, struct mail *mail);
/* QEMU_EVENT_UNSEEN, QEMU_EVENT_FLOOD */
void outgoing_libvirt_note_unseen(struct outgoing *o);
void outgoing_libvirt_note_flood(struct outgoing *o);
