// SPDX-License-Identifier: Apache-2.0
// Carrying on a post-copy that another process began here, and died.
//
// What is needed outlived that process: the record, the set of owed pages, which is a file, and the
// userfaultfd inside QEMU. The guest's vCPUs have meanwhile waited for pages, or run on the memory
// that they had.
#include "incoming_private.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "cleanup.h"
#include "connection.h"
#include "process.h"
#include "ram_backends.h"

bool incoming_is_of_session(const struct record *r, const void *session)
{
	return strcmp(r->session, session) == 0;
}

/* Fills in->place.record and the paths. */
static int look_up_record(struct incoming *in)
{
	char session[2 * WIRE_SESSION_SIZE + 1];
	struct errtext err = {0};
	int ret;

	record_session(in->session, session);
	ret = in->world->find_record(RECORD_INCOMING, incoming_is_of_session, session,
				     &in->place.dir, &in->place.record, &err);
	in->place.dir.lock = -1;
	/* Not known is not gone: the guest may run, and still want its memory. Had this host been
	 * started again, the source would have seen it at the door. */
	if (ret == -ENOENT)
		return errtext_set(&in->err, -EAGAIN,
				   "nothing is known of this migration on the destination");
	return ret < 0 ? errtext_set(&in->err, ret, "%s", err.text) : 0;
}

/* Before the release there is nothing to carry on: the source decides, by asking (QUERY). */
static int check_record(struct incoming *in)
{
	if (in->place.record.complete) {
		in->postcopy.complete = true; /* the source has not heard of it */
		return -EALREADY;
	}
	if (!in->place.record.released || !in->place.record.post_copy)
		return errtext_set(&in->err, -EINPROGRESS,
				   "the guest has not been handed over, as far as the destination "
				   "knows");
	return 0;
}

static int has_ended(struct incoming *in)
{
	return errtext_set(&in->err, -ENOENT,
			   "the guest has ended on the destination, before all of its memory had "
			   "come");
}

/* Another libvirt than the one that we were given, as another launcher's on the same host, would
 * say that there is no such guest. */
static int check_daemon(struct incoming *in)
{
	const struct record *r = &in->place.record;

	if (record_is_of_daemon(r, in->receiver->opt.libvirt_socket))
		return 0;
	if (record_qemu_has_ended(r))
		return has_ended(in);
	return errtext_set(&in->err, -EAGAIN,
			   "the guest is of another libvirt on the destination than dray receive "
			   "was given there");
}

/* The guest may have ended meanwhile, or have been destroyed. Only libvirt knows that for certain;
 * if its daemon does not answer, the guest is served all the same, as long as its QEMU lives. */
static int check_guest(struct incoming *in)
{
	enum domain_state state = DOMAIN_INCOMING;
	int ret = check_daemon(in);

	if (ret < 0)
		return ret;
	if (incoming_settle_look(in, &state) < 0)
		return 0;
	if (incoming_settle_has_ended(state))
		return has_ended(in);
	if (incoming_settle_has_run(state))
		incoming_release_note_resumed(in, 0);
	return 0;
}

/* QEMU's process, without the help of QEMU, which may hang in a page fault, or of libvirt, which
 * would ask QEMU. */
static int find_qemu(struct incoming *in)
{
	uint64_t started = 0;
	int ret = process_started(in->place.record.qemu, &started, &in->err);

	if (ret == 0 && started != in->place.record.qemu_started)
		ret = errtext_set(&in->err, -ESRCH, "QEMU's process %d has ended",
				  in->place.record.qemu);
	in->postcopy.qemu = in->place.record.qemu;
	in->postcopy.qemu_started = started;
	return ret;
}

/* The process before this one closed the userfaultfd inside QEMU, and died before it could record
 * that. */
static int note_complete(struct incoming *in)
{
	in->err = (struct errtext){0};
	in->postcopy.complete = in->place.record.complete = true;
	return incoming_place_write(in, &in->err) < 0 ? -EIO : -EALREADY;
}

/* Files name themselves. Of private memory the record knows where it is, as QEMU told before. */
static int find_ram(struct incoming *in)
{
	_cleanup_free_ struct ram_backends *known = malloc(sizeof(*known));

	if (!known)
		return errtext_set(&in->err, -ENOMEM, "out of memory");
	ram_keep_backends(&in->place.record.ram, known);
	return in->world->find_ram(in->postcopy.qemu, true, known->count ? known : NULL, &in->ram,
				   &in->err);
}

static int reach_qemu(struct incoming *in)
{
	struct destination_options options = {.ram = &in->ram, .running = true};
	int ret = find_qemu(in);

	if (ret == 0)
		ret = find_ram(in);
	if (ret == 0)
		ret = owed_open(in->place.dir.owed, &in->ram, &in->postcopy.owed, &in->err);
	if (ret == 0 && !owed_sealed(in->postcopy.owed))
		ret = errtext_set(&in->err, -EINVAL, "%s: the set is not complete",
				  in->place.dir.owed);
	if (ret == 0)
		ret = destination_new(&options, &in->joined.destination, &in->err);
	if (ret < 0)
		return ret;
	ret = in->world->find_userfaultfd(in->postcopy.qemu, &in->postcopy.uffd,
					  &in->postcopy.uffd_inside, &in->err);
	return ret == -ENOENT && owed_left(in->postcopy.owed) == 0 ? note_complete(in) : ret;
}

static int take_over(struct incoming *in)
{
	int ret = reach_qemu(in);

	if (ret == 0)
		ret = incoming_postcopy_new_handlers(in);
	if (ret < 0)
		return ret;
	in->prepare.running = in->place.record.running;
	in->prepare.silence_ms = CONNECTION_SILENCE_MS;
	destination_place(in->joined.destination, in->postcopy.placer);
	in->postcopy.released_us = in->world->now_us();
	ret = placer_begin(in->postcopy.placer, &in->err);
	return ret < 0 ? ret : incoming_place_start_guard(in);
}

/* The process that had the lock until now may have written the record after it was looked up. */
static int lock_record(struct incoming *in)
{
	int ret = incoming_place_reopen(in);

	return ret < 0 ? ret : check_record(in);
}

int incoming_adopt(struct incoming *in)
{
	int ret = look_up_record(in);

	in->joined.released = true;
	incoming_monitor_note_released(in);
	in->monitor.missed_events = true;
	if (ret == 0)
		ret = check_record(in);
	if (ret < 0)
		return ret;
	snprintf(in->uuid, sizeof(in->uuid), "%s", in->place.record.uuid);
	snprintf(in->prepare.name, sizeof(in->prepare.name), "%s", in->place.record.domain);
	ret = lock_record(in);
	if (ret == -ENOENT)
		return -EAGAIN;
	if (ret == 0)
		ret = check_guest(in);
	if (ret < 0)
		return ret;
	if (in->place.record.resumed)
		incoming_release_note_resumed(in, 0);
	ret = take_over(in);
	/* The guest is here, so -ENOENT from any of these steps does not mean that it is not. */
	return ret == -ENOENT ? -EAGAIN : ret;
}
