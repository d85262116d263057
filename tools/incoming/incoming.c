// SPDX-License-Identifier: Apache-2.0
// One migration, as the destination serves it: the session.
//
// How it ends is in incoming_end.c.
#include "incoming_private.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <uuid/uuid.h>
#include "cleanup.h"
#include "guard.h"
#include "socket.h"

#define QUEUED_US 1000000
#define QUEUE_LOOK_US 100000

/* ---- begin ---- */

static void on_message(void *opaque, struct wire_message *message)
{
	struct incoming *in = opaque;

	mailbox_message(in->mail, message);
}

static void on_lost(void *opaque, int result, const char *text)
{
	struct incoming *in = opaque;

	mailbox_note(in->mail, MAIL_CONTROL_LOST, result, text);
}

/* The guest must not be here already, in whatever state. */
static int check_absent(struct incoming *in)
{
	struct domain_info info;
	int ret = host_state(in->host, in->uuid, &info, &in->err);

	if (ret < 0)
		return ret;
	in->record.defined_before = info.state == DOMAIN_SHUT_OFF;
	if (incoming_settle_has_ended(info.state))
		return 0;
	return errtext_set(
		&in->err, -EEXIST,
		"domain %s (%s) is already active on the destination: is it left from an "
		"earlier migration? `dray recover %s` there",
		in->prepare.name, in->uuid, in->prepare.name);
}

static int open_dir(struct incoming *in)
{
	uid_t uid;
	gid_t gid;
	int ret = host_qemu_owner(in->host, &uid, &gid, &in->err);

	if (ret == 0)
		ret = in->world->open_dir(&in->dir, in->uuid, uid, gid, &in->err);
	if (ret < 0)
		return ret;
	/* Of an earlier stay here; QEMU makes its own. */
	unlink(in->dir.monitor);
	unlink(in->dir.stream);
	record_remove(&in->dir, RECORD_OUTGOING);
	snprintf(in->record.domain, sizeof(in->record.domain), "%s", in->prepare.name);
	snprintf(in->record.uuid, sizeof(in->record.uuid), "%s", in->uuid);
	in->record.running = in->prepare.running;
	snprintf(in->record.host, sizeof(in->record.host), "%s", in->receiver->opt.bind);
	in->record.port = in->receiver->opt.port;
	record_session(in->session, in->record.session);
	ret = record_write(&in->dir, RECORD_INCOMING, &in->record, &in->err);
	if (ret == 0)
		ret = in->world->start_guard(in->uuid, in->receiver->opt.libvirt_socket, NULL,
					     &in->guard, NULL, &in->err);
	return ret;
}

static int tell_queued(struct incoming *in, unsigned int ahead)
{
	const struct wire_message m = {.type = WIRE_QUEUED, .queued = {ahead}};

	return control_send(in->control, &m);
}

/* First come, first in; the source hears from us while it waits. */
static int await_turn(struct incoming *in)
{
	uint64_t next_us = 0;
	unsigned int ahead;
	int ret = in->world->join_queue(GUEST_DIR_ROOT "/inbound", &in->slot, &in->err);

	while (ret == 0) {
		ret = slot_ahead(in->slot, &ahead);
		if (ret < 0)
			return errtext_set(&in->err, ret, "cannot count this host's migrations");
		if (ahead < in->receiver->opt.max_inbound)
			return 0;
		if (in->world->now_us() >= next_us) {
			ret = tell_queued(in, ahead - in->receiver->opt.max_inbound + 1);
			next_us = in->world->now_us() + QUEUED_US;
		}
		incoming_mail_take(in, QUEUE_LOOK_US);
		if (in->aborted || in->control_lost)
			return -ECANCELED;
	}
	return ret;
}

static int accept_guest(struct incoming *in, int fd)
{
	const struct wire_message prepared = {.type = WIRE_PREPARED,
					      .prepared = {in->dir.monitor, in->dir.stream}};
	struct control_options control = {.fd = fd,
					  .silence_ms = in->prepare.silence_ms,
					  .message = on_message,
					  .lost = on_lost,
					  .opaque = in};
	int ret = control_new(&control, &in->control, &in->err);

	if (ret == 0)
		ret = in->world->open_host(in->receiver->opt.libvirt_socket, &in->host, &in->err);
	if (ret == 0)
		ret = await_turn(in);
	if (ret == 0)
		ret = check_absent(in);
	if (ret == 0)
		ret = open_dir(in);
	return ret < 0 ? ret : control_send(in->control, &prepared);
}

/* ---- life ---- */

static void destroy(struct incoming *in)
{
	incoming_monitor_unwatch(in);
	receiver_remove(in);
	incoming_stream_end(in);
	incoming_link_tell_end(in);
	incoming_postcopy_release(in);
	for (unsigned int i = 0; i < in->tunnel_count; i++)
		pump_destroy(in->tunnels[i]);
	pump_destroy(in->device_stream);
	control_destroy(in->control);
	destination_destroy(in->destination);
	qmp_close(in->monitor);
	ram_map_destroy(&in->ram);
	ram_map_destroy(&in->prepare.ram);
	record_destroy(&in->record);
	mailbox_destroy(in->mail);
	slot_leave(in->slot);
	guest_dir_close(&in->dir);
	host_close(in->host);
	/* A guard that is not told "done" begins now, and needs the lock. */
	cleanup_close(&in->guard);
	free(in);
}

static void run(struct incoming *in, int fd, struct incoming_result *result)
{
	uint64_t begun = in->world->now_us();
	int ret = accept_guest(in, fd);

	if (ret == 0)
		ret = incoming_attach(in);
	if (ret == 0)
		ret = control_send_type(in->control, WIRE_READY);
	if (ret == 0)
		incoming_wait(in);
	else
		errtext_set(&in->err, ret, "cannot take the guest in: %s", strerror(-ret));
	incoming_end(in, ret, result);
	result->total_ms = (in->world->now_us() - begun) / 1000;
}

static struct incoming *incoming_new(struct receiver *r, const uint8_t session[WIRE_SESSION_SIZE])
{
	struct incoming *in = calloc(1, sizeof(*in));

	if (!in || mailbox_new(&in->mail) < 0) {
		free(in);
		return NULL;
	}
	in->receiver = r;
	in->world = r->opt.world;
	memcpy(in->session, session, sizeof(in->session));
	in->guard = in->monitor_stop = in->dir.lock = in->uffd = in->uffd_inside = -1;
	return in;
}

void incoming_serve(struct receiver *r, int fd, const uint8_t session[WIRE_SESSION_SIZE],
		    struct incoming_result *result)
{
	_cleanup_close_ int own = fd;
	_cleanup_message_ struct wire_message m = {0};
	struct incoming *in = incoming_new(r, session);
	struct errtext err = {0};
	int ret = in ? control_read_one(fd, ANSWER_MS, &m, &err) : -ENOMEM;

	*result = (struct incoming_result){0};
	if (ret == 0 && m.type != WIRE_PREPARE)
		ret = errtext_set(&err, -EPROTO, "PREPARE was expected, %s came",
				  wire_type_name(m.type));
	if (ret < 0) {
		snprintf(result->reason, sizeof(result->reason), "%s", err.text);
		if (in)
			mailbox_destroy(in->mail);
		free(in);
		return;
	}
	in->prepare = wire_message_steal(&m).prepare;
	uuid_unparse_lower(in->prepare.uuid, in->uuid);
	snprintf(result->domain, sizeof(result->domain), "%s", in->prepare.name);
	result->prepared = true;
	receiver_add(in);
	run(in, steal_fd(&own), result);
	destroy(in);
}

/* ---- another process's post-copy ---- */

/* The only message of a connection: COMPLETE, or ABORT if why is given. To close with bytes unread
 * would take it back. */
static void say_last(int fd, const char *why)
{
	const struct wire_message complete = {.type = WIRE_COMPLETE};
	const struct wire_message ended = {.type = WIRE_ABORT, .abort = {why}};
	_cleanup_free_ uint8_t *buf = malloc(WIRE_HEADER_SIZE + WIRE_BODY_MAX);
	long len;

	if (!buf)
		abort();
	len = wire_message_encode(why ? &ended : &complete, buf, WIRE_HEADER_SIZE + WIRE_BODY_MAX);
	if (len < 0 || socket_write_full(fd, buf, len, ANSWER_MS) < 0)
		return;
	shutdown(fd, SHUT_WR);
	while (socket_read_full(fd, buf, 1, ANSWER_MS) == 0)
		;
}

int incoming_carry_on(struct receiver *r, int fd, const struct wire_hello *hello,
		      struct incoming_result *result)
{
	_cleanup_close_ int own = fd;
	struct incoming *in = incoming_new(r, hello->session);
	struct errtext err = {0};
	int ret = in ? incoming_adopt(in) : -ENOMEM;

	*result = (struct incoming_result){0};
	if (!in)
		return ret;
	if (ret == -ENOENT)
		say_last(fd, in->err.text);
	if (ret == -EALREADY)
		say_last(fd, NULL);
	if (ret == 0) {
		result->prepared = true;
		snprintf(result->domain, sizeof(result->domain), "%s", in->record.domain);
		receiver_add(in);
		/* Should it fail, the source comes again. */
		incoming_link_serve(in, steal_fd(&own), hello->index, &err);
		incoming_wait(in);
		incoming_end(in, 0, result);
	}
	destroy(in);
	return ret;
}
