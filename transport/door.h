// SPDX-License-Identifier: Apache-2.0
// The door of a receiver: the first words on every connection, both halves of them.
//
// The source asks (hello: what the connection is for, what it speaks), the destination answers.
// Whatever else has to be settled before a connection carries anything is settled here, and nowhere
// else: a connection that has passed the door is a line on both sides, and the terms.
//
// With TLS (tls.h) the hello goes through it already. Who may come in by what:
//
//   certificates       control, recover, link (after a restart)
//   session's secret   all but control and recover, each in its own session only
//
// A control connection, and a link that came by certificates, make the session's secret. Two sides
// of which one has TLS and the other has not find out by the first bytes, and both say so.
//
// Any thread. 0 or a negative errno with a text.
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include "errtext.h"
#include "line.h"
#include "socket.h"
#include "wire.h"

/* Which host it is, whatever its address; zeroes: not known yet. */
struct door_host {
	uint8_t uuid[WIRE_UUID_SIZE];	 /* of its libvirt */
	uint8_t boot_id[WIRE_UUID_SIZE]; /* another one each time the host starts */
};

/* The source's side of TLS: its credentials, and the secret of its session. */
struct door_tls;

/* dir is copied; its files are read. As tls_credentials_new. */
int door_tls_new(const char *dir, struct door_tls **out, struct errtext *err);
void door_tls_destroy(struct door_tls *t); /* NULL is fine */

/* Where the receiver is and how to reach it; constant during a migration. */
struct peer {
	char host[SOCKET_HOST_SIZE];
	uint16_t port;
	struct socket_options socket;
	uint8_t session[WIRE_SESSION_SIZE];
	struct door_host who; /* once it has said so: no other one will do */
	int timeout_ms;	      /* for connecting, for the hello and for its answer: each */
	struct door_tls *tls; /* NULL: plain. Has a lock of its own */
};

/* What holds on a connection from then on. */
struct door_terms {
	uint16_t version;      /* of the protocol */
	uint64_t features;     /* those that both sides know */
	struct door_host host; /* the destination */
	bool tls;
	bool by_certificate;	     /* ... and not by the session's secret */
	char peer[TLS_SUBJECT_SIZE]; /* of its certificate; "" without one */
	struct tls_secret secret;    /* of the session, from now on; none without TLS */
};

/* How the destination lets in. */
struct door_keeper {
	struct door_host self;
	struct tls_credentials *credentials; /* NULL: plain */
	/* SANs or CNs, see tls_peer_matches, of which a source must have one; none: any will do
	 * that a CA of ours has signed. */
	const char *const *allow;
	unsigned int allow_count;
	/* The secret of a session under way. Any thread. */
	bool (*find)(void *opaque, const uint8_t session[WIRE_SESSION_SIZE], const uint8_t id[8],
		     struct tls_secret *out);
	/* May it come in? The terms are what is known of it, and may be given another host than
	 * `self`, for which we answer. Negative: no, and why. May be NULL. */
	int (*admit)(void *opaque, const struct wire_hello *hello, struct door_terms *terms,
		     struct errtext *why);
	void *opaque;
};

/* Connect to the receiver and ask. *line is the caller's; terms may be NULL. -EPROTO if the
 * receiver refuses, or is none: the text says why and what to do. -EKEYREJECTED: it is not who it
 * should be. -EXDEV: it is another host than peer->who, as when an address has moved; -EOWNERDEAD:
 * it is that host, started again since, so that nothing of the session can be there any more. */
int door_dial(const struct peer *peer, enum wire_kind kind, unsigned int index, struct line *line,
	      struct door_terms *terms, struct errtext *err);
/* The source's half, on a connection that there is already; *line stays the caller's. */
int door_ask(struct line *line, const struct peer *peer, enum wire_kind kind, unsigned int index,
	     struct door_terms *terms, struct errtext *err);
/* The destination's half: wait for a hello and answer it, in timeout_ms at most for all of it; who
 * is turned away may take a second more to hear why. -EPROTO and the
 * like: it was refused, and told why. *line, a plain one, stays the caller's. */
int door_answer(struct line *line, int timeout_ms, const struct door_keeper *keeper,
		struct wire_hello *hello, struct door_terms *terms, struct errtext *err);
