// SPDX-License-Identifier: Apache-2.0
// QEMU here after the hand-over, if it alone has the guest's memory.
#include "outgoing_qemu.h"

#include <errno.h>
#include <signal.h>
#include <string.h>
#include "cleanup.h"
#include "outgoing_await.h"
#include "outgoing_libvirt.h"
#include "outgoing_place.h"
#include "outgoing_private.h"

#define REMOVE_MS 30000
#define END_US 10000000
#define POLL_US 20000

bool outgoing_qemu_has_ram(const struct outgoing *o)
{
	return o->postcopy.decided && ram_map_has_private(&o->guest.ram);
}

int outgoing_qemu_keep(struct outgoing *o)
{
	_cleanup_close_ int fd = -1;
	int ret;

	if (!outgoing_qemu_has_ram(o))
		return 0;
	ret = o->world->gate.share(o->libvirt.gate, &fd);
	if (ret == 0)
		ret = o->world->lend_to_guard(o->place.guard, fd);
	if (ret < 0)
		return errtext_set(&o->err, ret, "the guard cannot hold libvirt's connection: %s",
				   strerror(-ret));
	o->qemu.needed = true;
	return 0;
}

static void freeze(struct outgoing *o)
{
	if (o->qemu.frozen)
		return;
	o->world->signal_process(o->guest.pidfd, SIGSTOP, NULL);
	o->qemu.frozen = true;
}

void outgoing_qemu_note_job(struct outgoing *o)
{
	if (o->qemu.needed)
		freeze(o);
}

/* Should we be killed now, the guard must not stop a guest that runs. */
void outgoing_qemu_take_back(struct outgoing *o)
{
	if (!o->qemu.needed)
		return;
	outgoing_place_take_back(o);
	if (o->qemu.frozen)
		o->world->signal_process(o->guest.pidfd, SIGCONT, NULL);
	o->qemu.needed = o->qemu.frozen = false;
}

/* libvirt is not asked, and what somebody else has asked QEMU for is not done. */
static void kill_it(struct outgoing *o)
{
	uint64_t end = o->world->now_us() + END_US;

	o->world->signal_process(o->guest.pidfd, SIGKILL, NULL);
	while (!o->world->process_has_ended(o->guest.pidfd) && o->world->now_us() < end)
		o->world->pause(POLL_US);
	o->world->gate.cut(o->libvirt.gate);
	outgoing_libvirt_end_job(o);
}

void outgoing_qemu_let_go(struct outgoing *o)
{
	if (!o->qemu.needed)
		return;
	o->qemu.needed = false;
	if (o->libvirt.confirmed && !o->libvirt.done) {
		o->world->gate.permit(o->libvirt.gate);
		outgoing_await_job(o, REMOVE_MS);
	}
	if (!o->libvirt.done || o->libvirt.result < 0)
		kill_it(o);
}

bool outgoing_qemu_release(struct outgoing *o)
{
	if (o->qemu.needed && !o->postcopy.over)
		return false;
	outgoing_qemu_let_go(o);
	return true;
}
