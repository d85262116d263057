// SPDX-License-Identifier: Apache-2.0
// The beginning of a migration: check, connect, prepare, attach.
#include "outgoing_private.h"

#include <errno.h>
#include <linux/userfaultfd.h>
#include <stdlib.h>
#include <string.h>
#include "attach.h"
#include "cleanup.h"
#include "clock.h"
#include "domain_xml.h"
#include "failure_point.h"
#include "guard.h"
#include "guest_check.h"
#include "kernel_abi.h"
#include "libvirt_host.h"
#include "uring_stream.h"

/* libvirt starting a QEMU; a large preallocated guest takes its time. */
#define PREPARE_MS 300000
#define ANSWER_MS 15000
#define LONG_US 2000000

/* ---- check ---- */

static int open_monitor(struct outgoing *o, const struct guest_facts *facts)
{
	if (!facts->xml.direct_disks)
		return 0;
	return qmp_open(facts->monitor_path, ANSWER_MS, &o->monitor, &o->err);
}

int outgoing_check(struct outgoing *o)
{
	struct guest_facts facts = {0};
	int ret = guest_check_process(&o->err);

	if (ret == 0)
		ret = socket_parse_endpoint(o->opt->destination, WIRE_PORT, o->peer.host,
					    &o->peer.port, &o->err);
	if (ret == 0)
		ret = host_socket_path(o->opt->libvirt_socket, o->libvirt_socket, &o->err);
	if (ret == 0)
		ret = host_library_init(&o->err);
	if (ret == 0)
		ret = host_open(o->libvirt_socket, &o->host, &o->err);
	if (ret == 0)
		ret = guest_check(o->host, o->opt->domain, &facts, &o->err);
	o->guest = facts.info;
	if (ret == 0)
		ret = open_monitor(o, &facts);
	if (ret == 0) {
		o->ram = facts.ram;
		facts.ram = (struct ram_map){0}; /* moved */
		o->qemu = facts.qemu;
		o->direct_disks = facts.xml.direct_disks;
		o->was_running = facts.info.state == DOMAIN_RUNNING;
		o->persistent = facts.info.persistent;
	}
	guest_facts_destroy(&facts);
	return ret < 0 ? outgoing_fail(o, ret, "the guest cannot be checked") : 0;
}

/* ---- connect ---- */

static void on_message(void *opaque, struct wire_message *message)
{
	struct outgoing *o = opaque;

	mailbox_message(o->mail, message);
}

static void on_lost(void *opaque, int result, const char *text)
{
	struct outgoing *o = opaque;

	mailbox_note(o->mail, MAIL_CONTROL_LOST, result, text);
}

static int check_other_host(struct outgoing *o, const struct wire_hello_reply *reply)
{
	uint8_t uuid[16];
	int ret = host_uuid(o->host, uuid, &o->err);

	if (ret == 0 && memcmp(uuid, reply->host_uuid, sizeof(uuid)) == 0)
		ret = outgoing_fail(
			o, -EINVAL,
			"destination %s is this very host (both have the same host UUID): "
			"name another one; cloned hosts need a host_uuid of their own "
			"in libvirtd.conf",
			o->opt->destination);
	return ret;
}

static void fill_prepare(const struct outgoing *o, struct wire_message *m)
{
	snprintf(m->prepare.name, sizeof(m->prepare.name), "%s", o->guest.name);
	memcpy(m->prepare.uuid, o->guest.uuid_bytes, sizeof(m->prepare.uuid));
	m->prepare.streams = o->opt->streams;
	m->prepare.silence_ms = o->opt->silence_ms;
	m->prepare.running = o->was_running;
	m->prepare.ram = o->ram; /* borrowed for the encoding */
}

/* fd: connected, hello done; becomes the control channel's. */
static int open_control(struct outgoing *o, int fd)
{
	struct wire_message prepare = {.type = WIRE_PREPARE};
	struct control_options control = {.fd = fd,
					  .silence_ms = o->opt->silence_ms,
					  .first = &prepare,
					  .pacer = o->pacer,
					  .message = on_message,
					  .lost = on_lost,
					  .opaque = o};

	fill_prepare(o, &prepare);
	return control_new(&control, &o->control, &o->err);
}

/* While it waited for its turn the guest may have been restarted, or got a device that writes its
 * memory unseen. */
static int look_again(struct outgoing *o)
{
	struct guest_facts facts = {0};
	int ret = guest_check(o->host, o->guest.uuid, &facts, &o->err);

	if (ret == 0 && (facts.qemu != o->qemu || facts.xml.direct_disks != o->direct_disks ||
			 ram_map_match(&facts.ram, &o->ram, NULL) < 0))
		ret = errtext_set(&o->err, -EAGAIN,
				  "domain %s was restarted, or changed, while it waited for its "
				  "turn: try again",
				  o->guest.name);
	guest_facts_destroy(&facts);
	return ret < 0 ? outgoing_fail(o, ret, "the guest cannot be checked") : 0;
}

int outgoing_connect(struct outgoing *o)
{
	struct wire_hello_reply *reply = calloc(1, sizeof(*reply));
	_cleanup_close_ int fd = -1;
	uid_t uid;
	gid_t gid;
	int ret = reply ? 0 : -ENOMEM;

	report_event(o->report, "phase", PHASE_CONNECT, phase_name(PHASE_CONNECT));
	o->peer.timeout_ms = (int)o->opt->connect_ms;
	if (ret == 0)
		ret = host_qemu_owner(o->host, &uid, &gid, &o->err);
	if (ret == 0)
		ret = guest_dir_open(&o->dir, o->guest.uuid, uid, gid, &o->err);
	outgoing_show(o);
	if (ret == 0)
		ret = steering_listen(o->steering, o->dir.control, &o->err);
	if (ret == 0)
		ret = outgoing_queue(o);
	if (ret == 0)
		ret = dial(&o->peer, WIRE_KIND_CONTROL, 0, &fd, reply, &o->err);
	if (ret == 0)
		ret = check_other_host(o, reply);
	free(reply);
	if (ret == 0)
		ret = wire_cost_new(fd, o->pacer, &o->wire_cost);
	if (ret == 0)
		ret = open_control(o, steal_fd(&fd));
	if (ret < 0)
		return outgoing_fail(o, ret, "cannot connect to %s", o->opt->destination);
	ret = outgoing_await_prepared(o);
	if (ret == 0 && clock_monotonic_us() - o->begun_us > LONG_US)
		ret = look_again(o);
	o->turn_us = clock_monotonic_us();
	return ret;
}

/* ---- prepare ---- */

static void on_perform_held(void *opaque)
{
	struct outgoing *o = opaque;

	mailbox_note(o->mail, MAIL_PERFORM_HELD, 0, NULL);
}

static void on_confirm_held(void *opaque)
{
	struct outgoing *o = opaque;

	mailbox_note(o->mail, MAIL_CONFIRM_HELD, 0, NULL);
}

static void on_relay_end(void *opaque, int result, const char *text)
{
	struct outgoing *o = opaque;

	mailbox_note(o->mail, MAIL_QEMU_STREAM, result, text);
}

static void on_tunnel_end(void *opaque, int result, const char *text)
{
	struct outgoing *o = opaque;

	mailbox_note(o->mail, MAIL_TUNNEL, result, text);
}

static void on_job_done(void *opaque, int result, const char *text)
{
	struct outgoing *o = opaque;

	mailbox_note(o->mail, MAIL_JOB_DONE, result, text);
}

static void on_qemu_event(void *opaque, enum qemu_event event, uint64_t time_us)
{
	struct outgoing *o = opaque;

	mailbox_qemu_event(o->mail, event, time_us);
}

static int open_streams(struct outgoing *o)
{
	const struct uring_stream_options options = {.pacer = o->pacer};

	o->streams = calloc(o->opt->streams, sizeof(*o->streams));
	if (!o->streams)
		return outgoing_fail(o, -ENOMEM, "out of memory");
	for (unsigned int i = 0; i < o->opt->streams; i++) {
		_cleanup_close_ int fd = -1;
		int ret = dial(&o->peer, WIRE_KIND_RAM, i, &fd, NULL, &o->err);

		if (ret == 0)
			ret = uring_stream_new(fd, &options, &o->streams[i], &o->err);
		if (ret < 0)
			return outgoing_fail(o, ret, "cannot open RAM stream %u", i);
		steal_fd(&fd);
	}
	return 0;
}

static int open_sockets(struct outgoing *o)
{
	struct gate_options gate = {.listen_path = o->dir.gate,
				    .libvirt_path = o->libvirt_socket,
				    .perform_held = on_perform_held,
				    .confirm_held = on_confirm_held,
				    .opaque = o};
	struct forward_options tunnel = {.path = o->dir.tunnel,
					 .owner = -1,
					 .peer = &o->peer,
					 .pacer = o->pacer,
					 .kind = WIRE_KIND_TUNNEL,
					 .ended = on_tunnel_end,
					 .opaque = o};
	struct forward_options relay = tunnel;
	gid_t gid;
	int ret = host_qemu_owner(o->host, &relay.owner, &gid, &o->err);

	relay.path = o->prepared.stream_path;
	relay.kind = WIRE_KIND_QEMU_STREAM;
	relay.ended = on_relay_end;
	if (ret == 0)
		ret = host_knows_capability(o->host, o->guest.uuid, "switchover-ack",
					    &relay.acknowledge, &o->err);
	/* The same path on both hosts, so it must be the one we expect: it will be unlinked. */
	if (ret == 0 && strcmp(o->prepared.stream_path, o->dir.stream) != 0)
		ret = outgoing_fail(o, -EPROTO,
				    "the destination names %s for QEMU's stream, not %s",
				    o->prepared.stream_path, o->dir.stream);
	if (ret == 0)
		ret = gate_new(&gate, &o->gate, &o->err);
	if (ret == 0)
		ret = forward_new(&tunnel, &o->tunnel, &o->err);
	if (ret == 0)
		ret = forward_new(&relay, &o->relay, &o->err);
	return ret < 0 ? outgoing_fail(o, ret, "cannot open local sockets") : 0;
}

static int write_record(struct outgoing *o)
{
	struct record *r = &o->record;

	snprintf(r->domain, sizeof(r->domain), "%s", o->guest.name);
	snprintf(r->uuid, sizeof(r->uuid), "%s", o->guest.uuid);
	snprintf(r->host, sizeof(r->host), "%s", o->peer.host);
	snprintf(r->phase, sizeof(r->phase), "%s", phase_name(o->phase));
	r->port = o->peer.port;
	snprintf(r->bind, sizeof(r->bind), "%s", o->opt->socket.bind);
	record_session(o->peer.session, r->session);
	r->persistent = o->persistent;
	r->running = o->was_running;
	return record_write(&o->dir, RECORD_OUTGOING, r, &o->err);
}

static int start_job(struct outgoing *o)
{
	_cleanup_free_ char *live = NULL, *stored = NULL;
	_cleanup_free_ char *live_there = NULL, *stored_there = NULL;
	struct libvirt_job_options job = {.source_socket = o->dir.gate,
					  .destination_socket = o->dir.tunnel,
					  .uuid = o->guest.uuid,
					  .stream_path = o->dir.stream,
					  .done = on_job_done,
					  .opaque = o};
	int ret = host_domain_xml(o->host, o->guest.uuid, false, &live, &o->err);

	if (ret == 0 && o->persistent)
		ret = host_domain_xml(o->host, o->guest.uuid, true, &stored, &o->err);
	if (ret < 0)
		return outgoing_fail(o, ret, "cannot read the domain's XML");
	live_there = domain_xml_for_destination(live, o->prepared.monitor_path, &o->err);
	stored_there = stored ? domain_xml_without_monitor(stored, &o->err) : NULL;
	if (!live_there || (stored && !stored_there))
		return outgoing_fail(o, -EINVAL, "cannot adapt the domain's XML");
	job.destination_xml = live_there;
	job.persistent_xml = stored_there;
	return libvirt_job_start(&job, &o->job, &o->err);
}

static bool is_ready(const struct outgoing *o)
{
	return o->got_ready && o->perform_held;
}

int outgoing_prepare(struct outgoing *o)
{
	int ret = ram_keep_describe(&o->ram, &o->record.ram, &o->err);

	if (ret == 0)
		ret = guard_start(o->guest.uuid, o->opt->libvirt_socket, &o->record.ram, &o->guard,
				  &o->record.keeper, &o->err);
	if (ret == 0)
		ret = write_record(o);
	if (ret == 0)
		ret = open_sockets(o);
	if (ret == 0)
		ret = host_watch(o->host, o->guest.uuid, on_qemu_event, o, &o->err);
	if (ret == 0) {
		/* Through libvirt's monitor, which is closed to us once the job runs. */
		o->ignore_shared = true;
		ret = host_set_ignore_shared(o->host, o->guest.uuid, true, &o->err);
	}
	if (ret == 0)
		ret = start_job(o);
	if (ret == 0)
		ret = open_streams(o);
	if (ret < 0)
		return outgoing_fail(o, ret, "cannot prepare the migration");
	return outgoing_await(o, is_ready, PREPARE_MS, "libvirt to start the guest's QEMU there");
}

/* ---- attach ---- */

static void on_round_done(void *opaque, const struct source_round *round)
{
	struct outgoing *o = opaque;
	const struct mail mail = {.kind = MAIL_ROUND_DONE,
				  .result = round->result,
				  .a = round->pages,
				  .b = round->duration_us,
				  .text = round->err.text};

	mailbox_post(o->mail, &mail);
}

static int quiesce(void *opaque, struct errtext *err)
{
	struct outgoing *o = opaque;

	return qmp_drain_io(o->monitor, (int)o->opt->silence_ms, err);
}

int outgoing_attach(struct outgoing *o)
{
	const unsigned long long features = UFFD_FEATURE_WP_ASYNC | UFFD_FEATURE_WP_UNPOPULATED |
					    UFFD_FEATURE_WP_HUGETLBFS_SHMEM;
	struct source_options options = {.ram = &o->ram,
					 .streams = o->streams,
					 .stream_count = o->opt->streams,
					 .quiesce = o->monitor ? quiesce : NULL,
					 .round_done = on_round_done,
					 .opaque = o};
	int uffd = -1;
	int ret = attach_userfaultfd(o->qemu, features, false, &uffd, NULL, &o->err);

	if (ret == 0)
		ret = tracker_new(uffd, o->qemu, &o->ram, &o->tracker, &o->err);
	options.tracker = o->tracker;
	if (ret == 0)
		ret = source_new(&options, &o->source, &o->err);
	if (ret == 0 && failure_point("attach") < 0)
		ret = outgoing_fail(o, -EIO, "failure asked for at attach");
	return ret < 0 ? outgoing_fail(o, ret, "cannot attach to QEMU, process %d", o->qemu) : 0;
}
