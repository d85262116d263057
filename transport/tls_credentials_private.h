// SPDX-License-Identifier: Apache-2.0
// What the tls*.c files share; nobody else sees OpenSSL.
#pragma once

#include <openssl/ssl.h>
#include "tls.h"
#include "tls_credentials.h"

#define TLS_CONTEXT_NAME "dray" /* of sessions, for OpenSSL */

/* What holds now: *ctx is the caller's, to SSL_CTX_free. If the files are no good any more it is
 * what held before, for connections that need no certificate, and the return is negative. */
int tls_credentials_current(struct tls_credentials *c, SSL_CTX **ctx, struct errtext *err);

/* tls_certificate.c */
/* The subject of a certificate, printable. */
void tls_certificate_subject(const X509 *cert, char out[TLS_SUBJECT_SIZE]);
/* Why it was refused, after X509_verify_cert: names the subject, the reason and the file of dir
 * that says so. `name`: whom we wanted to reach, or NULL. whose: "this host's", "the
 * destination's", ... */
void tls_certificate_explain(X509_STORE_CTX *check, const char *whose, const char *dir,
			     const char *name, struct errtext *err);
/* Has it this SAN or CN? See tls_peer_matches. */
bool tls_certificate_matches(const X509 *cert, const char *pattern);
/* The first error that OpenSSL has noted for this thread, in words; and forgets all of them. */
void tls_certificate_last_error(char *out, size_t size);
