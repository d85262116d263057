// SPDX-License-Identifier: Apache-2.0
// One connection's TLS, as tls.c and tls_handshake.c see it.
#pragma once

#include <pthread.h>
#include "tls_credentials_private.h"

struct tls {
	/* constant after the handshake */
	int fd;
	SSL *ssl;
	BIO_METHOD *method;
	struct tls_credentials *credentials;
	const char *name, *whose;		 /* for texts; name: during the handshake only */
	char subject[TLS_SUBJECT_SIZE];		 /* of the peer's certificate */
	const struct tls_accept_options *accept; /* during the handshake only */
	struct tls_secret secret; /* what the connection stands on; or what is offered */
	uint8_t identity[32];	  /* how that is named in the handshake */
	bool by_secret;
	struct errtext stale; /* why no certificate can be shown */

	pthread_mutex_t lock;
	/* under lock */
	const struct tls_io *io;
	void *opaque;
	int io_error;
	bool at_end;
	uint8_t first[4]; /* bytes that came */
	unsigned int first_count;
	uint64_t records, record_limit, key_updates;
	struct errtext why;

	_Atomic short wants; /* relaxed: whoever got -EAGAIN asks */
};

/* tls.c: without a handshake yet. ctx is borrowed. */
int tls_new(int fd, SSL_CTX *ctx, struct tls **out);
/* What came of a call of OpenSSL's: 0 at the end, -EAGAIN, or an error, which is noted. */
int tls_fail(struct tls *t, int returned);
