// SPDX-License-Identifier: Apache-2.0
// What the incoming_*.c files share.
#pragma once

#include <pthread.h>
#include "control.h"
#include "destination.h"
#include "guest_dir.h"
#include "incoming.h"
#include "mailbox.h"
#include "pump.h"
#include "qmp.h"
#include "slot.h"

#define INCOMING_TUNNELS_MAX 4
#define ANSWER_MS 10000

struct receiver {
	/* constant after init */
	const char *libvirt_socket;
	unsigned int max_inbound;

	pthread_mutex_t lock;
	pthread_cond_t changed;
	/* under lock */
	struct incoming *sessions; /* list */
};

struct incoming {
	/* constant after init */
	struct receiver *receiver;
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
	bool resumed, finished, aborted, control_lost, gone;
	uint64_t ram_bytes;

	/* under the receiver's lock */
	struct destination *destination; /* set once ready; streams wait for it */
	bool ending;
	bool released;	    /* written by the session's thread, under the lock */
	unsigned int users; /* threads of other connections inside */
	struct byte_stream *streams[WIRE_STREAMS_MAX];
	struct pump *tunnels[INCOMING_TUNNELS_MAX];
	unsigned int tunnel_count;
	struct pump *relay;
	uint64_t wire_bytes;
};

/* incoming_attach.c: reach QEMU, find its RAM, empty it; the monitor's thread. */
int incoming_attach(struct incoming *in);
void incoming_detach(struct incoming *in);
/* incoming.c */
/* Take one mail, waiting until the deadline; false if none came. */
bool incoming_take(struct incoming *in, uint64_t deadline_us);
