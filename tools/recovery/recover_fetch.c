// SPDX-License-Identifier: Apache-2.0
// After a crash in post-copy, on the destination: take the place of dray receive, unless one was
// started again.
#include <errno.h>
#include <stdio.h>
#include "libvirt_host.h"
#include "ownership_table.h"
#include "recover_private.h"
#include "report.h"

#define POLL_US 50000
/* A supervisor starts dray receive again meanwhile, which then has the port. */
#define RECEIVER_US 3000000

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
	return host ? arrival(host, r) == ARRIVAL_NONE : record_is_gone(r);
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
static bool others_complete(const struct recover_world *world, const struct guest_dir *dir,
			    uint64_t for_us)
{
	uint64_t end = world->now_us() + for_us;

	while (!is_complete(dir)) {
		if (world->now_us() >= end)
			return false;
		world->pause(POLL_US);
	}
	return true;
}

static int be_receiver(const struct recover_options *options, const struct record *r,
		       struct errtext *err)
{
	char libvirt_socket[108];
	struct report report;
	struct server_options server = {
		.libvirt_socket = libvirt_socket,
		.port = r->port,
		.tls_dir = options->tls_dir && r->tls_dir[0] ? options->tls_dir : r->tls_dir,
		.socket = {.congestion = SOCKET_CONGESTION},
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
	return options->world->run_server(&server, err);
}

/* The source may not have heard of it, but an operator has: the guest may come here anew. */
static void note_settled(const struct guest_dir *dir)
{
	struct record r;

	if (record_read(dir, RECORD_INCOMING, &r, NULL) < 0)
		return;
	r.settled = true;
	record_write(dir, RECORD_INCOMING, &r, NULL);
	record_destroy(&r);
}

int recover_fetch(const struct recover_options *options, struct host *host, struct guest_dir *dir,
		  struct record *r, struct errtext *told)
{
	struct errtext err = {0};
	bool ended = has_ended(host, r), complete;

	note_resumed(host, dir, r);
	guest_dir_close(dir); /* the session takes it */
	complete = !ended && others_complete(options->world, dir, RECEIVER_US);
	if (!ended && !complete) {
		int ret = be_receiver(options, r, &err);

		/* If somebody else has the port, that may be a receiver, which carries on. */
		complete = others_complete(options->world, dir,
					   ret < 0 ? options->wait_ms * 1000ull : 0);
		ended = !complete && has_ended(host, r);
	}
	if (complete)
		return errtext_set(told, 0, "domain %s lives here, and all of its memory has come",
				   r->domain);
	if (ended && !options->session)
		note_settled(dir);
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
