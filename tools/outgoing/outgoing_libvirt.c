// SPDX-License-Identifier: Apache-2.0
// libvirt's half of a migration.
#include "outgoing_libvirt.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include "cleanup.h"
#include "domain_xml.h"
#include "event_flood.h"
#include "libvirt_host.h"
#include "outgoing_await.h"
#include "outgoing_place.h"
#include "outgoing_postcopy.h"
#include "outgoing_private.h"
#include "outgoing_state.h"
#include "ownership.h"
#include "ownership_table.h"
#include "ram_discard.h"
#include "switchover_ack.h"

/* For libvirt to wind up by itself before its connections are cut. */
#define WIND_UP_MS 3000
#define CUT_MS 20000
#define SETTLE_MS 10000
#define AGAIN_US 50000

int outgoing_libvirt_open(struct outgoing *o)
{
	int ret = host_socket_path(o->opt->libvirt_socket, o->libvirt.socket, &o->err);

	if (ret == 0)
		ret = host_library_init(&o->err);
	if (ret == 0)
		ret = host_open(o->libvirt.socket, &o->libvirt.host, &o->err);
	return ret;
}

/* ---- what other threads tell ---- */

static void on_perform_held(void *opaque)
{
	struct outgoing *o = opaque;

	mailbox_note(o->mail.box, MAIL_PERFORM_HELD, 0, NULL);
}

static void on_confirm_held(void *opaque, bool cancelled)
{
	struct outgoing *o = opaque;

	mailbox_note(o->mail.box, MAIL_CONFIRM_HELD, cancelled, NULL);
}

static void on_qemu_stream_end(void *opaque, int result, const char *text)
{
	struct outgoing *o = opaque;

	mailbox_note(o->mail.box, MAIL_QEMU_STREAM, result, text);
}

static void on_qemu_stream_begun(void *opaque)
{
	struct outgoing *o = opaque;

	mailbox_note(o->mail.box, MAIL_QEMU_SENDS, 0, NULL);
}

static void on_tunnel_end(void *opaque, int result, const char *text)
{
	struct outgoing *o = opaque;

	mailbox_note(o->mail.box, MAIL_TUNNEL, result, text);
}

static void on_job_done(void *opaque, int result, const char *text)
{
	struct outgoing *o = opaque;

	mailbox_note(o->mail.box, MAIL_JOB_DONE, result, text);
}

static void on_qemu_event(void *opaque, enum qemu_event event, uint64_t time_us)
{
	struct outgoing *o = opaque;

	mailbox_qemu_event(o->mail.box, event, time_us);
}

void outgoing_libvirt_take_perform(struct outgoing *o, struct mail *mail)
{
	(void)mail;
	o->libvirt.perform_held = true;
}

void outgoing_libvirt_take_confirm(struct outgoing *o, struct mail *mail)
{
	o->libvirt.confirm_held = true;
	o->libvirt.confirmed = !mail->result;
}

/* `virsh domjobabort`. The destination, whose QEMU libvirt has ended, may have been heard first. */
static void take_cancel(struct outgoing *o, const char *text)
{
	if (o->guest.ended || o->cancelled)
		return;
	o->cancelled = true;
	o->err = (struct errtext){0};
	outgoing_fail(o, -ECANCELED, "cancelled by a client of libvirt's (virsh domjobabort): %s",
		      text);
}

/* At Begin or Prepare, by the daemon here or there: nothing has moved yet. */
static void take_refusal(struct outgoing *o, const char *text)
{
	o->libvirt.refused = true;
	outgoing_fail(o, -EPERM, "libvirt will not have domain %s moved: %s", o->guest.info.name,
		      text);
}

/* A destination that does not let a call pass ends the tunnel, and says why at once. */
static void await_refusal(struct outgoing *o)
{
	if (!o->libvirt.perform_held)
		outgoing_await_cause(o);
}

void outgoing_libvirt_take_job(struct outgoing *o, struct mail *mail)
{
	o->libvirt.done = true;
	o->libvirt.result = mail->result;
	snprintf(o->libvirt.text, sizeof(o->libvirt.text), "%s", mail->text);
	if (outgoing_is_handed_over(o))
		return;
	if (o->libvirt.result == -ECANCELED && !o->libvirt.aborted)
		take_cancel(o, o->libvirt.text);
	if (o->libvirt.result == -EPERM && !o->libvirt.perform_held)
		take_refusal(o, o->libvirt.text);
	if (o->libvirt.result == -ECONNRESET)
		await_refusal(o);
	outgoing_fail(o, o->libvirt.result ? o->libvirt.result : -EPROTO, "libvirt: %s",
		      o->libvirt.result ? o->libvirt.text : "the migration ended before its time");
}

/* The destination's daemon ends its half at once, and that host would be the first to complain. */
void outgoing_libvirt_note_unseen(struct outgoing *o)
{
	if (outgoing_may_give_up(o))
		outgoing_fail(o, -ECONNRESET,
			      "libvirt's daemon on this host ended, or was restarted (%s): a "
			      "migration cannot do without it",
			      o->libvirt.socket);
}

/* The daemon has more to do than this host's other guests can bear: it is the migration that ends.
 * After the hand-over there is nothing that an event would have to tell. */
void outgoing_libvirt_note_flood(struct outgoing *o)
{
	host_unwatch(o->libvirt.host);
	if (outgoing_may_give_up(o))
		outgoing_fail(o, -EBUSY,
			      "QEMU of domain %s emits more than %d events a second, which would "
			      "clog libvirt's daemon on this host: something lets the guest stop "
			      "and go on all the time, or this is a bug in QEMU",
			      o->guest.info.name, EVENT_FLOOD_MAX);
}

/* libvirt's library would notice only with its next call, after the hand-over. */
void outgoing_libvirt_take_tunnel(struct outgoing *o, struct mail *mail)
{
	char text[WIRE_TEXT_MAX + 1];

	if (!outgoing_may_give_up(o))
		return;
	snprintf(text, sizeof(text), "%s", mail->text); /* lent until the next mail */
	await_refusal(o);
	outgoing_fail(o, -ECONNRESET,
		      "the connection to libvirt on the destination broke%s%s: did "
		      "libvirtd end there?",
		      text[0] ? ": " : "", text);
}

/* ---- the beginning ---- */

/* libvirt takes the same path on both hosts, so it must be the one we expect: it will be unlinked.
 * A user's own daemon and the system's have different ones. */
static int check_stream_path(struct outgoing *o)
{
	if (strcmp(o->peer.stream_path, o->place.dir.stream) == 0)
		return 0;
	o->libvirt.refused = true;
	return outgoing_fail(
		o, -EPROTO,
		"QEMU's stream would be %s on the destination, and %s here: both hosts' "
		"libvirt must be the system's, or users' own with the same directory; so both "
		"dray migrate and dray receive get a --launcher, or neither",
		o->peer.stream_path, o->place.dir.stream);
}

static int open_sockets(struct outgoing *o)
{
	struct gate_options gate = {.listen_path = o->place.dir.gate,
				    .libvirt_path = o->libvirt.socket,
				    .perform_held = on_perform_held,
				    .confirm_held = on_confirm_held,
				    .opaque = o};
	struct forward_options tunnel = {.path = o->place.dir.tunnel,
					 .owner = -1,
					 .peer = &o->peer.at,
					 .pacer = o->peer.pacer,
					 .kind = WIRE_KIND_TUNNEL,
					 .ended = on_tunnel_end,
					 .opaque = o};
	struct forward_options qemu_stream = tunnel;
	gid_t gid;
	int ret = host_qemu_owner(o->libvirt.host, &qemu_stream.owner, &gid, &o->err);

	qemu_stream.path = o->peer.stream_path;
	qemu_stream.kind = WIRE_KIND_QEMU_STREAM;
	qemu_stream.ended = on_qemu_stream_end;
	qemu_stream.begun = on_qemu_stream_begun;
	qemu_stream.strain = o->guest.strained ? &o->guest.ram : NULL;
	if (ret == 0)
		ret = switchover_ack_is_awaited(o->libvirt.host, o->guest.info.uuid,
						&qemu_stream.acknowledge, &o->err);
	if (ret == 0)
		ret = check_stream_path(o);
	if (ret == 0)
		ret = o->world->gate.new(&gate, &o->libvirt.gate, &o->err);
	if (ret == 0)
		ret = o->world->forward.new(&tunnel, &o->libvirt.tunnel, &o->err);
	if (ret == 0)
		ret = o->world->forward.new(&qemu_stream, &o->libvirt.qemu_stream, &o->err);
	return ret < 0 ? outgoing_fail(o, ret, "cannot open local sockets") : 0;
}

static int start_job(struct outgoing *o)
{
	_cleanup_free_ char *live = NULL, *stored = NULL;
	_cleanup_free_ char *live_there = NULL, *stored_there = NULL;
	struct libvirt_job_options job = {.source_socket = o->place.dir.gate,
					  .destination_socket = o->place.dir.tunnel,
					  .session = o->place.record.sockets[0] != 0,
					  .uuid = o->guest.info.uuid,
					  .stream_path = o->place.dir.stream,
					  .done = on_job_done,
					  .opaque = o};
	int ret = host_domain_xml(o->libvirt.host, o->guest.info.uuid, false, &live, &o->err);

	if (ret == 0 && o->guest.info.persistent)
		ret = host_domain_xml(o->libvirt.host, o->guest.info.uuid, true, &stored, &o->err);
	if (ret < 0)
		return outgoing_fail(o, ret, "cannot read the domain's XML");
	live_there = domain_xml_for_destination(live, o->peer.monitor_path, o->guest.arrives_shared,
						&o->err);
	stored_there = stored ? domain_xml_without_monitor(stored, &o->err) : NULL;
	if (!live_there || (stored && !stored_there))
		return outgoing_fail(o, -EINVAL, "cannot adapt the domain's XML");
	job.destination_xml = live_there;
	job.persistent_xml = stored_there;
	return o->world->job.start(&job, &o->libvirt.job, &o->err);
}

/* What post-copy serves must outlive QEMU, which libvirt tells to end; its private memory does not,
 * and then it is kept from ending (outgoing_qemu.h). */
static void keep_ram(struct outgoing *o)
{
	const char *uuid = o->guest.info.uuid;
	char ids[RAM_DISCARD_IDS_MAX];
	struct errtext err = {0}, told = {0};
	int ret = ram_discard_find(o->libvirt.host, uuid, ids, &err);

	if (ret == 0 && ids[0])
		ret = outgoing_place_note_discard(o, ids, &err);
	if (ret == 0)
		ret = ram_discard_set(o->libvirt.host, uuid, ids, false, &err);
	if (ret == 0)
		return;
	errtext_set(
		&told, ret,
		"post-copy is not possible: QEMU here may empty the guest's memory when it ends, "
		"as by <discard/> in <memoryBacking>: %s",
		err.text);
	outgoing_postcopy_refuse(o, told.text);
}

/* Through libvirt's monitor, which is closed to us once the job runs. */
static int leave_ram_out(struct outgoing *o)
{
	o->libvirt.ignore_shared = true;
	return host_set_ignore_shared(o->libvirt.host, o->guest.info.uuid, true, &o->err);
}

int outgoing_libvirt_start(struct outgoing *o)
{
	int ret = open_sockets(o);

	if (ret == 0)
		ret = host_watch(o->libvirt.host, o->guest.info.uuid, on_qemu_event, o, &o->err);
	/* Strained, QEMU sends all RAM, of which the strainer lets nothing pass. */
	if (ret == 0)
		ret = o->guest.strained ? outgoing_strain_prepare(o) : leave_ram_out(o);
	if (ret == 0)
		keep_ram(o);
	return ret < 0 ? ret : start_job(o);
}

void outgoing_libvirt_open_gate(struct outgoing *o)
{
	o->libvirt.gate_opened = true;
	o->world->gate.open(o->libvirt.gate);
}

/* ---- the end ---- */

void outgoing_libvirt_end_job(struct outgoing *o)
{
	if (!o->libvirt.job || o->libvirt.done)
		return;
	o->world->forward.cut(o->libvirt.tunnel);
	if (outgoing_await_job(o, WIND_UP_MS) < 0) {
		o->world->gate.cut(o->libvirt.gate);
		outgoing_await_job(o, CUT_MS);
	}
}

bool outgoing_libvirt_hangs(const struct outgoing *o)
{
	return o->libvirt.job && !o->libvirt.done;
}

static bool job_is_done_or_stopped(const struct outgoing *o)
{
	return o->libvirt.done || o->stop.stop_us;
}

/* While the guest runs there is time to hear that somebody else has aborted it: libvirt ends the
 * QEMU there first, which takes it a second. */
static void abort_job(struct outgoing *o)
{
	outgoing_await(o, job_is_done_or_stopped, WIND_UP_MS, NULL);
	if (o->libvirt.done)
		return;
	o->libvirt.aborted = true;
	host_abort_job(o->libvirt.host, o->guest.info.uuid);
}

/* Before the gate opened QEMU knows of nothing, and without its client libvirt forgets the job.
 * Later QEMU's migration fails as its stream breaks, and libvirt winds up both sides; but while
 * the guest stands still it must not wait for the other host in that. */
void outgoing_libvirt_undo(struct outgoing *o)
{
	if (!o->libvirt.job)
		return;
	o->world->forward.cut(o->libvirt.qemu_stream);
	if (o->peer.lost || o->stop.stop_us)
		o->world->forward.cut(o->libvirt.tunnel);
	if (!o->libvirt.gate_opened)
		o->world->gate.cut(o->libvirt.gate);
	else
		abort_job(o);
	if (outgoing_await_job(o, WIND_UP_MS) < 0) {
		struct domain_info info;

		ownership_unstick(o->libvirt.host, o->guest.info.uuid, WIND_UP_MS, &info, NULL);
		outgoing_libvirt_end_job(o);
	}
}

static int retire(struct outgoing *o, struct errtext *err)
{
	struct domain_info info;
	int ret = ownership_wait_job(o->libvirt.host, o->guest.info.uuid, SETTLE_MS, &info, err);

	if (ret == 0)
		ret = ownership_retire(o->libvirt.host, o->guest.info.uuid,
				       o->guest.info.persistent, err);
	return ret;
}

/* A launcher that was removed as soon as the guest had left it. */
static bool has_gone_altogether(struct outgoing *o)
{
	return o->place.record.sockets[0] && o->guest.pidfd >= 0 &&
	       o->world->process_has_ended(o->guest.pidfd) &&
	       host_reopen(o->libvirt.host, NULL) < 0;
}

/* libvirt's library calls a migration done also when its last call, on which the daemon here
 * removes the guest, was lost with that daemon: the one started next has it paused. */
int outgoing_libvirt_retire(struct outgoing *o, struct errtext *err)
{
	uint64_t end = o->world->now_us() + SETTLE_MS * 1000ull;
	int ret;

	o->libvirt.ignore_shared = false; /* it goes with the guest's QEMU */
	for (;;) {
		*err = (struct errtext){0};
		ret = retire(o, err);
		if (ret == 0 || ret == -EEXIST || o->world->now_us() >= end)
			break;
		o->world->pause(AGAIN_US);
		host_reopen(o->libvirt.host, NULL);
	}
	if (ret < 0 && has_gone_altogether(o))
		ret = 0;
	o->libvirt.left_behind = ret < 0;
	return ret;
}

/* The gate stays shut to Confirm(cancelled). */
int outgoing_libvirt_retire_by_hand(struct outgoing *o, struct errtext *err)
{
	o->world->gate.cut(o->libvirt.gate);
	outgoing_libvirt_end_job(o);
	return retire(o, err);
}

/* libvirt has usually resumed it by now: also one that its user has paused since the migration
 * began, which is paused again. */
static int restore_state(struct outgoing *o, const struct domain_info *info, struct errtext *err)
{
	struct host *host = o->libvirt.host;

	if (o->guest.runs && ownership_table_departure(info->state, false) == DEPARTURE_RESUME)
		return host_resume(host, o->guest.info.uuid, err);
	if (!o->guest.runs && o->libvirt.gate_opened && info->state == DOMAIN_RUNNING)
		return host_suspend(host, o->guest.info.uuid, err);
	return 0;
}

/* Of a guest that has ended there is nothing to give back to. */
static int restore(struct outgoing *o, struct errtext *err)
{
	struct domain_info info;
	int ret;

	if (o->guest.ended)
		return 0;
	ret = ownership_wait_departure(o->libvirt.host, o->guest.info.uuid, SETTLE_MS, &info, err);
	if (ret < 0)
		return ret;
	if (ownership_table_departure(info.state, false) == DEPARTURE_LEFT) {
		outgoing_guest_note_ended(o);
		return 0;
	}
	ret = restore_state(o, &info, err);
	if (ret == 0 && (o->libvirt.ignore_shared || o->place.debts))
		ret = host_set_ignore_shared(o->libvirt.host, o->guest.info.uuid, false, err);
	if (ret == 0)
		ret = ram_discard_set(o->libvirt.host, o->guest.info.uuid, o->place.record.discard,
				      true, err);
	return ret < 0 ? ret : outgoing_strain_restore(o, err);
}

/* The daemon may be starting anew, and the connection to the one before is of no use. */
int outgoing_libvirt_restore(struct outgoing *o, struct errtext *err)
{
	uint64_t end = o->world->now_us() + SETTLE_MS * 1000ull;
	int ret;

	if (!o->libvirt.ignore_shared && !o->libvirt.job && !o->place.debts &&
	    !o->place.record.discard[0])
		return 0; /* it was not touched */
	for (;;) {
		*err = (struct errtext){0};
		ret = restore(o, err);
		if (ret == 0 || o->world->now_us() >= end)
			break;
		o->world->pause(AGAIN_US);
		host_reopen(o->libvirt.host, NULL);
	}
	if (ret == 0)
		o->libvirt.ignore_shared = false;
	return ret;
}

/* If libvirt cannot tell: one that was not stopped has run on. */
bool outgoing_libvirt_stands(struct outgoing *o)
{
	struct domain_info info;
	enum ownership_departure departure;

	if (!o->guest.was_running)
		return false;
	if (host_state(o->libvirt.host, o->guest.info.uuid, &info, NULL) < 0)
		return o->stop.stop_us != 0;
	departure = ownership_table_departure(info.state, false);
	return departure == DEPARTURE_RESUME || departure == DEPARTURE_WAIT;
}

void outgoing_libvirt_disconnect(struct outgoing *o)
{
	o->world->job.join(o->libvirt.job);
	o->world->gate.destroy(o->libvirt.gate);
	o->world->forward.destroy(o->libvirt.tunnel);
	o->world->forward.destroy(o->libvirt.qemu_stream);
}

void outgoing_libvirt_close(struct outgoing *o)
{
	host_close(o->libvirt.host);
}
