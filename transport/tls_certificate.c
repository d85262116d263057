// SPDX-License-Identifier: Apache-2.0
// Certificates in words: whose they are, and why one was refused.
#include <arpa/inet.h>
#include <ctype.h>
#include <errno.h>
#include <openssl/err.h>
#include <openssl/x509v3.h>
#include <stdio.h>
#include <string.h>
#include "tls_credentials_private.h"

#define NAMES_SIZE 256

/* ---- names ---- */

static void make_printable(char *text)
{
	for (char *c = text; *c; c++)
		if ((unsigned char)*c < ' ' || (unsigned char)*c > '~')
			*c = '?';
}

void tls_certificate_subject(const X509 *cert, char out[TLS_SUBJECT_SIZE])
{
	BIO *bio = BIO_new(BIO_s_mem());
	int n = 0;

	if (bio && X509_NAME_print_ex(bio, X509_get_subject_name(cert), 0, XN_FLAG_RFC2253) >= 0)
		n = BIO_read(bio, out, TLS_SUBJECT_SIZE - 1);
	out[n > 0 ? n : 0] = '\0';
	make_printable(out);
	BIO_free(bio);
}

static void address_text(const ASN1_OCTET_STRING *address, char *out, size_t size)
{
	int len = ASN1_STRING_length(address);

	*out = '\0';
	if (len == 4 || len == 16)
		inet_ntop(len == 4 ? AF_INET : AF_INET6, ASN1_STRING_get0_data(address), out,
			  (socklen_t)size);
}

/* "" if it is neither a name nor an address. */
static void san_text(const GENERAL_NAME *name, char *out, size_t size)
{
	*out = '\0';
	if (name->type == GEN_IPADD)
		address_text(name->d.iPAddress, out, size);
	else if (name->type == GEN_DNS &&
		 strlen((const char *)ASN1_STRING_get0_data(name->d.dNSName)) ==
			 (size_t)ASN1_STRING_length(name->d.dNSName))
		snprintf(out, size, "%s", (const char *)ASN1_STRING_get0_data(name->d.dNSName));
	make_printable(out);
}

static void common_name(const X509 *cert, char *out, size_t size)
{
	const X509_NAME *subject = X509_get_subject_name(cert);
	int n = X509_NAME_get_text_by_NID((X509_NAME *)subject, NID_commonName, out, (int)size);

	if (n < 0 || strlen(out) != (size_t)n)
		*out = '\0';
	make_printable(out);
}

/* All of them, for a text. */
static void san_list(const X509 *cert, char *out, size_t size)
{
	GENERAL_NAMES *names = X509_get_ext_d2i(cert, NID_subject_alt_name, NULL, NULL);
	size_t used = 0;

	*out = '\0';
	for (int i = 0; i < sk_GENERAL_NAME_num(names); i++) {
		char one[NAMES_SIZE];

		san_text(sk_GENERAL_NAME_value(names, i), one, sizeof(one));
		if (*one && used + strlen(one) + 3 < size)
			used += (size_t)snprintf(out + used, size - used, "%s%s", used ? ", " : "",
						 one);
	}
	GENERAL_NAMES_free(names);
}

/* ---- patterns ---- */

static bool is_address(const char *text)
{
	uint8_t bytes[16];

	return inet_pton(AF_INET, text, bytes) == 1 || inet_pton(AF_INET6, text, bytes) == 1;
}

static bool same_address(const char *one, const char *other)
{
	uint8_t a[16], b[16];

	for (int i = 0; i < 2; i++) {
		int family = i ? AF_INET6 : AF_INET;

		if (inet_pton(family, one, a) == 1 && inet_pton(family, other, b) == 1)
			return memcmp(a, b, i ? 16 : 4) == 0;
	}
	return false;
}

static bool matches(const char *pattern, const char *name)
{
	const char *rest;

	if (!*name)
		return false;
	if (is_address(name))
		return same_address(pattern, name);
	if (strncmp(pattern, "*.", 2) != 0)
		return strcasecmp(pattern, name) == 0;
	rest = strchr(name, '.');
	return rest && rest != name && strcasecmp(pattern + 1, rest) == 0;
}

bool tls_certificate_matches(const X509 *cert, const char *pattern)
{
	GENERAL_NAMES *names;
	char name[NAMES_SIZE];
	bool found;

	if (strcmp(pattern, "*") == 0)
		return true;
	common_name(cert, name, sizeof(name));
	found = !is_address(name) && matches(pattern, name);
	names = X509_get_ext_d2i(cert, NID_subject_alt_name, NULL, NULL);
	for (int i = 0; !found && i < sk_GENERAL_NAME_num(names); i++) {
		san_text(sk_GENERAL_NAME_value(names, i), name, sizeof(name));
		found = matches(pattern, name);
	}
	GENERAL_NAMES_free(names);
	return found;
}

/* ---- refusals ---- */

static void time_text(const ASN1_TIME *time, char *out, size_t size)
{
	BIO *bio = BIO_new(BIO_s_mem());
	int n = 0;

	if (bio && ASN1_TIME_print(bio, time))
		n = BIO_read(bio, out, (int)size - 1);
	out[n > 0 ? n : 0] = '\0';
	BIO_free(bio);
}

static void explain_time(const X509 *cert, int verify_error, char *out, size_t size)
{
	bool ended = verify_error == X509_V_ERR_CERT_HAS_EXPIRED;
	char when[64];

	time_text(ended ? X509_get0_notAfter(cert) : X509_get0_notBefore(cert), when, sizeof(when));
	snprintf(out, size,
		 ended ? "has expired: it was valid until %s"
		       : "is not valid yet, but from %s on: is the clock right?",
		 when);
}

static void explain_name(const X509 *cert, const char *name, char *out, size_t size)
{
	char names[NAMES_SIZE];

	san_list(cert, names, sizeof(names));
	snprintf(out, size, "is not for %s, but for %s", name ? name : "that host",
		 *names ? names : "no name at all (it needs a subjectAltName)");
}

static void explain_reason(const X509 *cert, int verify_error, const char *dir, const char *name,
			   char *out, size_t size)
{
	switch (verify_error) {
	case X509_V_ERR_CERT_HAS_EXPIRED:
	case X509_V_ERR_CERT_NOT_YET_VALID:
		explain_time(cert, verify_error, out, size);
		break;
	case X509_V_ERR_HOSTNAME_MISMATCH:
	case X509_V_ERR_IP_ADDRESS_MISMATCH:
		explain_name(cert, name, out, size);
		break;
	case X509_V_ERR_CERT_REVOKED:
		snprintf(out, size, "has been revoked: see %s/crl.pem", dir);
		break;
	case X509_V_ERR_UNABLE_TO_GET_CRL:
		snprintf(out, size, "is of a CA of which %s/crl.pem says nothing", dir);
		break;
	case X509_V_ERR_CRL_HAS_EXPIRED:
		snprintf(out, size, "cannot be looked up: %s/crl.pem has expired, get a newer one",
			 dir);
		break;
	case X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT:
	case X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT_LOCALLY:
	case X509_V_ERR_UNABLE_TO_VERIFY_LEAF_SIGNATURE:
	case X509_V_ERR_DEPTH_ZERO_SELF_SIGNED_CERT:
	case X509_V_ERR_SELF_SIGNED_CERT_IN_CHAIN:
	case X509_V_ERR_CERT_SIGNATURE_FAILURE:
		snprintf(out, size, "was not signed by a CA of %s/ca.crt", dir);
		break;
	default:
		snprintf(out, size, "is no good for %s/ca.crt: %s", dir,
			 X509_verify_cert_error_string(verify_error));
	}
}

/* What is wrong may be its issuer's certificate, which it brought along. */
void tls_certificate_explain(X509_STORE_CTX *check, const char *whose, const char *dir,
			     const char *name, struct errtext *err)
{
	const X509 *own = X509_STORE_CTX_get0_cert(check);
	const X509 *cert = X509_STORE_CTX_get_current_cert(check);
	char subject[TLS_SUBJECT_SIZE], reason[512];

	tls_certificate_subject(own, subject);
	explain_reason(cert ? cert : own, X509_STORE_CTX_get_error(check), dir, name, reason,
		       sizeof(reason));
	errtext_set(err, -EKEYREJECTED, "%s certificate (%s) %s", whose, subject, reason);
}

void tls_certificate_last_error(char *out, size_t size)
{
	unsigned long code = ERR_peek_error();
	const char *text = code ? ERR_reason_error_string(code) : NULL;

	snprintf(out, size, "%s", text ? text : "OpenSSL does not say why");
	ERR_clear_error();
}
