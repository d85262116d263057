// SPDX-License-Identifier: Apache-2.0
// The destination's hold on the QEMU that libvirt started: monitor and RAM.
#include "incoming_private.h"

#include <errno.h>
#include <stdlib.h>
#include <json-c/json.h>
#include "cleanup.h"
#include "monitor_log.h"
#include "ram_backends.h"
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

static int ask_monitor(void *opaque, const char *command, json_object **ret, struct errtext *err)
{
	struct incoming *in = opaque;
	json_object *parsed = json_tokener_parse(command), *execute = NULL, *arguments = NULL;
	int result;

	json_object_object_get_ex(parsed, "execute", &execute);
	json_object_object_get_ex(parsed, "arguments", &arguments);
	result = qmp_execute(in->monitor.qmp, json_object_get_string(execute), arguments,
			     QMP_TIMEOUT_MS, ret, err);
	json_object_put(parsed);
	return result;
}

/* QEMU's stream brings no RAM either way: the source's leaves it out, and then so must this one, or
 * a strainer there takes it out, and then this one must not. */
static int find_ram(struct incoming *in, pid_t pid)
{
	_cleanup_free_ struct ram_backends *known = NULL;
	int ret;

	if (!in->prepare.strained) {
		ret = qmp_set_capability(in->monitor.qmp, "x-ignore-shared", true, &in->err);
		return ret < 0 ? ret : in->world->find_ram(pid, true, NULL, &in->ram, &in->err);
	}
	incoming_monitor_note_untouched(in);
	known = malloc(sizeof(*known));
	if (!known)
		return errtext_set(&in->err, -ENOMEM, "out of memory");
	ret = ram_backends_read(ask_monitor, in, known, &in->err);
	return ret < 0 ? ret : in->world->find_ram(pid, true, known, &in->ram, &in->err);
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
		ret = find_ram(in, pid);
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
