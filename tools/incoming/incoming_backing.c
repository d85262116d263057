// SPDX-License-Identifier: Apache-2.0
// How memory that is private to the source's QEMU can be had here: in shared files, where these are
// on a file system that can be tracked and has room for it; else it stays private.
//
// The source decides by that which XML libvirt gets, so it is told before libvirt is called.
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

static void judge(struct incoming *in, struct wire_message *m, char *text, size_t size)
{
	uint64_t needs = allocated(&in->prepare.ram);
	struct memory_dir dir;
	struct errtext err = {0};

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
	struct wire_message m = {.type = WIRE_BACKING};
	char text[ERRTEXT_SIZE] = "";

	if (!(in->features & WIRE_FEATURE_BACKING) || !in->prepare.strained)
		return 0;
	judge(in, &m, text, sizeof(text));
	m.backing.text = text;
	return control_send(in->control, &m);
}
