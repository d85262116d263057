// SPDX-License-Identifier: Apache-2.0
// What the outgoing_*.c files share: the state of one migration on the source.
//
// Everything belongs to the one driving thread. Other threads (control reader, gate, libvirt's job,
// event loop, round workers, signal catcher) only post to the mailbox.
#pragma once

#include "byte_stream.h"
#include "control.h"
#include "convergence.h"
#include "dial.h"
#include "forward.h"
#include "gate.h"
#include "host.h"
#include "libvirt_job.h"
#include "mailbox.h"
#include "outgoing.h"
#include "pacer.h"
#include "page_link.h"
#include "progress.h"
#include "qmp.h"
#include "record.h"
#include "slot.h"
#include "source.h"
#include "throttle.h"
#include "uring_stream.h"
#include "wire_cost.h"

struct outgoing {
	const struct outgoing_options *opt;
	struct report *report;
	struct steering *steering;
	struct mailbox *mail;
	struct steering_limits limits; /* as they are now */
	struct steering_status status;
	enum phase phase;
	struct errtext err; /* why it failed; the first reason */
	int failed;	    /* negative errno of the first failure, or 0 */
	bool cancelled;	    /* ... which was a request, or a time-out */
	const char *mode;   /* PreCopy, Paused, PostCopy */

	/* the guest */
	struct domain_info guest;
	struct ram_map ram;
	pid_t qemu;
	unsigned int direct_disks; /* as there were at the check */
	bool was_running;
	bool persistent;

	/* this host; owned, NULL until made */
	char libvirt_socket[108];
	struct host *host;
	struct guest_dir dir;
	struct record record;
	struct qmp *monitor; /* the private one; only to drain I/O */
	bool gate_opened;
	bool left_behind;   /* it has arrived, and libvirt here still has it */
	bool ignore_shared; /* set on the source's QEMU, to be taken back */
	int guard;	    /* pipe to the guard process, or -1 */

	/* the other host */
	struct peer peer;
	struct control *control;
	struct byte_stream **streams;
	struct {
		char monitor_path[WIRE_TEXT_MAX + 1], stream_path[WIRE_TEXT_MAX + 1];
	} prepared; /* as the destination says in PREPARED */

	/* machinery; owned, NULL until made */
	struct slot *slot;
	struct pacer *pacer;
	struct wire_cost *wire_cost;
	struct throttle *throttle;
	unsigned int throttle_percent, most_throttled;
	bool unthrottleable;
	struct page_link *link; /* of post-copy */
	struct tracker *tracker;
	struct source *source;
	struct forward *tunnel, *relay;
	struct gate *gate;
	struct libvirt_job *job;

	/* what the mail said */
	bool queued_there;
	bool got_prepared, got_ready, got_digest, resumed_there, finished_there;
	bool perform_held, confirm_held, job_done, control_lost;
	int job_result;
	char job_text[WIRE_TEXT_MAX + 1];
	bool got_listening, post_copy_refused;
	char listening_text[WIRE_TEXT_MAX + 1]; /* why not */
	bool post_copy;				/* decided */
	bool link_over, link_ended; /* every page has come; none will be asked for again */
	char link_text[WIRE_TEXT_MAX + 1];
	bool damaged;		     /* the proof found it so: err says what to do */
	bool paused;		     /* ... for as long as the last pass takes */
	bool stopped;		     /* guest does not run and its I/O is drained */
	uint64_t stop_us, resume_us; /* CLOCK_REALTIME here; STOP and RESUME events */
	struct wire_digest digest;

	/* rounds */
	uint32_t round;
	bool round_running;
	unsigned int synced; /* streams that acknowledged the round */
	uint64_t round_pages, round_started_us, last_round_us;
	uint64_t round_begin; /* bytes sent or found zero before it began */
	struct convergence convergence;
	struct progress progress;

	/* times, CLOCK_MONOTONIC */
	uint64_t begun_us, turn_us, precopy_us, stopped_at_us, resumed_us, next_progress_us;
	char verified[33];
};

/* outgoing_mail.c */
typedef bool until_fn(const struct outgoing *o);
/* Handle mail until `until` holds: 0. A failure ends the wait: its negative errno. Past timeout_ms:
 * -ETIMEDOUT, recorded as a failure with a text about `what`, unless what is NULL. */
int outgoing_await(struct outgoing *o, until_fn *until, uint64_t timeout_ms, const char *what);
/* Let the status socket see what is. */
void outgoing_show(struct outgoing *o);

/* outgoing.c */
/* Record the first failure; returns code. */
int outgoing_fail(struct outgoing *o, int code, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));
void outgoing_enter(struct outgoing *o, enum phase phase);
uint64_t outgoing_wire_bytes(struct outgoing *o);

/* outgoing_setup.c */
int outgoing_check(struct outgoing *o); /* touches nothing */
int outgoing_connect(struct outgoing *o);
int outgoing_prepare(struct outgoing *o);
int outgoing_attach(struct outgoing *o);

/* outgoing_queue.c */
/* So many are ahead of us there: told when it changes. */
void outgoing_show_ahead(struct outgoing *o, const char *where, unsigned int ahead);
int outgoing_queue(struct outgoing *o); /* wait for our turn on this host */
/* The destination has us wait for ours there, or accepts the guest. */
int outgoing_await_prepared(struct outgoing *o);

/* outgoing_rounds.c */
/* One round to its end, while the guest runs or has just stopped. */
int outgoing_round(struct outgoing *o, enum source_round_kind kind, uint64_t timeout_ms);
int outgoing_precopy(struct outgoing *o);
int outgoing_switchover(struct outgoing *o);
int outgoing_last_pass(struct outgoing *o);
int outgoing_verify(struct outgoing *o);

/* outgoing_postcopy.c */
/* Make everything ready for post-copy, and tell the destination what it lacks. 1: done; 0: it is
 * not possible there. */
int outgoing_listen(struct outgoing *o);
/* About to stop, no round under way: what the next ones say must not wait for the cap, which QEMU's
 * device state may just have used up. */
void outgoing_hasten(struct outgoing *o);
int outgoing_serve(struct outgoing *o); /* guest stopped: from now on pages can be asked for */
int outgoing_postcopy(struct outgoing *o);

/* outgoing_end.c */
int outgoing_handover(struct outgoing *o);
int outgoing_finish(struct outgoing *o);
void outgoing_rollback(struct outgoing *o);
bool outgoing_release_all(struct outgoing *o);
