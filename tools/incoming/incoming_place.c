// SPDX-License-Identifier: Apache-2.0
// What a session holds of its host.
#include "incoming_place.h"

#include <errno.h>
#include <stdio.h>
#include <unistd.h>
#include "cleanup.h"
#include "guard.h"
#include "incoming_private.h"
#include "monitor_log.h"
#include "process.h"

void incoming_place_init(struct incoming *in)
{
	in->place.guard = in->place.dir.lock = -1;
}

static void fill_record(struct incoming *in)
{
	struct record *r = &in->place.record;

	snprintf(r->domain, sizeof(r->domain), "%s", in->prepare.name);
	snprintf(r->uuid, sizeof(r->uuid), "%s", in->uuid);
	r->running = in->prepare.running;
	r->autostart = in->prepare.autostart;
	snprintf(r->host, sizeof(r->host), "%s", in->receiver->opt.bind);
	r->port = in->receiver->opt.port;
	snprintf(r->tls_dir, sizeof(r->tls_dir), "%s", in->receiver->opt.tls_dir);
	snprintf(r->peer, sizeof(r->peer), "%s", in->peer);
	record_session(in->session, r->session);
	record_set_host(r, &in->receiver->opt.self);
	record_set_daemon(r, in->receiver->opt.libvirt_socket);
}

/* The guest is not here, in no state. */
static int check_settled(struct incoming *in, enum record_kind kind)
{
	const struct guest_dir *dir = &in->place.dir;
	struct record r = {0};
	int ret = record_read(dir, kind, &r, &in->err);

	if (ret == 0 && kind == RECORD_INCOMING)
		record_judge(dir, &r, true);
	if (ret == 0 && !record_is_settled(kind, &r))
		ret = errtext_set(&in->err, -EEXIST,
				  "an earlier migration of domain %s, %s the destination, is not "
				  "settled: run `dray recover %s` there",
				  r.domain, kind == RECORD_OUTGOING ? "away from" : "to", r.uuid);
	record_destroy(&r);
	return ret == -ENOENT ? 0 : ret;
}

int incoming_place_open(struct incoming *in)
{
	struct incoming_place *p = &in->place;
	char log[MONITOR_LOG_PATH_MAX];
	int ret = host_qemu_owner(in->host, &p->uid, &p->gid, &in->err);

	if (ret == 0)
		ret = host_qemu_sockets(in->host, p->record.sockets, &in->err);
	if (ret == 0)
		ret = in->world->open_dir(&p->dir, in->uuid, p->uid, p->gid, &in->err);
	if (ret < 0)
		return ret;
	guest_dir_set_sockets(&p->dir, p->record.sockets);
	ret = check_settled(in, RECORD_OUTGOING);
	if (ret == 0)
		ret = check_settled(in, RECORD_INCOMING);
	if (ret < 0)
		return ret;
	incoming_move(in, INCOMING_PREPARED);
	/* QEMU makes its own. */
	unlink(p->dir.monitor);
	unlink(p->dir.stream);
	monitor_log_path(p->dir.monitor, log);
	unlink(log);
	record_remove(&p->dir, RECORD_OUTGOING);
	fill_record(in);
	ret = incoming_place_write(in, &in->err);
	return ret < 0 ? ret : incoming_place_start_guard(in);
}

int incoming_place_reopen(struct incoming *in)
{
	struct incoming_place *p = &in->place;
	int ret = in->world->open_dir(&p->dir, p->record.uuid, -1, -1, &in->err);

	if (ret < 0)
		return ret;
	record_destroy(&p->record);
	ret = record_read(&p->dir, RECORD_INCOMING, &p->record, &in->err);
	if (ret == 0)
		guest_dir_set_sockets(&p->dir, p->record.sockets);
	return ret;
}

int incoming_place_start_guard(struct incoming *in)
{
	return in->world->start_guard(in->uuid, in->place.record.session,
				      in->receiver->opt.libvirt_socket, NULL, &in->place.guard,
				      NULL, &in->err);
}

int incoming_place_write(struct incoming *in, struct errtext *err)
{
	return record_write(&in->place.dir, RECORD_INCOMING, &in->place.record, err);
}

int incoming_place_note_qemu(struct incoming *in, pid_t qemu)
{
	struct record *r = &in->place.record;
	int ret = process_started(qemu, &r->qemu_started, &in->err);

	r->qemu = qemu;
	return ret < 0 ? ret : incoming_place_write(in, &in->err);
}

void incoming_place_guard_done(struct incoming *in)
{
	guard_done(steal_fd(&in->place.guard));
}

void incoming_place_close(struct incoming *in)
{
	struct incoming_place *p = &in->place;

	record_destroy(&p->record);
	slot_leave(p->slot);
	guest_dir_close(&p->dir);
	cleanup_close(&p->guard);
}
