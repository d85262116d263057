// SPDX-License-Identifier: Apache-2.0
// The guest on this host, as it was found.
#include "outgoing_guest.h"

#include <errno.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include "cleanup.h"
#include "guest_check.h"
#include "outgoing_place.h"
#include "outgoing_private.h"
#include "outgoing_state.h"

#define MONITOR_MS 15000

void outgoing_guest_init(struct outgoing *o)
{
	o->guest.pidfd = -1;
}

/* The private one, if that is the only one to be had. */
static int open_private(struct outgoing *o, const struct guest_facts *facts)
{
	if (!facts->xml.direct_disks || facts->adds_monitor)
		return 0;
	return o->world->open_monitor(facts->monitor_path, MONITOR_MS, &o->guest.monitor, &o->err);
}

int outgoing_guest_check(struct outgoing *o)
{
	struct guest_facts facts = {0};
	int ret = o->world->check_guest(o->libvirt.host, o->opt->domain, &facts, &o->err);

	o->guest.info = facts.info;
	if (ret == 0)
		ret = o->world->hold_process(facts.qemu, &o->guest.pidfd, &o->err);
	if (ret == 0)
		ret = open_private(o, &facts);
	if (ret == 0) {
		o->guest.ram = facts.ram;
		facts.ram = (struct ram_map){0}; /* moved */
		o->guest.qemu = facts.qemu;
		o->guest.adds_monitor = facts.adds_monitor;
		strcpy(o->guest.monitor_path, facts.monitor_path);
		o->guest.direct_disks = facts.xml.direct_disks;
		o->guest.gives_back = facts.xml.gives_back;
		o->guest.balloon = facts.xml.balloon;
		o->guest.strained = ram_map_is_strained(&o->guest.ram);
		o->guest.arrives_shared =
			o->guest.strained && facts.xml.source == DOMAIN_MEMORY_NONE;
		o->guest.backends = facts.backends;
		o->guest.was_running = facts.info.state == DOMAIN_RUNNING;
		o->guest.runs = o->guest.was_running;
	}
	guest_facts_destroy(&facts);
	return ret < 0 ? outgoing_fail(o, ret, "the guest cannot be checked") : 0;
}

/* Of the same name and size, but is it the same? A memory device may have been unplugged and
 * plugged again. The blocks match. */
static bool is_same_memory(const struct ram_map *a, const struct ram_map *b)
{
	for (unsigned int i = 0; i < a->count; i++) {
		const struct ram_block *x = &a->blocks[i], *y = &b->blocks[i];
		struct stat sx, sy;

		if (x->qemu_addr != y->qemu_addr || x->private_to != y->private_to)
			return false;
		if (!ram_block_is_private(x) && (fstat(x->fd, &sx) < 0 || fstat(y->fd, &sy) < 0 ||
						 sx.st_dev != sy.st_dev || sx.st_ino != sy.st_ino))
			return false;
	}
	return true;
}

static bool is_as_before(const struct outgoing *o, const struct guest_facts *facts)
{
	return facts->qemu == o->guest.qemu && facts->xml.direct_disks == o->guest.direct_disks &&
	       ram_map_match(&facts->ram, &o->guest.ram, NULL) == 0 &&
	       is_same_memory(&facts->ram, &o->guest.ram);
}

/* It was checked anew, with this result: is it as it was found at first? Takes the facts. */
static int compare(struct outgoing *o, int ret, struct guest_facts *facts)
{
	o->guest.gives_back = o->guest.gives_back || facts->xml.gives_back;
	if (ret == 0 && !is_as_before(o, facts))
		ret = errtext_set(
			&o->err, -EAGAIN,
			"domain %s was restarted, or changed, before its migration had begun: "
			"try again",
			o->guest.info.name);
	guest_facts_destroy(facts);
	return ret < 0 ? outgoing_fail(o, ret, "the guest cannot be checked") : 0;
}

int outgoing_guest_check_again(struct outgoing *o)
{
	struct guest_facts facts = {0};
	int ret = o->world->check_guest(o->libvirt.host, o->guest.info.uuid, &facts, &o->err);

	return compare(o, ret, &facts);
}

int outgoing_guest_check_locked(struct outgoing *o)
{
	struct guest_facts facts = {0};
	int ret =
		o->world->check_locked(o->libvirt.host, o->guest.info.uuid, o->guest.qemu,
				       o->guest.adds_monitor, &o->guest.backends, &facts, &o->err);

	return compare(o, ret, &facts);
}

int outgoing_guest_check_mappers(struct outgoing *o)
{
	pid_t other = 0;
	int ret = o->world->other_mappers(&o->guest.ram, o->guest.qemu, getpid(), &other, &o->err);

	if (ret < 0)
		return outgoing_fail(o, ret, "the guest's memory cannot be checked");
	if (other)
		return outgoing_fail(o, -EBUSY,
				     "process %d has mapped the memory of domain %s since the "
				     "migration began, and could write it unseen",
				     other, o->guest.info.name);
	return 0;
}

int outgoing_guest_add_monitor(struct outgoing *o)
{
	struct errtext err = {0};
	int ret;

	if (!o->guest.direct_disks || !o->guest.adds_monitor)
		return 0;
	ret = o->world->add_monitor(o->libvirt.host, o->guest.info.uuid, MONITOR_MS,
				    &o->guest.monitor, &err);
	/* What confines QEMU may let no socket of ours in. */
	if (ret < 0 && o->guest.monitor_path[0] &&
	    o->world->open_monitor(o->guest.monitor_path, MONITOR_MS, &o->guest.monitor, NULL) == 0)
		return 0;
	return ret < 0 ? errtext_set(&o->err, ret,
				     "domain %s: its QEMU does not take a monitor of dray's: %s",
				     o->guest.info.name, err.text)
		       : 0;
}

/* Whoever has to carry on must know, too. */
void outgoing_guest_note_running(struct outgoing *o, bool runs)
{
	if (runs == o->guest.runs)
		return;
	o->guest.runs = runs;
	outgoing_place_note_running(o);
	report_event(o->report, runs ? "unpaused" : "paused", o->phase,
		     runs ? "the guest runs again" : "the guest was paused, not by dray");
}

void outgoing_guest_note_balloon(struct outgoing *o)
{
	o->guest.gives_back = true;
}

/* A round that finds no page map, or libvirt's job, may have failed of it first. */
void outgoing_guest_note_ended(struct outgoing *o)
{
	if (o->guest.ended)
		return;
	o->guest.ended = true;
	if (!o->cancelled)
		o->err = (struct errtext){0};
	outgoing_fail(o, -ESRCH,
		      "domain %s has ended on this host while it was being moved: it was shut "
		      "down or destroyed, or its QEMU crashed",
		      o->guest.info.name);
}

void outgoing_guest_look(struct outgoing *o)
{
	if (o->guest.pidfd >= 0 && !outgoing_is_handed_over(o) &&
	    o->world->process_has_ended(o->guest.pidfd))
		outgoing_guest_note_ended(o);
}

void outgoing_guest_close_monitor(struct outgoing *o)
{
	qmp_close(o->guest.monitor);
}

void outgoing_guest_forget(struct outgoing *o)
{
	ram_map_destroy(&o->guest.ram);
	cleanup_close(&o->guest.pidfd);
}
