// SPDX-License-Identifier: Apache-2.0
// TLS 1.3 under a connection: the handshake, and bytes through it.
//
// A migration's first connection, the control connection, shows certificates, both sides'. All
// others of its session prove instead that they know a *secret*, which both sides have taken from
// the first one's exporter (RFC 8446, 7.5). So a connection belongs to its session, and to that
// session's peer, by cryptography; whoever only knows the session's number has nothing.
//
//   control (or recover, or post-copy's link after a restart)     all others of the session
//      certificates, ECDHE  ->  exporter("dray session", number)  ->  external PSK + ECDHE
//
// The secret is used as RFC 9257 and RFC 9258 want it: 256 random bits, for one hash (SHA-256), for
// this protocol and no other, by two parties only whose roles cannot be swapped (only the
// destination listens). The exporter's label and context (the session's number) do what an
// importer's would; OpenSSL's own binder label stands. Each connection has an ECDHE of its own, so
// that who learns the secret later reads nothing. Where a secret is not known (any more) the
// handshake goes on with certificates, and whoever called looks at tls_by_secret.
//
// Layers: door.c decides who may come in, tls_handshake.c does what OpenSSL has for it, tls.c moves
// bytes, line.h hides whether there is TLS at all, and tls_stream.c puts it under memory's streams.
// OpenSSL is kept to these files, and moves no byte by itself: what it wants to read or write goes
// by tls_io, a socket that is not waited for by default.
//
// A connection ends with close_notify; one that only breaks off is -ECONNRESET, never an end.
// Before a key has protected 2^24 records (AES-GCM's limit is 2^24.5) a new one is agreed on, which
// OpenSSL does not do by itself. No session tickets: nobody resumes by them, and a peer that never
// reads them loses what it sent last when it closes.
//
// A lock inside: reading and writing may be done by two threads, each of them by one at a time.
#pragma once

#include <poll.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>
#include "errtext.h"

#define TLS_SUBJECT_SIZE 256
#define TLS_RECORD_MAX 16384 /* bytes of payload */
/* ... and what a record adds to them at most. */
#define TLS_RECORD_OVERHEAD 64
#define TLS_SESSION_SIZE 16

struct tls;
struct tls_credentials;

/* What the connections of a session have in common. */
struct tls_secret {
	uint8_t session[TLS_SESSION_SIZE];
	uint8_t id[8];	 /* which of the session's secrets: not secret */
	uint8_t key[32]; /* all zero: there is none */
};

bool tls_secret_is_set(const struct tls_secret *s);

/* Bytes as the socket has them. Each returns how many, or a negative errno: -EAGAIN, and it is
 * asked again. A read of 0 is the end. */
struct tls_io {
	ssize_t (*read)(void *opaque, void *buf, size_t n);
	ssize_t (*write)(void *opaque, const void *buf, size_t n);
};

struct tls_connect_options {
	struct tls_credentials *credentials;
	const char *name; /* of whom we want to reach, or its address: its certificate has it */
	const struct tls_secret *secret; /* offered; NULL: none */
	int timeout_ms;
};

struct tls_accept_options {
	struct tls_credentials *credentials;
	/* The secret of a session with this id. False: not known. May be NULL. */
	bool (*find)(void *opaque, const uint8_t session[TLS_SESSION_SIZE], const uint8_t id[8],
		     struct tls_secret *out);
	void *opaque;
	int timeout_ms;
};

/* The two halves of the handshake, on a connected socket, which stays the caller's. -EKEYREJECTED:
 * the peer's certificate was refused; -EPROTO: it refuses ours, or does not speak TLS 1.3;
 * -EPROTOTYPE: it speaks dray without TLS. The text is complete. */
int tls_connect(int fd, const struct tls_connect_options *options, struct tls **out,
		struct errtext *err);
int tls_accept(int fd, const struct tls_accept_options *options, struct tls **out,
	       struct errtext *err);
/* Does not close the socket, nor say close_notify. NULL is fine. */
void tls_destroy(struct tls *t);

/* Was the peer believed for a session's secret, rather than a certificate? Then this is it. */
bool tls_by_secret(const struct tls *t, struct tls_secret *secret);
/* The subject of the peer's certificate, printable; "" without one. */
const char *tls_peer(const struct tls *t);
/* Has the peer's certificate this name: as SAN or, if it is not an address, CN; `*` is any first
 * label (*.example.org), or anything if it is all. */
bool tls_peer_matches(const struct tls *t, const char *pattern);
/* The secret of a session that begins with this connection. */
int tls_export(struct tls *t, const uint8_t session[TLS_SESSION_SIZE], struct tls_secret *out);

/* As many bytes as there are, or go, at once. tls_read: 0 after close_notify. -EAGAIN: see
 * tls_wants. -ECONNRESET: cut off; -EPROTO: see tls_why. */
ssize_t tls_read(struct tls *t, void *buf, size_t len);
ssize_t tls_write(struct tls *t, const void *buf, size_t len);
/* Say that nothing more will be written. -EAGAIN: not said yet. */
int tls_end(struct tls *t);
/* Has it bytes that poll(2) does not know of? */
bool tls_has_pending(struct tls *t);
/* POLLIN or POLLOUT: what the call that returned -EAGAIN waits for. */
short tls_wants(const struct tls *t);
/* What went wrong, "" if nothing did; as long as t. */
const char *tls_why(const struct tls *t);
/* The cipher, in its standard's words. */
const char *tls_cipher(const struct tls *t);

/* From now on bytes go this way, and many at once. Between records only. */
void tls_set_io(struct tls *t, const struct tls_io *io, void *opaque, size_t read_ahead);
/* After so many records a new key, rather than 2^24. */
void tls_set_record_limit(struct tls *t, uint64_t records);
/* So often has our key been changed. */
uint64_t tls_key_updates(const struct tls *t);
