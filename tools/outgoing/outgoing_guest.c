// SPDX-License-Identifier: Apache-2.0
// The guest on this host, as it was found.
#include "outgoing_guest.h"

#include <errno.h>
#include "guest_check.h"
#include "outgoing_private.h"
#include "outgoing_state.h"

#define ANSWER_MS 15000

static int open_monitor(struct outgoing *o, const struct guest_facts *facts)
{
	if (!facts->xml.direct_disks)
		return 0;
	return qmp_open(facts->monitor_path, ANSWER_MS, &o->monitor, &o->err);
}

int outgoing_guest_check(struct outgoing *o)
{
	struct guest_facts facts = {0};
	int ret = guest_check(o->host, o->opt->domain, &facts, &o->err);

	o->guest = facts.info;
	if (ret == 0)
		ret = open_monitor(o, &facts);
	if (ret == 0) {
		o->ram = facts.ram;
		facts.ram = (struct ram_map){0}; /* moved */
		o->qemu = facts.qemu;
		o->direct_disks = facts.xml.direct_disks;
		o->was_running = facts.info.state == DOMAIN_RUNNING;
		o->persistent = facts.info.persistent;
	}
	guest_facts_destroy(&facts);
	return ret < 0 ? outgoing_fail(o, ret, "the guest cannot be checked") : 0;
}

int outgoing_guest_check_again(struct outgoing *o)
{
	struct guest_facts facts = {0};
	int ret = guest_check(o->host, o->guest.uuid, &facts, &o->err);

	if (ret == 0 && (facts.qemu != o->qemu || facts.xml.direct_disks != o->direct_disks ||
			 ram_map_match(&facts.ram, &o->ram, NULL) < 0))
		ret = errtext_set(&o->err, -EAGAIN,
				  "domain %s was restarted, or changed, while it waited for its "
				  "turn: try again",
				  o->guest.name);
	guest_facts_destroy(&facts);
	return ret < 0 ? outgoing_fail(o, ret, "the guest cannot be checked") : 0;
}

int outgoing_guest_drain(void *opaque, struct errtext *err)
{
	struct outgoing *o = opaque;

	return qmp_drain_io(o->monitor, (int)o->opt->silence_ms, err);
}

void outgoing_guest_close_monitor(struct outgoing *o)
{
	qmp_close(o->monitor);
}

void outgoing_guest_forget(struct outgoing *o)
{
	ram_map_destroy(&o->ram);
}
