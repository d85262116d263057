// SPDX-License-Identifier: Apache-2.0
// The destination's hold on the QEMU that libvirt started: monitor and RAM.
#include "incoming_private.h"

#include <errno.h>
#include "monitor_log.h"
#include "ram_room.h"

#define TRY_US 5000
#define START_MS 300000
/* For the source's libvirt, which was told that it may call: a turn that nobody uses is lost. */
#define CALL_MS 60000

/* QEMU answers on its monitor only when it has set up its machine, RAM included. Until then mail is
 * taken, so that a source whose libvirt has failed can call the migration off. */
static int reach_monitor(struct incoming *in)
{
	uint64_t now, begin = in->world->now_us(), end = begin + START_MS * 1000ull;

	while ((now = in->world->now_us()) < end) {
		struct errtext ignored = {0};

		if (now >= begin + CALL_MS * 1000ull && !incoming_joined_has_called(in))
			return errtext_set(&in->err, -ETIMEDOUT,
					   "the source's libvirt has not asked for domain %s in %d "
					   "s: others wait for their turn",
					   in->prepare.name, CALL_MS / 1000);

		if (in->world->open_monitor(in->place.dir.monitor, INCOMING_MONITOR_MS,
					    &in->monitor.qmp, &ignored) == 0) {
			monitor_log_keep_private(in->place.dir.monitor);
			return 0;
		}
		incoming_mail_take(in, TRY_US);
		if (incoming_state_is_decided(in->state))
			return errtext_set(&in->err, -ECANCELED, "the source gave up");
	}
	return errtext_set(&in->err, -ETIMEDOUT, "QEMU's monitor %s did not come up in %d s",
			   in->place.dir.monitor, START_MS / 1000);
}

static void on_synced(void *opaque, unsigned int stream, uint32_t round)
{
	struct incoming *in = opaque;
	struct wire_message m = {.type = WIRE_SYNCED, .synced = {stream, round}};

	control_send(in->control, &m);
}

int incoming_attach(struct incoming *in)
{
	struct destination_options options = {.ram = &in->ram, .synced = on_synced, .opaque = in};
	struct destination *d = NULL;
	pid_t pid;
	int ret = reach_monitor(in);

	if (ret < 0)
		return ret;
	pid = qmp_peer_pid(in->monitor.qmp);
	if (!in->world->is_qemu(pid, in->uuid))
		return errtext_set(
			&in->err, -EPERM,
			"%s: process %d listens there, which is not the QEMU of domain %s",
			in->place.dir.monitor, pid, in->prepare.name);
	ret = monitor_log_reserve(in->place.dir.monitor, &in->err);
	if (ret == 0)
		ret = incoming_place_note_qemu(in, pid);
	if (ret == 0)
		ret = qmp_set_capability(in->monitor.qmp, "x-ignore-shared", true, &in->err);
	if (ret == 0)
		ret = in->world->find_ram(pid, true, &in->ram, &in->err);
	if (ret == 0)
		ret = ram_map_match(&in->ram, &in->prepare.ram, &in->err);
	if (ret == 0)
		ret = destination_new(&options, &d, &in->err);
	if (ret == 0) /* what is preallocated, and nothing else, is there now */
		ret = ram_room_check(&in->ram, &in->prepare.ram, &in->err);
	if (ret == 0)
		ret = incoming_monitor_watch(in);
	if (ret < 0) {
		destination_destroy(d);
		return ret;
	}
	incoming_joined_open(in, d);
	incoming_move(in, INCOMING_READY);
	return 0;
}
