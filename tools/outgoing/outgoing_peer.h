// SPDX-License-Identifier: Apache-2.0
// The destination: the way to it, the control channel, and what it has said of itself. Driving
// thread only.
#pragma once

#include <stdbool.h>
#include "control.h"
#include "door.h"
#include "pacer.h"
#include "wire.h"
#include "wire_cost.h"

struct mail;
struct outgoing;
struct wire_message;

struct outgoing_peer {
	struct peer at;
	struct pacer *pacer;	/* of all that is sent there */
	struct wire_cost *cost; /* NULL until connected, as is control */
	struct control *control;
	/* what it has said */
	uint64_t features;    /* WIRE_FEATURE_..., of those that we know */
	bool no_shared_files; /* BACKING: no room for the guest's memory in files, and why */
	char backing[WIRE_TEXT_MAX + 1];
	bool accepted; /* PREPARED: the guest may come, with these paths */
	char monitor_path[WIRE_TEXT_MAX + 1], stream_path[WIRE_TEXT_MAX + 1];
	bool ready;    /* READY: it is attached to the guest's QEMU there */
	bool released; /* it has let QEMU's stream go: the guest may run there */
	bool refused;  /* it has given up without that, and never will */
	bool declined; /* it will not have this guest, and has undone all */
	bool finished; /* it has tidied up */
	bool lost;     /* the control channel; it says nothing any more */
	bool told;     /* that the migration is over: ABORT */
};

/* A new session, and the pacer. -ENOMEM and the like. */
int outgoing_peer_init(struct outgoing *o);
/* Where the destination is, of the options, and what we show it. Negative errno; the text is set.
 */
int outgoing_peer_parse(struct outgoing *o);
/* Dial, see that it is another host, and open the control channel with PREPARE. The same. */
int outgoing_peer_connect(struct outgoing *o);
/* Send a message without a body: as control_send. */
int outgoing_peer_send(struct outgoing *o, enum wire_type type);
/* Tell it, once, that the migration is over and why, so that it undoes its half at the same time.
 * Nothing happens without a connection. */
void outgoing_peer_abort(struct outgoing *o);
void outgoing_peer_hang_up(struct outgoing *o);
/* After all that sends by its pacer. */
void outgoing_peer_release(struct outgoing *o);

/* It has tidied up, as we know from elsewhere. */
void outgoing_peer_note_finished(struct outgoing *o);

/* MAIL_CONTROL_LOST */
void outgoing_peer_take_lost(struct outgoing *o, struct mail *mail);
/* BACKING, PREPARED, READY, RELEASED, FINISHED, ABORT */
void outgoing_peer_take_backing(struct outgoing *o, struct wire_message *m);
void outgoing_peer_take_prepared(struct outgoing *o, struct wire_message *m);
void outgoing_peer_take_ready(struct outgoing *o, struct wire_message *m);
void outgoing_peer_take_released(struct outgoing *o, struct wire_message *m);
void outgoing_peer_take_finished(struct outgoing *o, struct wire_message *m);
void outgoing_peer_take_abort(struct outgoing *o, struct wire_message *m);
