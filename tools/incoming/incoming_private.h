// SPDX-License-Identifier: Apache-2.0
// What the incoming_*.c files share.
#pragma once

#include "control.h"
#include "errtext.h"
#include "host.h"
#include "incoming.h"
#include "incoming_arrival.h"
#include "incoming_joined.h"
#include "incoming_link.h"
#include "incoming_live.h"
#include "incoming_monitor.h"
#include "incoming_place.h"
#include "incoming_postcopy.h"
#include "incoming_prove.h"
#include "incoming_state.h"
#include "incoming_world.h"
#include "mailbox.h"
#include "ram_map.h"
#include "receiver.h"

#define INCOMING_MONITOR_MS 10000 /* for an answer of QEMU's */

/* Each part is declared, made, fed and given back by the file of its name. */
struct incoming {
	/* constant after init */
	struct receiver *receiver;
	const struct incoming_world *world; /* the receiver's */
	uint8_t session[WIRE_SESSION_SIZE];
	uint64_t features;	     /* WIRE_FEATURE_..., that the source knows, too */
	char peer[TLS_SUBJECT_SIZE]; /* the source's certificate's subject; "" without TLS */
	struct incoming *next;	     /* under the receiver's lock */

	/* private to the session's thread, which is its control connection's */
	enum incoming_state state;
	struct wire_prepare prepare;
	char uuid[37];
	struct errtext err;  /* what came in the way first */
	enum wire_abort why; /* ... in a word, for the source */
	struct host *host;
	struct control *control; /* sending: any thread. NULL: another process had it */
	struct mailbox *mail;	 /* posting: any thread */
	struct ram_map ram;	 /* QEMU's; empty until it is attached */
	bool source_lost;	 /* the control connection has broken */
	struct incoming_place place;
	struct incoming_monitor monitor;
	struct incoming_arrival arrival;
	struct incoming_postcopy postcopy;
	struct incoming_proof proof;
	struct incoming_live live;

	/* under the receiver's lock */
	struct incoming_joined joined;
};

/* incoming_move.c: the only ways to another state. */
void incoming_move(struct incoming *in, enum incoming_state to);
/* Where the cause leads, if anywhere. */
void incoming_move_after(struct incoming *in, enum incoming_cause cause);

/* incoming_stream.c: the streams that carry pages. */
/* Serve a stream in slot `index` of `count`, as soon as guest RAM is ready, until it ends. By the
 * connection's thread; the line becomes ours. */
int incoming_stream_serve(struct incoming *in, struct line line, unsigned int index,
			  struct byte_stream **slots, unsigned int count,
			  int (*run)(struct incoming *in, unsigned int index,
				     struct byte_stream *stream, struct errtext *err),
			  struct errtext *err);
int incoming_stream_serve_ram(struct incoming *in, struct line line, unsigned int index,
			      struct errtext *err);
/* Under the receiver's lock: shut down all RAM streams, all page streams; is there a page stream?
 */
void incoming_stream_cut_ram(struct incoming *in);
void incoming_stream_cut_pages(struct incoming *in);
bool incoming_stream_has_pages(const struct incoming *in);
/* The same: bytes over all of them, also those that have ended. */
uint64_t incoming_stream_bytes(const struct incoming *in);

/* incoming_tunnel.c: what is pumped, libvirt's calls and QEMU's stream. the line becomes ours. */
int incoming_tunnel_serve(struct incoming *in, struct line line, struct errtext *err);
int incoming_tunnel_serve_qemu_stream(struct incoming *in, struct line line, struct errtext *err);

/* incoming_settle.c: the guest, as this host's libvirt has it. *state is set if 0 is returned. */
int incoming_settle_look(struct incoming *in, enum domain_state *state);
bool incoming_settle_has_run(enum domain_state state);
bool incoming_settle_has_ended(enum domain_state state);
/* The state, once it is no longer one that passes; DOMAIN_INCOMING if that takes longer than for_us
 * (microseconds), or libvirt does not answer. */
enum domain_state incoming_settle(struct incoming *in, uint64_t for_us);
/* Cut the tunnels, so that libvirt's Finish either has come through or never will; then: does the
 * guest live here? */
bool incoming_settle_arrived(struct incoming *in);

/* incoming_release.c: the hand-over, and what is seen of it. */
/* RELEASE: the guest may run here. */
void incoming_release(struct incoming *in);
/* The guest has run here. time_us: since when, CLOCK_REALTIME. May be called again. */
void incoming_release_note_resumed(struct incoming *in, uint64_t time_us);
/* Post-copy: nothing is owed any more. */
void incoming_release_note_complete(struct incoming *in);

/* incoming_mail.c */
/* Take one mail, waiting for so long (microseconds); false if none came. */
bool incoming_mail_take(struct incoming *in, uint64_t for_us);

/* incoming_lacking.c */
/* There is no memory for a page; text says where. It may be called again and again. */
void incoming_lacking(struct incoming *in, const char *text);
/* The source has lost part of the guest's memory, and has said so. */
void incoming_lacking_for_good(struct incoming *in, const char *why);

/* incoming_prepare.c */
/* From PREPARE to PREPARED: wait for a turn, take the guest's directory. the line becomes ours. */
int incoming_prepare(struct incoming *in, struct line line);

/* incoming_backing.c */
/* Is there memory for the guest? How can that of a strained one be had here? The source is told, if
 * it wants to know. As control_send, or -ENOSPC with a text: the guest is refused. */
int incoming_backing_tell(struct incoming *in);

/* incoming_attach.c */
/* Reach QEMU, find its RAM, empty it. */
int incoming_attach(struct incoming *in);

/* incoming_adopt.c */
/* Of record_find: is this the record of the session with this number, a text? */
bool incoming_is_of_session(const struct record *r, const void *session);
/* Take up a post-copy that another process began here. in->err says what is wrong. -ENOENT: it is
 * certain that the guest is not here, or no more; -EALREADY: all of its memory has come; others: it
 * may work later. */
int incoming_adopt(struct incoming *in);

/* incoming_wait.c */
/* Take mail, and look, until it is decided what becomes of the guest. */
void incoming_wait(struct incoming *in);

/* incoming_end.c */
/* What was decided is done: welcome the guest, or undo all. */
void incoming_end(struct incoming *in, struct incoming_result *result);
