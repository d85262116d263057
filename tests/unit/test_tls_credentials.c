// SPDX-License-Identifier: Apache-2.0
// The files of a directory: what is refused, in which words, and when they are read anew.
#include "tls_credentials.h"

#include <criterion/criterion.h>
#include <criterion/parameterized.h>
#include <errno.h>
#include "tls_credentials_private.h"
#include "tls_files.h"

TestSuite(tls_credentials, .timeout = 30);

static void damage_none(struct tls_hosts *h)
{
	(void)h;
}

static void damage_no_ca(struct tls_hosts *h)
{
	char path[TLS_PATH];

	snprintf(path, sizeof(path), "%s/ca.crt", h->source);
	unlink(path);
}

static void damage_no_dir(struct tls_hosts *h)
{
	strcat(h->source, "/nowhere");
}

static void damage_ca(struct tls_hosts *h)
{
	tls_files_text(h->source, "ca.crt", 0644, "no certificate\n");
}

static void damage_half_ca(struct tls_hosts *h)
{
	tls_files_text(h->source, "ca.crt", 0644, "-----BEGIN CERTIFICATE-----\nAAAA\n");
}

static void damage_certificate(struct tls_hosts *h)
{
	tls_files_text(h->source, "tls.crt", 0644, "");
}

static void damage_key(struct tls_hosts *h)
{
	tls_files_text(h->source, "tls.key", 0600, "-----BEGIN PRIVATE KEY-----\nAAAA\n");
}

static void damage_open_key(struct tls_hosts *h)
{
	char path[TLS_PATH];

	snprintf(path, sizeof(path), "%s/tls.key", h->source);
	cr_assert_eq(chmod(path, 0640), 0);
}

static void damage_encrypted_key(struct tls_hosts *h)
{
	EVP_PKEY *key = tls_files_key();
	FILE *f = tls_files_open(h->source, "tls.key", 0600);

	PEM_write_PrivateKey(f, key, EVP_aes_128_cbc(), (const uint8_t *)"word", 4, NULL, NULL);
	fclose(f);
	EVP_PKEY_free(key);
}

static void damage_other_key(struct tls_hosts *h)
{
	EVP_PKEY *key = tls_files_key();

	tls_files_put_key(h->source, key);
	EVP_PKEY_free(key);
}

static void damage_expired(struct tls_hosts *h)
{
	const struct tls_issue issue = {"old.example.org", "DNS:old", -2 * DAY_S, -DAY_S};

	X509_free(tls_files_put_host(h->source, &h->ca, &issue));
}

static void damage_early(struct tls_hosts *h)
{
	const struct tls_issue issue = {"new.example.org", "DNS:new", DAY_S, 2 * DAY_S};

	X509_free(tls_files_put_host(h->source, &h->ca, &issue));
}

static void damage_other_ca(struct tls_hosts *h)
{
	struct tls_ca other = tls_files_ca("the other CA");

	tls_files_put_ca(h->source, &other, NULL);
	tls_ca_free(&other);
}

static void damage_revoked(struct tls_hosts *h)
{
	tls_files_put_revoked(h->source, &h->ca, h->source_cert);
}

static void damage_list(struct tls_hosts *h)
{
	tls_files_text(h->source, "crl.pem", 0644, "nobody\n");
}

static void revoke_another(struct tls_hosts *h)
{
	tls_files_put_revoked(h->source, &h->ca, h->destination_cert);
}

/* By number: a test's process may have them elsewhere. */
enum damage {
	DAMAGE_NONE,
	REVOKE_ANOTHER,
	DAMAGE_NO_CA,
	DAMAGE_NO_DIR,
	DAMAGE_CA,
	DAMAGE_HALF_CA,
	DAMAGE_CERTIFICATE,
	DAMAGE_KEY,
	DAMAGE_OPEN_KEY,
	DAMAGE_ENCRYPTED_KEY,
	DAMAGE_OTHER_KEY,
	DAMAGE_EXPIRED,
	DAMAGE_EARLY,
	DAMAGE_OTHER_CA,
	DAMAGE_REVOKED,
	DAMAGE_LIST,
};

static void (*const damages[])(struct tls_hosts *h) = {
	[DAMAGE_NONE] = damage_none,
	[REVOKE_ANOTHER] = revoke_another,
	[DAMAGE_NO_CA] = damage_no_ca,
	[DAMAGE_NO_DIR] = damage_no_dir,
	[DAMAGE_CA] = damage_ca,
	[DAMAGE_HALF_CA] = damage_half_ca,
	[DAMAGE_CERTIFICATE] = damage_certificate,
	[DAMAGE_KEY] = damage_key,
	[DAMAGE_OPEN_KEY] = damage_open_key,
	[DAMAGE_ENCRYPTED_KEY] = damage_encrypted_key,
	[DAMAGE_OTHER_KEY] = damage_other_key,
	[DAMAGE_EXPIRED] = damage_expired,
	[DAMAGE_EARLY] = damage_early,
	[DAMAGE_OTHER_CA] = damage_other_ca,
	[DAMAGE_REVOKED] = damage_revoked,
	[DAMAGE_LIST] = damage_list,
};

struct row {
	enum damage damage;
	int expected;
	char file[16], says[48], too[48];
};

ParameterizedTestParameters(tls_credentials, files)
{
	static struct row rows[] = {
		{DAMAGE_NONE, 0},
		{REVOKE_ANOTHER, 0},
		{DAMAGE_NO_CA, -ENOENT, "ca.crt", "no such file", "dray-pki"},
		{DAMAGE_NO_DIR, -ENOENT, "ca.crt", "--disable-tls", "dray-pki"},
		{DAMAGE_CA, -EBADMSG, "ca.crt", "no CA's certificate", ""},
		{DAMAGE_HALF_CA, -EBADMSG, "ca.crt", "no CA's certificate", ""},
		{DAMAGE_CERTIFICATE, -EBADMSG, "tls.crt", "no certificate", ""},
		{DAMAGE_KEY, -EBADMSG, "tls.key", "no private key", ""},
		{DAMAGE_OPEN_KEY, -EACCES, "tls.key", "others than its owner", "0640"},
		{DAMAGE_ENCRYPTED_KEY, -EBADMSG, "tls.key", "encrypted", ""},
		{DAMAGE_OTHER_KEY, -EBADMSG, "tls.key", "not the key of", "tls.crt"},
		{DAMAGE_EXPIRED, -EKEYREJECTED, "tls.crt", "has expired", "old.example.org"},
		{DAMAGE_EARLY, -EKEYREJECTED, "tls.crt", "not valid yet", "new.example.org"},
		{DAMAGE_OTHER_CA, -EKEYREJECTED, "ca.crt", "not signed", "source.example.org"},
		{DAMAGE_REVOKED, -EKEYREJECTED, "crl.pem", "revoked", "source.example.org"},
		{DAMAGE_LIST, -EBADMSG, "crl.pem", "no CRL", ""},
	};

	return cr_make_param_array(struct row, rows, sizeof(rows) / sizeof(*rows));
}

ParameterizedTest(struct row *row, tls_credentials, files)
{
	struct tls_hosts h;
	struct tls_credentials *c = NULL;
	struct errtext err = {0};

	tls_hosts_open(&h);
	damages[row->damage](&h);
	cr_assert_eq(tls_credentials_new(h.source, &c, &err), row->expected, "%s", err.text);
	cr_assert_eq(err.text[0] != 0, row->expected < 0);
	cr_assert(strstr(err.text, row->file), "%s", err.text);
	cr_assert(strstr(err.text, row->says), "%s", err.text);
	cr_assert(strstr(err.text, row->too), "%s", err.text);
	tls_credentials_destroy(c);
	tls_hosts_close(&h);
}

Test(tls_credentials, are_read_anew_when_they_have_changed)
{
	struct tls_hosts h;
	struct tls_credentials *c = NULL;
	struct errtext err = {0};
	SSL_CTX *one = NULL, *same = NULL, *other = NULL, *kept = NULL;
	char subject[64];
	int64_t until = 0;

	tls_hosts_open(&h);
	cr_assert_eq(tls_credentials_new(h.source, &c, &err), 0, "%s", err.text);
	cr_assert_eq(tls_credentials_current(c, &one, &err), 0);
	cr_assert_eq(tls_credentials_current(c, &same, &err), 0);
	cr_assert_eq(one, same);
	X509_free(tls_files_host(h.source, &h.ca, "rotated.example.org", "DNS:rotated"));
	cr_assert_eq(tls_credentials_current(c, &other, &err), 0, "%s", err.text);
	cr_assert_neq(one, other);
	cr_assert_eq(tls_credentials_describe(c, subject, sizeof(subject), &until, &err), 0);
	cr_assert(strstr(subject, "rotated.example.org"), "%s", subject);
	cr_assert_gt(until, time(NULL));
	damage_other_key(&h);
	cr_assert_eq(tls_credentials_current(c, &kept, &err), -EBADMSG);
	cr_assert_eq(kept, other, "a connection that needs no certificate still can be made");
	cr_assert(strstr(err.text, "tls.key"), "%s", err.text);
	SSL_CTX_free(one);
	SSL_CTX_free(same);
	SSL_CTX_free(other);
	SSL_CTX_free(kept);
	tls_credentials_destroy(c);
	tls_hosts_close(&h);
}
