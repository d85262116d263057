// SPDX-License-Identifier: Apache-2.0
// CAs, and directories of credentials, in a directory of the test's own.
#pragma once

#include <criterion/criterion.h>
#include <fcntl.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include "tls_credentials.h"

#define DAY_S 86400L
#define TLS_PATH 256

struct tls_ca {
	X509 *cert;
	EVP_PKEY *key;
};

struct tls_issue {
	const char *cn, *san; /* san: as openssl.cnf has it; NULL: none */
	long from_s, until_s; /* from now */
};

static inline EVP_PKEY *tls_files_key(void)
{
	EVP_PKEY *key = EVP_EC_gen("P-256");

	cr_assert(key);
	return key;
}

static inline void tls_files_extend(X509 *cert, X509 *issuer, int nid, const char *value)
{
	X509V3_CTX ctx;
	X509_EXTENSION *e;

	X509V3_set_ctx(&ctx, issuer, cert, NULL, NULL, 0);
	e = X509V3_EXT_conf_nid(NULL, &ctx, nid, value);
	cr_assert(e, "%s", value);
	X509_add_ext(cert, e, -1);
	X509_EXTENSION_free(e);
}

static inline X509 *tls_files_certify(const struct tls_issue *issue, EVP_PKEY *key,
				      const struct tls_ca *ca)
{
	static long serial;
	X509 *cert = X509_new();
	X509_NAME *name = X509_get_subject_name(cert);

	X509_set_version(cert, 2);
	ASN1_INTEGER_set(X509_get_serialNumber(cert), ++serial);
	X509_NAME_add_entry_by_txt(name, "CN", MBSTRING_ASC, (const uint8_t *)issue->cn, -1, -1, 0);
	X509_gmtime_adj(X509_getm_notBefore(cert), issue->from_s);
	X509_gmtime_adj(X509_getm_notAfter(cert), issue->until_s);
	X509_set_pubkey(cert, key);
	X509_set_issuer_name(cert, ca ? X509_get_subject_name(ca->cert) : name);
	tls_files_extend(cert, cert, NID_basic_constraints,
			 ca ? "critical,CA:FALSE" : "critical,CA:TRUE");
	if (issue->san)
		tls_files_extend(cert, cert, NID_subject_alt_name, issue->san);
	cr_assert_gt(X509_sign(cert, ca ? ca->key : key, EVP_sha256()), 0);
	return cert;
}

static inline struct tls_ca tls_files_ca(const char *cn)
{
	const struct tls_issue issue = {cn, NULL, -DAY_S, DAY_S};
	struct tls_ca ca = {.key = tls_files_key()};

	ca.cert = tls_files_certify(&issue, ca.key, NULL);
	return ca;
}

static inline FILE *tls_files_open(const char *dir, const char *file, mode_t mode)
{
	char path[TLS_PATH];
	int fd;

	snprintf(path, sizeof(path), "%s/%s", dir, file);
	unlink(path);
	fd = open(path, O_CREAT | O_WRONLY | O_TRUNC | O_CLOEXEC, mode);
	cr_assert_geq(fd, 0, "%s", path);
	return fdopen(fd, "w");
}

static inline void tls_files_text(const char *dir, const char *file, mode_t mode, const char *text)
{
	FILE *f = tls_files_open(dir, file, mode);

	fputs(text, f);
	fclose(f);
}

static inline void tls_files_put_ca(const char *dir, const struct tls_ca *ca,
				    const struct tls_ca *another)
{
	FILE *f = tls_files_open(dir, "ca.crt", 0644);

	PEM_write_X509(f, ca->cert);
	if (another)
		PEM_write_X509(f, another->cert);
	fclose(f);
}

static inline void tls_files_put_key(const char *dir, EVP_PKEY *key)
{
	FILE *f = tls_files_open(dir, "tls.key", 0600);

	PEM_write_PrivateKey(f, key, NULL, NULL, 0, NULL, NULL);
	fclose(f);
}

/* The certificate of a host, with its key; it stays the caller's. */
static inline X509 *tls_files_put_host(const char *dir, const struct tls_ca *ca,
				       const struct tls_issue *issue)
{
	EVP_PKEY *key = tls_files_key();
	X509 *cert = tls_files_certify(issue, key, ca);
	FILE *f = tls_files_open(dir, "tls.crt", 0644);

	PEM_write_X509(f, cert);
	fclose(f);
	tls_files_put_key(dir, key);
	EVP_PKEY_free(key);
	return cert;
}

static inline void tls_files_put_revoked(const char *dir, const struct tls_ca *ca, X509 *revoked)
{
	X509_CRL *crl = X509_CRL_new();
	X509_REVOKED *entry = X509_REVOKED_new();
	ASN1_TIME *now = X509_gmtime_adj(NULL, -1), *later = X509_gmtime_adj(NULL, DAY_S);
	FILE *f = tls_files_open(dir, "crl.pem", 0644);

	X509_CRL_set_version(crl, 1);
	X509_CRL_set_issuer_name(crl, X509_get_subject_name(ca->cert));
	X509_CRL_set1_lastUpdate(crl, now);
	X509_CRL_set1_nextUpdate(crl, later);
	X509_REVOKED_set_serialNumber(entry, X509_get_serialNumber(revoked));
	X509_REVOKED_set_revocationDate(entry, now);
	X509_CRL_add0_revoked(crl, entry);
	cr_assert_gt(X509_CRL_sign(crl, ca->key, EVP_sha256()), 0);
	PEM_write_X509_CRL(f, crl);
	fclose(f);
	X509_CRL_free(crl);
	ASN1_TIME_free(now);
	ASN1_TIME_free(later);
}

/* A directory of a host whose certificate is good for today. */
static inline X509 *tls_files_host(const char *dir, const struct tls_ca *ca, const char *cn,
				   const char *san)
{
	const struct tls_issue issue = {cn, san, -DAY_S, DAY_S};

	mkdir(dir, 0700);
	tls_files_put_ca(dir, ca, NULL);
	return tls_files_put_host(dir, ca, &issue);
}

static inline void tls_files_remove(const char *root)
{
	char command[TLS_PATH + 16];

	snprintf(command, sizeof(command), "rm -rf '%s'", root);
	cr_assert_eq(system(command), 0);
}

/* Two hosts of one CA, "source" and "destination", in a directory of the test's own. */
struct tls_hosts {
	char root[64], source[80], destination[80];
	struct tls_ca ca;
	X509 *source_cert, *destination_cert;
};

static inline void tls_hosts_open(struct tls_hosts *h)
{
	strcpy(h->root, "/tmp/dray-tls.XXXXXX");
	cr_assert(mkdtemp(h->root));
	snprintf(h->source, sizeof(h->source), "%s/source", h->root);
	snprintf(h->destination, sizeof(h->destination), "%s/destination", h->root);
	h->ca = tls_files_ca("the CA");
	h->source_cert = tls_files_host(h->source, &h->ca, "source.example.org",
					"DNS:source.example.org,IP:192.0.2.1");
	h->destination_cert =
		tls_files_host(h->destination, &h->ca, "destination.example.org",
			       "DNS:destination.example.org,IP:192.0.2.2,IP:127.0.0.1");
}

static inline void tls_ca_free(struct tls_ca *ca)
{
	X509_free(ca->cert);
	EVP_PKEY_free(ca->key);
}

static inline void tls_hosts_close(struct tls_hosts *h)
{
	X509_free(h->source_cert);
	X509_free(h->destination_cert);
	tls_ca_free(&h->ca);
	tls_files_remove(h->root);
}
