// SPDX-License-Identifier: Apache-2.0
// dray receive: one port, a thread a connection.
#include <argp.h>
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include "cleanup.h"
#include "commands.h"
#include "guest_check.h"
#include "incoming.h"
#include "outgoing.h"
#include "settings.h"
#include "socket.h"
#include "wire.h"

/* Connections that have not said hello yet count too: nobody can make us start threads without
 * end. */
#define CONNECTIONS_MAX 512
#define HELLO_MS 10000
#define DEAD_MS 20000 /* a connection whose data nobody acknowledges */
#define FILES_MAX 8192
#define NO_ROOM_US 50000

enum {
	OPT_JSON = 256,
	OPT_ONCE,
	OPT_CONFIG,
	OPT_MAX_INBOUND,
	OPT_BIND,
	OPT_PORT,
	OPT_DISABLE_TLS,
	OPT_SOCKET,
	OPT_CONGESTION
};

struct server {
	/* constant after init */
	struct receiver *receiver;
	uint8_t host_uuid[16];
	char libvirt_socket[108];
	struct socket_options socket;
	uint16_t port;
	unsigned int max_inbound;
	bool once;
	int ended; /* eventfd: a migration has been served */

	atomic_int connections; /* relaxed: a limit only */
	pthread_mutex_t lock;	/* orders reports */
	struct report report;	/* under lock */
	int status;		/* under lock; of the last migration */
};

struct connection {
	struct server *server;
	int fd;
	char peer[SOCKET_PEER_SIZE];
};

/* ---- one connection ---- */

static void report_session(struct server *s, const char *peer, const struct incoming_result *in)
{
	struct report_result r = {
		.result = in->arrived ? "completed" : "failed",
		.lane = "direct",
		.mode = "PreCopy",
		.total_ms = in->total_ms,
		.ram_bytes = in->ram_bytes,
		.wire_bytes = in->wire_bytes,
		.streams = in->streams,
		.guest_on = in->arrived ? "destination" : (in->unknown ? "unknown" : "source"),
		.host = peer,
	};
	char text[ERRTEXT_SIZE + WIRE_NAME_MAX + SOCKET_PEER_SIZE + 64];

	snprintf(r.domain, sizeof(r.domain), "%s", in->domain);
	snprintf(r.reason, sizeof(r.reason), "%s", in->reason);
	pthread_mutex_lock(&s->lock);
	s->status = in->arrived ? EXIT_COMPLETED : EXIT_FAILED;
	if (s->report.json) {
		report_result(&s->report, &r);
	} else {
		snprintf(text, sizeof(text), "%s from %s: %s%s", in->domain, peer,
			 in->arrived ? "arrived" : "did not arrive: ", in->reason);
		report_event(&s->report, "result", PHASE_FINISH, text);
	}
	pthread_mutex_unlock(&s->lock);
	eventfd_write(s->ended, 1);
}

static bool answer_hello(struct server *s, int fd, struct wire_hello *hello)
{
	_cleanup_free_ uint8_t *out = malloc(WIRE_HELLO_REPLY_SIZE + WIRE_TEXT_MAX);
	struct wire_hello_reply *reply = calloc(1, sizeof(*reply));
	uint8_t buf[WIRE_HELLO_SIZE];
	struct errtext err = {0};
	bool ok = false;

	if (out && reply && socket_read_full(fd, buf, sizeof(buf), HELLO_MS) == 0) {
		int ret = wire_hello_decode(buf, hello, &err);

		reply->version_min = WIRE_VERSION_MIN;
		reply->version_max = WIRE_VERSION_MAX;
		if (ret == 0)
			reply->version = wire_version_choose(hello->version_min, hello->version_max,
							     WIRE_VERSION_MIN, WIRE_VERSION_MAX);
		if (ret == 0 && reply->version == 0)
			errtext_set(
				&err, -EPROTO,
				"it speaks protocol versions %d to %d, you %u to %u: install the "
				"same dray on both hosts",
				WIRE_VERSION_MIN, WIRE_VERSION_MAX, hello->version_min,
				hello->version_max);
		reply->features = WIRE_FEATURES & hello->features;
		memcpy(reply->host_uuid, s->host_uuid, sizeof(reply->host_uuid));
		snprintf(reply->text, sizeof(reply->text), "%s", err.text);
		ok = socket_write_full(fd, out, wire_hello_reply_encode(reply, out), HELLO_MS) ==
			     0 &&
		     reply->version;
	}
	free(reply);
	return ok;
}

static void serve(struct server *s, struct connection *c)
{
	struct wire_hello hello;
	struct errtext err = {0};

	if (!answer_hello(s, c->fd, &hello)) {
		close(c->fd);
		return;
	}
	if (hello.kind == WIRE_KIND_CONTROL) {
		struct incoming_result result;

		incoming_serve(s->receiver, c->fd, hello.session, &result);
		if (result.prepared)
			report_session(s, c->peer, &result);
	} else if (hello.kind == WIRE_KIND_RECOVER) {
		incoming_recover(s->receiver, c->fd);
	} else {
		incoming_join(s->receiver, c->fd, &hello, &err);
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

	if (!c || socket_accept(listen_fd, &s->socket, &c->fd, c->peer, &err) < 0) {
		free(c);
		usleep(NO_ROOM_US); /* out of descriptors, say: the connection stays pending */
		return;
	}
	c->server = s;
	if (atomic_fetch_add_explicit(&s->connections, 1, memory_order_relaxed) < CONNECTIONS_MAX &&
	    pthread_create(&thread, NULL, connection_main, c) == 0) {
		pthread_detach(thread);
		return;
	}
	atomic_fetch_sub_explicit(&s->connections, 1, memory_order_relaxed);
	close(c->fd);
	free(c);
}

/* ---- the server ---- */

static int accept_all(struct server *s, int listen_fd, int signals)
{
	struct pollfd p[3] = {{.fd = listen_fd, .events = POLLIN},
			      {.fd = s->ended, .events = POLLIN},
			      {.fd = signals, .events = POLLIN}};
	eventfd_t count;

	for (;;) {
		if (poll(p, 3, -1) < 0 && errno != EINTR)
			return EXIT_FAILED;
		if (p[2].revents)
			return 0;
		if (p[1].revents && eventfd_read(s->ended, &count) == 0 && s->once)
			return s->status;
		if (p[0].revents)
			accept_one(s, listen_fd);
	}
}

static int start(struct server *s, const char *socket_path, int *listen_fd, struct errtext *err)
{
	struct host *host = NULL;
	int ret = guest_check_process(err);

	if (ret == 0)
		ret = host_socket_path(socket_path, s->libvirt_socket, err);
	if (ret == 0)
		ret = host_library_init(err);
	if (ret == 0)
		ret = host_open(s->libvirt_socket, &host, err);
	if (ret == 0)
		ret = host_uuid(host, s->host_uuid, err);
	host_close(host);
	if (ret == 0)
		ret = receiver_new(s->libvirt_socket, s->max_inbound, &s->receiver);
	if (ret == 0)
		ret = socket_listen(&s->socket, s->port, listen_fd, err);
	return ret;
}

static int block_signals(void)
{
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGINT);
	sigaddset(&set, SIGTERM);
	pthread_sigmask(SIG_BLOCK, &set, NULL);
	signal(SIGPIPE, SIG_IGN);
	signal(SIGCHLD, SIG_IGN); /* guards are nobody's to wait for */
	return signalfd(-1, &set, SFD_CLOEXEC);
}

struct arguments {
	struct server *server;
	const char *socket_path, *config;
	struct settings options; /* those given as options */
	bool json;
};

static const struct argp_option options[] = {
	{"json", OPT_JSON, NULL, 0, "One JSON object a line on standard output", 1},
	{"once", OPT_ONCE, NULL, 0, "Serve one migration, then exit with its status", 1},
	{"config", OPT_CONFIG, "FILE", 0,
	 "YAML or JSON; parallelInboundMigrationsPerNode, network and disableTLS count here", 1},
	{"max-inbound", OPT_MAX_INBOUND, "N", 0,
	 "So many guests may come to this host at once, others wait (2)", 1},
	{"bind", OPT_BIND, "ADDRESS|INTERFACE", 0, "Listen there only", 2},
	{"port", OPT_PORT, "N", 0, "TCP port (7470)", 2},
	{"congestion", OPT_CONGESTION, "NAME", 0, "TCP congestion control (cubic)", 2},
	{"disable-tls", OPT_DISABLE_TLS, NULL, 0,
	 "Take guest memory in the clear; needed, as this version has no TLS", 2},
	{"libvirt-socket", OPT_SOCKET, "PATH", 0, "This host's libvirt daemon", 2},
	{0},
};

static void take_option(struct argp_state *state, enum setting which, const char *text)
{
	struct arguments *a = state->input;
	struct errtext err = {0};
	char origin[64];

	snprintf(origin, sizeof(origin), "option --%s", setting_row(which)->option);
	if (settings_set(&a->options, which, text, origin, &err) < 0)
		argp_error(state, "%s", err.text);
}

static error_t parse(int key, char *arg, struct argp_state *state)
{
	struct arguments *a = state->input;
	struct server *s = a->server;
	char *end;
	long n;

	switch (key) {
	case OPT_JSON:
		a->json = true;
		break;
	case OPT_ONCE:
		s->once = true;
		break;
	case OPT_CONFIG:
		a->config = arg;
		break;
	case OPT_MAX_INBOUND:
		take_option(state, SETTING_MAX_INBOUND, arg);
		break;
	case OPT_BIND:
		take_option(state, SETTING_NETWORK, arg);
		break;
	case OPT_CONGESTION:
		snprintf(s->socket.congestion, sizeof(s->socket.congestion), "%s", arg);
		break;
	case OPT_PORT:
		n = strtol(arg, &end, 10);
		if (end == arg || *end || n < 1 || n > 65535)
			argp_error(state, "--port %s: a number from 1 to 65535 is needed", arg);
		s->port = (uint16_t)n;
		break;
	case OPT_DISABLE_TLS:
		take_option(state, SETTING_DISABLE_TLS, "yes");
		break;
	case OPT_SOCKET:
		a->socket_path = arg;
		break;
	default:
		return ARGP_ERR_UNKNOWN;
	}
	return 0;
}

/* File, then options. */
static int resolve(struct arguments *a, struct settings *s, struct errtext *err)
{
	int ret = 0;

	settings_init(s);
	if (a->config)
		ret = settings_load(s, a->config, err);
	settings_merge(s, &a->options);
	snprintf(a->server->socket.bind, sizeof(a->server->socket.bind), "%s",
		 settings_text(s, SETTING_NETWORK));
	a->server->max_inbound = (unsigned int)settings_number(s, SETTING_MAX_INBOUND);
	if (ret == 0 && !settings_bool(s, SETTING_DISABLE_TLS))
		ret = errtext_set(err, -EINVAL,
				  "this version has no TLS yet: anyone who reaches the port could "
				  "send a guest here or read one on its way. If that network is "
				  "trusted, say --disable-tls");
	return ret;
}

int command_receive(int argc, char **argv)
{
	static const struct argp argp = {
		options, parse, "",  "Take in guests that `dray migrate` sends to this host.",
		NULL,	 NULL,	NULL};
	struct server s = {.port = WIRE_PORT,
			   .socket = {.congestion = "cubic", .user_timeout_ms = DEAD_MS}};
	struct arguments a = {.server = &s};
	struct settings settings;
	const struct rlimit files = {FILES_MAX, FILES_MAX};
	struct errtext err = {0};
	char text[64];
	int listen_fd = -1, signals;

	settings_init(&a.options);
	argp_err_exit_status = EXIT_REFUSED;
	argv[0] = (char *)"dray receive";
	argp_parse(&argp, argc, argv, 0, NULL, &a);
	report_init(&s.report, a.json);
	pthread_mutex_init(&s.lock, NULL);
	s.ended = eventfd(0, EFD_CLOEXEC);
	if (resolve(&a, &settings, &err) < 0) {
		report_error(&s.report, err.text);
		return EXIT_REFUSED;
	}
	setrlimit(RLIMIT_NOFILE, &files);
	signals = block_signals();
	if (start(&s, a.socket_path, &listen_fd, &err) < 0) {
		report_error(&s.report, err.text);
		return EXIT_REFUSED;
	}
	snprintf(text, sizeof(text), "waiting for guests on port %u", s.port);
	report_event(&s.report, "listening", PHASE_CONNECT, text);
	/* Sessions still under way end with the process: before the hand-over their guests run on
	 * at the source, and after it the guards tidy up. */
	return accept_all(&s, listen_fd, signals);
}
