// SPDX-License-Identifier: Apache-2.0
// After a crash in post-copy: carry on, on either side.
//
// The source may be the last to hold the guest's memory. So it is held before anything else is
// done, and served while libvirt's side is settled: a daemon that does not answer must not keep the
// guest waiting. To offer pages to a destination that has no such guest does no harm.
#include "recover_private.h"

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <syslog.h>
#include <unistd.h>
#include "clock.h"
#include "libvirt_host.h"
#include "ownership.h"
#include "ownership_table.h"
#include "page_link.h"
#include "ram_find.h"
#include "ram_keep.h"
#include "server.h"

#define POLL_US 50000
#define AGAIN_MS 5000
#define WAIT_MS 10000
/* A supervisor starts dray receive again meanwhile, which then has the port. */
#define RECEIVER_US 3000000

int recover_open_host(const struct recover_options *options, struct host **out, struct errtext *err)
{
	char socket[108];
	int ret = host_socket_path(options->libvirt_socket, socket, err);

	return ret < 0 ? ret : host_open(socket, out, err);
}

/* ---- the source ---- */

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

/* Of the QEMU that still stands here. */
static int find_ram(const struct recover_options *options, const struct record *r,
		    struct ram_map *ram, struct errtext *err)
{
	struct domain_info info;
	struct host *host = NULL;
	pid_t pid;
	int ret = recover_open_host(options, &host, err);

	if (ret == 0)
		ret = ownership_wait_job(host, r->uuid, options->wait_ms, &info, err);
	if (ret == 0)
		ret = host_qemu_pid(host, r->uuid, &pid, err);
	if (ret == 0)
		ret = ram_find(pid, false, ram, err);
	host_close(host);
	return ret;
}

/* Our own copies if we are the guard, or those of a guard that still lives. */
static int hold_ram(const struct recover_options *options, const struct record *r,
		    struct ram_map *ram, struct errtext *told)
{
	struct errtext why = {0};
	int ret = -ENOENT;

	if (r->ram.count)
		ret = ram_reopen(getpid(), &r->ram, ram, NULL);
	if (ret < 0 && r->ram.count && r->keeper > 0)
		ret = ram_reopen(r->keeper, &r->ram, ram, NULL);
	if (ret < 0)
		ret = find_ram(options, r, ram, &why);
	if (ret == 0)
		return 0;
	return errtext_set(told, -ENODATA,
			   "domain %s was handed over to %s before all of its memory, and no "
			   "process here is known to hold that (%s); nothing was changed. If it "
			   "does not run on %s, only its disks are left",
			   r->domain, r->host, why.text, r->host);
}

static int settle_here(const struct recover_options *options, const struct record *r,
		       bool *elsewhere, struct errtext *told)
{
	struct host *host = NULL;
	int ret = recover_open_host(options, &host, told);

	if (ret == 0)
		ret = recover_settle_departure(host, r, options->wait_ms, elsewhere, told);
	host_close(host);
	return ret;
}

static bool wait_over(struct waiting *w, uint64_t for_ms)
{
	uint64_t end_us = clock_realtime_us() + for_ms * 1000;
	const struct timespec end = clock_timespec(end_us);
	bool over;

	pthread_mutex_lock(&w->lock);
	while (!w->over)
		if (pthread_cond_timedwait(&w->changed, &w->lock, &end) == ETIMEDOUT)
			break;
	over = w->over;
	pthread_mutex_unlock(&w->lock);
	return over;
}

/* Until both libvirt here and the destination have no more use for us. */
static int see_it_through(const struct recover_options *options, const struct record *r,
			  struct page_link *link, struct waiting *w, struct errtext *told)
{
	struct errtext last = {0};
	bool elsewhere;

	for (;;) {
		*told = (struct errtext){0};
		if (settle_here(options, r, &elsewhere, told) == 0)
			break;
		if (strcmp(told->text, last.text) != 0)
			syslog(LOG_WARNING, "domain %s, in post-copy to %s: %s", r->domain, r->host,
			       told->text);
		last = *told;
		usleep(AGAIN_MS * 1000);
	}
	if (!elsewhere)
		return 0;
	while (!wait_over(w, WAIT_MS))
		;
	*told = (struct errtext){0};
	if (w->ended)
		return errtext_set(told, -ECONNABORTED, "domain %s: post-copy to %s: %s", r->domain,
				   r->host, w->text);
	if (page_link_judge(link, r->domain, r->host, told) < 0)
		return -EBADMSG;
	return errtext_set(told, 0, "domain %s lives on %s, and all of its memory has arrived",
			   r->domain, r->host);
}

int recover_serve_pages(const struct recover_options *options, const struct guest_dir *dir,
			const struct record *r, struct errtext *told)
{
	struct waiting w = {.lock = PTHREAD_MUTEX_INITIALIZER, .changed = PTHREAD_COND_INITIALIZER};
	struct peer peer = {.port = r->port, .timeout_ms = 10000};
	struct ram_map ram = {0};
	struct page_link_options link_options = {.peer = &peer,
						 .ram = &ram,
						 .faults = 8,
						 .pushes = 2,
						 .silence_ms = 10000,
						 .changed = on_link,
						 .opaque = &w};
	struct page_link *link = NULL;
	int ret = hold_ram(options, r, &ram, told);

	snprintf(peer.host, sizeof(peer.host), "%s", r->host);
	strcpy(peer.socket.congestion, "cubic");
	peer.socket.user_timeout_ms = 20000;
	record_session_bytes(r, peer.session);
	if (ret == 0)
		ret = page_link_resume(&link_options, &link, told);
	if (ret == 0)
		ret = see_it_through(options, r, link, &w, told);
	page_link_destroy(link);
	ram_map_destroy(&ram);
	if (ret == 0 || ret == -EBADMSG) /* nothing is left to be done here */
		record_remove(dir, RECORD_OUTGOING);
	return ret;
}

/* ---- the destination ---- */

/* PENDING if libvirt cannot tell now. */
static enum ownership_arrival arrival(struct host *host, const struct record *r)
{
	struct domain_info info;

	return host && host_state(host, r->uuid, &info, NULL) == 0
		       ? ownership_table_arrival(info.state)
		       : ARRIVAL_PENDING;
}

static bool has_ended(struct host *host, const struct record *r)
{
	return arrival(host, r) == ARRIVAL_NONE;
}

/* Under the guest's lock. That it has run must be known before the source asks. */
static void note_resumed(struct host *host, const struct guest_dir *dir, struct record *r)
{
	if (r->resumed || arrival(host, r) != ARRIVAL_LIVES)
		return;
	r->resumed = true;
	record_write(dir, RECORD_INCOMING, r, NULL);
}

static bool is_complete(const struct guest_dir *dir)
{
	struct record now;
	bool complete = record_read(dir, RECORD_INCOMING, &now, NULL) == 0 && now.complete;

	record_destroy(&now);
	return complete;
}

/* Until then a receiver may do it, or be started. */
static bool others_complete(const struct guest_dir *dir, uint64_t for_us)
{
	uint64_t end = clock_monotonic_us() + for_us;

	while (!is_complete(dir)) {
		if (clock_monotonic_us() >= end)
			return false;
		usleep(POLL_US);
	}
	return true;
}

static int be_receiver(const struct recover_options *options, const struct record *r,
		       struct errtext *err)
{
	char libvirt_socket[108];
	struct report report;
	struct server_options server = {.libvirt_socket = libvirt_socket,
					.port = r->port,
					.socket = {.congestion = "cubic"},
					.max_inbound = 1,
					.once = true,
					.session = r->session,
					.stop_fd = -1,
					.report = &report};
	int ret = host_socket_path(options->libvirt_socket, libvirt_socket, err);

	if (ret < 0)
		return ret;
	report_init(&report, false);
	snprintf(server.socket.bind, sizeof(server.socket.bind), "%.*s",
		 (int)sizeof(server.socket.bind) - 1, r->host);
	return server_run(&server, err);
}

int recover_await_pages(const struct recover_options *options, struct host *host,
			struct guest_dir *dir, struct record *r, struct errtext *told)
{
	struct errtext err = {0};
	bool ended = has_ended(host, r), complete;
	int ret = 0;

	note_resumed(host, dir, r);
	guest_dir_close(dir); /* the session takes it */
	complete = !ended && others_complete(dir, RECEIVER_US);
	if (!ended && !complete) {
		ret = be_receiver(options, r, &err);
		/* If somebody else has the port, that may be a receiver, which carries on. */
		complete = others_complete(dir, ret < 0 ? options->wait_ms * 1000ull : 0);
		ended = !complete && has_ended(host, r);
	}
	if (complete)
		return errtext_set(told, 0, "domain %s lives here, and all of its memory has come",
				   r->domain);
	if (ended)
		return errtext_set(told, 0,
				   "domain %s came here and has ended, before all of its memory "
				   "had come; `dray receive` tells the source",
				   r->domain);
	return errtext_set(told, -EINPROGRESS,
			   "domain %s runs here, and part of its memory is still to come (%s); "
			   "`dray receive` carries on as soon as the source answers",
			   r->domain, err.text[0] ? err.text : "the source went away again");
}
