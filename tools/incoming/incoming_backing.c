// SPDX-License-Identifier: Apache-2.0
// How memory that is private to the source's QEMU can be had here: in shared files, where these are
// on a file system that can be tracked and has room for it; else it stays private.
//
// The source decides by that which XML libvirt gets, so it is told before libvirt is called. And a
// guest that this host has no memory for is refused before that.
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include "incoming_private.h"

static uint64_t allocated(const struct ram_map *ram)
{
	uint64_t bytes = 0;

	for (unsigned int i = 0; i < ram->count; i++)
		bytes += ram->blocks[i].allocated;
	return bytes;
}

/* Huge pages come from elsewhere: ram_room.h, when QEMU has reserved what it can. */
static uint64_t allocated_small(const struct ram_map *ram)
{
	uint64_t bytes = 0;

	for (unsigned int i = 0; i < ram->count; i++)
		if (ram->blocks[i].page_size == RAM_PAGE_SIZE)
			bytes += ram->blocks[i].allocated;
	return bytes;
}

/* What the guest has at the source is what it needs here. Memory that stays private is charged to
 * QEMU's control group, which is known where libvirt is a user's own: it is that daemon's. What
 * comes in files is charged to dray's, whose limits are its user's business. */
static int check_memory(struct incoming *in, bool stays_private)
{
	uint64_t needs = allocated_small(&in->prepare.ram);
	const char *daemon = in->receiver->opt.libvirt_socket;
	struct host_memory memory;

	in->world->look_at_memory(stays_private && in->place.record.sockets[0] ? daemon : NULL,
				  &memory);
	if (needs <= memory.free)
		return 0;
	in->why = WIRE_ABORT_REFUSED;
	return errtext_set(&in->err, -ENOSPC,
			   "the destination lacks memory: the guest has %" PRIu64
			   " MiB, and of %s %" PRIu64
			   " MiB are free, swap included: make room there, or allow it more",
			   needs >> 20, memory.where, memory.free >> 20);
}

static void judge(struct incoming *in, struct wire_message *m, char *text, size_t size)
{
	uint64_t needs = allocated(&in->prepare.ram);
	struct memory_dir dir;
	struct errtext err = {0};

	m->backing.shared = false;
	if (in->world->look_at_memory_dir(in->receiver->opt.libvirt_socket,
					  in->place.record.sockets[0] != 0, &dir, &err) < 0) {
		snprintf(text, size, "%s", err.text);
		return;
	}
	m->backing.shared = dir.fit && dir.free >= needs;
	if (!dir.fit)
		snprintf(text, size, "the destination's memory_backing_dir, %s, is not on tmpfs",
			 dir.path);
	else if (!m->backing.shared)
		snprintf(text, size,
			 "the destination's memory_backing_dir, %s, has room for %" PRIu64
			 " MiB, and the guest needs %" PRIu64,
			 dir.path, dir.free >> 20, needs >> 20);
	else
		snprintf(text, size, "%s", dir.path);
}

int incoming_backing_tell(struct incoming *in)
{
	struct wire_message m = {.type = WIRE_BACKING, .backing.shared = true};
	bool tell = in->features & WIRE_FEATURE_BACKING && in->prepare.strained;
	char text[ERRTEXT_SIZE] = "";
	int ret;

	if (tell)
		judge(in, &m, text, sizeof(text));
	ret = check_memory(in, !m.backing.shared);
	if (ret < 0 || !tell)
		return ret;
	m.backing.text = text;
	return control_send(in->control, &m);
}
