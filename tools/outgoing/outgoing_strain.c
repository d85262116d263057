// SPDX-License-Identifier: Apache-2.0
// A guest whose memory QEMU sends itself: QEMU's stream, and how the memory arrives.
#include "outgoing_strain.h"

#include <errno.h>
#include <stdio.h>
#include "outgoing_limits.h"
#include "outgoing_private.h"
#include "outgoing_state.h"

/* QEMU pushes 2 to 3 GB/s into a local socket, so this is some megabytes: less than what a look at
 * the memory takes. */
#define FIRST_DOWNTIME_MS 2
#define RAISE_US 1000000
/* What even a busy host manages. */
#define SLOWEST_BYTES_PER_MS 100000

/* ---- how the memory arrives ---- */

static int refuse_older(struct outgoing *o)
{
	o->libvirt.refused = true;
	return outgoing_fail(o, -ENOTSUP,
			     "the destination's dray is an older one, which takes private memory "
			     "in only where it becomes shared: leave out --keep-private, or update "
			     "dray there");
}

/* Huge pages have a place of their own. */
static bool needs_memory_dir(const struct ram_map *ram)
{
	for (unsigned int i = 0; i < ram->count; i++)
		if (ram->blocks[i].page_size == RAM_PAGE_SIZE)
			return true;
	return false;
}

/* A destination that has said nothing is an older one, which knows shared files only. */
int outgoing_strain_choose(struct outgoing *o)
{
	bool stays = o->opt->keep_private ||
		     (o->peer.no_shared_files && needs_memory_dir(&o->guest.ram));
	char text[WIRE_TEXT_MAX + 64];

	if (!o->guest.arrives_shared || !stays)
		return 0;
	if (!(o->peer.features & WIRE_FEATURE_BACKING))
		return refuse_older(o);
	o->guest.arrives_shared = false;
	snprintf(text, sizeof(text), "the guest's memory stays private: %s",
		 o->opt->keep_private ? "--keep-private" : o->peer.backing);
	report_event(o->report, "decision", o->phase, text);
	return 0;
}

/* ---- QEMU's stream ---- */

uint64_t outgoing_strain_patience_ms(const struct outgoing *o)
{
	return o->guest.strained ? ram_map_bytes(&o->guest.ram) / SLOWEST_BYTES_PER_MS : 0;
}

static int permit(struct outgoing *o, unsigned int ms, struct errtext *err)
{
	int ret = host_set_max_downtime(o->libvirt.host, o->guest.info.uuid, ms, err);

	o->strain.downtime_ms = ms;
	return ret;
}

int outgoing_strain_prepare(struct outgoing *o)
{
	return host_get_max_downtime(o->libvirt.host, o->guest.info.uuid, &o->strain.before_ms,
				     &o->err);
}

int outgoing_strain_restore(struct outgoing *o, struct errtext *err)
{
	if (!o->strain.downtime_ms)
		return 0;
	return host_set_max_downtime(o->libvirt.host, o->guest.info.uuid, o->strain.before_ms, err);
}

/* One pass over all memory is not counted against it. */
void outgoing_strain_take_begun(struct outgoing *o, struct mail *mail)
{
	int ret;

	(void)mail;
	if (!o->guest.strained || o->strain.downtime_ms || o->failed)
		return;
	ret = permit(o, FIRST_DOWNTIME_MS, &o->err);
	if (ret < 0) {
		outgoing_fail(o, ret, "cannot limit the time that QEMU may stop the guest");
		return;
	}
	o->strain.raise_us = o->world->now_us() + RAISE_US +
			     ram_map_bytes(&o->guest.ram) / 1000 /* a GB/s, in microseconds */;
	o->world->forward.go(o->libvirt.qemu_stream);
}

void outgoing_strain_take_end(struct outgoing *o, struct mail *mail)
{
	if (o->guest.strained && mail->result == -EPROTO && outgoing_may_give_up(o))
		outgoing_fail(o, mail->result, "QEMU's stream cannot be strained: %s", mail->text);
}

/* What the guest's user allows for all of the stop. */
static uint64_t most_ms(const struct outgoing *o)
{
	return o->precopy.paused ? outgoing_limits_stopped_left_ms(o)
				 : o->precopy.limits.max_downtime_ms;
}

void outgoing_strain_raise(struct outgoing *o)
{
	unsigned int ms = o->strain.downtime_ms * 2;
	struct errtext err = {0};

	if (!ms || o->stop.at_rest || o->world->now_us() < o->strain.raise_us)
		return;
	o->strain.raise_us = o->world->now_us() + RAISE_US;
	if (ms <= most_ms(o) && permit(o, ms, &err) < 0)
		report_event(o->report, "warning", o->phase, err.text);
}
