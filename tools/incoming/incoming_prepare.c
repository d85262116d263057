// SPDX-License-Identifier: Apache-2.0
// From PREPARE to PREPARED: a migration waits for its turn on this host, then takes the guest's
// directory.
#include "incoming_private.h"

#include <errno.h>
#include <string.h>

#define QUEUED_US 1000000
#define QUEUE_LOOK_US 100000
#define FREE_US 30000000

static bool on_message(void *opaque, struct wire_message *message, uint64_t deadline_us)
{
	struct incoming *in = opaque;

	return mailbox_message(in->mail, message, deadline_us);
}

static void on_lost(void *opaque, int result, const char *text)
{
	struct incoming *in = opaque;

	mailbox_note(in->mail, MAIL_CONTROL_LOST, result, text);
}

/* libvirt would refuse it only when its QEMU is to be started, in words that say less. */
static int check_name(struct incoming *in)
{
	struct domain_info other;
	struct errtext err = {0};
	int ret = host_find(in->host, in->prepare.name, &other, &err);

	if (ret == -ENOENT || (ret == 0 && strcmp(other.uuid, in->uuid) == 0))
		return 0;
	if (ret < 0)
		return errtext_set(&in->err, ret, "%s", err.text);
	in->why = WIRE_ABORT_REFUSED;
	return errtext_set(&in->err, -EEXIST,
			   "the destination has another domain of the name %s, with UUID %s: "
			   "rename one of them (`virsh domrename`)",
			   in->prepare.name, other.uuid);
}

/* The guest must not be here already, in whatever state. */
static int check_absent(struct incoming *in)
{
	struct domain_info info;
	int ret = host_state(in->host, in->uuid, &info, &in->err);

	if (ret < 0)
		return ret;
	in->place.record.defined_before = info.state == DOMAIN_SHUT_OFF;
	if (incoming_settle_has_ended(info.state))
		return 0;
	return errtext_set(
		&in->err, -EEXIST,
		"domain %s (%s) is already active on the destination: is it left from an "
		"earlier migration? `dray recover %s` there",
		in->prepare.name, in->uuid, in->prepare.name);
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
	int ret = in->world->join_queue(GUEST_DIR_ROOT "/inbound", &in->place.slot, &in->err);

	while (ret == 0) {
		ret = slot_ahead(in->place.slot, &ahead);
		if (ret < 0)
			return errtext_set(&in->err, ret, "cannot count this host's migrations");
		if (ahead < in->receiver->opt.max_inbound)
			return 0;
		if (in->world->now_us() >= next_us) {
			ret = tell_queued(in, ahead - in->receiver->opt.max_inbound + 1);
			next_us = in->world->now_us() + QUEUED_US;
		}
		incoming_mail_take(in, QUEUE_LOOK_US);
		if (incoming_state_is_decided(in->state))
			return -ECANCELED;
	}
	return ret;
}

/* The attempt before this one is still being undone here, which its source did not wait for; its
 * guest may be, too. */
static int await_free(struct incoming *in)
{
	uint64_t now = in->world->now_us(), end = now + FREE_US, next_us = now;
	struct errtext err = {0};

	while (incoming_world_try_dir(in->world, in->uuid, &err) == -EBUSY) {
		now = in->world->now_us();
		if (now >= end)
			return errtext_set(&in->err, -EBUSY, "%s", err.text);
		if (now >= next_us && tell_queued(in, 1) < 0)
			return -EPIPE;
		if (now >= next_us)
			next_us = now + QUEUED_US;
		incoming_mail_take(in, QUEUE_LOOK_US);
		if (incoming_state_is_decided(in->state))
			return -ECANCELED;
		err = (struct errtext){0};
	}
	return 0; /* of other errors incoming_place_open tells */
}

int incoming_prepare(struct incoming *in, struct line line)
{
	const struct wire_message prepared = {
		.type = WIRE_PREPARED, .prepared = {in->place.dir.monitor, in->place.dir.stream}};
	struct control_options control = {.line = line,
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
		ret = await_free(in);
	if (ret == 0)
		ret = check_absent(in);
	if (ret == 0)
		ret = check_name(in);
	if (ret == 0)
		ret = incoming_place_open(in);
	if (ret == 0) {
		incoming_live_start(in, line.fd);
		incoming_joined_prepare(in);
		ret = incoming_backing_tell(in);
	}
	return ret < 0 ? ret : control_send(in->control, &prepared);
}
