// SPDX-License-Identifier: Apache-2.0
// What a session shares with the threads of its other connections: all of it is under the
// receiver's lock, and changes of it are told by the receiver's `changed`.
//
// Those threads know nothing else of the session but what is constant. Its own thread opens the
// door to guest RAM when that is mapped, lets QEMU's stream flow at the release, and at the end
// turns everybody out.
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include "byte_stream.h"
#include "destination.h"
#include "pump.h"
#include "tls.h"
#include "wire.h"

#define INCOMING_TUNNELS_MAX 4
#define INCOMING_PAGE_STREAMS_MAX 16 /* of each kind */

struct incoming;
struct incoming_link;
struct tunnel_filter;

/* libvirt's calls: from the source, and from there on to the daemon. */
struct incoming_tunnel {
	struct pump *pump;
	struct tunnel_filter *filter;
};

struct incoming_joined {
	struct destination *destination; /* NULL: streams wait for it */
	bool released;			 /* QEMU's stream may flow, and pushed pages be placed */
	bool ending;			 /* nobody may join any more */
	struct tls_secret secret;	 /* what other connections of it know; TLS only */
	unsigned int users;		 /* threads of other connections inside */
	uint64_t wire_bytes;		 /* over streams that have ended */

	/* A slot is set while its stream's thread is inside. */
	struct byte_stream *ram_streams[WIRE_STREAMS_MAX];
	struct byte_stream *fault_streams[INCOMING_PAGE_STREAMS_MAX];
	struct byte_stream *push_streams[INCOMING_PAGE_STREAMS_MAX];

	struct incoming_tunnel tunnels[INCOMING_TUNNELS_MAX];
	unsigned int tunnel_count;
	bool prepared;		  /* libvirt may be called */
	bool tunnels_cut;	  /* ... no more */
	struct pump *qemu_stream; /* held until the release */

	struct incoming_link *link; /* post-copy's latest; it outlives its connection */
	unsigned int links;	    /* there have been so many */
};

/* All of these: the session's thread, without the lock. */

/* The session has its directory, and its source may call libvirt. */
void incoming_joined_prepare(struct incoming *in);
/* Guest RAM is ready. The destination becomes ours. */
void incoming_joined_open(struct incoming *in, struct destination *destination);
/* The guest may run. */
void incoming_joined_release(struct incoming *in);
/* Libvirt's calls come through no more; it ends the QEMU that it was to start for them. */
void incoming_joined_cut_tunnels(struct incoming *in);
/* The source's libvirt has asked the daemon here to start a QEMU. */
bool incoming_joined_has_called(struct incoming *in);
/* The daemon here has closed them: it heeds no Finish any more. */
bool incoming_joined_lost_tunnels(struct incoming *in);
/* What QEMU's stream still holds is lost. After incoming_joined_end. */
void incoming_joined_stop_qemu_stream(struct incoming *in);
/* End all streams, and wait until no other thread is inside; nobody can join any more. */
void incoming_joined_end(struct incoming *in);
/* After that: let go of guest RAM. */
void incoming_joined_close(struct incoming *in);
/* By the thread of a connection: others join by this secret from now on, if it is one. */
void incoming_joined_renew_secret(struct incoming *in, const struct tls_secret *secret);
/* Free what is left. */
void incoming_joined_destroy(struct incoming *in);
