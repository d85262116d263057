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
#include "clock.h"
#include "connection.h"
#include "door.h"
#include "exit_status.h"
#include "incoming.h"
#include "incoming_leftover.h"
#include "incoming_world.h"
#include "lane.h"
#include "receiver.h"
#include "record.h"
#include "strangers.h"
#include "this_host.h"
#include "tls_credentials.h"

/* So that nobody can make the receiver start threads without end. Of those that have not said hello
 * yet there are STRANGERS_MAX at most, so that they never take the room of others. */
#define CONNECTIONS_MAX (512 + STRANGERS_MAX)
#define NO_ROOM_US 50000
#define LINGER_US (600ull * 1000000)
#define PORT_BUSY_US 5000000
#define PORT_POLL_US 100000

struct server {
	/* constant after init */
	struct server_options opt; /* its pointers lead to the copies below */
	char tls_dir[256], libvirt_socket[108], session[2 * WIRE_SESSION_SIZE + 1];
	struct report report;
	struct receiver *receiver;
	struct door_keeper keeper;
	int ended; /* eventfd: what was to be served has been */

	atomic_int connections; /* relaxed: a limit only */
	struct strangers strangers;
	pthread_mutex_t lock; /* orders reports */
	/* under lock */
	int status;		/* of what was to be served: of several the worst */
	unsigned int under_way; /* sessions */
	bool served;		/* what was to be served has been */
	unsigned int untold;	/* sessions of which the source may not know how they ended */
	uint64_t end_us;	/* CLOCK_MONOTONIC: when to end, or 0 */
};

struct connection {
	struct server *server;
	struct line line;
	char peer[SOCKET_PEER_SIZE];
	struct stranger stranger; /* until it has said hello */
};

/* ---- reports ---- */

static void report_session(struct server *s, const char *peer, const struct incoming_result *in)
{
	struct report_result r = {
		.result = in->arrived ? "completed" : "failed",
		.lane = LANE_DIRECT,
		.mode = in->post_copy ? "PostCopy" : "PreCopy",
		.post_copy = in->told,
		.total_ms = in->total_ms,
		.ram_bytes = in->ram_bytes,
		.wire_bytes = in->wire_bytes,
		.streams = in->streams,
		.tls = s->tls_dir[0] != 0,
		.guest_on = in->arrived ? "destination" : (in->unknown ? "unknown" : "source"),
		.host = peer,
	};
	char text[ERRTEXT_SIZE + WIRE_NAME_MAX + SOCKET_PEER_SIZE + 64];

	snprintf(r.domain, sizeof(r.domain), "%s", in->domain);
	snprintf(r.reason, sizeof(r.reason), "%s", in->reason);
	pthread_mutex_lock(&s->lock);
	if (s->opt.report->json) {
		report_result(s->opt.report, &r);
	} else {
		snprintf(text, sizeof(text), "%s from %s: %s%s", in->domain, peer,
			 in->arrived ? "arrived" : "did not arrive: ", in->reason);
		report_event(s->opt.report, "result", PHASE_FINISH, text);
	}
	pthread_mutex_unlock(&s->lock);
}

/* Who was turned away, and why: whoever asks why nothing arrives reads it here. One that has said
 * nothing, such as a probe of the port, is not worth a word. */
static void report_refused(struct server *s, const struct connection *c, int error,
			   const struct errtext *why)
{
	char text[ERRTEXT_SIZE + SOCKET_PEER_SIZE + 8];

	if (error == -ENODATA)
		return;
	snprintf(text, sizeof(text), "%s: %s", c->peer, why->text);
	pthread_mutex_lock(&s->lock);
	report_event(s->opt.report, "refused", PHASE_CONNECT, text);
	pthread_mutex_unlock(&s->lock);
}

static void on_waiting(void *opaque, const char *domain, const char *what_for)
{
	struct server *s = opaque;
	char text[ERRTEXT_SIZE + WIRE_NAME_MAX + 32];

	snprintf(text, sizeof(text), "%s waits: %s", domain, what_for);
	pthread_mutex_lock(&s->lock);
	report_event(s->opt.report, "waiting", PHASE_POSTCOPY, text);
	pthread_mutex_unlock(&s->lock);
}

/* ---- the end ---- */

/* Is this session one to end with? */
static bool is_last(const struct server *s, const uint8_t session[WIRE_SESSION_SIZE])
{
	char text[2 * WIRE_SESSION_SIZE + 1];

	record_session(session, text);
	return s->opt.session ? strcmp(text, s->opt.session) == 0 : s->opt.once;
}

static void enter(struct server *s)
{
	pthread_mutex_lock(&s->lock);
	s->under_way++;
	s->end_us = 0; /* not before this one has */
	pthread_mutex_unlock(&s->lock);
}

/* What was to be served has been, with this exit status. Under the lock. */
static void note_served(struct server *s, int status)
{
	s->served = true;
	if (status > s->status)
		s->status = status;
}

/* The process ends only with its last session, whichever that is: its end would end the others. A
 * source that may not have heard that all pages have come keeps its memory, and will ask: the
 * server stays that long to answer. */
static void leave(struct server *s)
{
	pthread_mutex_lock(&s->lock);
	s->under_way--;
	if (s->served && !s->under_way)
		s->end_us = clock_monotonic_us() + (s->untold ? LINGER_US : 0);
	pthread_mutex_unlock(&s->lock);
	eventfd_write(s->ended, 1);
}

static void finish(struct server *s, const struct connection *c, const struct wire_hello *hello,
		   const struct incoming_result *in)
{
	if (!in->prepared)
		return;
	report_session(s, c->peer, in);
	if (!is_last(s, hello->session))
		return;
	pthread_mutex_lock(&s->lock);
	note_served(s, in->arrived ? EXIT_COMPLETED : EXIT_FAILED);
	s->untold += in->untold;
	pthread_mutex_unlock(&s->lock);
}

/* A source asked about a session that is over, and was answered from the record: not what `once`
 * waits for. */
static void finish_answered(struct server *s, const struct wire_hello *hello, int ret)
{
	if (!is_last(s, hello->session))
		return;
	pthread_mutex_lock(&s->lock);
	if (s->opt.session)
		note_served(s, ret == -EALREADY ? EXIT_COMPLETED : EXIT_FAILED);
	if (s->untold)
		s->untold--;
	pthread_mutex_unlock(&s->lock);
}

/* ---- who may come in ---- */

static bool find_secret(void *opaque, const uint8_t session[WIRE_SESSION_SIZE], const uint8_t id[8],
			struct tls_secret *out)
{
	const struct server *s = opaque;

	return receiver_find_secret(s->receiver, session, id, out);
}

/* Who does not know the session's secret has another claim to it: that the migration was begun with
 * its certificate. It may have a new one by now, of the same subject. */
static int admit(void *opaque, const struct wire_hello *hello, const struct door_terms *terms,
		 struct errtext *why)
{
	const struct server *s = opaque;

	if (hello->kind != WIRE_KIND_LINK || (terms->tls && !terms->by_certificate))
		return 0;
	if (!receiver_is_of_other(s->receiver, hello->session, terms->peer))
		return 0;
	return errtext_set(why, -EKEYREJECTED,
			   "this migration was begun by another host than the one with the "
			   "certificate (%s)",
			   terms->tls ? terms->peer : "none: without TLS");
}

/* ---- one connection ---- */

static void carry_on(struct server *s, struct connection *c, const struct wire_hello *hello,
		     const struct door_terms *terms)
{
	struct incoming_result result;
	int ret;

	enter(s);
	ret = incoming_carry_on(s->receiver, c->line, hello, terms, &result);
	if (ret == -EALREADY || ret == -ENOENT)
		finish_answered(s, hello, ret);
	else
		finish(s, c, hello, &result);
	leave(s);
}

static void serve_migration(struct server *s, struct connection *c, const struct wire_hello *hello,
			    const struct door_terms *terms)
{
	struct incoming_result result;

	if (s->opt.session) {
		line_close(&c->line);
		return;
	}
	enter(s);
	incoming_serve(s->receiver, c->line, hello, terms, &result);
	finish(s, c, hello, &result);
	leave(s);
}

static void serve(struct server *s, struct connection *c)
{
	struct wire_hello hello;
	struct door_terms terms;
	struct errtext err = {0};
	int ret = door_answer(&c->line, CONNECTION_FIRST_MS, &s->keeper, &hello, &terms, &err);

	strangers_leave(&s->strangers, &c->stranger);
	if (ret < 0) {
		report_refused(s, c, ret, &err);
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

static int time_left_ms(struct server *s)
{
	uint64_t now = clock_monotonic_us(), end_us;

	pthread_mutex_lock(&s->lock);
	end_us = s->end_us;
	pthread_mutex_unlock(&s->lock);
	if (end_us == 0)
		return -1;
	return end_us <= now ? 0 : (int)((end_us - now) / 1000) + 1;
}

static bool is_over(struct server *s, int *status)
{
	pthread_mutex_lock(&s->lock);
	*status = s->status;
	pthread_mutex_unlock(&s->lock);
	return time_left_ms(s) == 0;
}

static int accept_all(struct server *s, int listen_fd)
{
	struct pollfd p[3] = {{.fd = listen_fd, .events = POLLIN},
			      {.fd = s->ended, .events = POLLIN},
			      {.fd = s->opt.stop_fd, .events = POLLIN}};
	eventfd_t count;

	for (;;) {
		int status;

		if (poll(p, 3, time_left_ms(s)) < 0 && errno != EINTR)
			return EXIT_FAILED;
		if (p[2].revents)
			return 0;
		if (p[1].revents)
			eventfd_read(s->ended, &count);
		if (is_over(s, &status))
			return status;
		if (p[0].revents)
			accept_one(s, listen_fd);
	}
}

static bool awaits_pages(const struct record *r, const void *port)
{
	return r->port == *(const uint16_t *)port && r->released && r->post_copy && !r->complete;
}

static int explain_busy(const struct server_options *opt, const struct errtext *why,
			struct errtext *err)
{
	struct guest_dir dir;
	struct record r;
	int ret =
		opt->world->find_record(RECORD_INCOMING, awaits_pages, &opt->port, &dir, &r, NULL);

	if (ret < 0)
		return errtext_set(err, -EADDRINUSE, "%s", why->text);
	ret = errtext_set(err, -EADDRINUSE,
			  "%s Or domain %s, which runs here, still has memory to come, and the "
			  "guard or `dray recover` that fetches it holds the port until then",
			  why->text, r.domain);
	record_destroy(&r);
	return ret;
}

/* A guard or `dray recover` that carries on a post-copy, and so holds the port, soon gives way to a
 * receiver; see dray-recover(8). */
static int listen_patiently(const struct server_options *opt, int *fd, struct errtext *err)
{
	uint64_t until = opt->world->now_us() + (opt->session ? 0 : PORT_BUSY_US);

	for (;;) {
		struct errtext why = {0};
		int ret = socket_listen(&opt->socket, opt->port, fd, &why);

		if (ret == 0)
			return 0;
		if (ret != -EADDRINUSE)
			return errtext_set(err, ret, "%s", why.text);
		if (opt->world->now_us() >= until)
			return explain_busy(opt, &why, err);
		opt->world->pause(PORT_POLL_US);
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
	int ret = listen_patiently(&s->opt, listen_fd, err);

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

/* Connections may outlive server_run, and whatever its caller had on its stack. */
static struct server *server_new(const struct server_options *options)
{
	struct server *s = calloc(1, sizeof(*s));

	if (!s)
		return NULL;
	s->opt = *options;
	if (!s->opt.world)
		s->opt.world = incoming_world_real();
	s->report = *options->report;
	s->opt.report = &s->report;
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
	s->keeper.opaque = s;
	pthread_mutex_init(&s->lock, NULL);
	strangers_init(&s->strangers);
	s->ended = eventfd(0, EFD_CLOEXEC);
	return s;
}

/* Before the first connection only. */
static void server_destroy(struct server *s)
{
	cleanup_close(&s->ended);
	pthread_mutex_destroy(&s->lock);
	strangers_destroy(&s->strangers);
	free(s);
}

int server_run(const struct server_options *options, struct errtext *err)
{
	struct server *s = server_new(options);
	_cleanup_close_ int listen_fd = -1;
	struct incoming_leftover *leftover;
	char text[64];
	int ret;

	if (!s)
		return errtext_set(err, -ENOMEM, "out of memory");
	ret = start(s, &listen_fd, err);
	if (ret < 0) {
		server_destroy(s);
		return ret;
	}
	snprintf(text, sizeof(text), "waiting for guests on port %u", s->opt.port);
	report_event(&s->report, "listening", PHASE_CONNECT, text);
	leftover = incoming_leftover_start(s->opt.world, s->opt.libvirt_socket);
	ret = accept_all(s, listen_fd); /* threads may use s: it stays */
	incoming_leftover_end(leftover);
	return ret;
}
