// SPDX-License-Identifier: Apache-2.0
// TLS under a connection: who is let in, who is not and why, and what becomes of the bytes.
#include "tls.h"

#include <criterion/criterion.h>
#include <criterion/parameterized.h>
#include <errno.h>
#include <pthread.h>
#include <sys/socket.h>
#include "line.h"
#include "tls_files.h"
#include "wire.h"

#define PATIENT_MS 20000
#define NAME "destination.example.org"

TestSuite(tls, .timeout = 30);

static const uint8_t number[TLS_SESSION_SIZE] = "sixteen numbers";

struct end {
	struct line line;
	struct tls_credentials *credentials;
	const char *name;		 /* the source only */
	const struct tls_secret *secret; /* offered, or known */
	int ret;
	struct errtext err;
	pthread_t thread;
};

struct fixture {
	struct tls_hosts h;
	struct end source, destination;
};

static void open_sockets(struct fixture *f)
{
	int fds[2];

	cr_assert_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), 0);
	f->source.line = line_plain(fds[0]);
	f->destination.line = line_plain(fds[1]);
}

static void open_hosts(struct fixture *f)
{
	struct errtext err = {0};

	memset(f, 0, sizeof(*f));
	tls_hosts_open(&f->h);
	f->source.name = NAME;
	cr_assert_eq(tls_credentials_new(f->h.source, &f->source.credentials, &err), 0, "%s",
		     err.text);
	cr_assert_eq(tls_credentials_new(f->h.destination, &f->destination.credentials, &err), 0,
		     "%s", err.text);
	open_sockets(f);
}

static void close_lines(struct fixture *f)
{
	line_close(&f->source.line);
	line_close(&f->destination.line);
}

static void close_hosts(struct fixture *f)
{
	close_lines(f);
	tls_credentials_destroy(f->source.credentials);
	tls_credentials_destroy(f->destination.credentials);
	tls_hosts_close(&f->h);
}

static bool find(void *opaque, const uint8_t session[TLS_SESSION_SIZE], const uint8_t id[8],
		 struct tls_secret *out)
{
	const struct end *e = opaque;

	if (!e->secret || memcmp(session, e->secret->session, TLS_SESSION_SIZE) != 0 ||
	    memcmp(id, e->secret->id, sizeof(e->secret->id)) != 0)
		return false;
	*out = *e->secret;
	return true;
}

static void *accept_main(void *arg)
{
	struct end *e = arg;
	const struct tls_accept_options options = {
		.credentials = e->credentials, .find = find, .opaque = e, .timeout_ms = PATIENT_MS};

	e->ret = tls_accept(e->line.fd, &options, &e->line.tls, &e->err);
	if (e->ret < 0)
		shutdown(e->line.fd, SHUT_WR);
	return NULL;
}

static void start_accept(struct fixture *f)
{
	cr_assert_eq(pthread_create(&f->destination.thread, NULL, accept_main, &f->destination), 0);
}

static void connect_both(struct fixture *f)
{
	const struct tls_connect_options options = {.credentials = f->source.credentials,
						    .name = f->source.name,
						    .secret = f->source.secret,
						    .timeout_ms = PATIENT_MS};

	start_accept(f);
	f->source.ret =
		tls_connect(f->source.line.fd, &options, &f->source.line.tls, &f->source.err);
	if (f->source.ret < 0)
		shutdown(f->source.line.fd, SHUT_WR);
	pthread_join(f->destination.thread, NULL);
}

static void connect_well(struct fixture *f)
{
	connect_both(f);
	cr_assert_eq(f->source.ret, 0, "%s", f->source.err.text);
	cr_assert_eq(f->destination.ret, 0, "%s", f->destination.err.text);
}

static void cross(struct line from, struct line to)
{
	char buf[6] = "";

	cr_assert_eq(line_write_full(from, "hello", 6, PATIENT_MS), 0);
	cr_assert_eq(line_read_full(to, buf, 6, PATIENT_MS), 0, "%s", line_why(to, -EIO));
	cr_assert_str_eq(buf, "hello");
}

/* ---- certificates ---- */

Test(tls, both_show_certificates)
{
	struct fixture f;

	open_hosts(&f);
	connect_well(&f);
	cr_assert_str_eq(tls_peer(f.source.line.tls), "CN=destination.example.org");
	cr_assert_str_eq(tls_peer(f.destination.line.tls), "CN=source.example.org");
	cr_assert_not(tls_by_secret(f.source.line.tls, NULL));
	cr_assert_not(tls_by_secret(f.destination.line.tls, NULL));
	cross(f.source.line, f.destination.line);
	cross(f.destination.line, f.source.line);
	close_hosts(&f);
}

Test(tls, an_address_is_a_name)
{
	struct fixture f;

	open_hosts(&f);
	f.source.name = "192.0.2.2";
	connect_well(&f);
	close_hosts(&f);
}

Test(tls, a_host_of_another_name_is_refused)
{
	static const char *const names[] = {"other.example.org", "192.0.2.1", "example.org",
					    "destination"};

	for (unsigned int i = 0; i < sizeof(names) / sizeof(*names); i++) {
		struct fixture f;

		open_hosts(&f);
		f.source.name = names[i];
		connect_both(&f);
		cr_assert_eq(f.source.ret, -EPROTO, "%s", names[i]);
		cr_assert(strstr(f.source.err.text, "CN=destination.example.org"), "%s",
			  f.source.err.text);
		cr_assert(strstr(f.source.err.text, "is not for"), "%s", f.source.err.text);
		cr_assert(strstr(f.source.err.text, names[i]), "%s", f.source.err.text);
		cr_assert(strstr(f.source.err.text, "192.0.2.2"), "%s", f.source.err.text);
		cr_assert_lt(f.destination.ret, 0);
		close_hosts(&f);
	}
}

Test(tls, names_and_patterns)
{
	struct fixture f;

	open_hosts(&f);
	connect_well(&f);
	cr_expect(tls_peer_matches(f.destination.line.tls, "source.example.org"));
	cr_expect(tls_peer_matches(f.destination.line.tls, "SOURCE.example.org"));
	cr_expect(tls_peer_matches(f.destination.line.tls, "*.example.org"));
	cr_expect(tls_peer_matches(f.destination.line.tls, "192.0.2.1"));
	cr_expect(tls_peer_matches(f.destination.line.tls, "*"));
	cr_expect_not(tls_peer_matches(f.destination.line.tls, "*.org"));
	cr_expect_not(tls_peer_matches(f.destination.line.tls, "example.org"));
	cr_expect_not(tls_peer_matches(f.destination.line.tls, "source*"));
	cr_expect_not(tls_peer_matches(f.destination.line.tls, "192.0.2.2"));
	cr_expect_not(tls_peer_matches(f.destination.line.tls, "*.0.2.1"));
	cr_expect_not(tls_peer_matches(f.destination.line.tls, ""));
	close_hosts(&f);
}

/* ---- a source that does not look at itself ---- */

struct stranger {
	char what[16], says[48], file[16];
	long from_s, until_s;
	bool other_ca, none, revoked, tls12;
};

ParameterizedTestParameters(tls, strangers)
{
	static struct stranger rows[] = {
		{"expired", "has expired", "", -2 * DAY_S, -DAY_S},
		{"early", "not valid yet", "", DAY_S, 2 * DAY_S},
		{"wrong CA", "not signed by a CA of", "ca.crt", -DAY_S, DAY_S, .other_ca = true},
		{"none", "did not return a certificate", "", -DAY_S, DAY_S, .none = true},
		{"revoked", "has been revoked", "crl.pem", -DAY_S, DAY_S, .revoked = true},
		{"TLS 1.2", "unsupported protocol", "", -DAY_S, DAY_S, .tls12 = true},
	};

	return cr_make_param_array(struct stranger, rows, sizeof(rows) / sizeof(*rows));
}

static SSL *stranger_new(struct fixture *f, const struct stranger *s, const struct tls_ca *other)
{
	const struct tls_issue issue = {"stranger", "DNS:stranger", s->from_s, s->until_s};
	SSL_CTX *ctx = SSL_CTX_new(TLS_client_method());
	EVP_PKEY *key = tls_files_key();
	X509 *cert = tls_files_certify(&issue, key, s->other_ca ? other : &f->h.ca);
	SSL *ssl;

	if (!s->none) {
		cr_assert_eq(SSL_CTX_use_certificate(ctx, cert), 1);
		cr_assert_eq(SSL_CTX_use_PrivateKey(ctx, key), 1);
	}
	if (s->tls12)
		SSL_CTX_set_max_proto_version(ctx, TLS1_2_VERSION);
	if (s->revoked)
		tls_files_put_revoked(f->h.destination, &f->h.ca, cert);
	ssl = SSL_new(ctx);
	SSL_CTX_free(ctx);
	EVP_PKEY_free(key);
	X509_free(cert);
	SSL_set_fd(ssl, f->source.line.fd);
	return ssl;
}

ParameterizedTest(struct stranger *row, tls, strangers)
{
	struct tls_ca other = tls_files_ca("the other CA");
	struct fixture f;
	SSL *ssl;
	char byte;

	open_hosts(&f);
	ssl = stranger_new(&f, row, &other);
	start_accept(&f);
	if (SSL_connect(ssl) == 1) /* in TLS 1.3 it may think so */
		cr_assert_leq(SSL_read(ssl, &byte, 1), 0);
	pthread_join(f.destination.thread, NULL);
	cr_assert_lt(f.destination.ret, 0, "%s", row->what);
	cr_assert(strstr(f.destination.err.text, row->says), "%s: %s", row->what,
		  f.destination.err.text);
	cr_assert(strstr(f.destination.err.text, row->file), "%s: %s", row->what,
		  f.destination.err.text);
	if (!row->none && !row->tls12)
		cr_assert(strstr(f.destination.err.text, "CN=stranger"), "%s",
			  f.destination.err.text);
	SSL_free(ssl);
	tls_ca_free(&other);
	close_hosts(&f);
}

Test(tls, a_source_hears_that_it_was_refused)
{
	struct tls_ca other = tls_files_ca("the other CA");
	const struct tls_issue issue = {"source", "DNS:source", -DAY_S, DAY_S};
	struct fixture f;
	char byte;

	open_hosts(&f);
	tls_files_put_ca(f.h.source, &f.h.ca, &other);
	X509_free(tls_files_put_host(f.h.source, &other, &issue));
	connect_both(&f);
	cr_assert_eq(f.source.ret, 0);
	cr_assert_lt(f.destination.ret, 0);
	cr_assert_eq(line_read_full(f.source.line, &byte, 1, PATIENT_MS), -EPROTO);
	cr_assert(strstr(line_why(f.source.line, -EPROTO), "unknown CA"), "%s",
		  line_why(f.source.line, -EPROTO));
	tls_ca_free(&other);
	close_hosts(&f);
}

Test(tls, who_speaks_dray_without_tls_is_told_apart)
{
	struct wire_hello_reply reply = {.text = "this receiver runs with --disable-tls"};
	uint8_t buf[WIRE_HELLO_REPLY_SIZE + WIRE_TEXT_MAX];
	const struct tls_connect_options options = {.name = NAME, .timeout_ms = PATIENT_MS};
	struct tls_connect_options o = options;
	struct fixture f;

	open_hosts(&f);
	o.credentials = f.source.credentials;
	cr_assert_eq(line_write_full(f.destination.line, buf, wire_hello_reply_encode(&reply, buf),
				     PATIENT_MS),
		     0);
	cr_assert_eq(tls_connect(f.source.line.fd, &o, &f.source.line.tls, &f.source.err),
		     -EPROTOTYPE);
	close_hosts(&f);
}

Test(tls, a_handshake_takes_no_longer_than_it_may)
{
	struct tls_connect_options o = {.name = NAME, .timeout_ms = 20};
	struct fixture f;

	open_hosts(&f);
	o.credentials = f.source.credentials;
	cr_assert_eq(tls_connect(f.source.line.fd, &o, &f.source.line.tls, &f.source.err),
		     -ETIMEDOUT);
	close_hosts(&f);
}

/* ---- secrets ---- */

static void make_secret(struct fixture *f, struct tls_secret *secret)
{
	struct tls_secret other;

	connect_well(f);
	cr_assert_eq(tls_export(f->source.line.tls, number, secret), 0);
	cr_assert_eq(tls_export(f->destination.line.tls, number, &other), 0);
	cr_assert_eq(memcmp(secret, &other, sizeof(other)), 0, "both sides have the same");
	cr_assert(tls_secret_is_set(secret));
	close_lines(f);
	open_sockets(f);
}

Test(tls, a_secret_does_for_a_certificate)
{
	struct tls_secret secret, used;
	struct fixture f;

	open_hosts(&f);
	make_secret(&f, &secret);
	f.source.secret = f.destination.secret = &secret;
	connect_well(&f);
	cr_assert(tls_by_secret(f.source.line.tls, NULL));
	cr_assert(tls_by_secret(f.destination.line.tls, &used));
	cr_assert_eq(memcmp(&used, &secret, sizeof(used)), 0);
	cr_assert_str_eq(tls_peer(f.destination.line.tls), "");
	cross(f.source.line, f.destination.line);
	cross(f.destination.line, f.source.line);
	close_hosts(&f);
}

Test(tls, another_session_has_another_secret)
{
	static const uint8_t another[TLS_SESSION_SIZE] = "other numbers..";
	struct tls_secret one, two;
	struct fixture f;

	open_hosts(&f);
	connect_well(&f);
	cr_assert_eq(tls_export(f.source.line.tls, number, &one), 0);
	cr_assert_eq(tls_export(f.source.line.tls, another, &two), 0);
	cr_assert_neq(memcmp(one.key, two.key, sizeof(one.key)), 0);
	close_hosts(&f);
}

Test(tls, who_knows_the_number_only_is_refused)
{
	struct tls_secret secret, guess;
	struct fixture f;

	open_hosts(&f);
	make_secret(&f, &secret);
	guess = secret;
	guess.key[31] ^= 1;
	f.source.secret = &guess;
	f.destination.secret = &secret;
	connect_both(&f);
	cr_assert_lt(f.destination.ret, 0);
	cr_assert_lt(f.source.ret, 0);
	close_hosts(&f);
}

Test(tls, a_secret_that_is_not_known_is_not_believed)
{
	struct tls_secret secret;
	struct fixture f;

	open_hosts(&f);
	make_secret(&f, &secret);
	f.source.secret = &secret;
	connect_well(&f);
	cr_assert_not(tls_by_secret(f.source.line.tls, NULL));
	cr_assert_not(tls_by_secret(f.destination.line.tls, NULL));
	close_hosts(&f);
}

Test(tls, a_secret_does_without_good_files)
{
	struct tls_secret secret;
	struct fixture f;

	open_hosts(&f);
	make_secret(&f, &secret);
	tls_files_text(f.h.source, "tls.crt", 0644, "");
	tls_files_text(f.h.destination, "ca.crt", 0644, "");
	f.source.secret = f.destination.secret = &secret;
	connect_well(&f);
	close_lines(&f);
	open_sockets(&f);
	f.source.secret = f.destination.secret = NULL;
	connect_both(&f);
	cr_assert_lt(f.destination.ret, 0);
	cr_assert(strstr(f.destination.err.text, "ca.crt"), "%s", f.destination.err.text);
	close_hosts(&f);
}

/* ---- bytes ---- */

Test(tls, an_end_is_told_from_a_cut)
{
	struct fixture f;
	char byte;

	open_hosts(&f);
	connect_well(&f);
	cr_assert_eq(line_end(f.source.line), 0);
	cr_assert_eq(line_read(f.destination.line, &byte, 1), 0);
	cross(f.destination.line, f.source.line); /* the other half goes on */
	shutdown(f.destination.line.fd, SHUT_WR);
	cr_assert_eq(line_read(f.source.line, &byte, 1), -ECONNRESET);
	cr_assert(strstr(line_why(f.source.line, -ECONNRESET), "close_notify"));
	close_hosts(&f);
}

Test(tls, nothing_there_is_no_error)
{
	struct fixture f;
	char byte;

	open_hosts(&f);
	connect_well(&f);
	cr_assert_eq(line_read(f.source.line, &byte, 1), -EAGAIN);
	cr_assert_eq(line_wants(f.source.line, 0), POLLIN);
	cr_assert_eq(line_read_full(f.source.line, &byte, 1, 1), -ETIMEDOUT);
	cross(f.destination.line, f.source.line);
	close_hosts(&f);
}

Test(tls, what_is_left_of_a_record_is_pending)
{
	struct fixture f;
	char byte;

	open_hosts(&f);
	connect_well(&f);
	cr_assert_eq(line_write_full(f.source.line, "ab", 2, PATIENT_MS), 0);
	cr_assert_not(line_has_pending(f.destination.line));
	cr_assert_eq(line_read_full(f.destination.line, &byte, 1, PATIENT_MS), 0);
	cr_assert(line_has_pending(f.destination.line));
	cr_assert_eq(line_read_full(f.destination.line, &byte, 1, PATIENT_MS), 0);
	cr_assert_not(line_has_pending(f.destination.line));
	close_hosts(&f);
}

Test(tls, keys_are_renewed)
{
	struct fixture f;

	open_hosts(&f);
	connect_well(&f);
	tls_set_record_limit(f.source.line.tls, 4);
	tls_set_record_limit(f.destination.line.tls, 3);
	for (int i = 0; i < 24; i++) {
		cross(f.source.line, f.destination.line);
		cross(f.destination.line, f.source.line);
	}
	cr_assert_eq(tls_key_updates(f.source.line.tls), 5);
	cr_assert_eq(tls_key_updates(f.destination.line.tls), 7);
	close_hosts(&f);
}

Test(tls, a_changed_byte_is_an_error)
{
	struct fixture f;
	uint8_t record[64];
	ssize_t n;
	char byte;

	open_hosts(&f);
	connect_well(&f);
	cr_assert_eq(line_write_full(f.source.line, "ab", 2, PATIENT_MS), 0);
	n = recv(f.destination.line.fd, record, sizeof(record), 0);
	record[n - 1] ^= 1;
	cr_assert_eq(send(f.source.line.fd, record, (size_t)n, MSG_NOSIGNAL), n);
	cr_assert_eq(line_read_full(f.destination.line, &byte, 1, PATIENT_MS), -EPROTO);
	close_hosts(&f);
}
