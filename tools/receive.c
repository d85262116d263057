// SPDX-License-Identifier: Apache-2.0
// dray receive: options, then the server.
#include <argp.h>
#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include "commands.h"
#include "connection.h"
#include "definition_check.h"
#include "exit_status.h"
#include "guest_check.h"
#include "launcher_arguments.h"
#include "libvirt_host.h"
#include "record_sweep.h"
#include "server.h"
#include "settings.h"
#include "signals.h"
#include "wire.h"

#define FILES_MAX 8192
#define PEERS_MAX 64
#define PATHS_MAX 64

enum {
	OPT_JSON = 256,
	OPT_ONCE,
	OPT_CONFIG,
	OPT_MAX_INBOUND,
	OPT_BIND,
	OPT_PORT,
	OPT_DISABLE_TLS,
	OPT_TLS_DIR,
	OPT_ALLOW_PEER,
	OPT_SOCKET,
	OPT_LAUNCHER,
	OPT_CONGESTION,
	OPT_ALLOW,
	OPT_ALLOW_PATH
};

struct arguments {
	struct server_options *server;
	const char *socket_path, *config;
	struct settings options;	  /* those given as options */
	const char *paths[PATHS_MAX + 1]; /* of --allow-path */
	unsigned int path_count;
	bool json;
	pid_t launcher;
	const char *peers[PEERS_MAX];
	char tls_dir[SETTING_TEXT_SIZE];
};

static const struct argp_option options[] = {
	{"json", OPT_JSON, NULL, 0, "One JSON object a line on standard output", 1},
	{"once", OPT_ONCE, NULL, 0, "Serve one migration, then exit with its status", 1},
	{"config", OPT_CONFIG, "FILE", 0,
	 "YAML or JSON; parallelInboundMigrationsPerNode, network, disableTLS and tlsDir count "
	 "here (" SETTINGS_FILE ", if there is one)",
	 1},
	{"max-inbound", OPT_MAX_INBOUND, "N", 0,
	 "So many guests may come to this host at once, others wait (2)", 1},
	{"bind", OPT_BIND, "ADDRESS|INTERFACE", 0, "Listen there only", 2},
	{"port", OPT_PORT, "N", 0, "TCP port (7470)", 2},
	{"congestion", OPT_CONGESTION, "NAME", 0, "TCP congestion control (cubic)", 2},
	{"disable-tls", OPT_DISABLE_TLS, NULL, 0,
	 "Without TLS: guest memory crosses the network in the clear, and anyone who reaches the "
	 "port can send a guest here, and speak to libvirt as root",
	 2},
	{"tls-dir", OPT_TLS_DIR, "DIR", 0,
	 "This host's ca.crt, tls.crt and tls.key, and crl.pem if there is one (/etc/pki/dray)", 2},
	{"allow-peer", OPT_ALLOW_PEER, "NAME", 0,
	 "Take guests only from hosts whose certificate has this name (subjectAltName or CN), such "
	 "as node1.example.org or *.example.org; may be given again (any that a CA of ca.crt has "
	 "signed)",
	 2},
	{"allow-path", OPT_ALLOW_PATH, "DIRECTORY", 0,
	 "Guests' files and disks must lie beneath it; may be given several times", 2},
	{"allow", OPT_ALLOW, "qemu-arguments|host-devices|file-systems", 0,
	 "Take guests whose definition asks for that; may be given several times", 2},
	{"libvirt-socket", OPT_SOCKET, "PATH", 0, "This host's libvirt daemon", 2},
	{"launcher", OPT_LAUNCHER, "PID", 0, LAUNCHER_ARGUMENTS_HELP, 2},
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

static uint16_t parse_port(struct argp_state *state, const char *arg)
{
	char *end;
	long n = strtol(arg, &end, 10);

	if (end == arg || *end || n < 1 || n > 65535)
		argp_error(state, "--port %s: a number from 1 to 65535 is needed", arg);
	return (uint16_t)n;
}

static void allow_path(struct argp_state *state, const char *arg)
{
	struct arguments *a = state->input;

	char *real = realpath(arg, NULL);

	if (!real)
		argp_error(state, "--allow-path %s: %s", arg, strerror(errno));
	if (a->path_count == PATHS_MAX)
		argp_error(state, "--allow-path %s: %d are enough", arg, PATHS_MAX);
	a->paths[a->path_count++] = real; /* for the process's life */
	a->server->allow_paths = a->paths;
}

static void allow(struct argp_state *state, const char *arg)
{
	struct arguments *a = state->input;
	unsigned int agreed = definition_agreed(arg);

	if (!agreed)
		argp_error(state,
			   "--allow %s: it must be qemu-arguments, host-devices or file-systems",
			   arg);
	a->server->agreed |= agreed;
}

static error_t parse_allow(int key, char *arg, struct argp_state *state)
{
	if (key == OPT_ALLOW)
		allow(state, arg);
	else if (key == OPT_ALLOW_PATH)
		allow_path(state, arg);
	else
		return ARGP_ERR_UNKNOWN;
	return 0;
}

static void take_name(struct arguments *a, const char *name, struct argp_state *state)
{
	if (a->server->allow_peer_count == PEERS_MAX)
		argp_error(state, "--allow-peer %s: more than %d names", name, PEERS_MAX);
	else if (!*name)
		argp_error(state, "--allow-peer: a name is needed");
	else
		a->peers[a->server->allow_peer_count++] = name;
}

static error_t parse_setting(int key, char *arg, struct argp_state *state)
{
	switch (key) {
	case OPT_MAX_INBOUND:
		take_option(state, SETTING_MAX_INBOUND, arg);
		return 0;
	case OPT_BIND:
		take_option(state, SETTING_NETWORK, arg);
		return 0;
	case OPT_DISABLE_TLS:
		take_option(state, SETTING_DISABLE_TLS, "yes");
		return 0;
	case OPT_TLS_DIR:
		take_option(state, SETTING_TLS_DIR, arg);
		return 0;
	default:
		return parse_allow(key, arg, state);
	}
}

static error_t parse(int key, char *arg, struct argp_state *state)
{
	struct arguments *a = state->input;
	struct server_options *s = a->server;

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
	case OPT_CONGESTION:
		snprintf(s->socket.congestion, sizeof(s->socket.congestion), "%s", arg);
		break;
	case OPT_PORT:
		s->port = parse_port(state, arg);
		break;
	case OPT_ALLOW_PEER:
		take_name(a, arg, state);
		break;
	case OPT_SOCKET:
		a->socket_path = arg;
		break;
	case OPT_LAUNCHER:
		a->launcher = launcher_arguments_pid(arg, state);
		break;
	default:
		return parse_setting(key, arg, state);
	}
	return 0;
}

/* File, then options. */
static int resolve(struct arguments *a, struct errtext *err)
{
	struct settings settings, *s = &settings;
	int ret;

	settings_init(s);
	ret = a->config ? settings_load(s, a->config, err)
			: settings_load_usual(s, SETTINGS_FILE, err);
	settings_merge(s, &a->options);
	snprintf(a->server->socket.bind, sizeof(a->server->socket.bind), "%s",
		 settings_text(s, SETTING_NETWORK));
	a->server->max_inbound = (unsigned int)settings_number(s, SETTING_MAX_INBOUND);
	if (settings_bool(s, SETTING_DISABLE_TLS)) {
		if (ret == 0 && a->server->allow_peer_count)
			ret = errtext_set(err, -EINVAL,
					  "--allow-peer means nothing with --disable-tls: without "
					  "TLS nobody knows who a peer is");
		return ret;
	}
	snprintf(a->tls_dir, sizeof(a->tls_dir), "%s", settings_text(s, SETTING_TLS_DIR));
	a->server->tls_dir = a->tls_dir;
	a->server->allow_peers = a->peers;
	return ret;
}

/* Where the paths of a launcher's guest lead cannot be seen from here. */
static int enter_launcher(struct arguments *a, char room[LIBVIRT_SOCKET_SIZE], struct errtext *err)
{
	a->server->contained = a->launcher != 0;
	if (a->launcher && a->path_count)
		return errtext_set(err, -EINVAL,
				   "--allow-path is about this host's files, not about those of "
				   "--launcher: give one of them");
	return launcher_arguments_enter(a->launcher, &a->socket_path, room, err);
}

static int run(struct arguments *a, char libvirt_socket[108], struct errtext *err)
{
	char launcher_socket[LIBVIRT_SOCKET_SIZE];
	int ret = resolve(a, err);

	if (ret == 0)
		ret = guest_check_process(err);
	if (ret == 0)
		ret = enter_launcher(a, launcher_socket, err);
	if (ret == 0)
		ret = host_socket_path(a->socket_path, libvirt_socket, err);
	if (ret == 0)
		ret = host_library_init(err);
	if (ret == 0)
		record_sweep(&record_ages_usual);
	/* Sessions still under way end with the process: before the hand-over their guests run on
	 * at the source, and after it the guards tidy up. */
	return ret == 0 ? server_run(a->server, err) : ret;
}

int command_receive(int argc, char **argv)
{
	static const struct argp argp = {
		options, parse, "",  "Take in guests that `dray migrate` sends to this host.",
		NULL,	 NULL,	NULL};
	char libvirt_socket[108];
	struct report report;
	struct server_options s = {
		.port = WIRE_PORT,
		.socket = {.congestion = SOCKET_CONGESTION,
			   .user_timeout_ms = connection_dead_ms(CONNECTION_SILENCE_MS)},
		.libvirt_socket = libvirt_socket,
		.report = &report,
	};
	struct arguments a = {.server = &s};
	const struct rlimit files = {FILES_MAX, FILES_MAX};
	struct errtext err = {0};
	int ret;

	settings_init(&a.options);
	argp_err_exit_status = EXIT_REFUSED;
	argv[0] = (char *)"dray receive";
	argp_parse(&argp, argc, argv, 0, NULL, &a);
	report_init(&report, a.json);
	setrlimit(RLIMIT_NOFILE, &files);
	signals_block();
	signal(SIGCHLD, SIG_IGN); /* guards are nobody's to wait for */
	a.server->stop_fd = signals_open();
	ret = run(&a, libvirt_socket, &err);
	if (ret < 0)
		report_error(&report, err.text);
	return ret < 0 ? EXIT_REFUSED : ret;
}
