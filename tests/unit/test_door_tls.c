// SPDX-License-Identifier: Apache-2.0
// The door with TLS: which connection comes in by what.
#include "door.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <pthread.h>
#include <string.h>
#include <sys/socket.h>
#include "tls_files.h"

#define PATIENT_MS 20000

TestSuite(door_tls, .timeout = 30);

struct fixture {
	struct tls_hosts h;
	struct peer peer;
	struct door_keeper keeper;
	struct tls_secret known; /* the destination's */
	int admitted;		 /* what it says to those who ask */
	struct line source, destination;
	struct wire_hello hello;
	struct door_terms asked, answered;
	int answer;
	struct errtext err, answer_err;
};

static bool find(void *opaque, const uint8_t session[WIRE_SESSION_SIZE], const uint8_t id[8],
		 struct tls_secret *out)
{
	const struct fixture *f = opaque;

	if (!tls_secret_is_set(&f->known) ||
	    memcmp(session, f->known.session, sizeof(f->known.session)) != 0 ||
	    memcmp(id, f->known.id, sizeof(f->known.id)) != 0)
		return false;
	*out = f->known;
	return true;
}

static int admit(void *opaque, const struct wire_hello *hello, struct door_terms *terms,
		 struct errtext *why)
{
	const struct fixture *f = opaque;

	(void)hello;
	(void)terms;
	return f->admitted < 0 ? errtext_set(why, f->admitted, "not you") : 0;
}

static void open_door(struct fixture *f)
{
	memset(f, 0, sizeof(*f));
	tls_hosts_open(&f->h);
	f->peer = (struct peer){.host = "destination.example.org",
				.port = 7470,
				.session = "sixteen numbers",
				.timeout_ms = PATIENT_MS};
	f->keeper = (struct door_keeper){.find = find, .admit = admit, .opaque = f};
	cr_assert_eq(door_tls_new(f->h.source, &f->peer.tls, &f->err), 0, "%s", f->err.text);
	cr_assert_eq(tls_credentials_new(f->h.destination, &f->keeper.credentials, &f->err), 0);
	f->source = f->destination = LINE_NONE;
}

static void close_door(struct fixture *f)
{
	line_close(&f->source);
	line_close(&f->destination);
	door_tls_destroy(f->peer.tls);
	tls_credentials_destroy(f->keeper.credentials);
	tls_hosts_close(&f->h);
}

static void *answer_main(void *arg)
{
	struct fixture *f = arg;

	f->answer = door_answer(&f->destination, PATIENT_MS, &f->keeper, &f->hello, &f->answered,
				&f->answer_err);
	if (f->answer < 0)
		line_close(&f->destination);
	return NULL;
}

/* A connection of this kind; what the source made of it. */
static int knock(struct fixture *f, enum wire_kind kind)
{
	pthread_t thread;
	int fds[2], ret;

	line_close(&f->source);
	line_close(&f->destination);
	cr_assert_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), 0);
	f->source = line_plain(fds[0]);
	f->destination = line_plain(fds[1]);
	f->err = f->answer_err = (struct errtext){0};
	cr_assert_eq(pthread_create(&thread, NULL, answer_main, f), 0);
	ret = door_ask(&f->source, &f->peer, kind, 0, &f->asked, &f->err);
	if (ret < 0)
		line_close(&f->source);
	pthread_join(thread, NULL);
	return ret;
}

static void begin(struct fixture *f)
{
	cr_assert_eq(knock(f, WIRE_KIND_CONTROL), 0, "%s", f->err.text);
	cr_assert_eq(f->answer, 0, "%s", f->answer_err.text);
	f->known = f->answered.secret;
}

Test(door_tls, control_makes_the_secret_of_all_others)
{
	static const enum wire_kind kinds[] = {WIRE_KIND_RAM,	      WIRE_KIND_TUNNEL,
					       WIRE_KIND_QEMU_STREAM, WIRE_KIND_FAULT,
					       WIRE_KIND_PUSH,	      WIRE_KIND_LINK};
	struct fixture f;

	open_door(&f);
	begin(&f);
	cr_assert(f.answered.tls && f.answered.by_certificate);
	cr_assert_str_eq(f.answered.peer, "CN=source.example.org");
	cr_assert_str_eq(f.asked.peer, "CN=destination.example.org");
	for (unsigned int i = 0; i < sizeof(kinds) / sizeof(*kinds); i++) {
		cr_assert_eq(knock(&f, kinds[i]), 0, "%s", f.err.text);
		cr_assert_eq(f.answer, 0, "%s", f.answer_err.text);
		cr_assert(f.answered.tls);
		cr_assert_not(f.answered.by_certificate);
		cr_assert_eq(f.hello.kind, kinds[i]);
	}
	close_door(&f);
}

/* It has a certificate of our CA, and has heard the session's number. */
Test(door_tls, a_number_is_not_enough)
{
	struct fixture f;
	struct door_tls *other;

	open_door(&f);
	begin(&f);
	other = f.peer.tls;
	cr_assert_eq(door_tls_new(f.h.source, &f.peer.tls, &f.err), 0);
	for (enum wire_kind kind = WIRE_KIND_RAM; kind <= WIRE_KIND_PUSH; kind++) {
		if (kind == WIRE_KIND_RECOVER)
			continue;
		cr_assert_lt(knock(&f, kind), 0);
		cr_assert_lt(f.answer, 0);
	}
	door_tls_destroy(other);
	close_door(&f);
}

Test(door_tls, the_secret_of_another_session)
{
	struct fixture f;

	open_door(&f);
	begin(&f);
	f.peer.session[0]++;
	cr_assert_eq(knock(&f, WIRE_KIND_RAM), -EPROTO);
	cr_assert(strstr(f.err.text, "another migration"), "%s", f.err.text);
	cr_assert_eq(f.answer, -EPROTO);
	close_door(&f);
}

Test(door_tls, a_destination_that_has_forgotten_is_sent_nothing)
{
	struct fixture f;

	open_door(&f);
	begin(&f);
	f.known = (struct tls_secret){0};
	cr_assert_eq(knock(&f, WIRE_KIND_RAM), -EPROTO);
	cr_assert(strstr(f.err.text, "does not know this migration"), "%s", f.err.text);
	close_door(&f);
}

Test(door_tls, a_link_after_a_restart_makes_a_new_secret)
{
	struct tls_secret before;
	struct fixture f;

	open_door(&f);
	begin(&f);
	before = f.known;
	f.known = (struct tls_secret){0};
	cr_assert_eq(knock(&f, WIRE_KIND_LINK), 0, "%s", f.err.text);
	cr_assert(f.answered.by_certificate);
	cr_assert_neq(memcmp(f.answered.secret.key, before.key, sizeof(before.key)), 0);
	f.known = f.answered.secret;
	cr_assert_eq(knock(&f, WIRE_KIND_FAULT), 0, "%s", f.err.text);
	close_door(&f);
}

Test(door_tls, questions_are_asked_by_certificate)
{
	struct fixture f;

	open_door(&f);
	begin(&f);
	cr_assert_eq(knock(&f, WIRE_KIND_RECOVER), 0, "%s", f.err.text);
	cr_assert(f.answered.by_certificate);
	close_door(&f);
}

Test(door_tls, peers_that_are_not_wanted)
{
	static const char *const wanted[] = {"a.example.org", "*.example.com"},
				 *const all[] = {"*.example.org"};
	struct fixture f;

	open_door(&f);
	f.keeper.allow = wanted;
	f.keeper.allow_count = 2;
	cr_assert_eq(knock(&f, WIRE_KIND_CONTROL), -EPROTO);
	cr_assert(strstr(f.err.text, "--allow-peer"), "%s", f.err.text);
	cr_assert(strstr(f.answer_err.text, "CN=source.example.org"), "%s", f.answer_err.text);
	f.keeper.allow = all;
	f.keeper.allow_count = 1;
	cr_assert_eq(knock(&f, WIRE_KIND_CONTROL), 0, "%s", f.err.text);
	f.admitted = -EKEYREJECTED;
	cr_assert_eq(knock(&f, WIRE_KIND_CONTROL), -EPROTO);
	cr_assert(strstr(f.err.text, "not you"), "%s", f.err.text);
	close_door(&f);
}

Test(door_tls, another_host_of_our_ca_is_not_the_destination)
{
	struct fixture f;

	open_door(&f);
	strcpy(f.peer.host, "somebody.example.org");
	cr_assert_lt(knock(&f, WIRE_KIND_CONTROL), 0);
	cr_assert(strstr(f.err.text, "is not for somebody.example.org"), "%s", f.err.text);
	cr_assert_lt(f.answer, 0);
	close_door(&f);
}

Test(door_tls, one_side_without)
{
	struct tls_credentials *credentials;
	struct door_tls *tls;
	struct fixture f;

	open_door(&f);
	credentials = f.keeper.credentials;
	f.keeper.credentials = NULL;
	cr_assert_eq(knock(&f, WIRE_KIND_CONTROL), -EPROTO);
	cr_assert(strstr(f.err.text, "does not take TLS"), "%s", f.err.text);
	cr_assert(strstr(f.answer_err.text, "the source wants TLS"), "%s", f.answer_err.text);
	f.keeper.credentials = credentials;
	tls = f.peer.tls;
	f.peer.tls = NULL;
	cr_assert_eq(knock(&f, WIRE_KIND_CONTROL), -EPROTO);
	cr_assert(strstr(f.err.text, "takes TLS only"), "%s", f.err.text);
	cr_assert(strstr(f.answer_err.text, "--disable-tls"), "%s", f.answer_err.text);
	f.peer.tls = tls;
	close_door(&f);
}
