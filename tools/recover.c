// SPDX-License-Identifier: Apache-2.0
// After a crash: find out where a guest is, and finish or undo.
//
//   here                         there                   so
//   running                      (not asked)             the migration failed; tidy up
//   paused by a migration        running                 it arrived: remove the one here
//     "                          ran, has ended          the same
//     "                          incoming                wait; give it up there; then as absent
//     "                          absent                  it never ran there: resume it here
//     "                          no answer               only the destination knows: leave all
//   absent or shut off           (not asked)             it arrived; tidy up
//
// A guest that was never released is resumed without asking.
#include "recover.h"

#include <errno.h>
#include <getopt.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include "cleanup.h"
#include "clock.h"
#include "commands.h"
#include "control.h"
#include "guest_dir.h"
#include "outgoing.h"
#include "page_link.h"
#include "ram_keep.h"
#include "server.h"

#define POLL_US 50000

static void pause_a_little(void)
{
	usleep(POLL_US);
}

/* ---- asking ---- */

int recover_ask(const struct peer *peer, enum wire_type question, const uint8_t uuid[16],
		enum wire_state *state, struct errtext *err)
{
	struct wire_message *m = calloc(1, sizeof(*m));
	uint8_t buf[256];
	_cleanup_close_ int fd = -1;
	long len;
	int ret = m ? dial(peer, WIRE_KIND_RECOVER, 0, &fd, NULL, err) : -ENOMEM;

	if (ret == 0) {
		m->type = question;
		memcpy(m->query.uuid, uuid, 16);
		len = wire_message_encode(m, buf, sizeof(buf));
		ret = len < 0 ? (int)len : socket_write_full(fd, buf, len, peer->timeout_ms);
	}
	if (ret == 0)
		ret = control_read_one(fd, peer->timeout_ms, m, err);
	if (ret == 0 && m->type != WIRE_STATE)
		ret = errtext_set(err, -EPROTO, "%s:%u answers %s, not STATE", peer->host,
				  peer->port, wire_type_name(m->type));
	if (ret == 0)
		*state = m->state.state;
	free(m);
	return ret;
}

int recover_settle(const struct peer *peer, const uint8_t uuid[16], uint32_t wait_ms,
		   enum wire_state *state, struct errtext *err)
{
	uint64_t begun = clock_monotonic_us(), end = begun + wait_ms * 1000ull;
	struct errtext last = {0};
	bool answered = false;

	for (;;) {
		uint64_t now = clock_monotonic_us();
		enum wire_type question =
			answered && now - begun > wait_ms * 500ull ? WIRE_DISCARD : WIRE_QUERY;

		memset(&last, 0, sizeof(last));
		if (recover_ask(peer, question, uuid, state, &last) == 0) {
			answered = true;
			if (*state != WIRE_STATE_INCOMING)
				return 0;
		}
		if (now >= end)
			break;
		pause_a_little();
	}
	if (answered)
		return errtext_set(err, -EBUSY,
				   "the destination %s:%u neither starts the guest "
				   "nor gives it up",
				   peer->host, peer->port);
	return errtext_set(err, -EHOSTUNREACH, "%s", last.text);
}

/* ---- acting ---- */

int recover_wait_job(struct host *host, const char *uuid, uint32_t wait_ms,
		     struct domain_info *info, struct errtext *err)
{
	uint64_t end = clock_monotonic_us() + wait_ms * 1000ull;

	for (;;) {
		int ret = host_state(host, uuid, info, err);

		if (ret < 0 || !info->job)
			return ret;
		if (clock_monotonic_us() >= end)
			return errtext_set(err, -EBUSY,
					   "libvirt still has a job on domain %s: `virsh "
					   "domjobinfo %s`",
					   info->name, info->name);
		pause_a_little();
	}
}

int recover_retire(struct host *host, const char *uuid, bool persistent, struct errtext *err)
{
	struct domain_info info;
	int ret = host_state(host, uuid, &info, err);

	if (ret < 0 || info.state == DOMAIN_ABSENT)
		return ret;
	if (info.state == DOMAIN_RUNNING)
		return errtext_set(err, -EEXIST,
				   "domain %s runs on both hosts; neither was touched. Decide "
				   "which one is right and destroy the other",
				   info.name);
	if (info.state != DOMAIN_SHUT_OFF)
		ret = host_destroy(host, uuid, err);
	if (ret == 0)
		ret = host_state(host, uuid, &info, err);
	if (ret == 0 && persistent && info.state != DOMAIN_ABSENT)
		ret = host_undefine(host, uuid, err);
	return ret;
}

/* It runs here: leave no capability behind that would make a later migration by somebody else
 * skip the guest's memory. */
static int tidy_running(struct host *host, const struct domain_info *info, struct errtext *told)
{
	bool on = false;
	int ret = host_get_ignore_shared(host, info->uuid, &on, told);

	if (ret == 0 && on)
		ret = host_set_ignore_shared(host, info->uuid, false, told);
	return ret;
}

static int ask_and_act(struct host *host, const struct record *r, const struct domain_info *info,
		       uint32_t wait_ms, struct errtext *told)
{
	struct peer peer = {.port = r->port, .timeout_ms = 3000};
	enum wire_state state = WIRE_STATE_ABSENT;
	int ret = 0;

	snprintf(peer.host, sizeof(peer.host), "%s", r->host);
	snprintf(peer.socket.bind, sizeof(peer.socket.bind), "%s", r->bind);
	if (r->released)
		ret = recover_settle(&peer, info->uuid_bytes, wait_ms, &state, told);
	if (ret < 0)
		return ret;
	if (state == WIRE_STATE_ABSENT) {
		ret = r->running ? host_resume(host, info->uuid, told) : 0;
		if (ret == 0)
			ret = tidy_running(host, info, told);
		return ret < 0 ? ret
			       : errtext_set(told, 0,
					     "domain %s never ran on %s: it runs here again",
					     info->name, r->host);
	}
	ret = recover_retire(host, info->uuid, r->persistent, told);
	return ret < 0 ? ret
		       : errtext_set(told, 0, "domain %s %s on %s: the paused one here was removed",
				     info->name,
				     state == WIRE_STATE_RUNNING ? "runs" : "ran, and has ended,",
				     r->host);
}

/* ---- post-copy ---- */

struct waiting {
	pthread_mutex_t lock;
	pthread_cond_t changed;
	/* under lock */
	bool over, ended;
	char text[WIRE_TEXT_MAX + 1];
};

static void on_link(void *opaque, enum page_link_state state, const char *text)
{
	struct waiting *w = opaque;

	if (state != PAGE_LINK_COMPLETE && state != PAGE_LINK_ENDED)
		return;
	pthread_mutex_lock(&w->lock);
	w->over = true;
	w->ended = state == PAGE_LINK_ENDED;
	snprintf(w->text, sizeof(w->text), "%s", text);
	pthread_cond_signal(&w->changed);
	pthread_mutex_unlock(&w->lock);
}

/* The guard's own copies, or those of a guard that still lives. */
static int reopen_ram(const struct record *r, struct ram_map *ram, struct errtext *told)
{
	int ret = ram_reopen(getpid(), &r->ram, ram, NULL);

	if (ret < 0)
		ret = ram_reopen(r->keeper, &r->ram, ram, told);
	return ret;
}

static void session_bytes(const char *text, uint8_t session[WIRE_SESSION_SIZE])
{
	for (int i = 0; i < WIRE_SESSION_SIZE; i++) {
		unsigned int byte = 0;

		sscanf(text + 2 * i, "%2x", &byte);
		session[i] = (uint8_t)byte;
	}
}

/* The guest is over there, what it lacks is here. For as long as it takes. */
static int serve_pages(const struct record *r, struct errtext *told)
{
	struct waiting w = {.lock = PTHREAD_MUTEX_INITIALIZER, .changed = PTHREAD_COND_INITIALIZER};
	struct peer peer = {.port = r->port, .timeout_ms = 10000};
	struct ram_map ram = {0};
	struct page_link_options options = {.peer = &peer,
					    .ram = &ram,
					    .faults = 8,
					    .pushes = 2,
					    .silence_ms = 10000,
					    .changed = on_link,
					    .opaque = &w};
	struct page_link *link;
	int ret = reopen_ram(r, &ram, told);

	snprintf(peer.host, sizeof(peer.host), "%s", r->host);
	strcpy(peer.socket.congestion, "cubic");
	peer.socket.user_timeout_ms = 20000;
	session_bytes(r->session, peer.session);
	if (ret == 0)
		ret = page_link_resume(&options, &link, told);
	if (ret < 0)
		return ret;
	pthread_mutex_lock(&w.lock);
	while (!w.over)
		pthread_cond_wait(&w.changed, &w.lock);
	pthread_mutex_unlock(&w.lock);
	page_link_destroy(link);
	ram_map_destroy(&ram);
	if (w.ended)
		return errtext_set(told, -ECONNABORTED, "domain %s: post-copy to %s: %s", r->domain,
				   r->host, w.text);
	return errtext_set(told, 0, "domain %s lives on %s, and all of its memory has arrived",
			   r->domain, r->host);
}

/* It stands here, and may run there on memory that is here: ask for as long as it takes. */
static int settle_post_copy(struct host *host, const struct record *r,
			    const struct domain_info *info, uint32_t wait_ms, struct errtext *told)
{
	struct domain_info now;
	int ret;

	do {
		*told = (struct errtext){0};
		ret = ask_and_act(host, r, info, wait_ms, told);
	} while (ret == -EHOSTUNREACH);
	if (ret < 0 || host_state(host, r->uuid, &now, NULL) < 0 ||
	    (now.state != DOMAIN_ABSENT && now.state != DOMAIN_SHUT_OFF))
		return ret;
	*told = (struct errtext){0};
	return serve_pages(r, told);
}

static int settle_outgoing(struct host *host, struct guest_dir *dir, const struct record *r,
			   uint32_t wait_ms, struct errtext *told)
{
	struct domain_info info;
	int ret = recover_wait_job(host, r->uuid, wait_ms, &info, told);

	if (ret < 0)
		return ret;
	switch (info.state) {
	case DOMAIN_ABSENT:
	case DOMAIN_SHUT_OFF:
		if (r->post_copy)
			ret = serve_pages(r, told);
		else
			errtext_set(told, 0, "domain %s has left this host", r->domain);
		break;
	case DOMAIN_PAUSED_MIGRATION:
		ret = r->post_copy ? settle_post_copy(host, r, &info, wait_ms, told)
				   : ask_and_act(host, r, &info, wait_ms, told);
		break;
	case DOMAIN_PAUSED_USER: /* looks the same whether or not it has left since */
		if (r->released) {
			ret = ask_and_act(host, r, &info, wait_ms, told);
			break;
		}
		/* fall through */
	default:
		ret = tidy_running(host, &info, told);
		if (ret == 0)
			errtext_set(told, 0, "domain %s runs here, as before the migration",
				    r->domain);
	}
	if (ret == 0)
		record_remove(dir, RECORD_OUTGOING);
	return ret;
}

/* The guest came here, or did not; libvirt has settled that when the job is over. */
static int settle_incoming(struct host *host, struct guest_dir *dir, struct record *r,
			   uint32_t wait_ms, struct errtext *told)
{
	uint64_t end = clock_monotonic_us() + wait_ms * 1000ull;
	struct domain_info info;
	int ret;

	while ((ret = recover_wait_job(host, r->uuid, wait_ms, &info, told)) == 0 &&
	       info.state == DOMAIN_INCOMING && clock_monotonic_us() < end)
		pause_a_little();
	if (ret < 0)
		return ret;
	if (info.state == DOMAIN_RUNNING || info.state == DOMAIN_PAUSED_USER) {
		ret = tidy_running(host, &info, told);
		r->resumed = true;
		if (ret == 0)
			ret = record_write(dir, RECORD_INCOMING, r, told);
		return ret < 0 ? ret
			       : errtext_set(told, 0, "domain %s has arrived and lives here",
					     r->domain);
	}
	return errtext_set(told, 0, "domain %s is not here", r->domain);
}

/* Its memory is still to come, and dray receive has ended: be the receiver until it has. If there
 * is one again it carries on by itself, and this one waits. */
static int await_pages(const char *socket, struct guest_dir *dir, struct record *r,
		       uint32_t wait_ms, struct errtext *told)
{
	static struct report report; /* sessions may outlive this function, as may their options */
	static struct server_options server;
	static char libvirt_socket[108];
	uint64_t end = clock_monotonic_us() + wait_ms * 1000ull;
	struct errtext err = {0};
	int ret;

	snprintf(libvirt_socket, sizeof(libvirt_socket), "%s", socket);
	report_init(&report, false);
	server = (struct server_options){.libvirt_socket = libvirt_socket,
					 .port = r->port,
					 .max_inbound = 1,
					 .once = true,
					 .carry_on_only = true,
					 .stop_fd = -1,
					 .report = &report};
	snprintf(server.socket.bind, sizeof(server.socket.bind), "%.*s",
		 (int)sizeof(server.socket.bind) - 1, r->host);
	strcpy(server.socket.congestion, "cubic");
	guest_dir_close(dir); /* the session takes it */
	ret = server_run(&server, &err);
	while (ret < 0 && !r->complete && clock_monotonic_us() < end) {
		pause_a_little();
		record_destroy(r);
		ret = record_read(dir, RECORD_INCOMING, r, &err);
		ret = ret < 0 || !r->complete ? -EINPROGRESS : 0;
	}
	return ret == 0 ? errtext_set(told, 0,
				      "domain %s lives here, and all of its memory has come",
				      r->domain)
			: errtext_set(
				  told, -EINPROGRESS,
				  "domain %s runs here, and part of its memory is still to come "
				  "(%s); `dray receive` carries on as soon as the source answers",
				  r->domain, err.text);
}

static int find_uuid(struct host *host, const char *domain, char uuid[37], struct errtext *err)
{
	struct domain_info info;
	struct errtext unknown = {0};
	int ret = host_find(host, domain, &info, &unknown);

	/* A guest that has left is still known by its UUID. */
	if (ret == -ENOENT && strlen(domain) == 36) {
		snprintf(uuid, 37, "%s", domain);
		return 0;
	}
	if (ret == 0)
		snprintf(uuid, 37, "%s", info.uuid);
	return ret < 0 ? errtext_set(err, ret, "%s", unknown.text) : 0;
}

/* The guard of a dray that was killed may be at it. */
static int take_lock(struct guest_dir *dir, const char *uuid, uint32_t wait_ms,
		     struct errtext *told)
{
	uint64_t end = clock_monotonic_us() + wait_ms * 1000ull;
	int ret;

	for (;;) {
		*told = (struct errtext){0};
		ret = guest_dir_open(dir, uuid, -1, -1, told);
		if (ret != -EBUSY || clock_monotonic_us() >= end)
			return ret;
		pause_a_little();
	}
}

int recover_run(const struct recover_options *options, struct errtext *told)
{
	char socket[108], uuid[37];
	struct host *host = NULL;
	struct guest_dir dir = {.lock = -1};
	struct record record = {0};
	int ret = host_socket_path(options->libvirt_socket, socket, told);

	if (ret == 0)
		ret = host_library_init(told);
	if (ret == 0)
		ret = host_open(socket, &host, told);
	if (ret < 0)
		return ret;
	ret = find_uuid(host, options->domain, uuid, told);
	if (ret == 0)
		ret = take_lock(&dir, uuid, options->wait_ms, told);
	if (ret == 0) {
		if (record_read(&dir, RECORD_OUTGOING, &record, NULL) == 0)
			ret = settle_outgoing(host, &dir, &record, options->wait_ms, told);
		else if (record_read(&dir, RECORD_INCOMING, &record, NULL) == 0)
			ret = record.post_copy && !record.complete
				      ? await_pages(socket, &dir, &record, options->wait_ms, told)
				      : settle_incoming(host, &dir, &record, options->wait_ms,
							told);
		else
			errtext_set(told, 0, "domain %s: no migration was broken off here",
				    options->domain);
	}
	record_destroy(&record);
	guest_dir_close(&dir);
	host_close(host);
	return ret;
}

/* ---- the command ---- */

static const char usage[] =
	"usage: dray recover [--wait SECONDS] [--libvirt-socket PATH] DOMAIN\n"
	"After a crash, on the host where the guest was or is: find out who has it, and finish\n"
	"or undo the migration. Exit status: 0 settled, 4 an operator must decide.\n";

static int read_wait(const char *text, uint32_t *wait_ms)
{
	char *end;
	unsigned long n = strtoul(text, &end, 10);

	if (end == text || *end || *text == '-' || n > 86400) {
		fprintf(stderr,
			"dray recover: --wait %s: a number of seconds, 0 to 86400, is needed\n",
			text);
		return -EINVAL;
	}
	*wait_ms = (uint32_t)n * 1000;
	return 0;
}

int command_recover(int argc, char **argv)
{
	static const struct option longs[] = {{"wait", required_argument, NULL, 'w'},
					      {"libvirt-socket", required_argument, NULL, 'l'},
					      {"help", no_argument, NULL, 'h'},
					      {0}};
	struct recover_options options = {.wait_ms = 30000};
	struct errtext told = {0};
	int c, ret;

	while ((c = getopt_long(argc, argv, "h", longs, NULL)) != -1) {
		if (c == 'w' && read_wait(optarg, &options.wait_ms) < 0)
			return EXIT_REFUSED;
		if (c == 'w')
			continue;
		if (c == 'l')
			options.libvirt_socket = optarg;
		else {
			fputs(usage, c == 'h' ? stdout : stderr);
			return c == 'h' ? 0 : EXIT_REFUSED;
		}
	}
	if (optind + 1 != argc) {
		fputs(usage, stderr);
		return EXIT_REFUSED;
	}
	options.domain = argv[optind];
	ret = recover_run(&options, &told);
	fprintf(ret < 0 ? stderr : stdout, "%s%s\n", ret < 0 ? "dray: " : "", told.text);
	if (ret == -EHOSTUNREACH)
		fprintf(stderr,
			"dray: only the destination knows whether the guest runs there; nothing "
			"was "
			"changed.\nStart `dray receive` there and run `dray recover %s` again. Do "
			"not "
			"resume the guest here before that.\n",
			options.domain);
	if (ret == -ENOENT)
		return EXIT_REFUSED;
	return ret < 0 ? EXIT_OPERATOR : 0;
}
