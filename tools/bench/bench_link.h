// SPDX-License-Identifier: Apache-2.0
// The connections of a bench: one on which both ends speak JSON, and streams of memory.
//
// An object is preceded by its length, four bytes, least first. A stream begins with the token that
// the listener has given out, so that nobody else's connection is taken for one. With TLS every
// connection shows certificates.
//
// 0 or a negative errno with a text; one thread at a time.
#pragma once

#include <json-c/json.h>
#include <stdint.h>
#include "bench_options.h"
#include "byte_stream.h"
#include "errtext.h"
#include "line.h"
#include "socket.h"

#define BENCH_PORT 7471
#define BENCH_TOKEN_SIZE 16

struct tls_credentials;

/* Whom to connect to. */
struct bench_link {
	char host[SOCKET_HOST_SIZE];
	uint16_t port;
	struct tls_credentials *credentials; /* NULL: plain; borrowed */
	uint8_t token[BENCH_TOKEN_SIZE];
};

int bench_link_dial(const struct bench_link *l, struct line *out, struct errtext *err);
int bench_link_accept(int listener, struct tls_credentials *credentials, struct line *out,
		      struct errtext *err);

/* Takes o. */
int bench_link_say(struct line line, json_object *o, struct errtext *err);
/* The peer's next word; the caller's. One that says "error" is -EREMOTEIO, with its text. */
int bench_link_hear(struct line line, json_object **out, struct errtext *err);

/* A stream to the listener, and all of them; from the other end. */
int bench_link_open_streams(const struct bench_link *l, unsigned int count,
			    struct byte_stream **streams, struct errtext *err);
int bench_link_accept_streams(int listener, struct tls_credentials *credentials,
			      const uint8_t token[BENCH_TOKEN_SIZE], unsigned int count,
			      struct byte_stream **streams, struct errtext *err);
/* Those that are not NULL; they are NULL then. */
void bench_link_close_streams(unsigned int count, struct byte_stream **streams);
