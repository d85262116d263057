// SPDX-License-Identifier: Apache-2.0
// What must outlive a killed dray.
#include "outgoing_place.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include "cleanup.h"
#include "guard.h"
#include "outgoing_private.h"
#include "ownership_table.h"
#include "process.h"

void outgoing_place_init(struct outgoing *o)
{
	o->place.guard = -1;
	o->place.dir.lock = -1;
}

/* The guest may have been handed over, and stand here only because nobody knows that yet. */
static int check_settled(struct outgoing *o)
{
	struct record r = {0};
	int ret = o->world->read_record(&o->place.dir, RECORD_OUTGOING, &r, &o->err);

	if (ret == 0 && r.released &&
	    ownership_table_departure(o->guest.info.state, true) != DEPARTURE_STAYED)
		ret = errtext_set(&o->err, -EEXIST,
				  "an earlier migration of domain %s, to %s, is not settled: run "
				  "`dray recover %s`",
				  o->guest.info.name, r.host, o->guest.info.name);
	record_destroy(&r);
	return ret == -ENOENT ? 0 : ret;
}

int outgoing_place_open(struct outgoing *o)
{
	uid_t uid;
	gid_t gid;
	int ret = host_qemu_owner(o->libvirt.host, &uid, &gid, &o->err);

	if (ret == 0)
		ret = host_qemu_sockets(o->libvirt.host, o->place.record.sockets, &o->err);
	if (ret == 0)
		ret = o->world->open_dir(&o->place.dir, o->guest.info.uuid, uid, gid, &o->err);
	if (ret < 0)
		return ret;
	guest_dir_set_sockets(&o->place.dir, o->place.record.sockets);
	return check_settled(o);
}

static int write_record(struct outgoing *o, enum phase phase)
{
	struct record *r = &o->place.record;

	uint64_t begun = o->world->now_us(), took;
	int ret;

	snprintf(r->phase, sizeof(r->phase), "%s", phase_name(phase));
	ret = o->world->write_record(&o->place.dir, RECORD_OUTGOING, r, &o->err);
	took = o->world->now_us() - begun;
	if (took > o->place.record_us)
		o->place.record_us = took;
	return ret;
}

static void fill_record(struct outgoing *o)
{
	struct record *r = &o->place.record;

	snprintf(r->domain, sizeof(r->domain), "%s", o->guest.info.name);
	snprintf(r->uuid, sizeof(r->uuid), "%s", o->guest.info.uuid);
	snprintf(r->host, sizeof(r->host), "%s", o->peer.at.host);
	r->port = o->peer.at.port;
	snprintf(r->tls_dir, sizeof(r->tls_dir), "%s", o->opt->tls_dir);
	snprintf(r->bind, sizeof(r->bind), "%s", o->opt->socket.bind);
	snprintf(r->congestion, sizeof(r->congestion), "%s", o->opt->socket.congestion);
	r->silence_ms = o->opt->silence_ms;
	r->bandwidth = o->precopy.limits.bandwidth;
	r->streams = o->opt->streams;
	r->no_prefetch = o->opt->no_prefetch;
	r->gives_back = o->guest.gives_back;
	r->balloon = o->guest.balloon;
	record_session(o->peer.at.session, r->session);
	record_set_host(r, &o->peer.at.who);
	record_set_daemon(r, o->libvirt.socket);
	if (process_started(o->guest.qemu, &r->qemu_started, NULL) == 0)
		r->qemu = o->guest.qemu;
	r->persistent = o->guest.info.persistent;
	r->running = o->guest.runs;
}

/* Of a migration before that the guard has not settled yet: what was borrowed for that one is to be
 * given back after this one. */
static void take_over_debts(struct outgoing *o)
{
	struct record before;

	if (o->world->read_record(&o->place.dir, RECORD_OUTGOING, &before, NULL) == 0) {
		snprintf(o->place.record.discard, sizeof(o->place.record.discard), "%s",
			 before.discard);
		o->place.debts = true;
	}
	record_destroy(&before);
}

int outgoing_place_hold(struct outgoing *o)
{
	struct record *r = &o->place.record;
	int ret = ram_keep_describe(&o->guest.ram, &r->ram, &o->err);

	if (ret < 0)
		return ret;
	fill_record(o);
	take_over_debts(o);
	ret = o->world->start_guard(r->uuid, r->session, o->opt->libvirt_socket, &r->ram,
				    &o->place.guard, &r->keeper, &o->err);
	if (ret == 0)
		ret = write_record(o, o->phase);
	if (ret < 0)
		r->uuid[0] = 0; /* none was written */
	return ret;
}

int outgoing_place_hand_over(struct outgoing *o)
{
	ram_keep_note(&o->guest.ram, &o->place.record.ram);
	o->place.record.released = true;
	o->place.record.post_copy = o->postcopy.decided;
	o->place.record.gives_back = o->guest.gives_back;
	return write_record(o, PHASE_HANDOVER);
}

int outgoing_place_note_discard(struct outgoing *o, const char *ids, struct errtext *err)
{
	struct record *r = &o->place.record;
	size_t used = strlen(r->discard), size = sizeof(r->discard) - used;
	int n = snprintf(r->discard + used, size, "%s%s", used ? " " : "", ids);

	if (n >= 0 && (size_t)n < size)
		return o->world->write_record(&o->place.dir, RECORD_OUTGOING, r, err);
	r->discard[used] = 0;
	return errtext_set(err, -E2BIG, "too many memory backends");
}

/* What has changed is written down, if anything is yet. */
static void rewrite_record(struct outgoing *o)
{
	struct record *r = &o->place.record;
	struct errtext err = {0};

	if (r->uuid[0] && o->world->write_record(&o->place.dir, RECORD_OUTGOING, r, &err) < 0)
		report_event(o->report, "warning", o->phase, err.text);
}

void outgoing_place_take_back(struct outgoing *o)
{
	o->place.record.released = o->place.record.post_copy = false;
	rewrite_record(o);
}

void outgoing_place_note_bandwidth(struct outgoing *o)
{
	o->place.record.bandwidth = o->precopy.limits.bandwidth;
	rewrite_record(o);
}

void outgoing_place_note_running(struct outgoing *o)
{
	o->place.record.running = o->guest.runs;
	rewrite_record(o);
}

void outgoing_place_forget(struct outgoing *o)
{
	if (!o->place.record.uuid[0]) /* none was written by us, under our lock */
		return;
	o->world->remove_record(&o->place.dir, RECORD_OUTGOING);
	o->place.record.uuid[0] = 0;
	o->place.debts = false;
}

void outgoing_place_dismiss(struct outgoing *o, bool tidy)
{
	int guard = steal_fd(&o->place.guard);

	record_destroy(&o->place.record);
	guest_dir_close(&o->place.dir);
	if (tidy)
		guard_done(guard);
	else
		cleanup_close(&guard);
}
