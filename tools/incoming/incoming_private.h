// SPDX-License-Identifier: Apache-2.0
// What the incoming_*.c files share.
#pragma once

#include <pthread.h>
#include "control.h"
#include "destination.h"
#include "fault_handler.h"
#include "histogram.h"
#include "host.h"
#include "incoming.h"
#include "incoming_world.h"
#include "mailbox.h"
#include "owed.h"
#include "placer.h"
#include "pump.h"
#include "qmp.h"
#include "receiver.h"
#include "record.h"
#include "slot.h"

#define INCOMING_TUNNELS_MAX 4
#define INCOMING_LINK_STREAMS_MAX 16 /* connections of each kind in post-copy */
#define ANSWER_MS 10000

/* Post-copy's control channel, one of several in a row. */
struct link {
	struct incoming *in;
	struct control *control;
	/* under the receiver's lock */
	bool serving;	/* the thread that brought it is at it */
	bool proving;	/* the session's thread is */
	bool confirmed; /* the source has heard COMPLETE */
	bool lost;
	uint64_t answers; /* PROVEN */
};

struct incoming {
	/* constant after init */
	struct receiver *receiver;
	const struct incoming_world *world; /* the receiver's */
	uint8_t session[WIRE_SESSION_SIZE];
	struct incoming *next; /* under the receiver's lock */

	/* private to the control connection's thread */
	struct wire_prepare prepare;
	char uuid[37];
	struct host *host;
	struct slot *slot;
	struct guest_dir dir;
	struct record record;
	struct control *control; /* sending: any thread */
	struct mailbox *mail;	 /* posting: any thread */
	struct qmp *monitor;
	pthread_t monitor_thread;
	bool monitor_running;
	int monitor_stop; /* eventfd */
	struct ram_map ram;
	struct errtext err;
	int guard;
	bool resumed, finished, aborted, control_lost, gone, complete;
	bool missed_events; /* of QEMU's: another process's session, or its monitor was lost */
	bool monitor_lost;  /* in post-copy, after the release: to be opened anew */
	bool ended;	    /* libvirt says that the guest handed over to us has ended */
	uint64_t ram_bytes;

	/* post-copy; NULL and -1 unless the source asked for it */
	pid_t qemu;
	uint64_t qemu_started; /* process.h */
	int uffd, uffd_inside;
	struct owed *owed;
	struct placer *placer;
	struct fault_handler *faults;
	struct histogram latency; /* of fault handlers that have gone */
	uint64_t faults_before;	  /* theirs */
	uint64_t released_us;	  /* CLOCK_MONOTONIC */
	uint64_t completed_us;	  /* the same: the last page had come */
	uint64_t give_up_us;	  /* the same: when the proof is given up */
	bool proof_over;
	struct fault_handler *holes; /* while it goes on */
	pthread_t holes_thread;
	struct wire_complete told;

	/* under the receiver's lock */
	struct destination *destination; /* set once ready; streams wait for it */
	bool ending;
	bool released;	    /* written by the session's thread, under the lock */
	unsigned int users; /* threads of other connections inside */
	struct byte_stream *streams[WIRE_STREAMS_MAX];
	struct pump *tunnels[INCOMING_TUNNELS_MAX];
	unsigned int tunnel_count;
	struct pump *device_stream; /* QEMU's own */
	uint64_t wire_bytes;
	struct link *link;  /* of post-copy, the latest; it outlives its connection */
	unsigned int links; /* so many there were */
	struct byte_stream *fault_streams[INCOMING_LINK_STREAMS_MAX],
		*push_streams[INCOMING_LINK_STREAMS_MAX];
};

/* incoming_monitor.c: QEMU's private monitor. */
/* From now on its events, and its end, are mail. */
int incoming_monitor_watch(struct incoming *in);
void incoming_monitor_unwatch(struct incoming *in);
/* It was lost, or never reached: try once. */
void incoming_monitor_reach_again(struct incoming *in);

/* incoming_stream.c: the streams that carry pages. */
/* Serve one in a slot of its own, once RAM is ready for it, until it ends. fd becomes ours. */
int incoming_stream_serve(struct incoming *in, int fd, unsigned int index,
			  struct byte_stream **slots, unsigned int count,
			  int (*run)(struct incoming *in, unsigned int index,
				     struct byte_stream *stream, struct errtext *err),
			  struct errtext *err);
int incoming_stream_serve_ram(struct incoming *in, int fd, unsigned int index, struct errtext *err);
/* Both under the receiver's lock: shut down those of post-copy's link; are there any? */
void incoming_stream_cut_link(struct incoming *in);
bool incoming_stream_of_link(const struct incoming *in);
/* End all of them, and wait for their threads; nobody can join any more. */
void incoming_stream_end(struct incoming *in);

/* incoming_tunnel.c: what is pumped. fd becomes ours. */
int incoming_tunnel_serve(struct incoming *in, int fd, struct errtext *err);
int incoming_tunnel_serve_device(struct incoming *in, int fd, struct errtext *err);
void incoming_tunnel_cut(struct incoming *in);

/* incoming_settle.c: the guest, as libvirt has it. */
int incoming_settle_look(struct incoming *in, enum domain_state *state);
bool incoming_settle_has_run(enum domain_state state);
bool incoming_settle_has_ended(enum domain_state state);
/* Once it is no longer on its way; DOMAIN_INCOMING if that takes too long. */
enum domain_state incoming_settle(struct incoming *in, uint64_t for_us);
/* Released, then silence: give libvirt's Finish no more chance to arrive, then see what it did. */
bool incoming_settle_arrived(struct incoming *in);

/* incoming_postcopy.c */
int incoming_postcopy_new_handlers(struct incoming *in);
/* For a new set of connections: a fault handler that was stopped stays so. Under the receiver's
 * lock. */
int incoming_postcopy_renew_handler(struct incoming *in, struct errtext *err);
/* LISTEN: the rest may come after the release. The answer has been sent. */
void incoming_postcopy_listen(struct incoming *in, bool prove);
/* The guest may run from now on. */
int incoming_postcopy_begin(struct incoming *in);
/* Every page is here: end all streams, leave nothing in QEMU. */
int incoming_postcopy_end(struct incoming *in);
void incoming_postcopy_release(struct incoming *in);

/* incoming_link.c: post-copy's connections. */
/* A link (control), fault or push connection. */
int incoming_link_serve(struct incoming *in, int fd, bool tell_owed, struct errtext *err);
int incoming_link_serve_fault(struct incoming *in, int fd, unsigned int index, struct errtext *err);
int incoming_link_serve_push(struct incoming *in, int fd, unsigned int index, struct errtext *err);
/* Say COMPLETE, or that the guest has ended, if either is certain; else nothing, and the source
 * comes again. Then close the connection. True: the source has confirmed COMPLETE. No thread may
 * join any more. */
bool incoming_link_tell_end(struct incoming *in);

/* incoming_release.c */
/* RELEASE: the guest may run here. */
void incoming_release(struct incoming *in);
/* It runs. time_us: CLOCK_REALTIME. */
void incoming_release_note_resumed(struct incoming *in, uint64_t time_us);

/* incoming_mail.c */
/* Take one mail, waiting for so long (microseconds); false if none came. */
bool incoming_mail_take(struct incoming *in, uint64_t for_us);

/* incoming_attach.c */
/* Reach QEMU, find its RAM, empty it. */
int incoming_attach(struct incoming *in);

/* incoming_prove.c */
/* The source wants a proof that all memory is as it was, and now is the time for it. */
bool incoming_prove_is_due(const struct incoming *in);
/* One try. It is over when the source has all of the proof, or cannot be given it. */
void incoming_prove(struct incoming *in);

/* incoming_adopt.c */
/* Take up a post-copy that another process began here. in->err says what is wrong. -ENOENT: it is
 * certain that the guest is not here, or no more; -EALREADY: all of its memory is; others: it may
 * work later. */
int incoming_adopt(struct incoming *in);

/* incoming_wait.c */
/* Handle mail until it is decided what becomes of the guest. */
void incoming_wait(struct incoming *in);

/* incoming_end.c */
/* Welcome the guest, or undo all; ret: 0, or why it did not get so far. */
void incoming_end(struct incoming *in, int ret, struct incoming_result *result);
