// SPDX-License-Identifier: Apache-2.0
// What this host shows to others, and whom it believes: the files of a directory.
//
//   ca.crt    the certificates of those whose signature is believed, PEM
//   tls.crt   this host's certificate, and those between it and ca.crt if there are any
//   tls.key   its private key, not encrypted, which nobody but its owner may read
//   crl.pem   certificates that were revoked; may be missing
//
// They are read again as soon as one of them has changed, so that rotation needs no restart. A host
// whose own certificate others would refuse is told so here, before anything is begun.
//
// Any thread. 0 or a negative errno with a text that names the file.
#pragma once

#include <stddef.h>
#include <stdint.h>
#include "errtext.h"

#define TLS_CREDENTIALS_DIR "/etc/pki/dray"

struct tls_credentials;

/* -ENOENT: there are none; -EACCES: a file cannot be read, or too many can read it; -EBADMSG: what
 * a file holds is malformed or does not fit the others; -EKEYREJECTED: the certificate is no good
 * (any more). */
int tls_credentials_new(const char *dir, struct tls_credentials **out, struct errtext *err);
void tls_credentials_destroy(struct tls_credentials *c); /* NULL is fine */
/* The directory; as long as c. */
const char *tls_credentials_dir(const struct tls_credentials *c);
/* This host's certificate as it is now: its subject, printable, cut if there is no room for it, and
 * until when it is good (seconds since 1970, UTC). Negative errno as for tls_credentials_new. */
int tls_credentials_describe(struct tls_credentials *c, char *subject, size_t size, int64_t *until,
			     struct errtext *err);
