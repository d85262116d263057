// SPDX-License-Identifier: Apache-2.0
// What a stranger sends instead of TLS's first bytes, or of a session's: nobody is let in by it.
//
// An input cannot know this side's random numbers, so it never finishes a handshake: all of this is
// what the port has to bear before it knows anybody.
#include <fcntl.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include "cleanup.h"
#include "tls.h"
#include "tls_credentials.h"

#define DAY_S 86400L
#define INPUT_MAX 65536 /* what a socket takes at once, in any case */

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static char dir[256];

static FILE *create(const char *name, char path[512])
{
	int fd;

	snprintf(path, 512, "%s/%s", dir, name);
	fd = open(path, O_CREAT | O_WRONLY | O_CLOEXEC, 0600);
	return fd < 0 ? NULL : fdopen(fd, "w");
}

static void put(const char *name, X509 *cert, EVP_PKEY *key)
{
	char path[512];
	_cleanup_fclose_ FILE *f = create(name, path);

	if (!f || (cert ? PEM_write_X509(f, cert)
			: PEM_write_PrivateKey(f, key, NULL, NULL, 0, NULL, NULL)) != 1)
		abort();
}

static void remove_all(void)
{
	static const char *const names[] = {"ca.crt", "tls.crt", "tls.key"};
	char path[512];

	for (size_t i = 0; i < sizeof(names) / sizeof(*names); i++) {
		snprintf(path, sizeof(path), "%s/%s", dir, names[i]);
		unlink(path);
	}
	rmdir(dir);
}

/* Its own CA. */
static X509 *certify(EVP_PKEY *key)
{
	X509 *cert = X509_new();
	X509_NAME *name = X509_get_subject_name(cert);

	X509_set_version(cert, 2);
	ASN1_INTEGER_set(X509_get_serialNumber(cert), 1);
	X509_NAME_add_entry_by_txt(name, "CN", MBSTRING_ASC, (const uint8_t *)"fuzz", -1, -1, 0);
	X509_set_issuer_name(cert, name);
	X509_gmtime_adj(X509_getm_notBefore(cert), -DAY_S);
	X509_gmtime_adj(X509_getm_notAfter(cert), DAY_S);
	X509_set_pubkey(cert, key);
	if (X509_sign(cert, key, EVP_sha256()) <= 0)
		abort();
	return cert;
}

static struct tls_credentials *make_credentials(void)
{
	const char *parent = getenv("TMPDIR");
	EVP_PKEY *key = EVP_EC_gen("P-256");
	X509 *cert = certify(key);
	struct tls_credentials *credentials;
	struct errtext err = {0};

	snprintf(dir, sizeof(dir), "%s/dray-fuzz.XXXXXX", parent ? parent : "/tmp");
	if (!mkdtemp(dir))
		abort();
	atexit(remove_all);
	put("ca.crt", cert, NULL);
	put("tls.crt", cert, NULL);
	put("tls.key", NULL, key);
	X509_free(cert);
	EVP_PKEY_free(key);
	if (tls_credentials_new(dir, &credentials, &err) < 0) {
		fprintf(stderr, "%s\n", err.text);
		abort();
	}
	return credentials;
}

/* Every other session is known. */
static bool find(void *opaque, const uint8_t session[TLS_SESSION_SIZE], const uint8_t id[8],
		 struct tls_secret *out)
{
	(void)opaque;
	*out = (struct tls_secret){.key = {1}};
	memcpy(out->session, session, sizeof(out->session));
	memcpy(out->id, id, sizeof(out->id));
	return session[0] & 1;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct tls_credentials *credentials;
	struct tls_accept_options options = {.find = find, .timeout_ms = 10000};
	struct errtext err = {0};
	struct tls *tls = NULL;
	int ends[2];

	if (!credentials)
		credentials = make_credentials();
	options.credentials = credentials;
	if (size > INPUT_MAX || socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) < 0)
		return 0;
	if (send(ends[0], data, size, MSG_DONTWAIT) == (ssize_t)size) {
		shutdown(ends[0], SHUT_WR);
		if (tls_accept(ends[1], &options, &tls, &err) == 0 || !err.text[0])
			abort();
	}
	close(ends[0]);
	close(ends[1]);
	return 0;
}
