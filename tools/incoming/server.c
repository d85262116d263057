// SPDX-License-Identifier: Apache-2.0
// The destination's port: a thread a connection.
#include "server.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include "cleanup.h"
#include "connection.h"
#include "door.h"
#include "exit_status.h"
#include "incoming.h"
#include "incoming_leftover.h"
#include "incoming_world.h"
#include "quota.h"
#include "receiver.h"
#include "receiver_port.h"
#include "receiver_report.h"
#include "record.h"
#include "record_sweep.h"
#include "served.h"
#include "strangers.h"
#include "this_host.h"
#include "tls_credentials.h"

/* So that nobody can make the receiver start threads without end. Of those that have not said hello
 * yet there are STRANGERS_MAX at most, so that they never take the room of others; of those that
 * have, quota.h says how many one host may have. */
#define CONNECTIONS_MAX (512 + STRANGERS_MAX)
#define NO_ROOM_US 50000
#define SWEEP_US (3600ull * 1000000)

struct server {
	/* constant after init */
	struct server_options opt; /* its pointers lead to the copies below */
	char tls_dir[256], libvirt_socket[108], session[2 * WIRE_SESSION_SIZE + 1];
	struct receiver *receiver;
	struct door_keeper keeper; /* a connection's is a copy, with the connection in it */

	/* each with a lock of its own */
	struct receiver_report report;
	struct served served;
	struct strangers strangers;
	struct quota quota;
	atomic_int connections; /* relaxed: a limit only */
};

struct connection {
	struct server *server;
	struct line line;
	char peer[SOCKET_PEER_SIZE];
	struct stranger stranger; /* until it has said hello */
	struct quota_place place; /* since then */
};

/* ---- what was served ---- */

/* Is this session one to end with? */
static bool is_last(const struct server *s, const uint8_t session[WIRE_SESSION_SIZE])
{
	char text[2 * WIRE_SESSION_SIZE + 1];

	record_session(session, text);
	return s->opt.session ? strcmp(text, s->opt.session) == 0 : s->opt.once;
}

/* A trial is no migration: `once` goes on waiting for one. */
static void finish(struct server *s, const struct connection *c, const struct wire_hello *hello,
		   const struct incoming_result *in)
{
	if (!in->prepared)
		return;
	if (in->trial) {
		receiver_report_trial(&s->report, c->peer, in);
		return;
	}
	receiver_report_session(&s->report, c->peer, s->tls_dir[0] != 0, in);
	if (is_last(s, hello->session))
		served_note(&s->served, in->arrived ? EXIT_COMPLETED : EXIT_FAILED, in->untold);
}

/* A source asked about a session that is over, and was answered from the record: not what `once`
 * waits for. */
static void finish_answered(struct server *s, const struct wire_hello *hello, int ret)
{
	if (!is_last(s, hello->session))
		return;
	if (s->opt.session)
		served_note(&s->served, ret == -EALREADY ? EXIT_COMPLETED : EXIT_FAILED, false);
	served_tell(&s->served);
}

static void on_waiting(void *opaque, const char *domain, const char *what_for)
{
	struct server *s = opaque;

	receiver_report_waiting(&s->report, domain, what_for);
}

/* ---- who may come in ---- */

static bool find_secret(void *opaque, const uint8_t session[WIRE_SESSION_SIZE], const uint8_t id[8],
			struct tls_secret *out)
{
	const struct connection *c = opaque;

	return receiver_find_secret(c->server->receiver, session, id, out);
}

/* Who does not know the session's secret has another claim to it: that the migration was begun with
 * its certificate. It may have a new one by now, of the same subject. */
static int check_claim(const struct server *s, const struct wire_hello *hello,
		       const struct door_terms *terms, struct errtext *why)
{
	if (hello->kind != WIRE_KIND_LINK || (terms->tls && !terms->by_certificate))
		return 0;
	if (!receiver_is_of_other(s->receiver, hello->session, terms->peer))
		return 0;
	return errtext_set(why, -EKEYREJECTED,
			   "this migration was begun by another host than the one with the "
			   "certificate (%s)",
			   terms->tls ? terms->peer : "none: without TLS");
}

static bool begins_session(const struct server *s, const struct wire_hello *hello)
{
	return hello->kind == WIRE_KIND_CONTROL ||
	       (hello->kind == WIRE_KIND_LINK && !receiver_knows(s->receiver, hello->session));
}

static int take_place(struct connection *c, const struct wire_hello *hello,
		      const struct door_terms *terms, struct errtext *why)
{
	struct server *s = c->server;
	char host[TLS_SUBJECT_SIZE];

	if (terms->by_certificate)
		snprintf(host, sizeof(host), "%s", terms->peer);
	else if (!terms->tls || !receiver_find_subject(s->receiver, hello->session, host))
		snprintf(host, sizeof(host), "%s", c->stranger.host);
	return quota_enter(&s->quota, &c->place, host, begins_session(s, hello), why);
}

static int admit(void *opaque, const struct wire_hello *hello, struct door_terms *terms,
		 struct errtext *why)
{
	struct connection *c = opaque;
	int ret = check_claim(c->server, hello, terms, why);

	if (ret == 0)
		ret = take_place(c, hello, terms, why);
	if (ret == 0 && (hello->kind == WIRE_KIND_LINK || hello->kind == WIRE_KIND_RECOVER))
		receiver_stand_in(c->server->receiver, hello->session, &terms->host);
	return ret;
}

/* ---- one connection ---- */

static void carry_on(struct server *s, struct connection *c, const struct wire_hello *hello,
		     const struct door_terms *terms)
{
	struct incoming_result result;
	int ret;

	served_enter(&s->served);
	ret = incoming_carry_on(s->receiver, c->line, hello, terms, &result);
	if (ret == -EALREADY || ret == -ENOENT)
		finish_answered(s, hello, ret);
	else
		finish(s, c, hello, &result);
	served_leave(&s->served);
}

static void serve_migration(struct server *s, struct connection *c, const struct wire_hello *hello,
			    const struct door_terms *terms)
{
	struct incoming_result result;

	if (s->opt.session) {
		line_close(&c->line);
		return;
	}
	served_enter(&s->served);
	incoming_serve(s->receiver, c->line, hello, terms, &result);
	finish(s, c, hello, &result);
	served_leave(&s->served);
}

static void serve(struct server *s, struct connection *c)
{
	struct door_keeper keeper = s->keeper;
	struct wire_hello hello;
	struct door_terms terms;
	struct errtext err = {0};
	int ret;

	keeper.opaque = c;
	ret = door_answer(&c->line, CONNECTION_FIRST_MS, &keeper, &hello, &terms, &err);
	strangers_leave(&s->strangers, &c->stranger);
	if (ret < 0) {
		/* One that has said nothing, such as a probe of the port, is not worth a word. */
		if (ret != -ENODATA)
			receiver_report_refused(&s->report, c->peer, err.text,
						s->opt.world->now_us());
		line_close(&c->line);
		return;
	}
	switch (hello.kind) {
	case WIRE_KIND_CONTROL:
		serve_migration(s, c, &hello, &terms);
		break;
	case WIRE_KIND_RECOVER:
		incoming_query(s->receiver, c->line, &terms);
		break;
	case WIRE_KIND_LINK:
		if (!receiver_knows(s->receiver, hello.session)) {
			carry_on(s, c, &hello, &terms);
			break;
		}
		/* fall through */
	default:
		incoming_join(s->receiver, c->line, &hello, &terms, &err);
	}
}

static void *connection_main(void *arg)
{
	struct connection *c = arg;

	serve(c->server, c);
	quota_leave(&c->server->quota, &c->place);
	atomic_fetch_sub_explicit(&c->server->connections, 1, memory_order_relaxed);
	free(c);
	return NULL;
}

static void accept_one(struct server *s, int listen_fd)
{
	struct connection *c = calloc(1, sizeof(*c));
	struct errtext err = {0};
	pthread_t thread;

	if (!c || socket_accept(listen_fd, &s->opt.socket, &c->line.fd, c->peer, &err) < 0) {
		free(c);
		usleep(NO_ROOM_US); /* out of descriptors, say: the connection stays pending */
		return;
	}
	c->server = s;
	strangers_enter(&s->strangers, &c->stranger, c->line.fd, c->peer);
	if (atomic_fetch_add_explicit(&s->connections, 1, memory_order_relaxed) < CONNECTIONS_MAX &&
	    pthread_create(&thread, NULL, connection_main, c) == 0) {
		pthread_detach(thread);
		return;
	}
	atomic_fetch_sub_explicit(&s->connections, 1, memory_order_relaxed);
	strangers_leave(&s->strangers, &c->stranger);
	line_close(&c->line);
	free(c);
}

/* ---- the server ---- */

/* Until when to wait for the next connection. A receiver removes old records from time to time. */
static int wait_ms(struct server *s, uint64_t *sweep_us)
{
	uint64_t now = s->opt.world->now_us();
	int left_ms = served_left_ms(&s->served);

	if (s->opt.session)
		return left_ms;
	if (now >= *sweep_us) {
		record_sweep(&record_ages_usual);
		*sweep_us = now + SWEEP_US;
	}
	return left_ms >= 0 ? left_ms : (int)((*sweep_us - now) / 1000) + 1;
}

static int accept_all(struct server *s, int listen_fd)
{
	uint64_t sweep_us = s->opt.world->now_us() + SWEEP_US;
	struct pollfd p[3] = {{.fd = listen_fd, .events = POLLIN},
			      {.fd = s->served.changed, .events = POLLIN},
			      {.fd = s->opt.stop_fd, .events = POLLIN}};
	eventfd_t count;

	for (;;) {
		if (poll(p, 3, wait_ms(s, &sweep_us)) < 0 && errno != EINTR)
			return EXIT_FAILED;
		if (p[2].revents)
			return 0;
		if (p[1].revents)
			eventfd_read(s->served.changed, &count);
		if (served_left_ms(&s->served) == 0)
			return served_status(&s->served);
		if (p[0].revents)
			accept_one(s, listen_fd);
	}
}

static int start(struct server *s, int *listen_fd, struct errtext *err)
{
	struct receiver_options options = {.libvirt_socket = s->opt.libvirt_socket,
					   .allow_paths = s->opt.allow_paths,
					   .agreed = s->opt.agreed,
					   .contained = s->opt.contained,
					   .max_inbound = s->opt.max_inbound,
					   .port = s->opt.port,
					   .bind = s->opt.socket.bind,
					   .tls_dir = s->tls_dir,
					   .world = s->opt.world,
					   .waiting = on_waiting,
					   .opaque = s};
	/* Who comes before libvirt has answered waits for that, and is not refused. */
	int ret = receiver_port_listen(&s->opt.socket, s->opt.port, !s->opt.session, s->opt.world,
				       listen_fd, err);

	if (ret == 0)
		ret = this_host(s->opt.world->open_host, s->opt.libvirt_socket, &s->keeper.self,
				err);
	options.self = s->keeper.self;
	if (ret == 0 && s->tls_dir[0])
		ret = tls_credentials_new(s->tls_dir, &s->keeper.credentials, err);
	if (ret == 0)
		ret = receiver_new(&options, &s->receiver);
	return ret;
}

/* Before the first connection only. */
static void server_destroy(struct server *s)
{
	receiver_report_destroy(&s->report);
	strangers_destroy(&s->strangers);
	quota_destroy(&s->quota);
	served_destroy(&s->served);
	free(s);
}

/* Connections may outlive server_run, and whatever its caller had on its stack. */
static struct server *server_new(const struct server_options *options)
{
	struct server *s = calloc(1, sizeof(*s));

	if (!s)
		return NULL;
	s->opt = *options;
	s->opt.report = NULL; /* a copy of it is in ours */
	if (!s->opt.world)
		s->opt.world = incoming_world_real();
	snprintf(s->libvirt_socket, sizeof(s->libvirt_socket), "%s", options->libvirt_socket);
	s->opt.libvirt_socket = s->libvirt_socket;
	if (options->session) {
		snprintf(s->session, sizeof(s->session), "%s", options->session);
		s->opt.session = s->session;
	}
	snprintf(s->tls_dir, sizeof(s->tls_dir), "%s", options->tls_dir ? options->tls_dir : "");
	s->keeper.allow = options->allow_peers;
	s->keeper.allow_count = options->allow_peer_count;
	s->keeper.find = find_secret;
	s->keeper.admit = admit;
	receiver_report_init(&s->report, options->report);
	strangers_init(&s->strangers);
	quota_init(&s->quota);
	if (served_init(&s->served) == 0)
		return s;
	server_destroy(s);
	return NULL;
}

int server_run(const struct server_options *options, struct errtext *err)
{
	struct server *s = server_new(options);
	_cleanup_close_ int listen_fd = -1;
	struct incoming_leftover *leftover;
	int ret;

	if (!s)
		return errtext_set(err, -ENOMEM, "out of memory");
	ret = start(s, &listen_fd, err);
	if (ret < 0) {
		server_destroy(s);
		return ret;
	}
	receiver_report_listening(&s->report, s->opt.port);
	leftover = incoming_leftover_start(s->opt.world, s->opt.libvirt_socket);
	ret = accept_all(s, listen_fd); /* threads may use s: it stays */
	incoming_leftover_end(leftover);
	return ret;
}
